//! Layers: spooled to a file, counted, hashed completely, and only then passed on.
//!
//! No decoder ever reads from the network. A decoder stops at the end of *its* stream, so a digest that is checked at
//! the end of the *transport's* stream would never be checked.
//!
//! If several objects need one layer, one of them downloads it. The others use the [`Cache`] after the registry has
//! confirmed that their credentials may read the layer: they share the file that is in use, or copy the kept file and
//! hash the copy. The wait for another object's download is bounded (see `flight`).
//!
//! Layers are unpacked from files without a name, which no other process can open: see `Scratch::nameless`.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use fs_err::os::unix::fs::FileExt;
use tokio_util::sync::CancellationToken;

use crate::oci::Descriptor;
use crate::permits::Seat;
use crate::registry::{Access, LocalFile, Registry, RegistryError, Right};
use crate::request::{Limit, LimitExceeded};
use crate::storage::{Call, OnVolume, Scratch, StorageError};
use crate::trust::Approved;

mod cache;
mod download;
mod flight;
mod store;

pub use cache::{Cache, CacheLimits};
pub use store::{ContentStore, Key};
use store::{Found, Use};

/// A complete layer in an open file; its size and digest were verified against the descriptor. Clones share the file.
#[derive(Clone, Debug)]
pub struct VerifiedBlob {
    bytes: Arc<OnVolume<Bytes>>,
    descriptor: Descriptor,
}

/// The open file of a layer.
#[derive(Debug)]
enum Bytes {
    /// A file without a name, used by this object only.
    Own(fs_err::File),
    /// A file without a name, shared with other objects. When its last use ends, it is moved to the store.
    Used(Use),
    /// A file that other processes may write to; its timestamps reveal changes.
    Open(LocalFile),
}

impl Bytes {
    fn file(&self) -> &fs_err::File {
        match self {
            Self::Own(file) => file,
            Self::Used(used) => used.file(),
            Self::Open(local) => local.file(),
        }
    }
}

/// Returns the file, or an error if it has been closed.
fn file_of(bytes: &OnVolume<Bytes>) -> std::io::Result<&fs_err::File> {
    bytes.get().map(Bytes::file).ok_or_else(|| std::io::Error::other("the layer is closed"))
}

/// Reader of a layer with a position of its own.
#[derive(Debug)]
pub(crate) struct BlobReader {
    bytes: Arc<OnVolume<Bytes>>,
    at: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = file_of(&self.bytes)?.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => file_of(&self.bytes)?.metadata()?.len().checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl VerifiedBlob {
    /// Returns the descriptor against which the bytes were verified.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Returns the same bytes as another layer of the artifact; `None` if that layer has another size or digest.
    pub fn as_layer(&self, layer: &Descriptor) -> Option<Self> {
        let is_it = (&layer.digest, layer.size) == (&self.descriptor.digest, self.descriptor.size);
        is_it.then(|| Self { descriptor: layer.clone(), ..self.clone() })
    }

    /// Returns true if the bytes read from this layer are the verified bytes. Call it after reading.
    pub(crate) fn is_unchanged(&self) -> std::io::Result<bool> {
        match self.bytes.get() {
            Some(Bytes::Own(_) | Bytes::Used(_)) => Ok(true),
            Some(Bytes::Open(local)) => local.is_unchanged(),
            None => Ok(false),
        }
    }

    /// Returns a reader from the start of the layer.
    pub(crate) fn reader(&self) -> BlobReader {
        BlobReader { bytes: Arc::clone(&self.bytes), at: 0 }
    }

    /// Returns a handle for positioned reads. All handles share one file offset, so it must not be used.
    pub(crate) fn file(&self) -> std::io::Result<std::fs::File> {
        file_of(&self.bytes)?.file().try_clone()
    }

    /// Reads the whole layer into memory. Fails if it is larger than `limit`.
    pub(crate) fn bytes(&self, limit: Limit) -> Result<Vec<u8>, BlobError> {
        let (size, mut bytes) = (self.descriptor.size, Vec::new());
        check_size(&self.descriptor, limit)?;
        let read = self.reader().take(size).read_to_end(&mut bytes);
        read.map_err(|error| StorageError::from_io(format!("read blob {}", self.descriptor.digest.short()), &error))?;
        Ok(bytes)
    }

    #[cfg(test)]
    pub(crate) fn for_test(bytes: &[u8], descriptor: Descriptor) -> Self {
        let mut file = tempfile::tempfile().map(|file| fs_err::File::from_parts(file, "test")).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        let pool = crate::storage::Pool::of(std::path::Path::new("test"));
        Self { bytes: Arc::new(OnVolume::new(&pool, Bytes::Own(file))), descriptor }
    }
}

/// Reason why a layer could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The registry failed or refused the request.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The volume failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A layer or config whose declared size exceeds the limit.
    #[error("blob {blob} has {exceeded}")]
    TooLarge {
        /// Short digest of the blob.
        blob: String,
        /// The exceeded limit.
        exceeded: LimitExceeded,
    },
    /// The response body ended early.
    #[error("layer {layer} ended after {got} of {wanted} bytes")]
    Short {
        /// Short digest of the layer.
        layer: String,
        /// Bytes received.
        got: u64,
        /// Size in the descriptor.
        wanted: u64,
    },
    /// The spooled file was changed before it could be used.
    #[error("layer {layer} was changed on the volume while it was fetched")]
    Changed {
        /// Short digest of the layer.
        layer: String,
    },
    /// A task of this process was aborted.
    #[error("fetching a layer was aborted")]
    Aborted,
}

