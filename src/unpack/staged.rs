//! A complete tree, ready to be published.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::Stop;
use super::error::UnpackError;
use super::path::EntryPath;
use super::read_back::{Changed, StagedError, open, verify};
use super::rules::check_link;
use crate::oci::{Digest, Hasher};
use crate::storage::{self, During, Pool, Scratch, StorageError};

/// Name to which a selected sub-directory is moved to become the tree.
const SELECTED: &str = "selected";
/// Number of entries above which one `syncfs` is cheaper than an `fsync` for each.
const SYNCFS_ABOVE: usize = 32;

/// The entry at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
        /// True for mode 0755, false for 0644.
        executable: bool,
        /// Digest of the content.
        digest: Digest,
    },
    /// A symbolic link.
    Link {
        /// The target as written.
        target: String,
    },
}

impl Node {
    /// Returns the entry's line in the list that [`Staged::list_digest`] hashes.
    pub(crate) fn line(&self, path: &str) -> String {
        match self {
            Self::Directory => format!("d {path:?}\n"),
            Self::File { size, executable, digest } => {
                format!("f {path:?} {} {size} {digest}\n", if *executable { "755" } else { "644" })
            }
            Self::Link { target } => format!("l {path:?} {target:?}\n"),
        }
    }
}

/// A complete tree, durable on the target's filesystem: regular files, directories and links that stay inside the
/// tree, within every limit.
#[derive(Debug)]
pub struct Staged {
    scratch: Arc<Scratch>,
    name: String,
    nodes: BTreeMap<EntryPath, Node>,
}

impl Staged {
    /// Makes the directory `sub_path` of `whole` in `scratch` the tree to publish. `nodes` are its entries. Entries
    /// for which `keeps` is false are removed, except directories that contain kept ones.
    pub(super) fn new(
        scratch: Arc<Scratch>,
        whole: String,
        sub_path: &EntryPath,
        nodes: BTreeMap<EntryPath, Node>,
        keeps: impl Fn(&EntryPath) -> bool,
    ) -> Result<Self, UnpackError> {
        let name = if sub_path.is_root() {
            whole
        } else {
            let tree = storage::open_dir(scratch.dir(), &whole)?;
            rustix::fs::renameat(&tree, sub_path.as_str(), scratch.dir(), SELECTED)
                .during(|| format!("select {sub_path}"))?;
            SELECTED.to_owned()
        };
        let dir = storage::open_dir(scratch.dir(), &name)?;
        let nodes = remove_others(&dir, nodes, keeps)?;
        for (path, node) in &nodes {
            if let Node::Link { target } = node {
                check_link(&dir, path, target)?;
            }
        }
        make_durable(&scratch, &dir, &nodes)?;
        Ok(Self { scratch, name, nodes })
    }

    /// The thread pool of the volume.
    pub(crate) fn pool(&self) -> &Pool {
        self.scratch.pool()
    }

    /// The entries of the tree, by path.
    pub fn nodes(&self) -> &BTreeMap<EntryPath, Node> {
        &self.nodes
    }

    /// Returns the number of regular files.
    pub fn files(&self) -> u64 {
        self.nodes.values().filter(|node| matches!(node, Node::File { .. })).count() as u64
    }

