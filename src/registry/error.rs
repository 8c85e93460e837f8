//! Errors of registry requests.

use std::time::Duration;

use super::net::address;
use crate::oci::manifest::ManifestError;

/// Reason why a registry request failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// 404.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The repository has tags, but none matches the selection.
    #[error("no tag of {repository} is a version in {range}")]
    NoMatchingTag {
        /// The repository.
        repository: String,
        /// The range.
        range: String,
    },
    /// 401 after all matching credentials were tried.
    #[error("{host} {} credentials for {repository}", if *has_credentials { "rejected the" } else { "requires" })]
    Unauthorized {
        /// The registry.
        host: String,
        /// The repository.
        repository: String,
        /// True if the request had credentials.
        has_credentials: bool,
    },
    /// 403.
    #[error("{host} does not allow these credentials to {verb} {repository}")]
    Forbidden {
        /// The registry.
        host: String,
        /// The repository.
        repository: String,
        /// "read" or "write to".
        verb: &'static str,
    },
    /// Any other status by which the registry refuses what a client wants to store.
    #[error("{host} refuses {what}: {answer}")]
    Refused {
        /// The registry.
        host: String,
        /// Description of what was not stored.
        what: String,
        /// The status, and the registry's error code if it sent one, such as `MANIFEST_BLOB_UNKNOWN`.
        answer: String,
    },
    /// 429, or 503 with `Retry-After`.
    #[error("{host} limits the rate of requests (429, or 503 with Retry-After)")]
    RateLimited {
        /// The registry.
        host: String,
        /// Time until the next request: the larger of our own growing pause and `Retry-After`, at most 1 h.
        retry_after: Option<Duration>,
    },
    /// The address of the host is not allowed.
    #[error("connections to {host} are not allowed: {denied}")]
    AddressDenied {
        /// The registry, or a host to which it redirected.
        host: String,
        /// The address, and the reason.
        denied: address::Denied,
    },
    /// The port belongs to a Kubernetes component.
    #[error(
        "connections to {host} are not allowed: port {port} belongs to Kubernetes (API server, kubelet, etcd and others); no flag allows it"
    )]
    PortDenied {
        /// The registry, or a host to which it redirected.
        host: String,
        /// The port.
        port: u16,
    },
    /// Plain HTTP to the host is not allowed by the operator.
    #[error("plain HTTP to {host} is not allowed; --plain-http-host allows it for a host")]
    PlainHttpDenied {
        /// The registry, or a host to which it redirected.
        host: String,
    },
    /// Not sent, because earlier requests to the host failed; reported like them.
    #[error("{host} is not available: {problem}")]
    HeldBack {
        /// The registry, or a host to which it redirected.
        host: String,
        /// The failure of the earlier requests.
        problem: String,
        /// Time until the next request is allowed.
        retry_after: Duration,
    },
    /// No connection, a broken connection, or a 5xx response.
    #[error("{host} is not available: {problem}")]
    Unavailable {
        /// The registry, or a host to which it redirected.
        host: String,
        /// The failure.
        problem: String,
    },
    /// A failed TLS handshake, or an untrusted certificate.
    #[error("TLS with {host} failed: {problem}")]
    Tls {
        /// The host.
        host: String,
        /// The TLS library's message.
        problem: String,
    },
    /// A body larger than its limit.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// Description of the body.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// A list longer than its limit.
    #[error("{repository} lists more than {limit} {what}")]
    TooMany {
        /// The repository.
        repository: String,
        /// The limit.
        limit: usize,
        /// "tags", "pages of tags", "referrers" or "pages of referrers", and the remedy.
        what: &'static str,
    },
    /// A blob longer than its descriptor's size.
    #[error("{what} is longer than the {size} bytes of its descriptor")]
    LongerThanNamed {
        /// Description of the blob.
        what: String,
        /// The descriptor's size.
        size: u64,
    },
    /// Bytes whose digest is not the expected one. The actual digest is omitted: it would reveal the response of an
    /// internal host to a tenant who can make the operator request it.
    #[error("{what}: the bytes from {host} do not match the digest")]
    DigestMismatch {
        /// The requested object, with its digest.
        what: String,
        /// The host that sent the bytes.
        host: String,
    },
    /// A local place, such as an image layout, that cannot be read or written.
    #[error("{place}: {problem}")]
    Local {
        /// The directory.
        place: String,
        /// The failure.
        problem: String,
        /// True if the filesystem is full.
        is_full: bool,
    },
    /// An invalid or unsupported manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A response that violates the protocol.
    #[error("{host} violates the registry protocol: {problem}")]
    Protocol {
        /// The registry.
        host: String,
        /// The violation.
        problem: String,
    },
}
