//! A registry in memory that can be written to, with repositories, and a fuse that ends its writes at any step.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use futures::{TryStreamExt, stream};

use crate::oci::{Descriptor, Digest, Document, Repository};
use crate::registry::{
    Access, Begun, BlobBody, BlobSource, ManifestName, Push, RawManifest, Registry, RegistryError, Sender, Stored,
};

/// Content of a repository.
#[derive(Clone, Default)]
pub(crate) struct Content {
    pub(crate) blobs: HashMap<Digest, Bytes>,
    /// Media type and bytes.
    pub(crate) manifests: HashMap<Digest, (String, Bytes)>,
    pub(crate) tags: BTreeMap<String, Digest>,
}

/// Lie of a registry about what it accepts.
#[derive(Clone, Debug)]
pub(crate) enum Lie {
    /// Manifests have other bytes afterwards.
    OtherBytes,
    /// Manifests are gone afterwards.
    Nothing,
    /// Tags refer to another manifest afterwards.
    OtherTag(Digest),
    /// The list of referrers is kept for another subject.
    OtherSubject,
}

#[derive(Default)]
struct State {
    repositories: HashMap<Repository, Content>,
    has_referrers: bool,
    /// Number of writes that are left; `None` for no limit.
    fuse: Option<usize>,
    lie: Option<Lie>,
    /// Writes in order: `upload <digest>`, `mount <digest>`, `put <name>`.
    writes: Vec<String>,
}

/// Registry in memory. Clones share the content.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<State>>);

impl Shelf {
    /// Creates a registry with lists of referrers.
    pub(crate) fn with_referrers() -> Self {
        let shelf = Self::default();
        shelf.state().has_referrers = true;
        shelf
    }

    pub(crate) fn lists_referrers(&self) -> bool {
        self.state().has_referrers
    }

    /// Refuses every write after the next `writes`.
    pub(crate) fn burn_after(&self, writes: Option<usize>) {
        self.state().fuse = writes;
    }

    pub(crate) fn lie(&self, lie: Lie) {
        self.state().lie = Some(lie);
    }

    /// Returns the writes since the last call.
    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state().writes)
    }

    pub(crate) fn content(&self, repository: &Repository) -> Content {
        self.state().repositories.get(repository).cloned().unwrap_or_default()
    }

    /// Changes the content of a repository behind the back of its clients.
    pub(crate) fn change(&self, repository: &Repository, change: impl FnOnce(&mut Content)) {
        change(self.state().repositories.entry(repository.clone()).or_default());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn read<T>(
        &self,
        repository: &Repository,
        what: &str,
        find: impl FnOnce(&Content) -> Option<T>,
    ) -> Result<T, RegistryError> {
        let found = self.state().repositories.get(repository).and_then(find);
        found.ok_or_else(|| RegistryError::NotFound(what.to_owned()))
    }

    /// Applies a write, unless the fuse has burnt.
    fn write<T>(
        &self,
        repository: &Repository,
        what: String,
        write: impl FnOnce(&mut Content) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut state = self.state();
        if state.fuse == Some(0) {
            return Err(refused("the fuse has burnt"));
        }
        state.fuse = state.fuse.map(|left| left - 1);
        state.writes.push(what);
        write(state.repositories.entry(repository.clone()).or_default())
    }
}

fn refused(answer: &str) -> RegistryError {
    RegistryError::Refused { host: "shelf".to_owned(), what: "a write".to_owned(), answer: answer.to_owned() }
}

/// Lets other tasks run, like a network.
async fn hop() {
    tokio::task::yield_now().await;
}

impl Registry for Shelf {
    async fn tag_digest(&self, _: &Access, repository: &Repository, tag: &str) -> Result<Digest, RegistryError> {
        hop().await;
        self.read(repository, tag, |content| content.tags.get(tag).cloned())
    }

    async fn referrers(
        &self,
        _: &Access,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        hop().await;
        if !self.state().has_referrers {
            return Ok(None);
        }
        let content = self.content(repository);
        let entries = content.manifests.values().filter_map(|(media_type, bytes)| {
            let Ok(Document::Manifest(manifest)) = Document::parse(bytes, None) else { return None };
            let is_about = manifest.subject.as_ref().is_some_and(|subject| subject.digest == *digest);
            is_about.then(|| Descriptor::of(media_type.clone(), bytes))
        });
        Ok(Some(entries.collect()))
    }

