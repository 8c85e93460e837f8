//! Every way in which a registry can fail to give what it is asked for.

use std::time::Duration;

use super::address;
use crate::oci::manifest::ManifestError;

/// Why a registry did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// 404.
    #[error("{0} does not exist")]
    NotFound(String),
    /// Tags, but none that is meant.
    #[error("no tag of {repository} is a version in {range}")]
    NoMatchingTag {
        /// The repository.
        repository: String,
        /// The range.
        range: String,
    },
    /// 401 after whatever credentials there are were tried.
    #[error("{host} wants {wanted} for {repository}")]
    Unauthorized {
        /// The registry.
        host: String,
        /// The repository.
        repository: String,
        /// "credentials" or "other credentials".
        wanted: &'static str,
    },
    /// 403.
    #[error("{host} does not allow these credentials to read {repository}")]
    Forbidden {
        /// The registry.
        host: String,
        /// The repository.
        repository: String,
    },
    /// 429, or 503 with a time.
    #[error("{host} limits the requests of this account (429, or 503 with Retry-After)")]
    RateLimited {
        /// The registry.
        host: String,
        /// Time to the next request: the own growing pause, or `Retry-After` where that is longer, at most 1 h.
        retry_after: Option<Duration>,
    },
    /// The host is at an address that the operator may not connect to.
    #[error("{host} is not asked: {denied}")]
    AddressDenied {
        /// The registry, or a host that it sent us to.
        host: String,
        /// The address and why.
        denied: address::Denied,
    },
    /// The port is one of Kubernetes itself.
    #[error(
        "{host} is not asked: port {port} belongs to Kubernetes (API server, kubelet, etcd and others); no flag opens it"
    )]
    PortDenied {
        /// The registry, or a host that it sent us to.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host would be asked without TLS, and the operator has not allowed that.
    #[error("{host} is not asked without TLS; the operator's --plain-http-host allows hosts")]
    PlainHttpDenied {
        /// The registry, or a host that it sent us to.
        host: String,
    },
    /// Not asked, for it did not answer those that asked before. Told as that was.
    #[error("{host} is not available: {problem}")]
    HeldBack {
        /// The registry, or a host that it sent us to.
        host: String,
        /// What happened to the others.
        problem: String,
        /// When it may be asked again.
        retry_after: Duration,
    },
    /// No connection, a broken one, or a 5xx.
    #[error("{host} is not available: {problem}")]
    Unavailable {
        /// The registry, or a host that it sent us to.
        host: String,
        /// What happened.
        problem: String,
    },
    /// TLS could not be agreed on or the certificate is not trusted.
    #[error("TLS with {host} failed: {problem}")]
    Tls {
        /// The host.
        host: String,
        /// What the TLS library said.
        problem: String,
    },
    /// A body that does not end where it must.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What was being read.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// A list that does not end where it must.
    #[error("{repository} lists more than {limit} {what}")]
    TooMany {
        /// The repository.
        repository: String,
        /// The limit.
        limit: usize,
        /// "tags", "pages of tags", "referrers" or "pages of referrers", and what to do.
        what: &'static str,
    },
    /// A blob that goes on behind its descriptor's size.
    #[error("{what} has more than the {size} bytes that its descriptor says")]
    LongerThanNamed {
        /// What was being read.
        what: String,
        /// The descriptor's size.
        size: u64,
    },
    /// Bytes that are not those of a digest. Their own digest is left out: it would tell what a host inside has sent, to whom
    /// can have the operator ask for it.
    #[error("{what}: the bytes that {host} sent are not those of its digest")]
    DigestMismatch {
        /// The object that was read, with its digest.
        what: String,
        /// The host that sent them.
        host: String,
    },
    /// A manifest that cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// An answer outside the protocol.
    #[error("{host} answered outside the registry protocol: {problem}")]
    Protocol {
        /// The registry.
        host: String,
        /// What was wrong with the answer.
        problem: String,
    },
}