/// Receiver of download progress, for display only; a pass does not depend on it.
pub trait Progress: Send + Sync {
    /// Reports that `done` of `total` bytes of all layers of the object are available.
    fn downloaded(&self, object: &str, done: u64, total: u64);
}

/// Everything needed to fetch the layers of one artifact.
pub struct Source<'a, R> {
    /// The registry.
    pub registry: &'a R,
    /// Credentials and connection settings of the object.
    pub access: &'a Access,
    /// The approved manifest.
    pub approved: &'a Approved,
    /// Directory to which layers are written.
    pub scratch: &'a Arc<Scratch>,
    /// Store of kept layers on the filesystem of `scratch`.
    pub store: Option<&'a Arc<ContentStore>>,
    /// Seat for processor permits, used when hashing kept layers.
    pub seat: &'a Seat,
    /// Maximum size of a layer.
    pub limit: Limit,
}

impl<R> std::fmt::Debug for Source<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("approved", self.approved).field("store", &self.store).finish_non_exhaustive()
    }
}

impl<R> Source<'_, R> {
    /// Runs `job` on a thread of the volume, with a processor permit if it `hashes`. The permit is held by this
    /// future, not by the thread, which may hang with its volume. Dropping this future, as a cancelled pass does,
    /// stops the job.
    async fn work<T: Send + 'static>(
        &self,
        hashes: bool,
        job: impl FnOnce(&Arc<Scratch>, &CancellationToken) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let slot = self.scratch.pool().slot_for(self.seat).await?;
        let _permit = if hashes { Some(self.seat.permit().await) } else { None };
        let (scratch, stop) = (Arc::clone(self.scratch), CancellationToken::new());
        let _guard = stop.clone().drop_guard();
        slot.run(move || job(&scratch, &stop)).await?
    }
}

/// Fetches one layer of an approved manifest. `progress` receives the number of bytes available so far.
pub async fn fetch<R: Registry>(
    source: &Source<'_, R>,
    layer: &Descriptor,
    mut progress: impl FnMut(u64) + Send,
) -> Result<VerifiedBlob, BlobError> {
    check_size(layer, source.limit)?;
    let verified = |bytes| VerifiedBlob { bytes: Arc::new(bytes), descriptor: layer.clone() };
    if let Some(data) = &layer.data {
        // Inline data of the manifest, whose size and digest were checked when it was parsed.
        progress(layer.size);
        let (scratch, written, data) = (Arc::clone(source.scratch), layer.clone(), data.clone());
        let write = move || write(&scratch, &written, &data);
        let file = source.scratch.pool().run(Call::Short, write).await??;
        return Ok(verified(sealed(source, layer, file).await?));
    }
    if let Some(local) = source.registry.local(layer).filter(|local| local.is(layer)) {
        progress(layer.size);
        return Ok(verified(OnVolume::new(source.scratch.pool(), Bytes::Open(local))));
    }
    let Some(store) = source.store.filter(|store| store.keeps(layer.size)) else {
        return Ok(verified(fetch_alone(source, layer, progress).await?));
    };
    let repository = source.approved.pinned().repository();
    let key = Key::new(&source.access.origin(repository), &layer.digest);
    // Flights are per repository: the owner of another repository could delay this one at will.
    let flight = store.flights.join(&key, repository);
    // The turn took too long: download without it.
    let Some(mut turn) = flight.turn(layer.size).await else {
        return Ok(verified(fetch_alone(source, layer, progress).await?));
    };
    let mut found = store.find(&key, layer.size).await?;
    if found.is_some() {
        // The layer is there: followers need not wait for this object's authorization check.
        drop(turn);
        match source.registry.may_read_blob(source.access, repository, layer).await? {
            Right::Granted => {}
            Right::Unknown => return Ok(verified(fetch_alone(source, layer, progress).await?)),
        }
        turn = match flight.turn(layer.size).await {
            Some(turn) => turn,
            None => return Ok(verified(fetch_alone(source, layer, progress).await?)),
        };
        // A layer in use stays valid. A kept file may have been replaced, or may be in use by now.
        if matches!(found.as_ref().and_then(OnVolume::get), Some(Found::Kept(_))) {
            found = store.find(&key, layer.size).await?;
        }
    }
    if let Some(found) = found
        && let Some(bytes) = used(source, store, &key, found, layer).await?
    {
        store.count_hit();
        progress(layer.size);
        return Ok(verified(bytes));
    }
    let progress = |done| {
        flight.progressed(done);
        progress(done);
    };
    let file = download::download(source, layer, progress).await?;
    let bytes = kept(source, store, &key, file, layer).await?;
    drop(turn);
    store.tidy().await;
    Ok(verified(bytes))
}

