//! Private directories for passes, on the filesystem of their volume.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;

use super::entries::remove_tree;
use super::error::{During, StorageError};
use super::handle::{open_dir, random_name};
use super::nameless::Way;
use super::passing::Passing;
use super::pool::Pool;
use super::room::{Room, free_on};

/// Parent of scratch directories. A thread may hold it longer than the volume itself is held.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) dir: OwnedFd,
    /// Method of creating files without a name.
    pub(super) way: Way,
    pub(super) pool: Pool,
    /// Path of the volume, for messages.
    pub(super) path: PathBuf,
    /// The root itself, if it is temporary.
    pub(super) _root: Option<Passing>,
}

/// A private directory for one pass, on the filesystem of its volume. Removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    dir: OwnedFd,
    name: String,
    staging: Arc<Staging>,
    room: Room,
}

impl Scratch {
    /// Creates a new private directory in the parent.
    pub(super) fn new(staging: &Arc<Staging>, volume: &Path) -> Result<Self, StorageError> {
        let name = random_name()?;
        rustix::fs::mkdirat(&staging.dir, &name, Mode::from_raw_mode(0o700))
            .during(|| format!("create a staging directory on {}", volume.display()))?;
        let dir = open_dir(staging.dir.as_fd(), &name).inspect_err(|_| {
            // Otherwise it would stay until the next start.
            let _ = remove_tree(&staging.dir, &name);
        })?;
        Ok(Self { dir, name, staging: Arc::clone(staging), room: Room::default() })
    }

    /// Returns the directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Returns the thread pool of the volume.
    pub(crate) fn pool(&self) -> &Pool {
        &self.staging.pool
    }

    /// Creates a file without a name on this filesystem, for writing and reading back. Its space is freed with the
    /// handle.
    pub(crate) fn nameless(&self) -> Result<fs_err::File, StorageError> {
        self.staging.way.create(self.dir())
    }

    /// True if no other process can open a file of [`Self::nameless`] at any time, and [`super::link`] can name it.
    pub(crate) fn is_nameless_private(&self) -> bool {
        self.staging.way == Way::Tmpfile
    }

    /// Fails, as the write would, if `bytes` more do not fit on this filesystem now. Nothing is reserved. A filesystem
    /// that does not report its size refuses nothing, so a later write may still find it full.
    ///
    /// Cheap enough for each file of a tree: the filesystem, often remote, is queried once for many small files.
    pub fn room_for(&self, bytes: u64) -> Result<(), StorageError> {
        self.room.check(&self.staging.path, bytes, || free_on(self.dir()))
    }
}

impl Drop for Scratch {
    /// Removes the directory on a thread of the volume: it may hold a hundred thousand files, and the volume may hang.
    fn drop(&mut self) {
        let (staging, name) = (Arc::clone(&self.staging), std::mem::take(&mut self.name));
        self.staging.pool.detach(Removal { staging, name }, drop);
    }
}

/// A directory in staging that is removed on drop.
struct Removal {
    staging: Arc<Staging>,
    name: String,
}

impl Drop for Removal {
    fn drop(&mut self) {
        // A leftover is swept at the next start.
        if let Err(error) = remove_tree(&self.staging.dir, &self.name) {
            tracing::warn!(%error, "a staging directory is left behind until the next start");
        }
    }
}
