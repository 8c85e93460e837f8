//! Entries of a directory: listing, replacement and removal.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::beneath::{self, MAX_DEPTH};
use super::error::{During, StorageError};
use super::handle::{DIR, create_file, is_component, random_name, sync};

/// Maximum number of rounds in one removal, in which entries too deep for a descent are moved up.
const MAX_ROUNDS: usize = 1000;

/// Returns the names in one of our directories. Names that are not UTF-8 are not ours, and are left out.
pub(crate) fn names(dir: impl AsFd) -> Result<Vec<String>, StorageError> {
    names_up_to(dir, usize::MAX)
}

/// As [`names`], but only of the first `most` entries, in no order.
pub(crate) fn names_up_to(dir: impl AsFd, most: usize) -> Result<Vec<String>, StorageError> {
    Ok(listed(dir, most)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// Returns all names in a directory, without `.` and `..`.
pub(crate) fn all_names(dir: impl AsFd) -> Result<Vec<OsString>, StorageError> {
    listed(dir, usize::MAX)
}

/// As [`all_names`], but only the first `most`, in no order.
pub(crate) fn all_names_up_to(dir: impl AsFd, most: usize) -> Result<Vec<OsString>, StorageError> {
    // `.` and `..` are entries too.
    let mut names = listed(dir, most.saturating_add(2))?;
    names.truncate(most);
    Ok(names)
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

/// Replaces the file `name` by rename, so that a reader sees the old content or the new.
pub(crate) fn replace_file(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
    let temporary = format!(".{name}.new");
    remove_tree(dir, &temporary)?;
    let mut file = create_file(dir, &temporary, Mode::from_raw_mode(0o644))?;
    file.write_all(bytes).map_err(|error| StorageError::from_io(format!("write {name}"), &error))?;
    rustix::fs::fsync(file.file()).during(|| format!("sync {name}"))?;
    rustix::fs::renameat(dir, &temporary, dir, name).during(|| format!("rename {name}"))?;
    sync(dir, name)
}

/// Removes `name` of any kind in `dir`; links are removed, not followed. Absent is success.
pub(crate) fn remove_tree(dir: impl AsFd, name: &str) -> Result<(), StorageError> {
    if !is_component(name) {
        return Err(Errno::INVAL).during(|| format!("remove {name:?}"));
    }
    let (dir, name) = (dir.as_fd(), OsStr::new(name));
    // Each round removes as many levels as it descends. So another process can nest directories faster than they are
    // removed, but cannot keep those that already exist.
    for _ in 0..MAX_ROUNDS {
        if remove_at_depth(dir, name, None, 0)? == Removed::Whole {
            return Ok(());
        }
    }
    Err(Errno::NAMETOOLONG).during(|| format!("remove {}", name.display()))
}

/// Remainder of a tree after a removal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removed {
    /// Nothing.
    Whole,
    /// Entries that were too deep, now moved up.
    Lifted,
}

/// Removes an entry. `top` is the directory under removal that contains the entry; entries too deep are moved there.
fn remove_at_depth(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    top: Option<BorrowedFd<'_>>,
    depth: usize,
) -> Result<Removed, StorageError> {
    let remove = || format!("remove {}", name.display());
    let found = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Removed::Whole),
        found => found.during(remove)?,
    };
    if !FileType::from_raw_mode(found.st_mode).is_dir() {
        return remove_entry(dir, name, AtFlags::empty()).during(remove).map(|()| Removed::Whole);
    }
    // An empty directory can be removed even if it cannot be opened.
    match remove_entry(dir, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        result => return result.during(remove).map(|()| Removed::Whole),
    }
    if let Some(top) = top.filter(|_| depth >= MAX_DEPTH) {
        rustix::fs::renameat(dir, name, top, random_name()?).during(remove)?;
        return Ok(Removed::Lifted);
    }
    let inner = beneath::open(dir, name, DIR, Mode::empty()).during(remove)?;
    let mut removed = Removed::Whole;
    for name in all_names(&inner)? {
        if remove_at_depth(inner.as_fd(), &name, top.or(Some(inner.as_fd())), depth + 1)? == Removed::Lifted {
            removed = Removed::Lifted;
        }
    }
    match remove_entry(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(removed),
        // The top directory, into which entries were moved.
        Err(Errno::NOTEMPTY | Errno::EXIST) if removed == Removed::Lifted => Ok(removed),
        Err(errno) => Err(errno).during(remove),
    }
}

fn remove_entry(dir: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
