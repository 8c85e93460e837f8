//! Layers that are kept for the next who asks, on the filesystem of a volume.
//!
//! ```text
//! <root>/.supercargo/blobs/sha256/     0700
//!   <digest hex>-<origin>              0600: one layer, and the registry that it came from
//! ```
//!
//! A layer gets here by rename, after its digest was checked. None is believed on the way back: it is
//! hashed to the end each time, so nothing is synced, and what a crash or a neighbour did to it is
//! noticed. What is open stays readable when it is removed. Several processes may use one volume: a
//! rename is one step, and what is gone by the time it is looked at is gone.
//!
//! The origin is part of the name because a right is granted by whoever is asked for it. A registry
//! that says yes to everybody would otherwise open layers that it has never had.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::flight::Flights;
use super::{BlobError, CacheLimits};
use crate::metrics::{Lookup, Metrics};
use crate::oci::{Descriptor, Digest, Hasher};
use crate::storage::{self, Scratch, Volume};

mod shrink;

use shrink::{Bounds, MAX_ENTRIES, used_now};

/// Layers that are added before the directory is looked through in any case: another process may add too.
const ADDED_UNSEEN: u32 = 32;
/// Hex digits of the origin in a name.
const ORIGIN_HEX: usize = 32;
/// Bytes hashed at a time.
const BUFFER: usize = 256 * 1024;

/// The name of a layer in a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    pub(super) fn new(origin: &str, digest: &Digest) -> Self {
        let origin = Digest::of(origin.as_bytes());
        Self(format!("{}-{}", digest.hex(), origin.hex().get(..ORIGIN_HEX).unwrap_or_default()))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

/// The layers that are kept on one volume.
#[derive(Debug)]
pub struct ContentStore {
    volume: Arc<Volume>,
    limits: CacheLimits,
    metrics: Arc<Metrics>,
    held: Mutex<Held>,
    pub(super) flights: Flights,
}

/// What is there as far as this process knows, between two looks through the directory.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    bytes: u64,
    entries: usize,
    added: u32,
}

impl ContentStore {
    /// The store of a volume. What is beyond the limits is removed.
    pub(super) fn open(volume: Arc<Volume>, limits: CacheLimits, metrics: Arc<Metrics>) -> Self {
        let store = Self { volume, limits, metrics, held: Mutex::default(), flights: Flights::default() };
        store.shrink_now(if store.keeps(0) { Bounds::of(limits) } else { Bounds::NOTHING }, &[]);
        store
    }

    pub(super) fn is_on(&self, volume: &Arc<Volume>) -> bool {
        Arc::ptr_eq(&self.volume, volume)
    }

    /// True where a layer of that many bytes is kept.
    pub(super) fn keeps(&self, size: u64) -> bool {
        self.limits.bytes > 0 && size <= self.limits.bytes && !self.limits.age.is_zero()
    }

    /// Opens a layer, if there is a file of that name and size. Its content is not looked at.
    ///
    /// One of another size stays until it is replaced: perhaps it is the descriptor that is wrong, and its
    /// author drives out no good layer.
    pub(super) fn find(&self, key: &Key, size: u64) -> Option<fs_err::File> {
        let is_it = |status: rustix::fs::Stat| {
            FileType::from_raw_mode(status.st_mode).is_file() && u64::try_from(status.st_size) == Ok(size)
        };
        let found = match storage::open_file(self.volume.blobs(), key.name()) {
            Ok(found) => Some(found).filter(|found| rustix::fs::fstat(found.file()).is_ok_and(is_it)),
            Err(error) if error.is_absent() => None,
            Err(error) => {
                tracing::warn!(%error, volume = %self.volume.path().display(), "a kept layer cannot be opened");
                None
            }
        };
        if found.is_none() {
            self.metrics.cache_lookup(Lookup::Miss);
        }
        found
    }

