//! What is in a directory: its names, and taking it away.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::{DIR, During, MAX_DEPTH, StorageError, beneath, is_component, random_name};

/// How often what is too deep to be gone down to is moved up, in one removal.
const MAX_ROUNDS: usize = 1000;

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

/// The same of the first so many, in no order.
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

/// Removes `name` in `dir`, whatever it is; links are removed, not followed. Absent is success.
pub(crate) fn remove_tree(dir: impl AsFd, name: &str) -> Result<(), StorageError> {
    if !is_component(name) {
        return Err(Errno::INVAL).during(|| format!("remove {name:?}"));
    }
    let (dir, name) = (dir.as_fd(), OsStr::new(name));
    // Each round takes away as many levels as are gone down into, so that somebody else can put directories inside each
    // other faster than they are removed, but cannot make what is there stay.
    for _ in 0..MAX_ROUNDS {
        if remove_at_depth(dir, name, None, 0)? == Removed::Whole {
            return Ok(());
        }
    }
    Err(Errno::NAMETOOLONG).during(|| format!("remove {}", name.display()))
}

/// What is left of a tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removed {
    /// Nothing.
    Whole,
    /// What was too deep, now further up.
    Lifted,
}

/// `top` is the directory that is removed, where this is in it: what is too deep is moved there.
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
    // An empty one goes even where it could not be opened.
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
        // The very top, into which something was moved.
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
