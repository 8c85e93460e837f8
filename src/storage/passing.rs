//! Temporary roots, which are removed with their last holder.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode};
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::entries::{names, remove_tree};
use super::error::{During, StorageError};
use super::handle::{open_dir, open_file, random_name};

/// Name of our private directory on a root.
pub(super) const PRIVATE: &str = ".supercargo";
/// Name of the lock in it.
pub(super) const LOCK: &str = "lock";
/// Number of attempts to create a directory that no other process removes before it is locked.
const ATTEMPTS: usize = 10;
/// Length of a random name.
const RANDOM: usize = 32;

/// A directory that is removed on drop, with all content.
#[derive(Debug)]
pub(super) struct Passing {
    pub(super) parent: OwnedFd,
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Dropped after everything else.
    _gone: oneshot::Sender<()>,
}

impl Passing {
    /// Takes over the directory `name` in `parent`, at `path`.
    pub(super) fn new(parent: OwnedFd, name: String, path: PathBuf) -> (Self, Gone) {
        let (sender, receiver) = oneshot::channel();
        (Self { parent, name, path, _gone: sender }, Gone(receiver))
    }

    /// Removes everything private but the lock. By the lock another process recognizes a root whose removal was
    /// interrupted by a kill.
    fn empty(&self) -> Result<(), StorageError> {
        let root = open_dir(self.parent.as_fd(), &self.name)?;
        let private = open_dir(root.as_fd(), PRIVATE)?;
        let others = names(&private)?.into_iter().filter(|name| name != LOCK);
        others.into_iter().try_for_each(|name| remove_tree(&private, &name))
    }
}

/// Signals the removal of a temporary root, after all threads have finished with it.
#[derive(Debug)]
pub struct Gone(oneshot::Receiver<()>);

impl Gone {
    /// Waits for the removal.
    pub async fn wait(self) {
        // No value is sent: the sender is dropped.
        let _ = self.0.await;
    }

    /// As [`Self::wait`], on a thread that may block.
    pub fn wait_blocking(self) {
        let _ = futures::executor::block_on(self.0);
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // What cannot be removed here is reported below.
        let _ = self.empty();
        if let Err(error) = remove_tree(&self.parent, &self.name) {
            tracing::warn!(path = %self.path.display(), %error, "a directory could not be removed; remove it by hand");
        }
    }
}

/// Creates a temporary root with a random name, and locks the directory itself until it has its lock file.
pub(super) fn create_held(dir: &OwnedFd, parent: &Path, prefix: &str) -> Result<(OwnedFd, String), StorageError> {
    for _ in 0..ATTEMPTS {
        let name = format!("{prefix}{}", random_name()?);
        let path = parent.join(&name);
        rustix::fs::mkdirat(dir, &name, Mode::from_raw_mode(0o700))
            .during(|| format!("create directory {}", path.display()))?;
        // Another process may take it for abandoned before it is locked, and remove it.
        let root = match open_dir(dir.as_fd(), &name) {
            Err(error) if error.is_absent() => continue,
            root => root?,
        };
        // Without locks on this filesystem nothing is removed either.
        let _ = rustix::fs::flock(&root, FlockOperation::NonBlockingLockShared);
        if rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Ok((root, name));
        }
    }
    Err(Errno::AGAIN).during(|| format!("create a directory in {}", parent.display()))
}

/// Removes the root `name` of a killed process, whose lock is free. A root that is in use, not ours or not removable is
/// left alone, without harm. The process may have been killed before it had created the lock file.
pub(super) fn remove_abandoned(parent: BorrowedFd<'_>, name: &str, prefix: &str) {
    let is_free = |file: BorrowedFd<'_>| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    let is_random = |rest: &str| rest.len() == RANDOM && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
    // Held until the removal is done.
    let (file, root);
    let is_abandoned = if let Ok(lock) = open_file(parent, &format!("{name}/{PRIVATE}/{LOCK}")) {
        file = lock;
        is_free(file.file().as_fd())
    } else if name.strip_prefix(prefix).is_some_and(is_random)
        && let Ok(dir) = open_dir(parent, name)
    {
        root = dir;
        is_free(root.as_fd())
    } else {
        false
    };
    if is_abandoned && let Err(error) = remove_tree(parent, name) {
        tracing::debug!(name, %error, "a directory of a killed process cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::storage::Volume;

    fn open(parent: &Path) -> Volume {
        Volume::passing(parent, ".out-").unwrap().0
    }

    #[test]
    fn a_temporary_root_is_removed_with_its_last_holder() {
        let parent = tempfile::tempdir().unwrap();
        let count = || fs_err::read_dir(parent.path()).unwrap().count();
        let (volume, Gone(mut gone)) = Volume::passing(parent.path(), ".out-").unwrap();
        let scratch = volume.scratch().unwrap();
        let odd = OsStr::from_bytes(b"not \xff UTF-8");
        fs_err::write(volume.path().join(odd), "").unwrap();
        drop(volume);
        assert_eq!((count(), gone.try_recv()), (1, Err(TryRecvError::Empty)), "a thread still works in it");
        drop(scratch);
        assert_eq!((count(), gone.try_recv()), (0, Err(TryRecvError::Closed)));
    }

    #[test]
    fn leftovers_of_a_killed_process_are_removed_by_the_next_process() {
        let parent = tempfile::tempdir().unwrap();
        let (killed, used) = (open(parent.path()), open(parent.path()));
        let left = killed.path().to_owned();
        assert!(left.exists(), "one in use is not removed");
        // The kernel releases a killed process's locks, but its files stay.
        let Volume { staging, _lock: lock, .. } = killed;
        std::mem::forget(staging);
        drop(lock);
        fs_err::create_dir(parent.path().join(".out-of-somebody-else")).unwrap();
        let next = open(parent.path());
        assert!(!left.exists() && used.path().exists() && next.path().exists());
        assert!(parent.path().join(".out-of-somebody-else").exists());
    }
}
