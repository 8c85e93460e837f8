//! Verification of a staged tree while its list is taken, and once more before anything points to it.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::record::{Entry, Header, Seen, Writer, permissions, split};
use crate::oci::Digest;
use crate::storage::{self, During, Volume};
use crate::unpack::Stop;
use crate::unpack::read_back::{self, Changed, StagedError};
use crate::unpack::staged::{Node, Staged};

/// Begins the list of a tree before its publication, and verifies the tree against the unpacked content.
///
/// The stage is on the volume, where another process may have written to it. The order matters: first the times of each
/// file are taken. Then everything is written back, after which the kernel updates the times for every further write,
/// even a write to a page that a process has mapped. Then every file is read and compared. So the files were read with
/// the unpacked bytes, and any later write shows as times that differ from the list.
pub(super) fn take(
    volume: &Volume,
    tree: &str,
    staged: &Staged,
    stop: &Stop,
) -> Result<(Writer, Witness), StagedError> {
    let top = staged.open()?;
    let mut names: HashMap<&str, u64> = HashMap::new();
    for path in staged.nodes().keys() {
        *names.entry(split(path.as_str()).0).or_default() += 1;
    }
    let count = |path: &str| names.get(path).copied().unwrap_or_default();
    let mode = permissions(&rustix::fs::fstat(&top).during(|| "stat the staged tree".to_owned())?);
    let mut looks = Vec::with_capacity(staged.nodes().len());
    let mut parents = Parents::of(&top);
    for (path, node) in staged.nodes() {
        let path = path.as_str();
        let (parent, name) = parents.of_path(path)?;
        let status = look(parent, name, path)?;
        let kind = FileType::from_raw_mode(status.st_mode);
        let is_it = match node {
            Node::Directory => kind.is_dir(),
            Node::File { .. } => kind.is_file(),
            Node::Link { target } => {
                let found = rustix::fs::readlinkat(parent, name, Vec::new());
                found.is_ok_and(|found| found.as_bytes() == target.as_bytes())
            }
        };
        if !is_it {
            return Err(Changed::kind(path).into());
        }
        looks.push((permissions(&status), Seen::of(&status)));
    }
    staged.sync(&top)?;
    let mut writer = Writer::begin(volume, &Header { tree: tree.to_owned(), names: count(""), mode })?;
    let mut parents = Parents::of(&top);
    for ((path, node), (mode, seen)) in staged.nodes().iter().zip(&looks) {
        let (path, mode, seen) = (path.as_str(), *mode, *seen);
        let entry = match node {
            Node::Directory => Entry::Directory { names: count(path), mode },
            Node::Link { target } => Entry::Link { target: target.clone() },
            Node::File { size, executable, digest } => {
                let (parent, name) = parents.of_path(path)?;
                compare(parent, name, path, (*size, digest), seen, stop)?;
                Entry::File { size: *size, executable: *executable, digest: digest.clone(), mode, seen }
            }
        };
        writer.add(path, &entry)?;
    }
    Ok((writer, Witness { top, seen: looks.into_iter().map(|(_, seen)| seen).collect() }))
}

/// Reads a file, which must have the inode seen before, and compares its bytes.
fn compare(
    parent: BorrowedFd<'_>,
    name: &str,
    path: &str,
    expected: (u64, &Digest),
    seen: Seen,
    stop: &Stop,
) -> Result<(), StagedError> {
    let file = read_back::open(parent, name, path)?;
    let found = rustix::fs::fstat(file.file()).during(|| format!("stat {path}"))?;
    if Seen::of(&found).inode != seen.inode {
        return Err(Changed::new(path, "replaced by another file").into());
    }
    read_back::verify(&file, path, expected, stop, |_| ())
}

fn look(parent: BorrowedFd<'_>, name: &str, path: &str) -> Result<Stat, StagedError> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Err(Changed::kind(path).into()),
        status => Ok(status.during(|| format!("stat {path}"))?),
    }
}

/// Opens the parent directories of a tree's paths. Paths come in order, so one open directory serves all neighbours.
struct Parents<'a> {
    top: BorrowedFd<'a>,
    opened: (String, Option<OwnedFd>),
}

impl<'a> Parents<'a> {
    fn of(top: &'a OwnedFd) -> Self {
        Self { top: top.as_fd(), opened: (String::new(), None) }
    }

    /// Returns the directory of a path, and the name in it.
    fn of_path<'b>(&mut self, path: &'b str) -> Result<(BorrowedFd<'_>, &'b str), StagedError> {
        let (above, name) = split(path);
        if self.opened.0 != above {
            self.opened = (String::new(), None);
            if !above.is_empty() {
                let dir = match storage::open_dir(self.top, above) {
                    Err(error) if error.is_replaced() => return Err(Changed::kind(above).into()),
                    dir => dir?,
                };
                self.opened = (above.to_owned(), Some(dir));
            }
        }
        Ok((self.opened.1.as_ref().map_or(self.top, AsFd::as_fd), name))
    }
}

/// Inodes and times of a tree's files when it was verified.
pub(super) struct Witness {
    /// The tree, even after it was moved.
    top: OwnedFd,
    /// Attributes of each file, in the order of paths.
    seen: Vec<Seen>,
}

impl Witness {
    /// Fails if a file was changed since. Files with other times are read, because some shares set times late. Call
    /// this after the tree has left the stage and before anything points to it: then only a process with an open handle
    /// can write.
    pub(super) fn check(&self, staged: &Staged, stop: &Stop) -> Result<(), StagedError> {
        let mut parents = Parents::of(&self.top);
        for ((path, node), seen) in staged.nodes().iter().zip(&self.seen) {
            let Node::File { size, digest, .. } = node else { continue };
            let path = path.as_str();
            let (parent, name) = parents.of_path(path)?;
            if Seen::of(&look(parent, name, path)?) != *seen {
                compare(parent, name, path, (*size, digest), *seen, stop)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