    /// Returns the total size of all regular files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.nodes.values().map(|node| if let Node::File { size, .. } = node { *size } else { 0 }).sum()
    }

    /// Returns a digest of paths, kinds, modes, sizes and contents.
    pub fn list_digest(&self) -> Digest {
        list_digest(&self.nodes)
    }

    /// Opens the tree's top directory.
    pub(crate) fn open(&self) -> Result<OwnedFd, StorageError> {
        storage::open_dir(self.scratch.dir(), &self.name)
    }

    /// Reads one of the files, and fails if its content differs from the unpacked one.
    pub(crate) fn read(&self, path: &EntryPath) -> Result<Vec<u8>, StagedError> {
        let Some(Node::File { size, digest, .. }) = self.nodes.get(path) else {
            return Err(Changed::kind(path.as_str()).into());
        };
        let tree = self.open()?;
        let file = open(tree.as_fd(), path.as_str(), path.as_str())?;
        let mut bytes = Vec::new();
        verify(&file, path.as_str(), (*size, digest), &Stop::new(), |part| bytes.extend_from_slice(part))?;
        Ok(bytes)
    }

    /// Writes back everything written to the tree so far. After this the kernel also records the time of the next
    /// write to each page that a process has mapped.
    pub(crate) fn sync(&self, tree: &OwnedFd) -> Result<(), StorageError> {
        make_durable(&self.scratch, tree, &self.nodes)
    }

    /// Renames the tree to `name` in `dir`, on the same filesystem, if there is nothing or an empty directory. With
    /// `replace` any directory is exchanged for the tree, and removed with the stage. A reader sees either one or the
    /// other.
    pub(crate) fn take_place(&self, dir: impl AsFd, name: &OsStr, replace: bool) -> Result<(), rustix::io::Errno> {
        let (scratch, dir) = (self.scratch.dir(), dir.as_fd());
        // A plain rename never replaces a directory that is not empty, on any filesystem.
        match rustix::fs::renameat(scratch, self.name.as_str(), dir, name) {
            Err(Errno::NOTEMPTY | Errno::EXIST) if replace => {
                rustix::fs::renameat_with(scratch, self.name.as_str(), dir, name, rustix::fs::RenameFlags::EXCHANGE)
            }
            result => result,
        }
    }

    /// Sets the mode of the tree's top directory.
    pub(crate) fn set_mode(&self, mode: Mode) -> Result<(), StorageError> {
        let tree = storage::open_dir(self.scratch.dir(), &self.name)?;
        rustix::fs::fchmod(&tree, mode).during(|| "set the mode of the tree".to_owned())?;
        storage::sync(tree.as_fd(), "the tree")
    }

    /// Renames the tree to `name` in `dir`, on the same filesystem, where the name must not exist.
    pub(crate) fn move_to(&self, dir: impl AsFd, name: &str) -> Result<(), rustix::io::Errno> {
        use rustix::fs::{RenameFlags, renameat, renameat_with};
        match renameat_with(self.scratch.dir(), self.name.as_str(), dir.as_fd(), name, RenameFlags::NOREPLACE) {
            // NFS does not support flags. Without them a directory replaces at most an empty one.
            Err(Errno::INVAL | Errno::NOSYS) => renameat(self.scratch.dir(), self.name.as_str(), dir.as_fd(), name),
            result => result,
        }
    }
}

/// Returns a digest of paths, kinds, modes, sizes and contents.
pub(super) fn list_digest(nodes: &BTreeMap<EntryPath, Node>) -> Digest {
    let mut hasher = Hasher::default();
    for (path, node) in nodes {
        hasher.update(node.line(path.as_str()).as_bytes());
    }
    hasher.finish()
}

/// Removes the entries that are not kept, and returns the remaining ones.
fn remove_others(
    dir: &OwnedFd,
    mut nodes: BTreeMap<EntryPath, Node>,
    keeps: impl Fn(&EntryPath) -> bool,
) -> Result<BTreeMap<EntryPath, Node>, StorageError> {
    let (mut others, mut wanted) = (Vec::new(), HashSet::new());
    // In reverse order, so that the entries of a directory come before it.
    for path in nodes.keys().rev() {
        let Some((parent, name)) = path.split() else { continue };
        if keeps(path) || wanted.contains(path) {
            wanted.insert(parent);
        } else {
            let parent = if parent.is_root() { None } else { Some(storage::open_dir(dir.as_fd(), parent.as_str())?) };
            storage::remove_tree(parent.as_ref().unwrap_or(dir), name)?;
            others.push(path.clone());
        }
    }
    for path in others {
        nodes.remove(&path);
    }
    Ok(nodes)
}

/// Makes the tree durable.
///
/// The scratch directory was opened before anything was written: the kernel reports a failed write-back to every
/// handle that was open before it, but to only one of those opened afterwards, which could belong to another pass.
fn make_durable(scratch: &Scratch, dir: &OwnedFd, nodes: &BTreeMap<EntryPath, Node>) -> Result<(), StorageError> {
    if nodes.len() > SYNCFS_ABOVE {
        return rustix::fs::syncfs(scratch.dir()).during(|| "sync the filesystem".to_owned());
    }
    for (path, node) in nodes.iter().rev() {
        match node {
            Node::File { .. } => {
                let file = storage::open_file(dir.as_fd(), path.as_str())?;
                rustix::fs::fsync(file.file()).during(|| format!("sync {path}"))?;
            }
            Node::Directory => storage::sync(storage::open_dir(dir.as_fd(), path.as_str())?.as_fd(), path.as_str())?,
            Node::Link { .. } => {}
        }
    }
    storage::sync(dir.as_fd(), "the tree")
}
