//! A root with its private directory, and the directories of objects on it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::entries::{names, remove_tree};
use super::error::{During, StorageError};
use super::handle::{make_dir, make_dir_or_open, open_any_dir, open_dir, random_name, sync};
use super::nameless::Way;
use super::passing::{Gone, LOCK, PRIVATE, Passing, create_held, remove_abandoned};
use super::pool::Pool;
use super::scratch::{Scratch, Staging};

/// Mode of the private directory and of its permanent subdirectories.
const PRIVATE_MODE: Mode = Mode::from_raw_mode(0o700);
/// A root: a PVC, NFS export or host directory, open until its [`Mount`](super::mount::Mount) opens it again. Every call on it may hang, so
/// it is made by a thread of its [`Pool`].
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
    pub(super) root: OwnedFd,
    /// `.supercargo` and `.supercargo/blobs`, open only to restore their modes.
    private: [OwnedFd; 2],
    pub(super) staging: Arc<Staging>,
    blobs: OwnedFd,
    lists: OwnedFd,
    /// Leftovers of a killed process in `staging`.
    left: Vec<String>,
    /// True once a directory whose mode cannot be set was reported.
    is_unprotected: AtomicBool,
    /// Shared lock, which shows other processes that staging directories may be in use.
    pub(super) _lock: OwnedFd,
}

