//! Layers: spooled to a file, counted, hashed to the end, and only then handed on.
//!
//! No decoder ever reads from the network. A decoder stops at the end of *its* stream, so a digest
//! that is checked when the *transport's* stream ends is not checked at all.
//!
//! Many may want one layer: one of them downloads it, the others find it in the [`Cache`], once the
//! registry has said that they may read it too and its bytes have been hashed again.

use std::io::Read;
use std::sync::Arc;

use fs_err::os::unix::fs::FileExt;
use rustix::fs::{AtFlags, Mode};
use tokio::sync::Semaphore;

use crate::oci::Descriptor;
use crate::registry::{Access, LocalFile, Registry, RegistryError, Right};
use crate::request::{Limit, LimitExceeded};
use crate::storage::{self, During, Scratch, StorageError};
use crate::trust::Approved;

mod cache;
mod download;
mod flight;
mod store;

pub use cache::{Cache, CacheLimits};
pub use store::{ContentStore, Key};

/// How often a kept layer that was changed is replaced, before a download is for the asker alone.
const TRIES: u32 = 2;

/// A complete layer in a file that is open: its size and digest are those of the descriptor. Cloning shares the file.
#[derive(Clone, Debug)]
pub struct VerifiedBlob {
    file: Arc<fs_err::File>,
    descriptor: Descriptor,
    /// The file is one that others may write to.
    shared: Option<LocalFile>,
}

/// A layer's bytes, read by whoever has it at a place of his own.
#[derive(Debug)]
pub(crate) struct BlobReader {
    file: Arc<fs_err::File>,
    at: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

impl VerifiedBlob {
    /// What the bytes were checked against.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The same bytes as another layer of the artifact; `None` where that one has others.
    pub fn as_layer(&self, layer: &Descriptor) -> Option<Self> {
        let is_it = (&layer.digest, layer.size) == (&self.descriptor.digest, self.descriptor.size);
        is_it.then(|| Self { descriptor: layer.clone(), ..self.clone() })
    }

    /// True where the bytes that were read of it are those that were hashed. To be asked after reading.
    pub(crate) fn is_unchanged(&self) -> std::io::Result<bool> {
        self.shared.as_ref().map_or(Ok(true), LocalFile::is_unchanged)
    }

    /// The bytes, from the start.
    pub(crate) fn reader(&self) -> BlobReader {
        BlobReader { file: Arc::clone(&self.file), at: 0 }
    }

    /// A handle for who reads here and there, and says where each time: all handles have one position.
    pub(crate) fn file(&self) -> std::io::Result<std::fs::File> {
        self.file.file().try_clone()
    }

    /// All of them. For what is known to be small.
    pub(crate) fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let (size, mut bytes) = (self.descriptor.size, Vec::new());
        self.reader().take(size).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[cfg(test)]
    pub(crate) fn for_test(bytes: &[u8], descriptor: Descriptor) -> Self {
        let mut file = tempfile::tempfile().map(|file| fs_err::File::from_parts(file, "test")).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        Self { file: Arc::new(file), descriptor, shared: None }
    }
}

/// Why a layer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The manifest says that the layer is larger than allowed.
    #[error("layer {layer} has {exceeded}")]
    TooLarge {
        /// Short digest of the layer.
        layer: String,
        /// Which limit.
        exceeded: LimitExceeded,
    },
    /// The body ended early.
    #[error("layer {layer} ended after {got} of {wanted} bytes")]
    Short {
        /// Short digest of the layer.
        layer: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that the descriptor promises.
        wanted: u64,
    },
    /// A task of ours did not end by itself.
    #[error("fetching a layer was aborted")]
    Aborted,
}

/// Told how far a download is. For people who watch; a pass does not depend on it.
pub trait Progress: Send + Sync {
    /// `done` of `total` bytes of all layers of the object are here.
    fn downloaded(&self, object: &str, done: u64, total: u64);
}

/// Who asks for layers, of what, and where they are put.
pub struct Source<'a, R> {
    /// Where they come from.
    pub registry: &'a R,
    /// As whom.
    pub access: &'a Access,
    /// What they are layers of.
    pub approved: &'a Approved,
    /// Where they are written.
    pub scratch: &'a Scratch,
    /// What is kept on the filesystem of `scratch`.
    pub store: Option<&'a Arc<ContentStore>>,
    /// A permit per processor, for hashing what is kept.
    pub processors: &'a Arc<Semaphore>,
    /// Most bytes of a layer.
    pub limit: Limit,
}

