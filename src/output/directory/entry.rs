//! A directory by its name in its parent, and what is there.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::output::OutputError;
use crate::storage::{self, During, StorageError};
use crate::unpack::listing::ListingError;

/// Maximum number of characters of the directory's name in the stage's name.
const STAGE_NAME: usize = 60;

/// A name in an open directory.
pub(super) struct Entry {
    pub(super) parent: OwnedFd,
    pub(super) parent_path: PathBuf,
    pub(super) name: OsString,
}

/// File type and mode of an existing entry.
pub(super) struct Found {
    pub(super) is_dir: bool,
    pub(super) is_mount: bool,
    pub(super) mode: Mode,
}

impl Entry {
    pub(super) fn of(path: &Path) -> Result<Self, OutputError> {
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            let why = "has no name in its parent directory; expected a path that ends in a name";
            return Err(OutputError::Obstacle(format!("{} {why}", path.display())));
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { parent: storage::open_any_dir(parent)?, parent_path: parent.to_owned(), name })
    }

    /// Returns the beginning of the names of stages for a directory.
    pub(super) fn stages(&self) -> String {
        let shown: String = self.name.to_string_lossy().chars().take(STAGE_NAME).collect();
        format!(".{shown}.supercargo-")
    }

    /// Returns the existing entry, without following a link; `None` if there is none.
    pub(super) fn look(&self) -> Result<Option<Found>, StorageError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        match rustix::fs::statx(&self.parent, &self.name, flags, StatxFlags::TYPE | StatxFlags::MODE) {
            Ok(found) => Ok(Some(Found {
                is_dir: FileType::from_raw_mode(found.stx_mode.into()).is_dir(),
                is_mount: found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
                mode: Mode::from_raw_mode(found.stx_mode.into()),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).during(|| format!("stat {}", self.name.display())),
        }
    }

    pub(super) fn open(&self) -> Result<OwnedFd, StorageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty())
            .during(|| format!("open directory {}", self.name.display()))
    }

    pub(super) fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(storage::all_names(self.open()?)?.is_empty())
    }
}

/// Converts the error of a directory that cannot be compared.
pub(super) fn unlisted(path: &Path, error: ListingError) -> OutputError {
    match error {
        ListingError::Storage(error) => error.into(),
        error @ (ListingError::Kind { .. } | ListingError::Name { .. } | ListingError::Limit { .. }) => {
            OutputError::Obstacle(format!("{}: {error}", path.display()))
        }
    }
}
