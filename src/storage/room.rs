//! Check for free space before a write.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::StatVfs;
use rustix::io::Errno;

use super::error::StorageError;

/// Number of bytes after which free space is queried again, because other processes may fill the filesystem too.
const GRANT: u64 = 32 << 20;
/// Minimum size of a file, in bytes.
const BLOCK: u64 = 4096;

/// Free bytes at the last query, minus those granted since.
#[derive(Debug, Default)]
pub(super) struct Room(AtomicU64);

impl Room {
    /// Fails if `bytes` are not free on the filesystem at `path`.
    pub(super) fn check(
        &self,
        path: &Path,
        bytes: u64,
        free: impl FnOnce() -> Option<u64>,
    ) -> Result<(), StorageError> {
        let takes = bytes.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        let granted = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(takes));
        if granted.is_ok() {
            return Ok(());
        }
        let free = free().unwrap_or(u64::MAX);
        if bytes > free {
            let error =
                StorageError::new(format!("{}: {bytes} bytes required, {free} free", path.display()), Errno::NOSPC);
            return Err(error.lacking(bytes.saturating_sub(free)));
        }
        self.0.store(free.saturating_sub(takes).min(GRANT), Ordering::Relaxed);
        Ok(())
    }
}

/// Returns the free bytes for unprivileged writers; `None` if unknown.
pub(super) fn free_on(dir: BorrowedFd<'_>) -> Option<u64> {
    free(&rustix::fs::fstatvfs(dir).ok()?)
}

/// Returns the free bytes; `None` for a filesystem without a size, which reports 0 blocks or arbitrary values.
fn free(status: &StatVfs) -> Option<u64> {
    let StatVfs { f_blocks: all, f_bavail: available, f_frsize: unit, .. } = *status;
    (all > 0 && available <= all && unit > 0).then(|| available.saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Volume;

    #[test]
    fn content_that_cannot_fit_is_refused_unless_the_free_space_is_unknown() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Volume::open(root.path()).unwrap().scratch().unwrap();
        let real = rustix::fs::fstatvfs(scratch.dir()).unwrap();
        let status = |f_blocks, f_bavail, f_frsize| StatVfs { f_blocks, f_bavail, f_frsize, ..real };
        let rows = [
            ("a disk", status(100, 10, 4096), Some(40_960)),
            ("a full one", status(100, 0, 4096), Some(0)),
            ("no size", status(0, 0, 4096), None),
            ("more free than there is", status(100, u64::MAX, 4096), None),
            ("no unit", status(100, 10, 0), None),
            ("all of it", status(u64::MAX, u64::MAX, 4096), Some(u64::MAX)),
        ];
        for (what, status, want) in rows {
            assert_eq!(free(&status), want, "{what}");
        }

        scratch.room_for(0).unwrap();
        scratch.room_for(1).unwrap();
        let error = scratch.room_for(u64::MAX / 2).unwrap_err();
        assert!(error.is_full(), "{error}");
        assert!(error.to_string().contains(&(u64::MAX / 2).to_string()), "{error}");
        scratch.room_for(1).unwrap();
    }

    #[test]
    fn free_space_is_queried_again_after_the_grant_is_used() {
        let (room, path) = (Room::default(), Path::new("/volumes/default"));
        let asked = std::cell::Cell::new(0);
        let check = |bytes, free| {
            let ask = || {
                asked.set(asked.get() + 1);
                Some(free)
            };
            room.check(path, bytes, ask).is_ok()
        };
        // bytes, free → fits, number of queries so far
        let rows = [
            (10, 3 * BLOCK, true, 1),
            (BLOCK, 0, true, 1),
            (1, 0, true, 1),
            (1, 0, false, 2),
            (1, GRANT + 2 * BLOCK, true, 3),
            (GRANT, 0, true, 3),
            (GRANT, GRANT, true, 4),
            (1, 1, true, 5),
            (1, 1, true, 6),
        ];
        for (number, (bytes, free, fits, times)) in rows.into_iter().enumerate() {
            assert_eq!((check(bytes, free), asked.get()), (fits, times), "row {number}");
        }
        assert!(room.check(path, u64::MAX, || None).is_ok());
        let error = Room::default().check(path, 5 * BLOCK, || Some(2 * BLOCK)).unwrap_err();
        assert!(error.to_string().contains("/volumes/default"), "{error}");
        assert_eq!(error.lacks(), Some(3 * BLOCK));
    }
}