    /// Hashes what was found to the end, in a thread and with a permit; `None` where it is something else than
    /// `layer`. What it was is removed then.
    pub(super) async fn check(
        &self,
        key: &Key,
        found: fs_err::File,
        layer: &Descriptor,
        processors: &Arc<Semaphore>,
    ) -> Result<Option<fs_err::File>, BlobError> {
        let permit = Arc::clone(processors).acquire_owned().await.map_err(|_| BlobError::Aborted)?;
        let stop = CancellationToken::new();
        // A pass that is given up drops this future, and with it the guard, which stops the thread.
        let guard = stop.clone().drop_guard();
        let size = layer.size;
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let digest = hash(&found, size, &stop);
            (found, digest)
        });
        let (found, digest) = work.await.map_err(|_| BlobError::Aborted)?;
        drop(guard.disarm());
        if digest.is_ok_and(|digest| digest == layer.digest) {
            self.metrics.cache_lookup(Lookup::Hit);
            touch(&found);
            return Ok(Some(found));
        }
        self.discard(key, &found);
        Ok(None)
    }

    /// Removes an entry that is not what its name says, unless it has been replaced by now.
    fn discard(&self, key: &Key, found: &fs_err::File) {
        let volume = self.volume.path().display();
        tracing::warn!(%volume, layer = key.name(), "a kept layer was changed on the volume; it is fetched again");
        self.metrics.cache_lookup(Lookup::Broken);
        let there = rustix::fs::statat(self.volume.blobs(), key.name(), AtFlags::SYMLINK_NOFOLLOW);
        let opened = rustix::fs::fstat(found.file());
        if let (Ok(there), Ok(opened)) = (there, opened)
            && (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)
        {
            let bytes = u64::try_from(opened.st_size).unwrap_or(0);
            if self.remove(key.name()) {
                self.change(|held| Held {
                    bytes: held.bytes.saturating_sub(bytes),
                    entries: held.entries.saturating_sub(1),
                    ..held
                });
            }
        }
    }

    /// Moves the file `name` of `scratch`, which holds the bytes of `key`, into the store. Where that fails, the
    /// file is gone but for who has it open.
    pub(super) fn keep(&self, key: &Key, scratch: &Scratch, name: &str, bytes: u64) {
        if let Err(errno) = rustix::fs::renameat(scratch.dir(), name, self.volume.blobs(), key.name()) {
            tracing::warn!(%errno, volume = %self.volume.path().display(), "a layer cannot be kept");
            // The staging directory goes with the pass in any case.
            let _ = rustix::fs::unlinkat(scratch.dir(), name, AtFlags::empty());
            return;
        }
        self.change(|held| Held {
            bytes: held.bytes.saturating_add(bytes),
            entries: held.entries.saturating_add(1),
            added: held.added.saturating_add(1),
        });
    }

    /// Brings the store inside of its limits where it may be beyond them; `spare`, just added, stays.
    pub(super) async fn tidy(self: &Arc<Self>, spare: &Key) {
        let held = *self.held();
        if held.bytes > self.limits.bytes || held.entries > MAX_ENTRIES || held.added >= ADDED_UNSEEN {
            self.shrink(Bounds::of(self.limits), vec![spare.clone()]).await;
        }
    }

    /// True where it is gone.
    fn remove(&self, name: &str) -> bool {
        let removed = storage::remove_tree(self.volume.blobs(), name);
        if let Err(error) = &removed {
            tracing::warn!(%error, volume = %self.volume.path().display(), "a kept layer cannot be removed");
        }
        removed.is_ok()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(Held) -> Held) {
        let mut held = self.held();
        let now = change(*held);
        self.metrics.cache_changed(held.bytes, now.bytes);
        *held = now;
    }
}

/// The digest of at most `size` bytes of a file that goes on no longer; it fails once it is stopped.
fn hash(mut file: &fs_err::File, size: u64, stop: &CancellationToken) -> std::io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0_u8; usize::try_from(size).unwrap_or(BUFFER).clamp(1, BUFFER)];
    // One byte more than there may be: a file that has grown has another digest.
    let mut left = size.saturating_add(1);
    while left > 0 && !stop.is_cancelled() {
        let part = usize::try_from(left).unwrap_or(BUFFER).min(buffer.len());
        match file.read(buffer.get_mut(..part).unwrap_or_default()) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                left = left.saturating_sub(read as u64);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(std::io::ErrorKind::Interrupted.into())
}

/// Notes the use of a layer.
fn touch(found: &fs_err::File) {
    if let Err(errno) = rustix::fs::futimens(found.file(), &used_now()) {
        tracing::debug!(%errno, "the use of a kept layer cannot be noted; it goes earlier");
    }
}
