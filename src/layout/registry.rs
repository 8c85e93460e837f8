//! A layout as a registry, so that the ordinary chain reads it: nothing here checks a digest.

use std::sync::Arc;

use bytes::Bytes;
use fs_err::os::unix::fs::FileExt;
use futures::stream;
use tokio_util::sync::CancellationToken;

use super::LayoutError;
use super::directory::Layout;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Document, Repository};
use crate::registry::{
    Access, Begun, BlobBody, BlobStream, LocalFile, MAX_REFERRERS, RawManifest, Registry, RegistryError, Right, Sender,
};

/// Placeholder for the repository of a layout whose names are tags without a repository, as oras writes them.
pub const REPOSITORY: &str = "layout.invalid/content";
/// Size of a chunk of a stream, in bytes.
const CHUNK: usize = 256 * 1024;

impl Registry for Layout {
    async fn tag_digest(&self, _: &Access, repository: &Repository, tag: &str) -> Result<Digest, RegistryError> {
        let name = name_of(repository, tag);
        let found = self.blocking(move |layout| Ok((layout.resolve(&name)?, name))).await?;
        match found {
            (Some(descriptor), _) => Ok(descriptor.digest),
            (None, name) => Err(RegistryError::NotFound(format!("{name} in {}", self.shown()))),
        }
    }

    async fn tags(&self, _: &Access, repository: &Repository) -> Result<Vec<String>, RegistryError> {
        let prefix = name_of(repository, "");
        let names = self.blocking(Self::entries).await?.into_iter().filter_map(|entry| entry.name);
        let tag =
            |name: String| name.strip_prefix(&prefix).filter(|tag| !tag.contains(['/', ':', '@'])).map(str::to_owned);
        Ok(names.filter_map(tag).collect())
    }

    async fn referrers(
        &self,
        _: &Access,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let (repository, digest) = (repository.clone(), digest.clone());
        self.blocking(move |layout| layout.referrers_of(&repository, &digest)).await.map(Some)
    }

    async fn raw_manifest(
        &self,
        _: &Access,
        _: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<RawManifest, RegistryError> {
        let of = digest.clone();
        let bytes = self.blocking(move |layout| layout.read_unchecked(&of, limit)).await?;
        let relation = if bytes.is_some() { "is" } else { "is not" };
        tracing::debug!("manifest {} {relation} in {}", digest.short(), self.shown());
        let bytes = bytes.ok_or_else(|| self.absent("manifest", digest))?.into();
        // The document has its media type itself; that of an entry of the index is not part of what a digest covers.
        Ok(RawManifest { bytes, sender: self.sender(), content_type: None, room: None })
    }

    async fn blob(
        &self,
        _: &Access,
        _: &Repository,
        descriptor: &Descriptor,
        begun: Option<&Begun>,
    ) -> Result<BlobBody, RegistryError> {
        let of = descriptor.digest.clone();
        let found = self.blocking(move |layout| layout.open_blob(&of)).await?;
        let (file, size) = found.ok_or_else(|| self.absent("blob", &descriptor.digest))?;
        if size != descriptor.size {
            return Err(self.sender().other_bytes(format!("blob {}", descriptor.digest.short())));
        }
        let from = begun.map_or(0, |begun| begun.bytes);
        Ok(BlobBody { from, sender: self.sender(), stream: self.stream(file, from, size) })
    }

    async fn local(&self, descriptor: &Descriptor) -> Option<LocalFile> {
        let (layout, digest, stop) = (self.clone(), descriptor.digest.clone(), CancellationToken::new());
        // On cancellation, the thread stops before the end of a large file.
        let _guard = stop.clone().drop_guard();
        let read = move || {
            let (file, _) = layout.open_blob(&digest).ok().flatten()?;
            LocalFile::read(Arc::new(file), &stop).ok()
        };
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }

    async fn may_read_blob(&self, _: &Access, _: &Repository, _: &Descriptor) -> Result<Right, RegistryError> {
        Ok(Right::Granted)
    }
}

impl Layout {
    /// Returns descriptors of the manifests of a repository whose subject is `digest`, as a registry lists them. Those of
    /// other repositories with the same content may be private.
    pub fn referrers_of(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Descriptor>, LayoutError> {
        let mut found: Vec<Descriptor> = Vec::new();
        let is_placeholder = repository.to_string() == REPOSITORY;
        for entry in self.entries()?.into_iter().filter(|entry| is_placeholder || entry.may_be_in(repository)) {
            let Descriptor { media_type, digest: of, size, .. } = entry.descriptor;
            if size > MAX_MANIFEST_BYTES || found.iter().any(|one| one.digest == of) {
                continue;
            }
            // One damaged manifest must not hide the others.
            let Ok(Some(bytes)) = self.read_blob(&of, MAX_MANIFEST_BYTES) else { continue };
            let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, None) else { continue };
            if manifest.subject.as_ref().is_none_or(|subject| subject.digest != *digest) {
                continue;
            }
            if found.len() == MAX_REFERRERS {
                let what = format!("the list of referrers of {}", digest.short());
                return Err(LayoutError::TooLarge { layout: self.shown(), what, limit: MAX_REFERRERS as u64 });
            }
            let mut referrer = Descriptor::new(media_type, of, size);
            referrer.artifact_type = Some(manifest.artifact_type);
            referrer.annotations = manifest.annotations;
            found.push(referrer);
        }
        Ok(found)
    }

