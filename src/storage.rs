//! Directories on a volume, accessed only through handles.
//!
//! ```text
//! <root>/                    one per --volume NAME=PATH
//!   .supercargo/             0700, ours
//!     owner                  the installation that claimed the root; see `owner`
//!     lock                   shared by every process that uses the root; taken alone to sweep
//!     staging/<random>/      one per pass, removed with its [`Scratch`], or swept at the next start
//!     blobs/sha256/<key>     cached layers; `blob::store` decides which, and for how long
//!     lists/<key>/<tree>     entries of each published tree, a directory for each object; see `output::record`
//! ```
//!
//! A root is opened once. Below it no path is ever resolved through a link or out of the root: every call is relative
//! to a directory handle and goes through `open_dir`, `open_file` or `create_file`, which `beneath` confines to the
//! root. The callers decide which files may exist.
//!
//! A root may be temporary (`Volume::passing`): then all of it is removed with its last holder.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

mod beneath;
mod entries;
mod error;
mod mount;
mod nameless;
mod on_volume;
mod owner;
mod passing;
mod pool;
mod room;

pub(crate) use beneath::follow;
pub(crate) use entries::{all_names, all_names_up_to, names, names_up_to, remove_tree};
pub(crate) use error::During;
pub use error::StorageError;
pub use mount::{Mount, Roots, Rule};
pub(crate) use nameless::link;
pub use on_volume::OnVolume;
pub use owner::{ClaimError, Inode, ancestry, overlap, owner};
pub use passing::Gone;
use passing::Passing;
pub use pool::{Call, Pool};
use room::Room;

/// Name of our private directory on a root.
const PRIVATE: &str = ".supercargo";
/// Mode of the private directory and of its permanent subdirectories.
const PRIVATE_MODE: Mode = Mode::from_raw_mode(0o700);
/// Maximum depth of a descent: each level is an open directory.
const MAX_DEPTH: usize = 256;

const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A root: a PVC, NFS export or host directory, open until its [`Mount`] opens it again. Every call on it may hang, so
/// it is made by a thread of its [`Pool`].
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
    root: OwnedFd,
    /// `.supercargo` and `.supercargo/blobs`, open only to restore their modes.
    private: [OwnedFd; 2],
    staging: Arc<Staging>,
    blobs: OwnedFd,
    lists: OwnedFd,
    /// Leftovers of a killed process in `staging`.
    left: Vec<String>,
    /// True once a directory whose mode cannot be set was reported.
    is_unprotected: AtomicBool,
    /// Shared lock, which shows other processes that staging directories may be in use.
    _lock: OwnedFd,
}

/// Parent of scratch directories. A thread may hold it longer than the volume itself is held.
#[derive(Debug)]
struct Staging {
    dir: OwnedFd,
    /// Method of creating files without a name.
    way: nameless::Way,
    pool: Pool,
    /// The root itself, if it is temporary.
    _root: Option<Passing>,
}