    async fn raw_manifest(
        &self,
        _: &Access,
        repository: &Repository,
        digest: &Digest,
        _: u64,
    ) -> Result<RawManifest, RegistryError> {
        hop().await;
        let (media_type, bytes) =
            self.read(repository, "manifest", |content| content.manifests.get(digest).cloned())?;
        let sender = Sender::registry(repository);
        Ok(RawManifest { bytes, sender, content_type: Some(media_type), room: None })
    }

    async fn blob(
        &self,
        _: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
        _: Option<&Begun>,
    ) -> Result<BlobBody, RegistryError> {
        hop().await;
        let bytes = self.read(repository, "blob", |content| content.blobs.get(&descriptor.digest).cloned())?;
        let pieces: Vec<_> = bytes.chunks(3).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(BlobBody { from: 0, sender: Sender::registry(repository), stream: Box::pin(stream::iter(pieces)) })
    }
}

impl Push for Shelf {
    async fn has_blob(
        &self,
        _: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<bool, RegistryError> {
        hop().await;
        Ok(self.content(repository).blobs.contains_key(&descriptor.digest))
    }

    async fn mount_blob(
        &self,
        _: &Access,
        repository: &Repository,
        from: &Repository,
        descriptor: &Descriptor,
    ) -> Result<bool, RegistryError> {
        hop().await;
        let Some(bytes) = self.content(from).blobs.get(&descriptor.digest).cloned() else { return Ok(false) };
        self.write(repository, format!("mount {}", descriptor.digest.short()), |content| {
            content.blobs.insert(descriptor.digest.clone(), bytes);
            Ok(true)
        })
    }

    async fn upload_blob(
        &self,
        _: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<(), RegistryError> {
        let bytes: BytesMut = source
            .read_from(0)
            .try_fold(BytesMut::new(), async |mut all, chunk| {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await?;
        if Digest::of(&bytes) != descriptor.digest {
            let what = descriptor.digest.short();
            return Err(RegistryError::DigestMismatch { what, host: "the source".to_owned() });
        }
        self.write(repository, format!("upload {}", descriptor.digest.short()), |content| {
            content.blobs.insert(descriptor.digest.clone(), bytes.freeze());
            Ok(())
        })
    }

    async fn put_manifest(
        &self,
        _: &Access,
        repository: &Repository,
        name: ManifestName<'_>,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Stored, RegistryError> {
        hop().await;
        let document = Document::parse(&bytes, Some(media_type))?;
        let (has_referrers, lie) = {
            let state = self.state();
            (state.has_referrers, state.lie.clone())
        };
        self.write(repository, format!("put {name}"), |content| {
            let subject = match &document {
                Document::Manifest(manifest) => {
                    let mut blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
                    if !blobs.all(|blob| content.blobs.contains_key(&blob.digest)) {
                        return Err(refused("MANIFEST_BLOB_UNKNOWN"));
                    }
                    manifest.subject.as_ref().map(|subject| subject.digest.clone())
                }
                // Registries do not check the entries of a list of referrers, which is an index too.
                Document::Index(_) => None,
            };
            let digest = Digest::of(&bytes);
            match &lie {
                Some(Lie::Nothing) => None,
                Some(Lie::OtherBytes) => {
                    content.manifests.insert(digest.clone(), (media_type.to_owned(), Bytes::from_static(b"{}")))
                }
                _ => content.manifests.insert(digest.clone(), (media_type.to_owned(), bytes)),
            };
            let (digest, subject) = match lie {
                Some(Lie::OtherTag(other)) => (other, subject),
                Some(Lie::OtherSubject) => (digest, Some(Digest::of(b"another subject"))),
                _ => (digest, subject.filter(|_| has_referrers)),
            };
            if let ManifestName::Tag(tag) = name {
                content.tags.insert(tag.to_owned(), digest);
            }
            Ok(Stored { subject })
        })
    }
}
