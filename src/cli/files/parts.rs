//! Unfinished files beside their places, which an interrupted command removes, or the next one after a kill.
//!
//! A process holds a lock on each of its files. The files of a killed process have none, by which the next command for
//! the same place recognizes them: process numbers are used again, in containers always the same ones.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use crate::mutex::lock;

/// End of the names of unfinished files.
const SUFFIX: &str = ".part";
/// Number of attempts to create a file that another command does not remove before it is locked.
const ATTEMPTS: usize = 10;

/// Unfinished files of this process: a signal ends the command while a thread writes one.
static PARTS: Mutex<Parts> = Mutex::new(Parts { paths: BTreeSet::new(), is_moved: false, is_interrupted: false });

struct Parts {
    paths: BTreeSet<PathBuf>,
    /// True if a file is in its place.
    is_moved: bool,
    /// True if no further file may be begun.
    is_interrupted: bool,
}

/// A file that is removed when it is dropped, unless it was moved to its place.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    /// The file with its lock.
    pub(super) file: fs_err::File,
}

impl Part {
    /// Creates a new file beside `path`, after the removal of those that killed commands left there.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}{SUFFIX}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        for _ in 0..ATTEMPTS {
            sweep(path);
            // The lock is held meanwhile, so that a file of a command that is interrupted is listed or does not exist.
            let mut parts = lock(&PARTS);
            if parts.is_interrupted {
                return Err(ErrorKind::Interrupted.into());
            }
            let file = fs_err::File::create_new(&temporary)?;
            // Without locks on this filesystem, nothing is swept either.
            let _ = flock(file.file(), FlockOperation::NonBlockingLockExclusive);
            if is_at(&file, &temporary) {
                parts.paths.insert(temporary.clone());
                return Ok(Self { path: temporary, file });
            }
        }
        Err(Error::new(ErrorKind::AlreadyExists, format!("{}: removed by another process", temporary.display())))
    }

    /// Moves the file to its place.
    pub(super) fn rename(&self, path: &Path) -> Result<(), Error> {
        let mut parts = lock(&PARTS);
        fs_err::rename(&self.path, path)?;
        parts.is_moved = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        remove(&self.path);
        lock(&PARTS).paths.remove(&self.path);
    }
}

/// Removes unfinished files beside `path` that no process holds.
pub(super) fn sweep(path: &Path) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned() + ".") else { return };
    // A directory that cannot be listed can still be writable.
    let Ok(entries) = fs_err::read_dir(parent) else { return };
    for entry in entries.filter_map(Result::ok) {
        let other = entry.file_name();
        let number = other.to_str().and_then(|other| other.strip_prefix(&name)?.strip_suffix(SUFFIX));
        if number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())) {
            sweep_one(&entry.path());
        }
    }
}

/// Removes a file if it is a regular one that no process has locked.
fn sweep_one(path: &Path) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else { return };
    let file = fs_err::File::from_parts(std::fs::File::from(file), path);
    let is_left = file.metadata().is_ok_and(|metadata| metadata.is_file())
        && flock(file.file(), FlockOperation::NonBlockingLockExclusive).is_ok();
    if is_left && is_at(&file, path) {
        remove(path);
    }
}

/// Returns true if a path leads to an open file.
fn is_at(file: &fs_err::File, path: &Path) -> bool {
    let own = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (one, other) = (file.metadata().map(own), fs_err::symlink_metadata(path).map(own));
    one.is_ok_and(|one| other.is_ok_and(|other| one == other))
}

/// As [`remove_all`], unless a file is in its place already; returns false then.
pub(crate) fn remove_all_unless_moved() -> bool {
    let mut parts = lock(&PARTS);
    if !parts.is_moved {
        parts.remove_all();
    }
    !parts.is_moved
}

/// Removes the unfinished files of this process. No file can be begun afterwards.
pub(crate) fn remove_all() {
    lock(&PARTS).remove_all();
}

impl Parts {
    fn remove_all(&mut self) {
        self.is_interrupted = true;
        self.paths.iter().for_each(|path| remove(path));
    }
}

fn remove(path: &Path) {
    // Another error is reported, and a file that was moved is gone already.
    let _ = fs_err::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_killed_commands_are_removed_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a.yaml");
        let at = |name: &str| dir.path().join(name);
        let left = at("a.yaml.4194304.part");
        let others = ["a.yaml.x.part", "b.yaml.1.part", "a.yaml.2.part.yaml", "a.yaml..part"];
        for path in others.iter().map(|name| at(name)).chain([left.clone(), at("a.yaml.7.part")]) {
            fs_err::write(path, "x").unwrap();
        }
        let held = fs_err::File::open(at("a.yaml.7.part")).unwrap();
        flock(held.file(), FlockOperation::NonBlockingLockExclusive).unwrap();
        fs_err::create_dir(at("a.yaml.8.part")).unwrap();
        fs_err::os::unix::fs::symlink("a.yaml.x.part", at("a.yaml.9.part")).unwrap();
        let part = Part::create(&place).unwrap();
        assert!(!left.exists(), "the file of a killed command is left");
        for name in others.into_iter().chain(["a.yaml.7.part", "a.yaml.8.part", "a.yaml.9.part"]) {
            assert!(at(name).exists(), "{name} is gone");
        }
        // That of a command that runs, also of this one, stays.
        sweep(&place);
        assert!(part.path.exists());
        let path = part.path.clone();
        drop(part);
        assert!(!path.exists());
        // A process with the same number was killed.
        fs_err::write(&path, "x").unwrap();
        drop(Part::create(&place).unwrap());
    }
}