impl Volume {
    /// Opens a root, creates the private directory, and removes leftovers of a crash.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        create_root(path)?;
        let volume = Self::opened(path, open_any_dir(path)?, None, Pool::of(path))?;
        volume.sweep()?;
        Ok(volume)
    }

    fn opened(path: &Path, root: OwnedFd, passing: Option<Passing>, pool: Pool) -> Result<Self, StorageError> {
        let show = || path.display().to_string();
        let private = make_dir(&root, PRIVATE, PRIVATE_MODE)?;
        let staging = make_dir(&private, "staging", PRIVATE_MODE)?;
        let all_blobs = make_dir(&private, "blobs", PRIVATE_MODE)?;
        let blobs = make_dir(&all_blobs, "sha256", PRIVATE_MODE)?;
        let lists = make_dir(&private, "lists", PRIVATE_MODE)?;
        let lock_flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&private, "lock", lock_flags, Mode::from_raw_mode(0o600))
            .during(|| format!("open {}/{PRIVATE}/lock", show()))?;
        // A process alone on the root finds only leftovers in staging. Otherwise another process sweeps. Names are
        // random, so the leftovers listed here can be removed later, while new directories are created.
        let is_alone = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        let left = if is_alone { names(&staging)? } else { Vec::new() };
        if let Err(errno) = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
            tracing::warn!(volume = %show(), %errno, "no lock on this filesystem: use the volume from one process only");
        }
        let way = nameless::Way::probe(staging.as_fd());
        let staging = Arc::new(Staging { dir: staging, way, pool, _root: passing });
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
    fn pulse(&self) {
        if let Ok(name) = random_name()
            && rustix::fs::mkdirat(&self.staging.dir, &name, PRIVATE_MODE).is_ok()
        {
            let _ = rustix::fs::unlinkat(&self.staging.dir, &name, rustix::fs::AtFlags::REMOVEDIR);
        }
    }

    /// True if the path still leads to this root.
    fn is_at_its_path(&self) -> bool {
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
                    tracing::warn!(%directory, %mode, "the directory was open to others; its mode is 0700 again. Mount the volume without fsGroup or read-only where it is consumed");
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
        Arc::get_mut(&mut self.staging).unwrap().way = nameless::Way::Unlinked;
        self
    }

    /// True if the root's filesystem keeps its files in memory: tmpfs or ramfs.
    pub fn is_in_memory(&self) -> Result<bool, StorageError> {
        const TMPFS: i64 = 0x0102_1994;
        const RAMFS: i64 = 0x8584_58f6;
        let status = rustix::fs::fstatfs(&self.root).during(|| format!("look at {}", self.path.display()))?;
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
        let name = random_name()?;
        rustix::fs::mkdirat(&self.staging.dir, &name, Mode::from_raw_mode(0o700))
            .during(|| format!("create a staging directory on {}", self.path.display()))?;
        let dir = open_dir(self.staging.dir.as_fd(), &name).inspect_err(|_| {
            // Otherwise it would stay until the next start.
            let _ = remove_tree(&self.staging.dir, &name);
        })?;
        Ok(Scratch { dir, name, staging: Arc::clone(&self.staging), room: Room::default() })
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

/// Returns 32 random hex digits that cannot be guessed.
fn random_name() -> Result<String, StorageError> {
    let mut random = [0_u8; 16];
    // From the kernel: the crypto library's takes 40 ms to set up, and many commands do not need it.
    let got = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .during(|| "random name".to_owned())?;
    if got < random.len() {
        return Err(StorageError::new("random name", Errno::IO));
    }
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
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
    /// Returns the directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Returns the thread pool of the volume.
    pub(crate) fn pool(&self) -> &Pool {
        &self.staging.pool
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

/// Creates the directory of a root if it is missing.
fn create_root(path: &Path) -> Result<(), StorageError> {
    fs_err::create_dir_all(path)
        .map_err(|error| StorageError::from_io(format!("create directory {}", path.display()), &error))
}

/// Opens a directory named by the operator's configuration or on the command line; links in the path are allowed.
pub(crate) fn open_any_dir(path: &Path) -> Result<OwnedFd, StorageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).during(|| format!("open directory {}", path.display()))
}

/// Opens a directory below `dir`; no component may be a link or leave the filesystem.
pub(crate) fn open_dir(dir: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, StorageError> {
    beneath::open(dir, OsStr::new(path), DIR, Mode::empty()).during(|| format!("open directory {path}"))
}

/// Opens a regular file below `dir` for reading; no component may be a link.
pub(crate) fn open_file(dir: BorrowedFd<'_>, path: &str) -> Result<fs_err::File, StorageError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = beneath::open(dir, OsStr::new(path), flags, Mode::empty()).during(|| format!("open file {path}"))?;
    Ok(file(fd, path))
}

/// Creates a file below `dir`, which must not exist yet, for writing and reading back.
pub(crate) fn create_file(dir: BorrowedFd<'_>, path: &str, mode: Mode) -> Result<fs_err::File, StorageError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = beneath::open(dir, OsStr::new(path), flags, mode).during(|| format!("create file {path}"))?;
    // The process's umask may have cleared bits.
    rustix::fs::fchmod(&fd, mode).during(|| format!("set the mode of {path}"))?;
    Ok(file(fd, path))
}

fn file(fd: OwnedFd, path: &str) -> fs_err::File {
    fs_err::File::from_parts(fd.into(), path)
}

/// Replaces the file `name` by rename, so that a reader sees the old content or the new.
pub(crate) fn replace_file(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
    use std::io::Write;
    let temporary = format!(".{name}.new");
    remove_tree(dir, &temporary)?;
    let mut file = create_file(dir, &temporary, Mode::from_raw_mode(0o644))?;
    file.write_all(bytes).map_err(|error| StorageError::from_io(format!("write {name}"), &error))?;
    rustix::fs::fsync(file.file()).during(|| format!("sync {name}"))?;
    rustix::fs::renameat(dir, &temporary, dir, name).during(|| format!("rename {name}"))?;
    sync(dir, name)
}

/// True for the name of a single entry, which cannot lead to another directory.
pub(crate) fn is_component(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// Makes a directory's entries durable.
pub(crate) fn sync(dir: BorrowedFd<'_>, what: &str) -> Result<(), StorageError> {
    rustix::fs::fsync(dir).during(|| format!("sync {what}"))
}

/// Opens `name` in `dir`, and creates it with `mode` if it is missing.
pub(crate) fn make_dir(dir: impl AsFd, name: &str, mode: Mode) -> Result<OwnedFd, StorageError> {
    Ok(make_dir_or_open(dir, name, mode)?.0)
}

/// As [`make_dir`]; returns true if the directory was missing.
fn make_dir_or_open(dir: impl AsFd, name: &str, mode: Mode) -> Result<(OwnedFd, bool), StorageError> {
    match rustix::fs::mkdirat(&dir, name, mode) {
        Ok(()) => {
            let made = open_dir(dir.as_fd(), name)?;
            rustix::fs::fchmod(&made, mode).during(|| format!("set the mode of {name}"))?;
            Ok((made, true))
        }
        Err(Errno::EXIST) => Ok((open_dir(dir.as_fd(), name)?, false)),
        Err(errno) => Err(errno).during(|| format!("create directory {name}")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_leaves_nothing_in_staging_after_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let scratch = volume.scratch().unwrap();
        create_file(scratch.dir(), "left", Mode::from_raw_mode(0o600)).unwrap();
        std::mem::forget(scratch);
        let staging = root.path().join(".supercargo/staging");
        let count = || fs_err::read_dir(&staging).unwrap().count();

        let second = Volume::open(root.path()).unwrap();
        assert_eq!(count(), 1, "a root in use is not swept");
        drop((volume, second));
        Volume::open(root.path()).unwrap();
        assert_eq!(count(), 0);
    }

    #[test]
    fn private_directories_are_private_again_at_each_start_and_look() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let private = [".supercargo", "staging", "blobs", "blobs/sha256", "lists"]
            .map(|name| root.path().join(".supercargo").join(name.trim_start_matches(".supercargo")));
        let modes = || private.each_ref().map(|path| fs_err::metadata(path).unwrap().permissions().mode() & 0o7777);
        // As the kubelet does for a pod with an fsGroup.
        let open_up = |path: &PathBuf| fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o2770)).unwrap();
        let volume = Volume::open(root.path()).unwrap();
        assert_eq!(modes(), [0o700; 5]);
        assert!(!volume.protect());
        private.iter().for_each(open_up);
        assert!(volume.protect());
        assert_eq!(modes(), [0o700; 5]);
        assert!(!volume.protect());
        for path in &private {
            open_up(path);
            assert!(volume.protect(), "{}", path.display());
        }
        private.iter().for_each(open_up);
        let _second = Volume::open(root.path()).unwrap();
        assert_eq!(modes(), [0o700; 5], "at a start, also where the root is in use");
        let (passing, _) = Volume::passing(root.path(), ".out-").unwrap();
        open_up(&passing.path().join(".supercargo"));
        assert!(passing.protect());
    }

    #[test]
    fn what_is_full_is_told_as_full_whoever_wrote() {
        use std::io::Write;
        let mut file = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let named = file.write_all(b"content").unwrap_err();
        let plain = file.file_mut().write_all(b"content").unwrap_err();
        for error in [named, plain] {
            let error = StorageError::from_io("write", &error);
            assert!(error.is_full(), "{error}");
        }
        let denied = fs_err::File::open("/nothing").map(drop).unwrap_err();
        assert!(StorageError::from_io("open", &denied).is_absent());
        let cut = StorageError::from_io("read", &std::io::ErrorKind::UnexpectedEof.into());
        assert_eq!(cut.to_string(), StorageError::new("read", Errno::IO).to_string());
    }

    #[test]
    fn a_tree_that_is_deeper_than_handles_go_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let top = open_any_dir(root.path()).unwrap();
        let mut dir = make_dir(&top, "tree", Mode::from_raw_mode(0o755)).unwrap();
        for _ in 0..3 * MAX_DEPTH {
            create_file(dir.as_fd(), "file", Mode::from_raw_mode(0o600)).unwrap();
            dir = make_dir(&dir, "n", Mode::from_raw_mode(0o755)).unwrap();
        }
        remove_tree(&top, "tree").unwrap();
        assert!(names(&top).unwrap().is_empty());
        remove_tree(&top, "tree").unwrap();
    }

    #[test]
    fn a_link_in_place_of_a_directory_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs_err::write(outside.path().join("canary"), "alive").unwrap();
        let volume = Volume::open(root.path()).unwrap();
        fs_err::os::unix::fs::symlink(outside.path(), root.path().join("team")).unwrap();
        assert!(volume.dir("team", "app").is_err());
        assert!(volume.existing_dir("team", "app").is_err());
        assert!(volume.remove_dir("team", "canary").is_err());
        assert!(outside.path().join("canary").exists());
    }
}
