//! A layout as the destination of a copy.

use std::io::Write;

use bytes::Bytes;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::LayoutError;
use super::directory::Layout;
use super::registry::name_of;
use crate::oci::{Descriptor, Digest, Document, Repository};
use crate::registry::{Access, BlobSource, ManifestName, Push, RegistryError, Stored};
use crate::storage::StorageError;

impl Push for Layout {
    /// Reads the blob: one that was damaged on disk is written again, where a comparison of sizes would keep it for ever.
    async fn has_blob(&self, _: &Access, _: &Repository, descriptor: &Descriptor) -> Result<bool, RegistryError> {
        let of = descriptor.clone();
        self.blocking(move |layout| layout.has_whole(&of)).await
    }

    async fn mount_blob(
        &self,
        _: &Access,
        _: &Repository,
        _: &Repository,
        _: &Descriptor,
    ) -> Result<bool, RegistryError> {
        // A layout has one set of blobs: what another repository has is found by `has_blob`.
        Ok(false)
    }

    async fn upload_blob(
        &self,
        _: &Access,
        _: &Repository,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<(), RegistryError> {
        let (mut stream, layout, descriptor) = (source.read_from(0), self.clone(), descriptor.clone());
        let (runtime, stop) = (tokio::runtime::Handle::current(), CancellationToken::new());
        // If this future is dropped, the thread ends, and removes the unfinished file.
        let _guard = stop.clone().drop_guard();
        let write = move || {
            let mut writer = layout.blob_writer().map_err(|error| layout.converted(error))?;
            while let Some(chunk) = runtime.block_on(stop.run_until_cancelled(stream.next())).flatten() {
                let chunk = chunk?;
                if writer.size().saturating_add(chunk.len() as u64) > descriptor.size {
                    break;
                }
                let written = writer.write_all(&chunk).map_err(|error| StorageError::from_io("write a blob", &error));
                written.map_err(|error| layout.converted(error.into()))?;
            }
            writer.finish_as(&descriptor).map_err(|error| layout.converted(error))
        };
        tokio::task::spawn_blocking(write).await.map_err(|error| self.failed(error.to_string()))?
    }

    async fn put_manifest(
        &self,
        _: &Access,
        repository: &Repository,
        name: ManifestName<'_>,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Stored, RegistryError> {
        let name = match name {
            ManifestName::Tag(tag) => Some(name_of(repository, tag)),
            ManifestName::Digest(digest) if Digest::of(&bytes) != *digest => {
                return Err(self.converted(LayoutError::Corrupt { layout: self.shown(), digest: digest.clone() }));
            }
            ManifestName::Digest(_) => None,
        };
        let (media_type, repository) = (media_type.to_owned(), repository.clone());
        let subject = self.blocking(move |layout| {
            layout.put_manifest_of(Some(&repository), &media_type, &bytes, name.as_deref().as_slice())?;
            match Document::parse(&bytes, Some(&media_type))? {
                Document::Manifest(manifest) => Ok(manifest.subject.map(|subject| subject.digest)),
                Document::Index(_) => Ok(None),
            }
        });
        // Every manifest with a subject is in the index, from which referrers are listed.
        Ok(Stored { subject: subject.await? })
    }
}
