//! OCI image layouts on disk (image-spec image-layout.md): manifests and blobs by digest, and an index of names.
//!
//! ```text
//! <dir>/
//!   oci-layout               version of the format
//!   index.json               names of manifests, and manifests without a name that refer to others
//!   blobs/sha256/<hex>       manifests, configs and layers
//!   .supercargo/             0700, only in layouts that supercargo writes to
//!     users                  shared by each process that has the layout open; taken alone to remove blobs
//!     index                  held while index.json is replaced
//!     ingest/<random>        files that are being written
//! ```
//!
//! Every file is complete and durable before it gets its name by a rename, and blobs before the index that leads to
//! them. So a process that is killed leaves the earlier index, whole, and at most files that nothing leads to. Two
//! processes can write at once: blobs are named by content, and the index is read, changed and replaced under its lock.
//!
//! Bytes in a layout are foreign, like those of a registry: digests are checked by the reader, files are opened below
//! `<dir>` without following links, and every list and document has a limit.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};

use crate::oci::{Descriptor, Digest};
use crate::storage::{self, During, StorageError};

mod error;
mod index;
mod writing;

pub use error::LayoutError;
pub use index::{Entry, MAX_ENTRIES, REF_NAME};
pub use writing::BlobWriter;

/// File that marks a layout.
const OCI_LAYOUT: &str = "oci-layout";
/// Content of that file.
const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// Maximum size of that file, in bytes.
const MAX_VERSION_BYTES: u64 = 4096;
/// Directory of blobs.
const BLOBS: &str = "blobs/sha256";
/// Directory for locks and unfinished files.
const OURS: &str = ".supercargo";
/// Mode of directories with content.
const SHARED: Mode = Mode::from_raw_mode(0o755);
/// Mode of our directory.
const PRIVATE: Mode = Mode::from_raw_mode(0o700);

/// An image layout in a directory. Clones share it. All methods block.
#[derive(Clone, Debug)]
pub struct Layout {
    root: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    dir: OwnedFd,
    /// Our directory; `None` if the layout was opened for reading.
    ours: Option<OwnedFd>,
    /// Lock that keeps blobs from being removed; `None` in a layout of other programs.
    _users: Option<OwnedFd>,
}

impl Layout {
    /// Opens a layout for reading and writing, and creates the directory, its parents and the layout if they are
    /// missing. An existing directory must be a layout, or empty.
    pub fn create(dir: &Path) -> Result<Self, LayoutError> {
        fs_err::create_dir_all(dir).map_err(|error| StorageError::from_io("create a layout", &error))?;
        let handle = storage::open_any_dir(dir)?;
        check_empty(&handle, dir)?;
        let ours = storage::make_dir(&handle, OURS, PRIVATE)?;
        storage::make_dir(&ours, writing::INGEST, PRIVATE)?;
        let users = lock(&ours, "users", FlockOperation::LockShared)?;
        let root = Root { path: dir.to_owned(), dir: handle, ours: Some(ours), _users: Some(users) };
        let layout = Self { root: Arc::new(root) };
        let _index = layout.lock_index()?;
        if storage::open_file(layout.dir(), OCI_LAYOUT).is_err_and(|error| error.is_absent()) {
            let blobs = storage::make_dir(layout.dir(), "blobs", SHARED)?;
            storage::make_dir(&blobs, "sha256", SHARED)?;
            storage::sync(blobs.as_fd(), BLOBS)?;
            if layout.open_regular(index::INDEX)?.is_none() {
                layout.replace(index::INDEX, index::Index::default().to_json().as_bytes())?;
            }
            layout.replace(OCI_LAYOUT, VERSION.as_bytes())?;
        }
        layout.check_version()?;
        Ok(layout)
    }

    /// Opens an existing layout for reading. Nothing is written to it.
    pub fn open(dir: &Path) -> Result<Self, LayoutError> {
        let handle = storage::open_any_dir(dir)?;
        // In a layout of another program there is no such file, and then nothing of ours removes blobs from it.
        let users = storage::open_dir(handle.as_fd(), OURS)
            .and_then(|ours| lock_existing(&ours, "users", FlockOperation::LockShared))
            .ok();
        let root = Root { path: dir.to_owned(), dir: handle, ours: None, _users: users };
        let layout = Self { root: Arc::new(root) };
        layout.check_version()?;
        Ok(layout)
    }

    /// The directory, as named by the caller.
    pub fn path(&self) -> &Path {
        &self.root.path
    }

    /// Returns the descriptor with this name in the index.
    pub fn resolve(&self, name: &str) -> Result<Option<Descriptor>, LayoutError> {
        let named = |entry: &Entry| entry.name.as_deref() == Some(name);
        Ok(self.entries()?.into_iter().find(named).map(|entry| entry.descriptor))
    }

