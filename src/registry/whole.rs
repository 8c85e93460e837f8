//! Manifests and small blobs: fetched as a whole by digest, and checked before they are returned.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::{Access, BlobBody, Pinned, RawManifest, Registry, RegistryError};
use crate::oci::manifest::{MAX_MANIFEST_BYTES, ManifestError};
use crate::oci::{self, Descriptor, Digest, Document, Manifest, Platform, Repository};

/// Maximum number of indexes on the way to a manifest: one, and at most one nested in it.
const MAX_INDEXES: usize = 2;

/// Fetches the manifest of a pinned digest and checks its digest; its content does not matter.
pub async fn confirm<R: Registry>(registry: &R, access: &Access, pinned: &Pinned) -> Result<(), RegistryError> {
    checked(registry, access, pinned.repository(), pinned.digest(), MAX_MANIFEST_BYTES).await.map(drop)
}

/// Fetches the manifest of a pinned digest, at most `limit` bytes, and checks its digest and format. For an index,
/// the manifest for `platform` is selected and fetched by its digest.
pub async fn manifest<R: Registry>(
    registry: &R,
    access: &Access,
    pinned: &Pinned,
    platform: Option<&Platform>,
    limit: u64,
) -> Result<Manifest, RegistryError> {
    let mut document = document(registry, access, pinned.repository(), pinned.digest(), limit).await?.0;
    let (mut chosen, mut indexes) = (None, 0);
    loop {
        let index = match document {
            Document::Manifest(manifest) => return Ok(Manifest { platform_digest: chosen, ..*manifest }),
            Document::Index(_) if indexes == MAX_INDEXES => return Err(ManifestError::Nested.into()),
            Document::Index(index) => index,
        };
        indexes += 1;
        let entry = index.choose(platform).map_err(ManifestError::from)?;
        let (child, bytes) = self::document(registry, access, pinned.repository(), &entry.digest, limit).await?;
        if child.media_type() != entry.media_type || bytes != entry.size {
            return Err(ManifestError::ChildDisagrees {
                digest: entry.digest.short(),
                entry: entry.media_type.clone(),
                size: entry.size,
                is: child.media_type().to_owned(),
                bytes,
            }
            .into());
        }
        chosen = Some(entry.digest.clone());
        document = child;
    }
}

/// Fetches a small blob, at most `limit` bytes, and checks its size and digest.
pub async fn small_blob<R: Registry>(
    registry: &R,
    access: &Access,
    repository: &Repository,
    descriptor: &Descriptor,
    limit: u64,
) -> Result<Bytes, RegistryError> {
    let what = || format!("blob {} of {repository}", descriptor.digest.short());
    if descriptor.size > limit {
        return Err(RegistryError::TooLarge { what: what(), limit });
    }
    if let Some(data) = &descriptor.data {
        return Ok(data.clone());
    }
    let BlobBody { mut stream, sender, .. } = registry.blob(access, repository, descriptor, None).await?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() as u64 > descriptor.size {
            return Err(sender.veil(RegistryError::LongerThanNamed { what: what(), size: descriptor.size }, what));
        }
    }
    if Digest::of(&bytes) != descriptor.digest {
        return Err(sender.other_bytes(what()));
    }
    Ok(bytes.freeze())
}

/// Fetches the document of a digest and returns it with its size in bytes.
pub async fn document<R: Registry>(
    registry: &R,
    access: &Access,
    repository: &Repository,
    digest: &Digest,
    limit: u64,
) -> Result<(Document, u64), RegistryError> {
    let raw = checked(registry, access, repository, digest, limit).await?;
    Ok((Document::parse(&raw.bytes, raw.content_type.as_deref())?, raw.bytes.len() as u64))
}

/// Fetches the list of referrers that clients maintain if the registry has none (distribution-spec, "Referrers Tag
/// Schema"), by the digest of the list.
pub async fn referrers_in<R: Registry>(
    registry: &R,
    access: &Access,
    repository: &Repository,
    digest: &Digest,
) -> Result<Vec<Descriptor>, RegistryError> {
    let raw = checked(registry, access, repository, digest, MAX_MANIFEST_BYTES).await?;
    Ok(oci::referrers::parse(&raw.bytes, raw.content_type.as_deref())?)
}

/// Fetches a manifest and checks its digest.
pub(crate) async fn checked<R: Registry>(
    registry: &R,
    access: &Access,
    repository: &Repository,
    digest: &Digest,
    limit: u64,
) -> Result<RawManifest, RegistryError> {
    let raw = registry.raw_manifest(access, repository, digest, limit.min(MAX_MANIFEST_BYTES)).await?;
    if Digest::of(&raw.bytes) != *digest {
        return Err(raw.sender.other_bytes(format!("manifest {repository}@{}", digest.short())));
    }
    Ok(raw)
}