impl Volume {
    /// Opens a root, creates the private directory, and removes leftovers of a crash.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        create_root(path)?;
        let volume = Self::opened(path, open_any_dir(path)?, None, Pool::of(path))?;
        volume.sweep()?;
        Ok(volume)
    }

    /// Opens a root for reading if it exists and has the private directory; `None` otherwise. Leftovers of a crash stay.
    pub(super) fn existing(path: &Path) -> Result<Option<Self>, StorageError> {
        let root = open_any_dir(path);
        match root.and_then(|root| open_dir(root.as_fd(), PRIVATE).map(|_| root)) {
            Ok(root) => Self::opened(path, root, None, Pool::of(path)).map(Some),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a private temporary root in `parent`, named `prefix` and a random suffix. It is removed, with all
    /// content, with the last holder of the root or of a scratch directory in it. Leftovers of killed processes with
    /// the same prefix are removed first.
    pub(crate) fn passing(parent: &Path, prefix: &str) -> Result<(Self, Gone), StorageError> {
        let dir = open_any_dir(parent)?;
        for left in names(&dir)?.iter().filter(|name| name.starts_with(prefix)) {
            remove_abandoned(dir.as_fd(), left, prefix);
        }
        let (root, name) = create_held(&dir, parent, prefix)?;
        let path = parent.join(&name);
        let (passing, gone) = Passing::new(dir, name, path);
        let pool = Pool::of(&passing.path);
        Ok((Self::opened(&passing.path.clone(), root, Some(passing), pool)?, gone))
    }

    pub(super) fn opened(
        path: &Path,
        root: OwnedFd,
        passing: Option<Passing>,
        pool: Pool,
    ) -> Result<Self, StorageError> {
        let show = || path.display().to_string();
        let private = make_dir(&root, PRIVATE, PRIVATE_MODE)?;
        let staging = make_dir(&private, "staging", PRIVATE_MODE)?;
        let all_blobs = make_dir(&private, "blobs", PRIVATE_MODE)?;
        let blobs = make_dir(&all_blobs, "sha256", PRIVATE_MODE)?;
        let lists = make_dir(&private, "lists", PRIVATE_MODE)?;
        let lock_flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&private, LOCK, lock_flags, Mode::from_raw_mode(0o600))
            .during(|| format!("open {}/{PRIVATE}/{LOCK}", show()))?;
        // A process alone on the root finds only leftovers in staging. Otherwise another process sweeps. Names are
        // random, so the leftovers listed here can be removed later, while new directories are created.
        let is_alone = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        let left = if is_alone { names(&staging)? } else { Vec::new() };
        if let Err(errno) = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
            tracing::warn!(volume = %show(), %errno, "the filesystem does not support locks: use the volume from one process only");
        }
        let way = Way::probe(staging.as_fd());
        let staging = Arc::new(Staging { dir: staging, way, pool, path: path.to_owned(), _root: passing });
        let private = [private, all_blobs];
        let is_unprotected = AtomicBool::new(false);
        let path = path.to_owned();
        let volume = Self { path, root, private, staging, blobs, lists, left, is_unprotected, _lock: lock };
        volume.protect();
        Ok(volume)
    }

    /// Removes the leftovers that killed processes had in staging when the root was opened. May take minutes.
    pub(crate) fn sweep(&self) -> Result<(), StorageError> {
        self.left.iter().try_for_each(|name| remove_tree(&self.staging.dir, name))
    }

    /// Returns the thread pool of the volume.
    pub(crate) fn pool(&self) -> &Pool {
        &self.staging.pool
    }

    /// Changes the private directory, and ignores the result: the call does not return if the volume hangs.
    pub(super) fn pulse(&self) {
        if let Ok(name) = random_name()
            && rustix::fs::mkdirat(&self.staging.dir, &name, PRIVATE_MODE).is_ok()
        {
            let _ = rustix::fs::unlinkat(&self.staging.dir, &name, AtFlags::REMOVEDIR);
        }
    }

    /// True if the path still leads to this root.
    pub(super) fn is_at_its_path(&self) -> bool {
        let (root, there) = (rustix::fs::fstat(&self.root), rustix::fs::stat(&self.path));
        matches!((root, there), (Ok(root), Ok(there)) if (root.st_dev, root.st_ino) == (there.st_dev, there.st_ino))
    }

    /// Sets the mode of every private directory back to 0700; returns true if a mode had changed. Must be called
    /// repeatedly: the kubelet makes a whole volume group-writable when it mounts it for a pod with an `fsGroup`.
    ///
    /// A mode that cannot be set (a share with fixed modes, directories of another user) is not an error: published
    /// content was verified regardless of other writers.
    pub fn protect(&self) -> bool {
        let [private, all_blobs] = &self.private;
        let mut had_to = false;
        for (dir, name) in [
            (private.as_fd(), ""),
            (self.staging.dir.as_fd(), "/staging"),
            (all_blobs.as_fd(), "/blobs"),
            (self.blobs(), "/blobs/sha256"),
            (self.lists(), "/lists"),
        ] {
            let directory = || format!("{}/{PRIVATE}{name}", self.path.display());
            match protect(dir) {
                Ok(Some(mode)) => {
                    had_to = true;
                    let (directory, mode) = (directory(), format!("{mode:04o}"));
                    tracing::warn!(%directory, %mode, "the directory was accessible to others; its mode is set to 0700 again. In consumers, mount the volume read-only (persistentVolumeClaim.readOnly: true), or set no fsGroup");
                }
                Err(errno) if !self.is_unprotected.swap(true, Ordering::Relaxed) => {
                    tracing::warn!(directory = %directory(), %errno, "the mode of the directory is not 0700 and cannot be set");
                }
                Ok(None) | Err(_) => {}
            }
        }
        had_to
    }

    /// Acts as if the filesystem had no `O_TMPFILE`.
    #[cfg(test)]
    pub(crate) fn without_tmpfile(mut self) -> Self {
        Arc::get_mut(&mut self.staging).unwrap().way = Way::Unlinked;
        self
    }

    /// True if the root's filesystem keeps its files in memory: tmpfs or ramfs.
    pub fn is_in_memory(&self) -> Result<bool, StorageError> {
        const TMPFS: i64 = 0x0102_1994;
        const RAMFS: i64 = 0x8584_58f6;
        let status = rustix::fs::fstatfs(&self.root).during(|| format!("stat {}", self.path.display()))?;
        #[allow(
            clippy::useless_conversion,
            clippy::unnecessary_cast,
            reason = "the type differs between architectures"
        )]
        let kind = status.f_type as i64;
        Ok([TMPFS, RAMFS].contains(&kind))
    }

    /// Returns the path of the root, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the private directory of cached layers.
    pub(crate) fn blobs(&self) -> BorrowedFd<'_> {
        self.blobs.as_fd()
    }

    /// Returns the private directory with the lists of published trees.
    pub(crate) fn lists(&self) -> BorrowedFd<'_> {
        self.lists.as_fd()
    }

    /// Creates a new private directory on this filesystem.
    pub fn scratch(&self) -> Result<Scratch, StorageError> {
        Scratch::new(&self.staging, &self.path)
    }

    /// Opens the directory `<namespace>/<name>`; `None` if it does not exist.
    pub fn existing_dir(&self, namespace: &str, name: &str) -> Result<Option<OwnedFd>, StorageError> {
        match open_dir(self.root.as_fd(), &format!("{namespace}/{name}")) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the directory `<namespace>/<name>`, and creates it if it is missing.
    pub fn dir(&self, namespace: &str, name: &str) -> Result<OwnedFd, StorageError> {
        let mode = Mode::from_raw_mode(0o755);
        let (parent, is_new) = make_dir_or_open(&self.root, namespace, mode)?;
        if is_new {
            sync(self.root.as_fd(), "the root of the volume")?;
        }
        let (dir, is_new) = make_dir_or_open(&parent, name, mode)?;
        if is_new {
            sync(parent.as_fd(), namespace)?;
        }
        Ok(dir)
    }

    /// Removes `<namespace>/<name>` with all content: in one step for readers, by a rename into the private directory.
    /// The namespace's directory stays, because consumers may have mounted it.
    pub fn remove_dir(&self, namespace: &str, name: &str) -> Result<(), StorageError> {
        let parent = match open_dir(self.root.as_fd(), namespace) {
            Err(error) if error.is_absent() => return Ok(()),
            parent => parent?,
        };
        let trash = random_name()?;
        match rustix::fs::renameat(&parent, name, &self.staging.dir, &trash) {
            Err(Errno::NOENT) => return Ok(()),
            renamed => renamed.during(|| format!("remove {namespace}/{name}"))?,
        }
        sync(parent.as_fd(), "the namespace's directory")?;
        // A leftover is swept at the next start.
        if let Err(error) = remove_tree(&self.staging.dir, &trash) {
            tracing::warn!(%error, "a removed directory is left behind in the private directory until the next start");
        }
        Ok(())
    }

    /// Returns the names in the root that may be namespaces, without our private directory.
    pub(crate) fn namespaces(&self) -> Result<Vec<String>, StorageError> {
        Ok(names(&self.root)?.into_iter().filter(|name| !name.starts_with('.')).collect())
    }

    /// Returns the names in a namespace's directory; none if it is absent or not a directory.
    pub(crate) fn names_in(&self, namespace: &str) -> Result<Vec<String>, StorageError> {
        match open_dir(self.root.as_fd(), namespace) {
            Err(error) if error.is_replaced() => Ok(Vec::new()),
            dir => names(dir?),
        }
    }
}

/// Creates the directory of a root if it is missing.
pub(super) fn create_root(path: &Path) -> Result<(), StorageError> {
    fs_err::create_dir_all(path)
        .map_err(|error| StorageError::from_io(format!("create directory {}", path.display()), &error))
}

/// Sets the mode of a private directory; returns the earlier mode if it was different.
fn protect(dir: BorrowedFd<'_>) -> Result<Option<u32>, Errno> {
    let mode = || rustix::fs::fstat(dir).map(|status| status.st_mode & 0o7777);
    let before = mode()?;
    if before == PRIVATE_MODE.as_raw_mode() {
        return Ok(None);
    }
    rustix::fs::fchmod(dir, PRIVATE_MODE)?;
    // Some shares accept any mode and keep their own.
    if mode()? == PRIVATE_MODE.as_raw_mode() { Ok(Some(before)) } else { Err(Errno::OPNOTSUPP) }
}
