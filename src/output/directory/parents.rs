//! Parent directories of a directory in a repository: created if they are missing, removed again on failure.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::output::OutputError;
use crate::storage::{self, During};

/// Directories that were created, in the order of their creation. Removed on drop, in the reverse order, if they are
/// empty.
#[derive(Debug, Default)]
pub struct Parents {
    created: Vec<PathBuf>,
}

impl Parents {
    /// Creates the missing parents of `relative` below `base`. No component may be a link: content would leave the
    /// repository by it.
    pub fn create(base: &Path, relative: &Path) -> Result<Self, OutputError> {
        let mut parents = Self::default();
        let (mut dir, mut at) = (storage::open_any_dir(base)?, base.to_owned());
        for component in relative.parent().into_iter().flat_map(Path::components) {
            let Component::Normal(name) = component else {
                let problem = "is not a plain path below it";
                return Err(OutputError::Obstacle(format!("{} in {}: {problem}", relative.display(), base.display())));
            };
            at.push(name);
            dir = match open(&dir, name) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) => parents.created.push(at.clone()),
                        // Another artifact of this command has the same parent.
                        Err(Errno::EXIST) => {}
                        failed @ Err(_) => failed.during(|| format!("create directory {}", at.display()))?,
                    }
                    open(&dir, name).during(|| format!("open directory {}", at.display()))?
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let problem = "is a file or a link, not a directory";
                    return Err(OutputError::Obstacle(format!("{} {problem}", at.display())));
                }
                found => found.during(|| format!("open directory {}", at.display()))?,
            };
        }
        Ok(parents)
    }

    /// Adds directories that were created later, to be removed together: a directory in which another one was created
    /// meanwhile is empty only after that one is gone.
    pub fn add(&mut self, mut later: Self) {
        self.created.append(&mut later.created);
    }
}

impl Drop for Parents {
    fn drop(&mut self) {
        for created in self.created.iter().rev() {
            // One with content stays.
            let _ = rustix::fs::unlinkat(rustix::fs::CWD, created, AtFlags::REMOVEDIR);
        }
    }
}

fn open(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_parents_are_created_and_removed_again_if_they_are_empty() {
        let base = tempfile::tempdir().unwrap();
        let made = || base.path().join("a/b").is_dir();
        let create = || Parents::create(base.path(), Path::new("a/b/c")).unwrap();
        drop(create());
        assert!(!base.path().join("a").exists());
        let [mut first, second] = [(); 2].map(|()| create());
        let inner = Parents::create(base.path(), Path::new("a/b/inner/c")).unwrap();
        first.add(second);
        first.add(inner);
        assert!(made());
        drop(first);
        assert!(!base.path().join("a").exists(), "the inner one first");
        let used = create();
        fs_err::write(base.path().join("a/file"), "").unwrap();
        drop(used);
        assert!(!made() && base.path().join("a/file").exists(), "one that is in use stays");
    }

    #[test]
    fn parents_that_lead_elsewhere_are_refused() {
        let [base, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        fs_err::os::unix::fs::symlink(other.path(), base.path().join("link")).unwrap();
        fs_err::write(base.path().join("file"), "").unwrap();
        for path in ["link/a", "link/a/b", "file/a", "../a/b", "/tmp/a"] {
            assert!(Parents::create(base.path(), Path::new(path)).is_err(), "{path}");
        }
        assert_eq!(fs_err::read_dir(other.path()).unwrap().count(), 0);
    }
}
