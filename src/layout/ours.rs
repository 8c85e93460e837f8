//! `.supercargo/` in a layout: locks, and files that are being written.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use crate::storage::{self, During, StorageError};

/// Name of the directory.
pub(super) const OURS: &str = ".supercargo";
/// Lock that each process holds which has the layout open.
const USERS: &str = "users";
/// Lock that a process holds while it replaces `index.json`.
const INDEX: &str = "index";
/// Directory of unfinished files.
const INGEST: &str = "ingest";
/// Mode of both directories.
const PRIVATE: Mode = Mode::from_raw_mode(0o700);
/// Mode of files, which keep it when they get their name.
const FILE: Mode = Mode::from_raw_mode(0o644);

/// The directory, while this process has the layout open for writing.
#[derive(Debug)]
pub(super) struct Ours {
    dir: OwnedFd,
    _users: OwnedFd,
}

/// An unfinished file, removed unless it was moved to its place.
#[derive(Debug)]
pub(super) struct Ingest {
    dir: OwnedFd,
    name: String,
    pub(super) file: fs_err::File,
    is_moved: bool,
}

/// A private directory for a command, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    dir: OwnedFd,
    name: String,
    path: PathBuf,
}

/// Takes the lock of a reader; it ends with the returned handle. `None` in a layout of another program, from which
/// nothing of ours removes blobs.
pub(super) fn join_as_reader(layout: BorrowedFd<'_>) -> Option<OwnedFd> {
    let ours = storage::open_dir(layout, OURS).ok()?;
    let file = rustix::fs::openat(&ours, USERS, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    locked(file.ok()?, USERS, FlockOperation::LockShared).ok()
}

impl Ours {
    /// Opens the directory, which is created if it is missing, beside other processes. Waits while one is alone.
    pub(super) fn join(layout: BorrowedFd<'_>) -> Result<Self, StorageError> {
        let dir = storage::make_dir(layout, OURS, PRIVATE)?;
        storage::make_dir(&dir, INGEST, PRIVATE)?;
        if let Ok(_alone) = lock(&dir, USERS, FlockOperation::NonBlockingLockExclusive) {
            // No other process has the layout open, so unfinished files are those of killed processes.
            sweep(&dir)?;
        }
        let users = lock(&dir, USERS, FlockOperation::LockShared)?;
        Ok(Self { dir, _users: users })
    }

    /// Opens the directory if no other process has the layout open; otherwise the error is a held lock.
    pub(super) fn alone(layout: BorrowedFd<'_>) -> Result<Self, StorageError> {
        let dir = storage::open_dir(layout, OURS)?;
        let users = lock(&dir, USERS, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { dir, _users: users })
    }

    /// Takes the lock of `index.json`; it ends with the returned handle.
    pub(super) fn lock_index(&self) -> Result<OwnedFd, StorageError> {
        lock(&self.dir, INDEX, FlockOperation::LockExclusive)
    }

    /// Creates an unfinished file.
    pub(super) fn file(&self) -> Result<Ingest, StorageError> {
        let (dir, name) = (self.ingest()?, storage::random_name()?);
        let file = storage::create_file(dir.as_fd(), &name, FILE)?;
        Ok(Ingest { dir, name, file, is_moved: false })
    }

    /// Creates a private directory; `layout` is the path of the layout.
    pub(super) fn scratch(&self, layout: &Path) -> Result<Scratch, StorageError> {
        let (dir, name) = (self.ingest()?, storage::random_name()?);
        storage::make_dir(&dir, &name, PRIVATE)?;
        let path = layout.join(OURS).join(INGEST).join(&name);
        Ok(Scratch { dir, name, path })
    }

    /// Removes unfinished files and directories. No other process may have the layout open.
    pub(super) fn sweep(&self) -> Result<(), StorageError> {
        sweep(&self.dir)
    }

    fn ingest(&self) -> Result<OwnedFd, StorageError> {
        storage::open_dir(self.dir.as_fd(), INGEST)
    }
}

fn sweep(ours: &OwnedFd) -> Result<(), StorageError> {
    let ingest = storage::open_dir(ours.as_fd(), INGEST)?;
    storage::names(&ingest)?.iter().try_for_each(|name| storage::remove_tree(&ingest, name))
}

impl Ingest {
    /// Makes the file durable and gives it its name, in place of an existing file.
    pub(super) fn move_to(mut self, dir: BorrowedFd<'_>, name: &str) -> Result<(), StorageError> {
        rustix::fs::fdatasync(self.file.file()).during(|| format!("sync {name}"))?;
        rustix::fs::renameat(&self.dir, &self.name, dir, name).during(|| format!("rename {name}"))?;
        self.is_moved = true;
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if !self.is_moved
            && let Err(errno) = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty())
        {
            tracing::debug!(%errno, "an unfinished file is left");
        }
    }
}

impl Scratch {
    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = storage::remove_tree(&self.dir, &self.name) {
            tracing::debug!(%error, "an unfinished directory is left");
        }
    }
}

/// Opens a lock file, and creates it if it is missing; waits until it is locked, or fails if told not to wait.
fn lock(dir: &OwnedFd, name: &str, how: FlockOperation) -> Result<OwnedFd, StorageError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600));
    locked(file.during(|| format!("open lock {name}"))?, name, how)
}

fn locked(file: OwnedFd, name: &str, how: FlockOperation) -> Result<OwnedFd, StorageError> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, how)).during(|| format!("lock {name}"))?;
    Ok(file)
}
