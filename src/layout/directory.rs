//! A layout in a directory: opened or created, and read.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::os::unix::fs::FileExt;
use rustix::fs::{FileType, Mode};

use super::LayoutError;
use super::index::{self, Entry};
use super::ours::{self, OURS, Ours};
use crate::oci::digest::hash_chunks;
use crate::oci::{Descriptor, Digest};
use crate::storage::{self, During, StorageError};

/// File that marks a layout.
pub(super) const OCI_LAYOUT: &str = "oci-layout";
/// Content of that file.
pub(super) const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// Maximum size of that file, in bytes.
const MAX_VERSION_BYTES: u64 = 4096;
/// Directory of blobs.
pub(super) const BLOBS: &str = "blobs/sha256";
/// Mode of directories with content.
const SHARED: Mode = Mode::from_raw_mode(0o755);

/// An image layout in a directory. Clones share it. All methods block.
#[derive(Clone, Debug)]
pub struct Layout {
    root: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    dir: OwnedFd,
    access: Access,
}

/// Access to the layout, and the lock that keeps blobs from being removed meanwhile.
#[derive(Debug)]
enum Access {
    Write(Ours),
    Read { _lock: Option<OwnedFd> },
}

impl Layout {
    /// Opens a layout for reading and writing, and creates the directory, its parents and the layout if they are
    /// missing. An existing directory must be a layout, or empty.
    pub fn create(dir: &Path) -> Result<Self, LayoutError> {
        fs_err::create_dir_all(dir).map_err(|error| StorageError::from_io("create a layout", &error))?;
        let handle = storage::open_any_dir(dir)?;
        check_empty(&handle, dir)?;
        let access = Access::Write(Ours::join(handle.as_fd())?);
        let layout = Self::at(dir, handle, access);
        let _index = layout.ours()?.lock_index()?;
        if layout.open_regular(OCI_LAYOUT)?.is_none() {
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
        let handle = match storage::open_any_dir(dir) {
            Err(error) if error.is_absent() => return Err(LayoutError::Missing(dir.display().to_string())),
            handle => handle?,
        };
        let access = Access::Read { _lock: ours::join_as_reader(handle.as_fd()) };
        let layout = Self::at(dir, handle, access);
        layout.check_version()?;
        Ok(layout)
    }

    /// Opens an existing layout for writing, which no other process has open.
    pub(super) fn open_alone(dir: &Path) -> Result<Self, LayoutError> {
        let handle = storage::open_any_dir(dir)?;
        let ours = match Ours::alone(handle.as_fd()) {
            Err(error) if error.is_locked() => return Err(LayoutError::InUse(dir.display().to_string())),
            ours => ours?,
        };
        let layout = Self::at(dir, handle, Access::Write(ours));
        layout.check_version()?;
        Ok(layout)
    }

    fn at(path: &Path, dir: OwnedFd, access: Access) -> Self {
        Self { root: Arc::new(Root { path: path.to_owned(), dir, access }) }
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
        let Some(bytes) = self.read_unchecked(digest, limit)? else { return Ok(None) };
        if Digest::of(&bytes) != *digest {
            return Err(LayoutError::Corrupt { layout: self.shown(), digest: digest.clone() });
        }
        Ok(Some(bytes))
    }

    /// Returns true if the layout has a blob with this size and digest.
    pub(super) fn has_whole(&self, blob: &Descriptor) -> Result<bool, LayoutError> {
        let Some((file, size)) = self.open_blob(&blob.digest)? else { return Ok(false) };
        if size != blob.size {
            return Ok(false);
        }
        let unreadable = |error| StorageError::from_io(format!("read {}", blob.digest), &error);
        let (found, _) = hash_chunks(size, |to, at| file.read_at(to, at), unreadable, |_| Ok(()))?;
        Ok(found == blob.digest)
    }

    pub(super) fn read_unchecked(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, LayoutError> {
        self.read(&format!("{BLOBS}/{}", digest.hex()), limit)
    }

    pub(super) fn index(&self) -> Result<index::Index, LayoutError> {
        let bytes = self.read(index::INDEX, index::MAX_BYTES)?;
        let bytes = bytes.ok_or_else(|| self.invalid("index.json does not exist"))?;
        index::Index::parse(&bytes).map_err(|problem| self.invalid(problem))
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.root.dir.as_fd()
    }

    /// Returns our directory; fails if the layout was opened for reading.
    pub(super) fn ours(&self) -> Result<&Ours, LayoutError> {
        match &self.root.access {
            Access::Write(ours) => Ok(ours),
            Access::Read { .. } => Err(LayoutError::ReadOnly(self.shown())),
        }
    }

    pub(super) fn shown(&self) -> String {
        self.path().display().to_string()
    }

    pub(super) fn invalid(&self, problem: impl std::fmt::Display) -> LayoutError {
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
    pub(super) fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, LayoutError> {
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
