//! Copies of documents and blobs from one place to another.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::graph::{self, Node};
use super::source::{Displayed, RegistrySource};
use super::{Display, Place, PublishError, found};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest};
use crate::registry::retry::repeated;
use crate::registry::{self, BlobSource, ManifestName, Push, Registry, RegistryError, Stored};

/// Number of blobs that are copied at a time.
const AT_A_TIME: usize = 4;

/// Numbers of what a copy has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Manifests and indexes that were written.
    pub manifests: usize,
    /// Blobs that were uploaded.
    pub uploaded: usize,
    /// Bytes of those blobs.
    pub bytes: u64,
    /// Blobs that the registry took from another of its repositories.
    pub mounted: usize,
    /// Blobs that the destination had.
    pub present: usize,
}

impl Copied {
    pub(super) fn add(&mut self, other: Self) {
        self.manifests += other.manifests;
        self.uploaded += other.uploaded;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.mounted += other.mounted;
        self.present += other.present;
    }
}

/// Copies the blobs of documents, then the documents in their order, and reads each back.
pub(super) async fn nodes<S: Registry, D: Registry + Push>(
    from: Place<'_, S>,
    to: Place<'_, D>,
    nodes: &[Node],
    display: &Display,
) -> Result<Copied, PublishError> {
    let mut copied = blobs(from, to, nodes, display).await?;
    for node in nodes {
        copied.manifests += usize::from(document(to, node).await?.is_some());
    }
    Ok(copied)
}

/// Copies the blobs of documents.
pub(super) async fn blobs<S: Registry, D: Registry + Push>(
    from: Place<'_, S>,
    to: Place<'_, D>,
    nodes: &[Node],
    display: &Display,
) -> Result<Copied, PublishError> {
    let all = graph::blobs(nodes);
    let copies = stream::iter(&all).map(|blob| copy_blob(from, to, blob, display)).buffer_unordered(AT_A_TIME);
    let sum = copies.try_fold(Copied::default(), |mut sum, one| {
        sum.add(one);
        std::future::ready(Ok(sum))
    });
    Ok(sum.await?)
}

async fn copy_blob<S: Registry, D: Registry + Push>(
    from: Place<'_, S>,
    to: Place<'_, D>,
    blob: &Descriptor,
    display: &Display,
) -> Result<Copied, RegistryError> {
    let source: Box<dyn BlobSource> = match &blob.data {
        Some(data) => Box::new(data.clone()),
        None => Box::new(RegistrySource::new(from, blob)),
    };
    // Another host has other blobs. The transport is not compared: the registry decides about the mount.
    let is_same_host = from.repository.canonical_host() == to.repository.canonical_host();
    let other = (is_same_host && from.repository != to.repository).then_some(from.repository);
    put_blob(to, blob, source, other, display).await
}

/// Brings a blob to a place: not at all if it is there, by a mount, or by an upload.
pub(super) async fn put_blob<D: Registry + Push>(
    to: Place<'_, D>,
    blob: &Descriptor,
    source: Box<dyn BlobSource>,
    other: Option<&crate::oci::Repository>,
    display: &Display,
) -> Result<Copied, RegistryError> {
    let Place { registry, access, repository } = to;
    if registry.has_blob(access, repository, blob).await? {
        return Ok(Copied { present: 1, ..Copied::default() });
    }
    if let Some(other) = other
        && registry.mount_blob(access, repository, other, blob).await?
    {
        return Ok(Copied { mounted: 1, ..Copied::default() });
    }
    match display {
        None => registry.upload_blob(access, repository, blob, &*source).await?,
        Some(progress) => {
            let label = blob.digest.short();
            let displayed = Displayed { source, progress: Arc::clone(progress), label, size: blob.size };
            registry.upload_blob(access, repository, blob, &displayed).await?;
        }
    }
    Ok(Copied { uploaded: 1, bytes: blob.size, ..Copied::default() })
}

/// Writes a document by its digest and reads it back; `None` if the destination has it, undamaged.
pub(super) async fn document<D: Registry + Push>(
    to: Place<'_, D>,
    node: &Node,
) -> Result<Option<Stored>, PublishError> {
    let there = match read_back(to, &node.digest).await {
        Err(RegistryError::DigestMismatch { .. }) => None,
        read => found(read)?,
    };
    if there.is_some() { Ok(None) } else { rewritten(to, node).await.map(Some) }
}

/// Writes a document by its digest and reads it back, also if the destination has it.
pub(super) async fn rewritten<D: Registry + Push>(to: Place<'_, D>, node: &Node) -> Result<Stored, PublishError> {
    let Place { registry, access, repository } = to;
    let (name, media_type) = (ManifestName::Digest(&node.digest), node.document.media_type());
    let stored = registry.put_manifest(access, repository, name, media_type, node.bytes.clone()).await?;
    read_back(to, &node.digest).await?;
    Ok(stored)
}

/// Reads a document from the destination. Its digest is checked, so the bytes are those that were written.
async fn read_back<D: Registry>(to: Place<'_, D>, digest: &Digest) -> Result<Bytes, RegistryError> {
    let Place { registry, access, repository } = to;
    let raw = repeated(|| registry::checked(&**registry, access, repository, digest, MAX_MANIFEST_BYTES)).await?;
    Ok(raw.bytes)
}