impl<R> std::fmt::Debug for Source<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("approved", self.approved).field("store", &self.store).finish_non_exhaustive()
    }
}

/// Fetches one layer of an approved manifest. `progress` is told how many bytes of it are there.
pub async fn fetch<R: Registry>(
    source: &Source<'_, R>,
    layer: &Descriptor,
    mut progress: impl FnMut(u64) + Send,
) -> Result<VerifiedBlob, BlobError> {
    let too_large = |exceeded| BlobError::TooLarge { layer: layer.digest.short(), exceeded };
    source.limit.check(layer.size).map_err(too_large)?;
    let verified = |file| VerifiedBlob { file: Arc::new(file), descriptor: layer.clone(), shared: None };
    if let Some(data) = &layer.data {
        // The manifest carries it, and parsing that has compared size and digest.
        progress(layer.size);
        return Ok(verified(write(source.scratch, layer, data)?));
    }
    if let Some(local) = source.registry.local(layer).filter(|local| local.is(layer)) {
        progress(layer.size);
        let (file, descriptor) = (Arc::clone(local.file()), layer.clone());
        return Ok(VerifiedBlob { file, descriptor, shared: Some(local) });
    }
    let Some(store) = source.store.filter(|store| store.keeps(layer.size)) else {
        return Ok(verified(fetch_alone(source, layer, progress).await?));
    };
    let repository = source.approved.pinned().repository();
    let key = Key::new(&source.access.origin(repository), &layer.digest);
    let flight = store.flights.join(&key);
    for _ in 0..TRIES {
        let turn = flight.turn().await;
        let Some(found) = store.find(&key, layer.size) else {
            let file = create(source.scratch, key.name())?;
            let file = download::download(source, layer, file, progress).await?;
            store.keep(&key, source.scratch, key.name(), layer.size);
            drop(turn);
            store.tidy(&key).await;
            return Ok(verified(file));
        };
        // It is there: those who wait need not wait for this one's right and hash.
        drop(turn);
        match source.registry.may_read_blob(source.access, repository, layer).await? {
            Right::Granted => {}
            Right::Untold => break,
        }
        if let Some(file) = store.check(&key, found, layer, source.processors).await? {
            progress(layer.size);
            return Ok(verified(file));
        }
    }
    Ok(verified(fetch_alone(source, layer, progress).await?))
}

/// Under which names the layers of an artifact are kept.
pub fn keys(access: &Access, approved: &Approved) -> Vec<Key> {
    let origin = access.origin(approved.pinned().repository());
    approved.manifest().layers.iter().map(|layer| Key::new(&origin, &layer.digest)).collect()
}

/// Downloads for this asker only.
async fn fetch_alone<R: Registry>(
    source: &Source<'_, R>,
    layer: &Descriptor,
    progress: impl FnMut(u64) + Send,
) -> Result<fs_err::File, BlobError> {
    download::download(source, layer, create_nameless(source.scratch, layer)?, progress).await
}

/// Bytes that are there already, at most a manifest's worth.
fn write(scratch: &Scratch, layer: &Descriptor, data: &[u8]) -> Result<fs_err::File, StorageError> {
    let mut file = create_nameless(scratch, layer)?;
    let written = std::io::Write::write_all(&mut file, data);
    written.map_err(|error| StorageError::from_io(format!("spool layer {}", layer.digest.short()), &error))?;
    Ok(file)
}

/// A file that loses its name at once: whatever happens, its space is given back with the handle.
fn create_nameless(scratch: &Scratch, layer: &Descriptor) -> Result<fs_err::File, StorageError> {
    let name = layer.digest.hex();
    let file = create(scratch, &name)?;
    rustix::fs::unlinkat(scratch.dir(), &name, AtFlags::empty()).during(|| format!("unlink {name}"))?;
    Ok(file)
}

fn create(scratch: &Scratch, name: &str) -> Result<fs_err::File, StorageError> {
    storage::create_file(scratch.dir(), name, Mode::from_raw_mode(0o600))
}

#[cfg(test)]
mod tests;