    /// Runs `work` on a thread that may block.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, LayoutError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let layout = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&layout)).await;
        done.map_err(|error| self.failed(error.to_string()))?.map_err(|error| self.converted(error))
    }

    /// Converts an error to that of a registry.
    pub(super) fn converted(&self, error: LayoutError) -> RegistryError {
        match error {
            LayoutError::TooLarge { what, limit, .. } => RegistryError::TooLarge { what, limit },
            LayoutError::Manifest(error) => error.into(),
            LayoutError::Corrupt { digest, .. } => self.sender().other_bytes(format!("blob {}", digest.short())),
            LayoutError::Storage(error) => {
                RegistryError::Local { place: self.shown(), is_full: error.is_full(), problem: error.to_string() }
            }
            LayoutError::Missing(_)
            | LayoutError::NotEmpty(_)
            | LayoutError::Invalid { .. }
            | LayoutError::Incomplete { .. }
            | LayoutError::InUse(_)
            | LayoutError::Name(_)
            | LayoutError::ReadOnly(_) => self.failed(error.to_string()),
        }
    }

    pub(super) fn failed(&self, problem: String) -> RegistryError {
        RegistryError::Local { place: self.shown(), problem, is_full: false }
    }

    fn absent(&self, what: &str, digest: &Digest) -> RegistryError {
        RegistryError::NotFound(format!("{what} {} in {}", digest.short(), self.shown()))
    }

    fn sender(&self) -> Sender {
        Sender::local(&self.shown())
    }

    /// Returns the bytes of a file from an offset, at most up to `size`.
    fn stream(&self, file: fs_err::File, from: u64, size: u64) -> BlobStream {
        let (file, layout) = (Arc::new(file), self.clone());
        Box::pin(stream::try_unfold(from, move |at| {
            let (file, layout) = (Arc::clone(&file), layout.clone());
            async move {
                let left = size.saturating_sub(at);
                let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                if length == 0 {
                    return Ok(None);
                }
                let read = move || {
                    let mut chunk = vec![0; length];
                    let read = file.read_at(&mut chunk, at)?;
                    chunk.truncate(read);
                    Ok::<_, std::io::Error>(Bytes::from(chunk))
                };
                let chunk =
                    tokio::task::spawn_blocking(read).await.map_err(|error| layout.failed(error.to_string()))?;
                let chunk = chunk.map_err(|error| layout.failed(error.to_string()))?;
                // The file became shorter: the caller finds the wrong length.
                if chunk.is_empty() {
                    Ok(None)
                } else {
                    Ok(Some((chunk.clone(), at.saturating_add(chunk.len() as u64))))
                }
            }
        }))
    }
}

/// Returns the name in the index for a tag of a repository.
pub(super) fn name_of(repository: &Repository, tag: &str) -> String {
    if repository.to_string() == REPOSITORY { tag.to_owned() } else { format!("{repository}:{tag}") }
}
