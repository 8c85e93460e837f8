//! Unfinished files beside their places, which an interrupted command removes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::mutex::lock;

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
pub(super) struct Part(PathBuf);

impl Part {
    /// Creates a new file beside `path`.
    pub(super) fn create(path: &Path) -> std::io::Result<(Self, fs_err::File)> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = PathBuf::from(temporary);
        // The lock is held meanwhile, so that a file of a command that is interrupted is listed or does not exist.
        let mut parts = lock(&PARTS);
        if parts.is_interrupted {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let file = fs_err::File::create_new(&temporary)?;
        parts.paths.insert(temporary.clone());
        Ok((Self(temporary), file))
    }

    /// Moves the file to its place.
    pub(super) fn rename(&self, path: &Path) -> std::io::Result<()> {
        let mut parts = lock(&PARTS);
        fs_err::rename(&self.0, path)?;
        parts.is_moved = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        remove(&self.0);
        lock(&PARTS).paths.remove(&self.0);
    }
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
