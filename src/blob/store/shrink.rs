//! What goes when there is too much.

use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use super::{ContentStore, Held, Key};
use crate::blob::CacheLimits;
use crate::storage::{self, Call, During, StorageError};

/// Layers on one volume: each takes at least a block and an inode, however few its bytes are.
pub(super) const MAX_ENTRIES: usize = 8192;
/// Names that are looked at at a time. There are more only where somebody else put them there.
const MAX_SCANNED: usize = 4 * MAX_ENTRIES;

/// What may stay.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    bytes: u64,
    entries: usize,
    age: Duration,
    /// Bytes and number of layers that are to come.
    room: (u64, usize),
}

struct Entry {
    name: String,
    bytes: u64,
    /// Seconds and nanoseconds, by the filesystem's clock.
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
    /// Removes what has not been used for too long.
    pub(in crate::blob) async fn expire(self: &Arc<Self>) {
        self.shrink(Bounds::of(self.limits), Vec::new()).await;
    }

    /// Removes everything but `own`; true where there was something. Where it would be less than `lacks` bytes, all of
    /// it stays. What is in use stays readable, and its space is given back when that use ends.
    pub(in crate::blob) async fn give_up(self: &Arc<Self>, lacks: u64, own: &[Key]) -> bool {
        let (store, own) = (Arc::clone(self), own.to_vec());
        let work = self.pool().run(Call::Long, move || {
            let entries = store.scan().unwrap_or_default();
            let others = entries.iter().filter(|entry| !own.iter().any(|key| key.name() == entry.name));
            let could_give = others.fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes));
            could_give >= lacks && store.shrink_now(Bounds::NOTHING, &own)
        });
        work.await.unwrap_or(false)
    }

    /// [`Self::shrink_now`] in a thread.
    pub(super) async fn shrink(self: &Arc<Self>, bounds: Bounds, spare: Vec<Key>) -> bool {
        let store = Arc::clone(self);
        self.pool().run(Call::Long, move || store.shrink_now(bounds, &spare)).await.unwrap_or(false)
    }

    /// Removes the layers whose last use is longest ago until everything but `spare` is within bounds; true
    /// where something was removed.
    pub(super) fn shrink_now(&self, bounds: Bounds, spare: &[Key]) -> bool {
        let mut entries = match self.scan() {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, volume = %self.volume.path().display(), "the kept layers cannot be looked through");
                return false;
            }
        };
        entries.sort_by_key(|entry| entry.used);
        // Where there is no clock, nothing is too old.
        let now = self.clock().unwrap_or(i64::MIN);
        let mut held =
            Held { bytes: entries.iter().map(|entry| entry.bytes).sum(), entries: entries.len(), ..Held::default() };
        let longest = i64::try_from(bounds.age.as_secs()).unwrap_or(i64::MAX);
        let (room_bytes, room_entries) = bounds.room;
        let is_full = held.bytes.saturating_add(room_bytes) > bounds.bytes
            || held.entries.saturating_add(room_entries) > bounds.entries;
        // A little more than has to be, so that not each layer from here on looks through all of them.
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
                status => status.during(|| format!("look at {name}"))?,
            };
            // What an NFS client makes of a file that is removed and still open. It goes by itself.
            if name.starts_with(".nfs") {
                continue;
            }
            if !FileType::from_raw_mode(status.st_mode).is_file() {
                tracing::warn!(volume = %self.volume.path().display(), name, "something else is among the kept layers");
                self.remove(&name);
                continue;
            }
            let bytes = u64::try_from(status.st_size).unwrap_or(0);
            let used = (status.st_mtime, i64::try_from(status.st_mtime_nsec).unwrap_or(0));
            entries.push(Entry { name, bytes, used });
        }
        Ok(entries)
    }

    /// Seconds by the clock that stamps the entries, which is a file server's where there is one.
    fn clock(&self) -> Result<i64, StorageError> {
        let (volume, what) = (self.volume.current()?, || "read the filesystem's clock".to_owned());
        rustix::fs::futimens(volume.blobs(), &used_now()).during(what)?;
        Ok(rustix::fs::fstat(volume.blobs()).during(what)?.st_mtime)
    }
}

/// The last modification becomes now, by the filesystem's clock.
pub(super) fn used_now() -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
    }
}