    /// Returns the entries of the index, in its order. Entries that are no valid descriptors, such as those with
    /// another digest algorithm, are left out.
    pub fn entries(&self) -> Result<Vec<Entry>, LayoutError> {
        Ok(self.index()?.entries())
    }

    /// Opens a blob, and returns its size; `None` if the layout does not have it. Its digest is not checked.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<(fs_err::File, u64)>, LayoutError> {
        self.open_regular(&format!("{BLOBS}/{}", digest.hex()))
    }

    /// Reads a blob of at most `limit` bytes, and checks its digest; `None` if the layout does not have it.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, LayoutError> {
        let Some(bytes) = self.read(&format!("{BLOBS}/{}", digest.hex()), limit)? else { return Ok(None) };
        if Digest::of(&bytes) != *digest {
            return Err(LayoutError::Corrupt { layout: self.shown(), digest: digest.clone() });
        }
        Ok(Some(bytes))
    }

    fn index(&self) -> Result<index::Index, LayoutError> {
        let bytes = self.read(index::INDEX, index::MAX_BYTES)?;
        let bytes = bytes.ok_or_else(|| self.invalid("index.json does not exist"))?;
        index::Index::parse(&bytes).map_err(|problem| self.invalid(problem))
    }

    fn dir(&self) -> BorrowedFd<'_> {
        self.root.dir.as_fd()
    }

    fn shown(&self) -> String {
        self.path().display().to_string()
    }

    fn invalid(&self, problem: impl std::fmt::Display) -> LayoutError {
        LayoutError::Invalid { layout: self.shown(), problem: problem.to_string() }
    }

    fn check_version(&self) -> Result<(), LayoutError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            image_layout_version: String,
        }
        let Some(bytes) = self.read(OCI_LAYOUT, MAX_VERSION_BYTES)? else {
            return Err(LayoutError::Missing(self.shown()));
        };
        let version: Version =
            serde_json::from_slice(&bytes).map_err(|error| self.invalid(format!("oci-layout: {error}")))?;
        if version.image_layout_version.starts_with("1.") {
            return Ok(());
        }
        Err(self.invalid(format!("unsupported imageLayoutVersion {:?}; expected 1.0.0", version.image_layout_version)))
    }

    /// Opens a regular file for reading, and returns its size; `None` if it does not exist.
    fn open_regular(&self, path: &str) -> Result<Option<(fs_err::File, u64)>, LayoutError> {
        let file = match storage::open_file(self.dir(), path) {
            Err(error) if error.is_absent() => return Ok(None),
            file => file?,
        };
        let stat = rustix::fs::fstat(file.file()).during(|| format!("stat {path}"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.invalid(format!("{path} is not a regular file")));
        }
        Ok(Some((file, u64::try_from(stat.st_size).unwrap_or_default())))
    }

    /// Reads a file of at most `limit` bytes; `None` if it does not exist.
    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, LayoutError> {
        let Some((file, _)) = self.open_regular(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| StorageError::from_io(format!("read {path}"), &error))?;
        if bytes.len() as u64 > limit {
            return Err(LayoutError::TooLarge { layout: self.shown(), what: path.to_owned(), limit });
        }
        Ok(Some(bytes))
    }
}

/// Fails if the directory is no layout, but has entries of others. A killed process may have begun a layout.
fn check_empty(dir: &OwnedFd, path: &Path) -> Result<(), LayoutError> {
    const BEGUN: [&str; 3] = [OURS, "blobs", index::INDEX];
    let names = storage::all_names_up_to(dir, BEGUN.len() + 1)?;
    let is_layout = names.iter().any(|name| name == OCI_LAYOUT) || storage::open_file(dir.as_fd(), OCI_LAYOUT).is_ok();
    if is_layout || names.iter().all(|name| BEGUN.iter().any(|begun| name == begun)) {
        return Ok(());
    }
    Err(LayoutError::NotEmpty(path.display().to_string()))
}

/// Opens a lock file, and creates it if it is missing; waits until it is locked.
fn lock(dir: &OwnedFd, name: &str, how: FlockOperation) -> Result<OwnedFd, StorageError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600));
    locked(file.during(|| format!("open lock {name}"))?, name, how)
}

/// As [`lock`], but the file must exist, and may be read-only.
fn lock_existing(dir: &OwnedFd, name: &str, how: FlockOperation) -> Result<OwnedFd, StorageError> {
    let file = rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    locked(file.during(|| format!("open lock {name}"))?, name, how)
}

fn locked(file: OwnedFd, name: &str, how: FlockOperation) -> Result<OwnedFd, StorageError> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, how)).during(|| format!("lock {name}"))?;
    Ok(file)
}

/// Removes a file, if it exists.
fn unlink(dir: BorrowedFd<'_>, path: &str) -> Result<(), StorageError> {
    match rustix::fs::unlinkat(dir, path, AtFlags::empty()) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        result => result.during(|| format!("remove {path}")),
    }
}

#[cfg(test)]
mod tests;
