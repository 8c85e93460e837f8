//! Temporary roots, which are removed with their last holder.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode};
use tokio::sync::oneshot;

use super::{
    During, PRIVATE, Pool, StorageError, Volume, names, open_any_dir, open_dir, open_file, random_name, remove_tree,
};

/// A directory that is removed on drop, with all content.
#[derive(Debug)]
pub(super) struct Passing {
    parent: OwnedFd,
    name: String,
    path: PathBuf,
    /// Dropped after everything else.
    _gone: oneshot::Sender<()>,
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
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.parent, &self.name) {
            tracing::warn!(path = %self.path.display(), %error, "a directory could not be removed; remove it by hand");
        }
    }
}

impl Volume {
    /// Creates a private temporary root in `parent`, named `prefix` and a random suffix. It is removed, with all
    /// content, with the last holder of the root or of a scratch directory in it. Leftovers of killed processes with
    /// the same prefix are removed first.
    pub(crate) fn passing(parent: &Path, prefix: &str) -> Result<(Self, Gone), StorageError> {
        let dir = open_any_dir(parent)?;
        for left in names(&dir)?.iter().filter(|name| name.starts_with(prefix)) {
            remove_abandoned(dir.as_fd(), left);
        }
        let name = format!("{prefix}{}", random_name()?);
        let path = parent.join(&name);
        rustix::fs::mkdirat(&dir, &name, Mode::from_raw_mode(0o700))
            .during(|| format!("create directory {}", path.display()))?;
        let (sender, receiver) = oneshot::channel();
        let passing = Passing { parent: dir, name, path, _gone: sender };
        let root = open_dir(passing.parent.as_fd(), &passing.name)?;
        let pool = Pool::of(&passing.path);
        Ok((Self::opened(&passing.path.clone(), root, Some(passing), pool)?, Gone(receiver)))
    }
}

/// Removes the root `name` of a killed process, whose lock is free. A root that is in use, not ours or not removable is
/// left alone, without harm.
fn remove_abandoned(parent: BorrowedFd<'_>, name: &str) {
    let Ok(lock) = open_file(parent, &format!("{name}/{PRIVATE}/lock")) else { return };
    if rustix::fs::flock(lock.file(), FlockOperation::NonBlockingLockExclusive).is_ok()
        && let Err(error) = remove_tree(parent, name)
    {
        tracing::debug!(name, %error, "left by a killed process, and not removable");
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn open(parent: &Path) -> Volume {
        Volume::passing(parent, ".out-").unwrap().0
    }

    #[test]
    fn a_root_for_one_use_is_gone_with_its_last_holder() {
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
    fn what_a_killed_process_left_is_removed_by_the_next_one() {
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
