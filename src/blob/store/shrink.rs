//! Trimming of the store to its limits.

use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use super::{ContentStore, Held};
use crate::blob::key::Key;
use crate::storage::{self, Call, During, StorageError};

/// Maximum number of layers on one volume: even a tiny layer takes a block and an inode.
pub(super) const MAX_ENTRIES: usize = 8192;
/// Maximum number of directory entries read in one scan. More exist only if another process created them.
const MAX_SCANNED: usize = 4 * MAX_ENTRIES;

/// Limits for the layers kept on each volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Maximum total size, in bytes. 0 keeps no layers.
    pub bytes: u64,
    /// Maximum time since the last use. 0 keeps no layers.
    pub age: Duration,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { bytes: 2 << 30, age: Duration::from_secs(24 * 3600) }
    }
}

/// Limits to which the store is trimmed.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    bytes: u64,
    entries: usize,
    age: Duration,
    /// Total size and number of layers that will be added.
    room: (u64, usize),
}

struct Entry {
    name: String,
    bytes: u64,
    /// Time of the last use in seconds and nanoseconds, by the filesystem's clock.
    used: (i64, i64),
}

impl Bounds {
    pub(super) const NOTHING: Self = Self { bytes: 0, entries: 0, age: Duration::ZERO, room: (0, 0) };

    pub(super) fn of(limits: CacheLimits) -> Self {
        Self::with_room(limits, (0, 0))
    }

    pub(super) fn with_room(limits: CacheLimits, room: (u64, usize)) -> Self {
        Self { bytes: limits.bytes, entries: MAX_ENTRIES, age: limits.age, room }
    }
}

impl ContentStore {
    /// Removes layers whose last use is longer ago than the age limit.
    pub(in crate::blob) async fn expire(self: &Arc<Self>) {
        self.shrink(Bounds::of(self.limits), Vec::new()).await;
    }

    /// Removes all layers except `own`; returns true if any were removed. If that would free less than `lacks` bytes,
    /// nothing is removed. A layer in use stays readable, and its space is freed when its use ends.
    pub(in crate::blob) async fn give_up(self: &Arc<Self>, lacks: u64, own: &[Key]) -> bool {
        let (store, own) = (Arc::clone(self), own.to_vec());
        let work = self.pool().run(Call::Upkeep, move || {
            let entries = store.scan().unwrap_or_default();
            let others = entries.iter().filter(|entry| !own.iter().any(|key| key.name() == entry.name));
            let could_give = others.fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes));
            could_give >= lacks && store.shrink_now(Bounds::NOTHING, &own)
        });
        work.await.unwrap_or(false)
    }

    /// Runs [`Self::shrink_now`] on a thread of the volume.
    pub(super) async fn shrink(self: &Arc<Self>, bounds: Bounds, spare: Vec<Key>) -> bool {
        let store = Arc::clone(self);
        self.pool().run(Call::Upkeep, move || store.shrink_now(bounds, &spare)).await.unwrap_or(false)
    }

    /// Removes expired layers, and the least recently used ones until the store is within `bounds`; never those in
    /// `spare`. Returns true if any were removed.
    pub(super) fn shrink_now(&self, bounds: Bounds, spare: &[Key]) -> bool {
        let mut entries = match self.scan() {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, volume = %self.volume.path().display(), "the cached layers cannot be listed");
                return false;
            }
        };
        entries.sort_by_key(|entry| entry.used);
        // If the clock cannot be read, no layer counts as expired.
        let now = self.clock().unwrap_or(i64::MIN);
        let mut held =
            Held { bytes: entries.iter().map(|entry| entry.bytes).sum(), entries: entries.len(), ..Held::default() };
        let longest = i64::try_from(bounds.age.as_secs()).unwrap_or(i64::MAX);
        let (room_bytes, room_entries) = bounds.room;
        let is_full = held.bytes.saturating_add(room_bytes) > bounds.bytes
            || held.entries.saturating_add(room_entries) > bounds.entries;
        // A full store is trimmed to 7/8 of its limits, so that not every later addition causes a scan.
        let most = |bound: u64| if is_full { bound - bound / 8 } else { bound };
        let most_bytes = most(bounds.bytes).saturating_sub(room_bytes);
        let most_entries = most(bounds.entries as u64).saturating_sub(room_entries as u64);
        let mut removed = false;
        for entry in &entries {
            let is_old = now.saturating_sub(entry.used.0) > longest;
            if !is_old && held.bytes <= most_bytes && held.entries as u64 <= most_entries {
                break;
            }
            if !spare.iter().any(|spare| spare.name() == entry.name) && self.remove(&entry.name) {
                held.bytes = held.bytes.saturating_sub(entry.bytes);
                held.entries -= 1;
                removed = true;
            }
        }
        self.change(|_| held);
        removed
    }

    fn scan(&self) -> Result<Vec<Entry>, StorageError> {
        let (volume, mut entries) = (self.volume.current()?, Vec::new());
        for name in storage::names_up_to(volume.blobs(), MAX_SCANNED)? {
            let status = match rustix::fs::statat(volume.blobs(), &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                status => status.during(|| format!("stat {name}"))?,
            };
            // An NFS client's placeholder for a removed file that is still open; the client removes it.
            if name.starts_with(".nfs") {
                continue;
            }
            if !FileType::from_raw_mode(status.st_mode).is_file() {
                tracing::warn!(volume = %self.volume.path().display(), name, "unexpected entry among the cached layers");
                self.remove(&name);
                continue;
            }
            let bytes = u64::try_from(status.st_size).unwrap_or(0);
            let used = (status.st_mtime, i64::try_from(status.st_mtime_nsec).unwrap_or(0));
            entries.push(Entry { name, bytes, used });
        }
        Ok(entries)
    }

    /// Returns the time in seconds of the clock that stamps the entries: on a network filesystem, the file server's.
    fn clock(&self) -> Result<i64, StorageError> {
        let (volume, what) = (self.volume.current()?, || "read the filesystem's clock".to_owned());
        rustix::fs::futimens(volume.blobs(), &used_now()).during(what)?;
        Ok(rustix::fs::fstat(volume.blobs()).during(what)?.st_mtime)
    }
}

/// Returns timestamps that set the modification time to now, by the filesystem's clock.
pub(super) fn used_now() -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
    }
}
