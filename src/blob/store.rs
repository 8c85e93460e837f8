//! Layers kept on a volume's filesystem for later use by other objects.
//!
//! ```text
//! <root>/.supercargo/blobs/sha256/     0700
//!   <digest hex>-<origin>              0600: one layer, and the registry that it came from
//! ```
//!
//! A layer enters the store after its digest was verified and its last use has ended. It is not trusted when it is
//! read back: every process with write access to the volume can open a named file and change it at any time. So the
//! layer is copied into a file without a name and hashed, and only the copy is used ([`in_use`]). Nothing is synced:
//! damage by a crash or another process is detected by the hash. A layer removed from the store stays readable
//! through open handles. Several processes may share one volume: linking is atomic, and a layer that has disappeared
//! meanwhile is treated as absent.
//!
//! The origin is part of the name because the registry that is contacted decides who may read a layer. Without it, a
//! registry that grants every request would give access to layers that it never had.

use std::sync::{Arc, Mutex, MutexGuard};

use rustix::fs::{AtFlags, FileType, Mode};
use tokio_util::sync::CancellationToken;

use super::flight::Flights;
use super::key::Key;
use crate::metrics::{Lookup, Metrics};
use crate::mutex::lock;
use crate::oci::Descriptor;
use crate::storage::{self, Call, During, Mount, OnVolume, Pool, Scratch, StorageError};

mod copy;
mod in_use;
mod shrink;

pub(super) use in_use::Use;
pub use shrink::CacheLimits;

use copy::copied;
use shrink::{Bounds, MAX_ENTRIES, used_now};

/// Number of additions after which the directory is scanned in any case, because other processes may add layers too.
const ADDED_UNSEEN: u32 = 32;
/// File mode of a kept layer.
const PRIVATE_FILE: Mode = Mode::from_raw_mode(0o600);
/// The layers kept on one volume.
#[derive(Debug)]
pub struct ContentStore {
    volume: Arc<Mount>,
    limits: CacheLimits,
    metrics: Arc<Metrics>,
    held: Mutex<Held>,
    in_use: in_use::InUse,
    pub(super) flights: Flights,
}

/// A layer that does not have to be downloaded.
#[derive(Debug)]
pub(super) enum Found {
    /// A verified layer that is in use.
    InUse(Use),
    /// A file of the right name and size with unverified content.
    Kept(fs_err::File),
}

/// Contents of the store as known to this process since the last scan.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    bytes: u64,
    entries: usize,
    added: u32,
}

impl ContentStore {
    /// Creates the store of a volume.
    pub(super) fn new(volume: Arc<Mount>, limits: CacheLimits, metrics: Arc<Metrics>) -> Self {
        let (in_use, flights) = (in_use::InUse::default(), Flights::default());
        // Forces a scan at the first addition, because the contents are still unknown.
        let held = Mutex::new(Held { added: ADDED_UNSEEN, ..Held::default() });
        Self { volume, limits, metrics, held, in_use, flights }
    }

    /// Removes layers of earlier processes that exceed the limits. Blocking.
    pub(super) fn look_through(&self) {
        self.shrink_now(if self.keeps(0) { Bounds::of(self.limits) } else { Bounds::NOTHING }, &[]);
    }

    /// The thread pool of the volume.
    pub(super) fn pool(&self) -> &Pool {
        self.volume.pool()
    }

    pub(super) fn is_on(&self, volume: &Arc<Mount>) -> bool {
        Arc::ptr_eq(&self.volume, volume)
    }

    /// Returns true if a layer of `size` bytes may be kept.
    pub(super) fn keeps(&self, size: u64) -> bool {
        self.limits.bytes > 0 && size <= self.limits.bytes && !self.limits.age.is_zero()
    }

    /// Finds a layer in use, or a kept file of the right name and size, without reading its content.
    ///
    /// A kept file of another size is left in place until it is replaced: the descriptor may be the wrong one, and
    /// its author must not be able to evict a good layer.
    pub(super) async fn find(self: &Arc<Self>, key: &Key, size: u64) -> Result<Option<OnVolume<Found>>, StorageError> {
        let (store, key) = (Arc::clone(self), key.clone());
        let work = move || Some(OnVolume::new(store.pool(), store.find_now(&key, size)?));
        self.pool().run(Call::Short, work).await
    }

    fn find_now(self: &Arc<Self>, key: &Key, size: u64) -> Option<Found> {
        let found = self.use_or(key, size, || self.open_kept(key, size));
        if found.is_none() {
            self.metrics.cache_lookup(Lookup::Miss);
        }
        found.map(|found| found.map_or_else(Found::Kept, Found::InUse))
    }

    fn open_kept(&self, key: &Key, size: u64) -> Option<fs_err::File> {
        let is_it = |status: rustix::fs::Stat| {
            FileType::from_raw_mode(status.st_mode).is_file() && u64::try_from(status.st_size) == Ok(size)
        };
        match self.volume.current().and_then(|volume| storage::open_file(volume.blobs(), key.name())) {
            Ok(found) => Some(found).filter(|found| rustix::fs::fstat(found.file()).is_ok_and(is_it)),
            Err(error) if error.is_absent() => None,
            Err(error) => {
                tracing::warn!(%error, volume = %self.volume.path().display(), "a cached layer cannot be opened; it is fetched again");
                None
            }
        }
    }

