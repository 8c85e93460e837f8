//! Writing to registries: the second boundary beside [`Registry`](super::Registry), which reads.
//!
//! Only commands that publish receive a [`Push`]. A pass takes a `Registry` and cannot write. Nothing here is taken as
//! stored because a registry reports it: the publisher reads back what it has pushed.

use std::fmt;

use bytes::Bytes;
use futures::stream;

use super::{Access, BlobStream, RegistryError};
use crate::oci::{Descriptor, Digest, Repository};

/// Bytes of a blob that can be read several times, from any offset: an upload that breaks is continued or repeated.
pub trait BlobSource: Send + Sync {
    /// Returns the bytes from `offset` to the end. Errors of opening are the stream's first item.
    fn read_from(&self, offset: u64) -> BlobStream;
}

/// A blob in memory.
impl BlobSource for Bytes {
    fn read_from(&self, offset: u64) -> BlobStream {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Box::pin(stream::iter([Ok(self.slice(start..))]))
    }
}

/// Name under which a manifest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestName<'a> {
    /// The digest of the bytes, so that no tag changes.
    Digest(&'a Digest),
    /// A tag, which refers to the manifest from then on.
    Tag(&'a str),
}

impl fmt::Display for ManifestName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Tag(tag) => f.write_str(tag),
        }
    }
}

/// Response of a registry that accepted a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Subject among whose referrers the registry lists the manifest (header `OCI-Subject`). If it is not the
    /// manifest's subject, the client maintains the list under a tag (distribution-spec, "Referrers Tag Schema").
    pub subject: Option<Digest>,
}

/// Requests that write to a registry.
///
/// The implementation retries what can succeed later, within limits. An error is final.
pub trait Push: Send + Sync + 'static {
    /// Returns true if the repository holds the blob.
    fn has_blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> impl Future<Output = Result<bool, RegistryError>> + Send;

    /// Copies a blob from another repository of the same registry without a transfer. Returns false if the registry
    /// did not: then the blob is uploaded.
    fn mount_blob(
        &self,
        access: &Access,
        repository: &Repository,
        from: &Repository,
        descriptor: &Descriptor,
    ) -> impl Future<Output = Result<bool, RegistryError>> + Send;

    /// Uploads a blob. The bytes are hashed on the way: other bytes than the descriptor's are never completed.
    fn upload_blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
    ) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Stores a manifest or an index, whose blobs and manifests the repository holds.
    fn put_manifest(
        &self,
        access: &Access,
        repository: &Repository,
        name: ManifestName<'_>,
        media_type: &str,
        bytes: Bytes,
    ) -> impl Future<Output = Result<Stored, RegistryError>> + Send;

    /// Stores a manifest under a tag that other clients set too. Sent once: a repetition after a pause could undo what
    /// another client has written meanwhile.
    fn put_shared_tag(
        &self,
        access: &Access,
        repository: &Repository,
        tag: &str,
        media_type: &str,
        bytes: Bytes,
    ) -> impl Future<Output = Result<Stored, RegistryError>> + Send {
        self.put_manifest(access, repository, ManifestName::Tag(tag), media_type, bytes)
    }
}
