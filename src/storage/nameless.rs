//! Files without a name, which no other process can open.
//!
//! Layers are unpacked from such files. A process that can write to the volume can open any other file on it, keep the
//! handle, and change the bytes after they were hashed.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::entries::remove_tree;
use super::error::{During, StorageError};
use super::handle::{create_file, file, random_name};

/// Method of creating files without a name on a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// `O_TMPFILE`: the file has no name until [`link`] gives it one. Only a process that may read the operator's
    /// `/proc/<pid>/fd`, or one with `CAP_DAC_READ_SEARCH` on the node (by file handle), can still open it.
    Tmpfile,
    /// A random name that is removed at once, for filesystems without `O_TMPFILE` (NFS, CIFS, FUSE, older overlays) and
    /// processes without `/proc`. Two gaps remain. A process that watches the directory can open the file in between
    /// and write to it later. And an NFS client renames an open file to `.nfs...` instead of removing it, so the file
    /// has a name for as long as it is open. Readers of such a file must therefore compare its times after reading it.
    Unlinked,
}

impl Way {
    /// Detects the method that works in `dir`.
    pub(super) fn probe(dir: BorrowedFd<'_>) -> Self {
        let tried = || {
            let probe = tmpfile(dir)?;
            let name = random_name().map_err(|_| Errno::IO)?;
            link_at(probe.as_fd(), dir, &name)?;
            rustix::fs::unlinkat(dir, &name, AtFlags::empty())
        };
        if tried().is_ok() { Self::Tmpfile } else { Self::Unlinked }
    }

    /// Creates a file without a name in `dir`.
    pub(super) fn create(self, dir: BorrowedFd<'_>) -> Result<fs_err::File, StorageError> {
        const WHAT: &str = "a file without a name";
        match self {
            Self::Tmpfile => Ok(file(tmpfile(dir).during(|| format!("create {WHAT}"))?, WHAT)),
            Self::Unlinked => {
                let name = random_name()?;
                let file = create_file(dir, &name, Mode::from_raw_mode(0o600))?;
                rustix::fs::unlinkat(dir, &name, AtFlags::empty()).during(|| format!("unlink {name}"))?;
                Ok(file)
            }
        }
    }
}

/// Names a nameless file `name` in `dir`, and replaces an existing entry. From then on its bytes are not trusted.
pub(crate) fn link(file: &fs_err::File, dir: BorrowedFd<'_>, name: &str) -> Result<(), StorageError> {
    let linked = match link_at(file.file().as_fd(), dir, name) {
        // No call links and replaces in one step. In between, readers find no file, and download.
        Err(Errno::EXIST) => {
            remove_tree(dir, name)?;
            link_at(file.file().as_fd(), dir, name)
        }
        linked => linked,
    };
    linked.during(|| format!("link {name}"))
}

fn tmpfile(dir: BorrowedFd<'_>) -> Result<std::os::fd::OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    rustix::fs::openat(dir, ".", flags, Mode::from_raw_mode(0o600))
}

/// Links a nameless file, in the only way that needs no privileges.
fn link_at(file: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    rustix::fs::linkat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), dir, name, AtFlags::SYMLINK_FOLLOW)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::storage::{Volume, all_names, names};

    #[test]
    fn a_nameless_file_gets_a_name_only_by_a_link() {
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let scratch = volume.scratch().unwrap();
        assert!(all_names(volume.staging.dir.as_fd()).unwrap().len() == 1, "the probe leaves nothing");
        for volume in [Volume::open(root.path()).unwrap(), Volume::open(root.path()).unwrap().without_tmpfile()] {
            let scratch = volume.scratch().unwrap();
            let mut file = scratch.nameless().unwrap();
            file.write_all(b"content").unwrap();
            assert!(all_names(scratch.dir()).unwrap().is_empty());
        }
        if !scratch.is_nameless_private() {
            return;
        }
        let mut file = scratch.nameless().unwrap();
        file.write_all(b"content").unwrap();
        for before in ["nothing", "a file", "a link", "a directory"] {
            let path = root.path().join(".supercargo/blobs/sha256/name");
            match before {
                "a file" => fs_err::write(&path, "other").unwrap(),
                "a link" => fs_err::os::unix::fs::symlink("name", &path).unwrap(),
                "a directory" => fs_err::create_dir_all(path.join("inner")).unwrap(),
                _ => {}
            }
            link(&file, volume.blobs(), "name").unwrap();
            assert_eq!(fs_err::read(&path).unwrap(), b"content", "{before}");
            assert_eq!(names(volume.blobs()).unwrap(), ["name"], "{before}");
            fs_err::remove_file(&path).unwrap();
            // A file whose last name was removed cannot be named again.
            file = scratch.nameless().unwrap();
            file.write_all(b"content").unwrap();
        }
    }
}
