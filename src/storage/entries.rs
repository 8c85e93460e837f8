//! What is in a directory: its names, and taking it away.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::{DIR, During, MAX_DEPTH, StorageError, beneath};

/// Names in a directory of ours; those that are not UTF-8 are not ours and left out.
pub(crate) fn names(dir: impl AsFd) -> Result<Vec<String>, StorageError> {
    names_up_to(dir, usize::MAX)
}

/// The same of the first so many entries, in no order.
pub(crate) fn names_up_to(dir: impl AsFd, most: usize) -> Result<Vec<String>, StorageError> {
    Ok(listed(dir, most)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// Names in a directory, without `.` and `..`.
pub(crate) fn all_names(dir: impl AsFd) -> Result<Vec<OsString>, StorageError> {
    listed(dir, usize::MAX)
}

fn listed(dir: impl AsFd, most: usize) -> Result<Vec<OsString>, StorageError> {
    let listing = rustix::fs::Dir::read_from(dir).during(|| "list a directory".to_owned())?;
    let mut names = Vec::new();
    for entry in listing.take(most) {
        let entry = entry.during(|| "list a directory".to_owned())?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Removes `name` in `dir`, whatever it is; links are removed, not followed. Absent is success.
pub(crate) fn remove_tree(dir: impl AsFd, name: &str) -> Result<(), StorageError> {
    remove_at_depth(dir.as_fd(), OsStr::new(name), 0)
}

fn remove_at_depth(dir: BorrowedFd<'_>, name: &OsStr, depth: usize) -> Result<(), StorageError> {
    let remove = || format!("remove {}", name.display());
    let found = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        found => found.during(remove)?,
    };
    if !FileType::from_raw_mode(found.st_mode).is_dir() {
        return remove_entry(dir, name, AtFlags::empty()).during(remove);
    }
    // An empty one goes even where it could not be opened.
    match remove_entry(dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        result => return result.during(remove),
    }
    if depth >= MAX_DEPTH {
        return Err(Errno::NAMETOOLONG).during(remove);
    }
    let inner = beneath::open(dir, name, DIR, Mode::empty()).during(remove)?;
    for name in all_names(&inner)? {
        remove_at_depth(inner.as_fd(), &name, depth + 1)?;
    }
    remove_entry(dir, name, AtFlags::REMOVEDIR).during(remove)
}

fn remove_entry(dir: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
