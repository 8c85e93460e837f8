//! Access to registries; the only boundary of this crate that tests may fake.
//!
//! [`Registry`] transfers bytes and guarantees nothing about them. Their digest, size and format are checked here, in
//! [`resolve()`] and [`manifest`], and in [`crate::blob`], for every implementation.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;

use crate::oci::{Descriptor, Digest, Repository};
use crate::permits::Permit;

mod access;
mod auth;
mod error;
pub mod file;
pub mod http;
mod local;
mod net;
pub mod push;
mod resolve;
pub mod retry;
mod sender;
mod whole;

pub(crate) use access::TransportId;
pub use access::{Access, Transport};
pub use auth::credentials;
pub use error::RegistryError;
pub use local::LocalFile;
pub use net::{address, egress, host_pattern, tls};
pub use push::{BlobSource, ManifestName, Push, Stored};
pub use resolve::{Pinned, resolve};
pub use sender::{Begun, Sender};
pub(crate) use whole::checked;
pub use whole::{confirm, document, manifest, referrers_in, small_blob};

/// Maximum number of tags listed for a repository.
pub const MAX_TAGS: usize = 10_000;
/// Maximum number of referrers listed for a manifest.
pub const MAX_REFERRERS: usize = 1000;

/// A manifest as received: only its length has been checked.
#[derive(Debug)]
pub struct RawManifest {
    /// The response body.
    pub bytes: Bytes,
    /// The origin that sent it.
    pub sender: Sender,
    /// The Content-Type header.
    pub content_type: Option<String>,
    /// Memory reservation, held while the body is processed.
    pub room: Option<MemoryReservation>,
}

/// A memory reservation for a large body. There are few, so that many large bodies wait for each other. Namespaces share
/// them: those of one tenant, which may stall, do not delay another tenant's.
#[derive(Debug)]
pub struct MemoryReservation {
    _permit: Permit,
}

/// The bytes of a blob, as they arrive.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, RegistryError>> + Send>>;

/// A blob, or the rest of a blob.
pub struct BlobBody {
    /// Offset of the stream's first byte: the requested one, or 0 if the blob restarts.
    pub from: u64,
    /// The origin that sends it.
    pub sender: Sender,
    /// The bytes from that offset.
    pub stream: BlobStream,
}

impl fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobBody").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Result of checking read access to a blob. Denied access is a [`RegistryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// The registry grants access.
    Granted,
    /// The registry does not decide; only a download can show it.
    Unknown,
}

/// Requests to a registry. The implementation enforces a size limit on every body.
///
/// Each method has a default: a registry without tags, lists and content, and without decisions about access.
pub trait Registry: Send + Sync + 'static {
    /// Resolves `tag` to its current digest, with one HEAD if the registry supports it.
    fn tag_digest(
        &self,
        _access: &Access,
        _repository: &Repository,
        tag: &str,
    ) -> impl Future<Output = Result<Digest, RegistryError>> + Send {
        ready(Err(RegistryError::NotFound(tag.to_owned())))
    }

    /// Lists the repository's tags in any order, at most [`MAX_TAGS`].
    fn tags(
        &self,
        _access: &Access,
        _repository: &Repository,
    ) -> impl Future<Output = Result<Vec<String>, RegistryError>> + Send {
        ready(Ok(Vec::new()))
    }

    /// Lists the manifests that refer to the given one (distribution-spec, "Listing Referrers"), at most
    /// [`MAX_REFERRERS`]; `None` if the registry does not keep such a list.
    fn referrers(
        &self,
        _access: &Access,
        _repository: &Repository,
        _digest: &Digest,
    ) -> impl Future<Output = Result<Option<Vec<Descriptor>>, RegistryError>> + Send {
        ready(Ok(None))
    }

    /// Fetches the manifest of a digest, at most `limit` bytes.
    fn raw_manifest(
        &self,
        _access: &Access,
        _repository: &Repository,
        digest: &Digest,
        _limit: u64,
    ) -> impl Future<Output = Result<RawManifest, RegistryError>> + Send {
        ready(Err(RegistryError::NotFound(format!("manifest {}", digest.short()))))
    }

    /// Fetches a blob, or the rest of it after `begun`. The stream fails at most one chunk beyond the descriptor's
    /// size. If the blob is shorter than the part that was received before, the stream is empty.
    fn blob(
        &self,
        _access: &Access,
        _repository: &Repository,
        descriptor: &Descriptor,
        _begun: Option<&Begun>,
    ) -> impl Future<Output = Result<BlobBody, RegistryError>> + Send {
        ready(Err(RegistryError::NotFound(format!("blob {}", descriptor.digest.short()))))
    }

    /// Returns the blob if it is a local file, which need not be transferred. It may have other bytes than the
    /// descriptor's.
    fn local(&self, _descriptor: &Descriptor) -> impl Future<Output = Option<LocalFile>> + Send {
        ready(None)
    }

    /// Checks with one HEAD whether `access` may read a blob. Without an answer, a cached blob is not shared.
    fn may_read_blob(
        &self,
        _access: &Access,
        _repository: &Repository,
        _descriptor: &Descriptor,
    ) -> impl Future<Output = Result<Right, RegistryError>> + Send {
        ready(Ok(Right::Unknown))
    }
}

#[cfg(test)]
mod tests;
