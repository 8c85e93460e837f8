//! Reading from registries: the one boundary of this crate that tests may fake.
//!
//! [`Registry`] moves bytes; it promises nothing about them. What they are is checked here, in
//! [`resolve`] and [`manifest`], and in [`crate::blob`], whatever the implementation.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;

use crate::oci::manifest::{MAX_MANIFEST_BYTES, ManifestError};
use crate::oci::{Descriptor, Digest, Manifest, Reference, Repository};

pub mod address;
mod authorization;
mod challenge;
pub mod credentials;
pub mod http;
mod transport;
pub mod turns;

use credentials::Keychain;

/// How one object may talk to its registry.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Credentials, in the order in which they are tried.
    pub keychain: Keychain,
    /// HTTP without TLS: asked for, never fallen back to.
    pub plain_http: bool,
}

impl Access {
    /// Who answers when something of `repository` is asked for: how it is spoken to, and the host.
    ///
    /// An answer about a right is worth something for bytes of the same origin only. Whatever decides
    /// whether an answer can be believed belongs in here.
    pub fn origin(&self, repository: &Repository) -> String {
        let scheme = if self.plain_http { "http" } else { "https" };
        format!("{scheme}://{}", repository.api_host())
    }
}

/// A repository and a digest in it. Only [`resolve`] makes one; the tag is for people from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    repository: Repository,
    tag: Option<String>,
    digest: Digest,
}

impl Pinned {
    /// Where the digest was found.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag that led to the digest, or stood beside it.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest's digest: what is approved, fetched and reported.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        write!(f, "@{}", self.digest)
    }
}

/// A manifest as it came: nothing about it has been checked but its length.
#[derive(Clone, Debug)]
pub struct RawManifest {
    /// The body.
    pub bytes: Bytes,
    /// The Content-Type header.
    pub content_type: Option<String>,
}

/// A blob's bytes as they come.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, RegistryError>> + Send>>;

/// A blob, or what is left of it.
pub struct BlobBody {
    /// The place of the stream's first byte: the one asked for, or 0 where the registry begins anew.
    pub from: u64,
    /// The bytes from there on.
    pub stream: BlobStream,
}

impl fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobBody").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Whether somebody may read a blob. That they may not is a [`RegistryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// The registry says so.
    Granted,
    /// The registry does not answer this question; only a download tells.
    Untold,
}

/// What a registry is asked for. Every body has a limit in bytes that the implementation keeps.
pub trait Registry: Send + Sync + 'static {
    /// The digest that `tag` names now, by one HEAD where the registry can.
    fn tag_digest(
        &self,
        access: &Access,
        repository: &Repository,
        tag: &str,
    ) -> impl Future<Output = Result<Digest, RegistryError>> + Send;

    /// The manifest of that digest, at most `limit` bytes.
    fn raw_manifest(
        &self,
        access: &Access,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> impl Future<Output = Result<RawManifest, RegistryError>> + Send;

    /// The blob of that descriptor from the byte `from` on, which is inside of it or 0. It ends, with an
    /// error, no later than one chunk behind the descriptor's size. A blob that is shorter than `from` is an
    /// empty stream.
    fn blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
        from: u64,
    ) -> impl Future<Output = Result<BlobBody, RegistryError>> + Send;

    /// Asks whether `access` may read the blob of that descriptor, by one HEAD.
    fn may_read_blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> impl Future<Output = Result<Right, RegistryError>> + Send;
}

/// Why a registry did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// 404.
    #[error("{0} does not exist")]
    NotFound(String),
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
    #[error("{host} asks to wait before the next request")]
    RateLimited {
        /// The registry.
        host: String,
        /// `Retry-After`, clamped to 1 s..1 h.
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
    /// A blob that goes on behind its descriptor's size.
    #[error("{what} has more than the {size} bytes that its descriptor says")]
    LongerThanNamed {
        /// What was being read.
        what: String,
        /// The descriptor's size.
        size: u64,
    },
    /// A digest that is not the one asked for.
    #[error("{what} has digest {} instead of {}", got.short(), wanted.short())]
    DigestMismatch {
        /// What was being read.
        what: String,
        /// The digest asked for.
        wanted: Digest,
        /// The digest of the bytes.
        got: Digest,
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

/// Settles which digest a reference means. A digest in the reference decides without any request.
pub async fn resolve<R: Registry>(
    registry: &R,
    access: &Access,
    reference: &Reference,
) -> Result<Pinned, RegistryError> {
    let repository = reference.repository.clone();
    let (tag, digest) = match (&reference.digest, &reference.tag) {
        (Some(digest), tag) => (tag.clone(), digest.clone()),
        (None, tag) => {
            let tag = tag.clone().unwrap_or_else(|| "latest".to_owned());
            let digest = registry.tag_digest(access, &repository, &tag).await?;
            (Some(tag), digest)
        }
    };
    Ok(Pinned { repository, tag, digest })
}

/// The manifest of a pinned digest: inside its limit, of that digest, and understood.
pub async fn manifest<R: Registry>(registry: &R, access: &Access, pinned: &Pinned) -> Result<Manifest, RegistryError> {
    let raw = registry.raw_manifest(access, &pinned.repository, &pinned.digest, MAX_MANIFEST_BYTES).await?;
    let got = Digest::of(&raw.bytes);
    if got != pinned.digest {
        let what = format!("the manifest of {}", pinned.repository);
        return Err(RegistryError::DigestMismatch { what, wanted: pinned.digest.clone(), got });
    }
    Ok(Manifest::parse(&raw.bytes, raw.content_type.as_deref())?)
}