    /// Counts a layer that was not downloaded.
    pub(super) fn count_hit(&self) {
        self.metrics.cache_lookup(Lookup::Hit);
    }

    /// Copies a kept file into a file of `scratch` without a name and hashes the copy. If it is not `layer`, or if
    /// there is no room for a copy, the kept file is removed and `None` returned: the download that replaces it needs
    /// no more space. Blocking.
    pub(super) fn copy(
        &self,
        key: &Key,
        found: &fs_err::File,
        layer: &Descriptor,
        scratch: &Scratch,
        stop: &CancellationToken,
    ) -> Result<Option<fs_err::File>, StorageError> {
        let copy = scratch.nameless()?;
        match copied(found, &copy, layer.size, scratch.room_for(layer.size), stop) {
            Ok(Some(digest)) if digest == layer.digest => {
                touch(found);
                Ok(Some(copy))
            }
            Ok(_) => {
                let volume = self.volume.path().display();
                tracing::warn!(%volume, layer = key.name(), "a cached layer was changed on the volume; it is fetched again");
                self.metrics.cache_lookup(Lookup::Broken);
                self.discard(key, found);
                Ok(None)
            }
            Err(error) if error.is_full() => {
                self.discard(key, found);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes an entry unless it has been replaced in the meantime.
    fn discard(&self, key: &Key, found: &fs_err::File) {
        let Ok(volume) = self.volume.current() else { return };
        let there = rustix::fs::statat(volume.blobs(), key.name(), AtFlags::SYMLINK_NOFOLLOW);
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

    /// Links a file without a name, which holds the bytes of `key`, into the store. If linking fails, or the store
    /// would exceed its limit, the layer is not kept, and its space is freed with the last handle.
    fn keep(&self, key: &Key, file: &fs_err::File, bytes: u64) {
        if self.held().bytes.saturating_add(bytes) > self.limits.bytes {
            return;
        }
        touch(file);
        match self.volume.current().and_then(|volume| storage::link(file, volume.blobs(), key.name())) {
            Ok(()) => self.count_kept(bytes),
            Err(error) => {
                tracing::warn!(%error, volume = %self.volume.path().display(), "a layer cannot be added to the cache");
            }
        }
    }

    /// Keeps a copy of a layer whose own file cannot be linked. The copy is not verified, because kept layers are
    /// verified when used. Blocking.
    pub(super) fn keep_copy(
        &self,
        key: &Key,
        file: &fs_err::File,
        scratch: &Scratch,
        bytes: u64,
        stop: &CancellationToken,
    ) {
        let copy = storage::create_file(scratch.dir(), key.name(), PRIVATE_FILE);
        let copied = copy.and_then(|copy| copied(file, &copy, bytes, scratch.room_for(bytes), stop));
        let moved = copied.and_then(|_| {
            let volume = self.volume.current()?;
            rustix::fs::renameat(scratch.dir(), key.name(), volume.blobs(), key.name())
                .during(|| "move a layer into the store".to_owned())
        });
        match moved {
            Ok(()) => self.count_kept(bytes),
            Err(error) => {
                tracing::warn!(%error, volume = %self.volume.path().display(), "a layer cannot be added to the cache");
                // The staging directory is removed with the pass in any case.
                let _ = rustix::fs::unlinkat(scratch.dir(), key.name(), AtFlags::empty());
            }
        }
    }

    fn count_kept(&self, bytes: u64) {
        self.change(|held| Held {
            bytes: held.bytes.saturating_add(bytes),
            entries: held.entries.saturating_add(1),
            added: held.added.saturating_add(1),
        });
    }

    /// Trims the store if the layers in use that will be kept could exceed the limits.
    pub(super) async fn tidy(self: &Arc<Self>) {
        let store = Arc::clone(self);
        let work = move || {
            // The locks are taken one after the other, never nested: a use that ends holds both, in this order.
            let to_come = store.in_use.to_come();
            let held = *store.held();
            let bytes = held.bytes.saturating_add(to_come.0);
            let entries = held.entries.saturating_add(to_come.1);
            if bytes > store.limits.bytes || entries > MAX_ENTRIES || held.added >= ADDED_UNSEEN {
                store.shrink_now(Bounds::with_room(store.limits, to_come), &[]);
            }
        };
        // If the volume is not usable, the store is left as it is.
        let _ = self.pool().run(Call::Upkeep, work).await;
    }

    /// Returns true if the entry is gone.
    fn remove(&self, name: &str) -> bool {
        let removed = self.volume.current().and_then(|volume| storage::remove_tree(volume.blobs(), name));
        if let Err(error) = &removed {
            tracing::warn!(%error, volume = %self.volume.path().display(), "a cached layer cannot be removed");
        }
        removed.is_ok()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }

    fn change(&self, change: impl FnOnce(Held) -> Held) {
        let mut held = self.held();
        let now = change(*held);
        self.metrics.cache_changed(held.bytes, now.bytes);
        *held = now;
    }
}

/// Records the use of a layer as its modification time.
fn touch(found: &fs_err::File) {
    if let Err(errno) = rustix::fs::futimens(found.file(), &used_now()) {
        tracing::debug!(%errno, "the use of a cached layer cannot be recorded; the layer will be removed earlier");
    }
}
