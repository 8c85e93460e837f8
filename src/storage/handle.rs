//! Directories and files by handle: opened, created and synced, never through a link or out of the root.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::beneath;
use super::error::{During, StorageError};

/// Flags for opening a directory.
pub(super) const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

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

pub(super) fn file(fd: OwnedFd, path: &str) -> fs_err::File {
    fs_err::File::from_parts(fd.into(), path)
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
pub(super) fn make_dir_or_open(dir: impl AsFd, name: &str, mode: Mode) -> Result<(OwnedFd, bool), StorageError> {
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

/// Returns 32 random hex digits that cannot be guessed.
pub(crate) fn random_name() -> Result<String, StorageError> {
    let mut random = [0_u8; 16];
    // From the kernel: the crypto library's takes 40 ms to set up, and many commands do not need it.
    let got = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .during(|| "random name".to_owned())?;
    if got < random.len() {
        return Err(StorageError::new("random name", Errno::IO));
    }
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}