/// Returns the found file after verifying that it is the layer; `None` if it is not.
async fn used<R>(
    source: &Source<'_, R>,
    store: &Arc<ContentStore>,
    key: &Key,
    found: OnVolume<Found>,
    layer: &Descriptor,
) -> Result<Option<OnVolume<Bytes>>, BlobError> {
    // A layer in use was verified before and is not read again.
    let hashes = !matches!(found.get(), Some(Found::InUse(_)));
    let (store, key, layer) = (Arc::clone(store), key.clone(), layer.clone());
    let work = source.work(hashes, move |scratch, stop| {
        let bytes = match found.take() {
            Some(Found::InUse(used)) => Some(Bytes::Used(used)),
            Some(Found::Kept(file)) => match store.copy(&key, &file, &layer, scratch, stop)? {
                Some(file) if scratch.is_nameless_private() => {
                    Some(Bytes::Used(store.share(&key, file, layer.size, true)))
                }
                Some(file) => Some(sealed_now(scratch, &layer, Arc::new(file), stop)?),
                None => None,
            },
            None => None,
        };
        Ok(bytes.map(|bytes| OnVolume::new(scratch.pool(), bytes)))
    });
    work.await
}

/// Returns a downloaded layer, shares it with other objects, and keeps it in the store.
async fn kept<R>(
    source: &Source<'_, R>,
    store: &Arc<ContentStore>,
    key: &Key,
    file: OnVolume<fs_err::File>,
    layer: &Descriptor,
) -> Result<OnVolume<Bytes>, BlobError> {
    let (store, key, layer) = (Arc::clone(store), key.clone(), layer.clone());
    let work = source.work(!source.scratch.is_nameless_private(), move |scratch, stop| {
        let file = file.take().ok_or(BlobError::Aborted)?;
        let bytes = if scratch.is_nameless_private() {
            Bytes::Used(store.share(&key, file, layer.size, false))
        } else {
            let file = Arc::new(file);
            store.keep_copy(&key, &file, scratch, layer.size, stop);
            sealed_now(scratch, &layer, file, stop)?
        };
        Ok(OnVolume::new(scratch.pool(), bytes))
    });
    work.await
}

fn check_size(blob: &Descriptor, limit: Limit) -> Result<(), BlobError> {
    limit.check(blob.size).map_err(|exceeded| BlobError::TooLarge { blob: blob.digest.short(), exceeded })
}

/// Returns the keys under which the layers of an artifact are kept.
pub fn keys(access: &Access, approved: &Approved) -> Vec<Key> {
    let origin = access.origin(approved.pinned().repository());
    approved.manifest().layers.iter().map(|layer| Key::new(&origin, &layer.digest)).collect()
}

/// Downloads a layer for this object only.
async fn fetch_alone<R: Registry>(
    source: &Source<'_, R>,
    layer: &Descriptor,
    progress: impl FnMut(u64) + Send,
) -> Result<OnVolume<Bytes>, BlobError> {
    let file = download::download(source, layer, progress).await?;
    sealed(source, layer, file).await
}

/// Returns a completely written and hashed layer as a file without a name. If another process may have opened the
/// file before it lost its name, the file is hashed again, and [`VerifiedBlob::is_unchanged`] must be checked after
/// reading.
async fn sealed<R>(
    source: &Source<'_, R>,
    layer: &Descriptor,
    file: OnVolume<fs_err::File>,
) -> Result<OnVolume<Bytes>, BlobError> {
    let layer = layer.clone();
    let work = source.work(!source.scratch.is_nameless_private(), move |scratch, stop| {
        let file = Arc::new(file.take().ok_or(BlobError::Aborted)?);
        Ok(OnVolume::new(scratch.pool(), sealed_now(scratch, &layer, file, stop)?))
    });
    work.await
}

/// Implements [`sealed`]. Blocking.
fn sealed_now(
    scratch: &Scratch,
    layer: &Descriptor,
    file: Arc<fs_err::File>,
    stop: &CancellationToken,
) -> Result<Bytes, BlobError> {
    if scratch.is_nameless_private() {
        return Arc::try_unwrap(file).map(Bytes::Own).map_err(|_| BlobError::Aborted);
    }
    let what = || format!("read layer {} again", layer.digest.short());
    let local = LocalFile::read(file, stop).map_err(|error| StorageError::from_io(what(), &error))?;
    if local.is(layer) { Ok(Bytes::Open(local)) } else { Err(BlobError::Changed { layer: layer.digest.short() }) }
}

/// Spools inline data, whose size was limited when it was parsed.
fn write(scratch: &Scratch, layer: &Descriptor, data: &[u8]) -> Result<OnVolume<fs_err::File>, StorageError> {
    let mut file = scratch.nameless()?;
    let written = std::io::Write::write_all(&mut file, data);
    written.map_err(|error| StorageError::from_io(format!("spool layer {}", layer.digest.short()), &error))?;
    Ok(OnVolume::new(scratch.pool(), file))
}

#[cfg(test)]
mod tests;
