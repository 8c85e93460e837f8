//! A complete tree, ready to be published.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::path::EntryPath;
use super::{Stop, UnpackError, shown};
use crate::oci::{Digest, Hasher};
use crate::storage::{self, During, Pool, Scratch, StorageError};

/// Where a selected sub-directory is moved, to become the tree.
const SELECTED: &str = "selected";
/// Bytes read back at a time.
const BUFFER: usize = 256 * 1024;
/// Above this many files one `syncfs` is cheaper than an `fsync` for each.
const SYNCFS_ABOVE: usize = 32;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its bytes.
        size: u64,
        /// Whether its mode is 0755 instead of 0644.
        executable: bool,
        /// Digest of its bytes.
        digest: Digest,
    },
    /// A symbolic link.
    Link {
        /// Its target, as written.
        target: String,
    },
}

impl Node {
    /// Its line in what [`Staged::list_digest`] is the digest of.
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

/// A staged file that does not hold what was unpacked: another process has written to the stage.
#[derive(Debug, thiserror::Error)]
#[error("file {path:?} was changed on the volume before it was published: {problem}")]
pub struct Changed {
    path: String,
    problem: String,
}

impl Changed {
    pub(crate) fn new(path: &str, problem: impl Into<String>) -> Self {
        Self { path: shown(path), problem: problem.into() }
    }

    /// A path that is no file, directory or link any more, whichever it was.
    pub(crate) fn kind(path: &str) -> Self {
        Self::new(path, "it was removed, or replaced by something of another kind")
    }
}

/// Error of reading a stage back.
#[derive(Debug, thiserror::Error)]
pub enum StagedError {
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Another process has written to the stage.
    #[error(transparent)]
    Changed(#[from] Changed),
}

/// Opens a file of a stage.
pub(crate) fn open(dir: BorrowedFd<'_>, name: &str, path: &str) -> Result<fs_err::File, StagedError> {
    match storage::open_file(dir, name) {
        Err(error) if error.is_replaced() => Err(Changed::kind(path).into()),
        file => Ok(file?),
    }
}

/// Reads a file of a stage to its end, and fails where it has other bytes than were unpacked.
pub(crate) fn verify(
    file: fs_err::File,
    path: &str,
    (size, digest): (u64, &Digest),
    stop: &Stop,
    mut each: impl FnMut(&[u8]),
) -> Result<(), StagedError> {
    let (mut hasher, mut read_bytes) = (Hasher::default(), 0_u64);
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(BUFFER).clamp(1, BUFFER)];
    // One byte more shows a file that goes on.
    let mut file = file.take(size.saturating_add(1));
    loop {
        if stop.is_cancelled() {
            return Err(StorageError::new("verify the staged files", Errno::CANCELED).into());
        }
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                let bytes = buffer.get(..read).unwrap_or_default();
                hasher.update(bytes);
                each(bytes);
                read_bytes = read_bytes.saturating_add(read as u64);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StorageError::from_io(format!("read {path}"), &error).into()),
        }
    }
    if read_bytes != size {
        return Err(Changed::new(path, format!("expected {size} bytes, found more or fewer")).into());
    }
    let found = hasher.finish();
    if found != *digest {
        return Err(Changed::new(path, format!("expected {digest}, found {found}")).into());
    }
    Ok(())
}

/// A complete tree, durable on the target's filesystem: regular files, directories and links that
/// stay inside, within every limit.
#[derive(Debug)]
pub struct Staged {
    scratch: Arc<Scratch>,
    name: String,
    nodes: BTreeMap<EntryPath, Node>,
}

impl Staged {
    /// Makes the directory `sub_path` of `whole` in `scratch` the published tree. `nodes` is what is in it, of
    /// which only that stays for which `keeps` is true, with the directories that it is in.
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

    /// The threads of its volume.
    pub(crate) fn pool(&self) -> &Pool {
        self.scratch.pool()
    }

    /// What is in the tree, by path.
    pub fn nodes(&self) -> &BTreeMap<EntryPath, Node> {
        &self.nodes
    }

    /// Number of regular files.
    pub fn files(&self) -> u64 {
        self.nodes.values().filter(|node| matches!(node, Node::File { .. })).count() as u64
    }

    /// Bytes of all regular files.
    pub fn bytes(&self) -> u64 {
        self.nodes.values().map(|node| if let Node::File { size, .. } = node { *size } else { 0 }).sum()
    }

    /// Digest over paths, kinds, modes, sizes and contents.
    pub fn list_digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        for (path, node) in &self.nodes {
            hasher.update(node.line(path.as_str()).as_bytes());
        }
        hasher.finish()
    }

    /// The tree's own directory.
    pub(crate) fn open(&self) -> Result<OwnedFd, StorageError> {
        storage::open_dir(self.scratch.dir(), &self.name)
    }

    /// Reads one of its files, and fails where it has other bytes than were unpacked.
    pub(crate) fn read(&self, path: &EntryPath) -> Result<Vec<u8>, StagedError> {
        let Some(Node::File { size, digest, .. }) = self.nodes.get(path) else {
            return Err(Changed::kind(path.as_str()).into());
        };
        let tree = self.open()?;
        let file = open(tree.as_fd(), path.as_str(), path.as_str())?;
        let mut bytes = Vec::new();
        verify(file, path.as_str(), (*size, digest), &Stop::new(), |part| bytes.extend_from_slice(part))?;
        Ok(bytes)
    }

    /// Writes back everything that was written to the tree so far, which also makes the kernel note the time of the next
    /// write to each page that a process has mapped.
    pub(crate) fn sync(&self, tree: &OwnedFd) -> Result<(), StorageError> {
        make_durable(&self.scratch, tree, &self.nodes)
    }

    /// Puts the tree in the place of `name` in `dir`, which is on the same filesystem: nothing, or an empty
    /// directory; with `replace` any directory, which goes away with the stage. A reader sees one or the other.
    pub(crate) fn take_place(&self, dir: impl AsFd, name: &OsStr, replace: bool) -> Result<(), rustix::io::Errno> {
        use rustix::io::Errno;
        let (scratch, dir) = (self.scratch.dir(), dir.as_fd());
        // The plain call never replaces a directory that has something in it, on any filesystem.
        match rustix::fs::renameat(scratch, self.name.as_str(), dir, name) {
            Err(Errno::NOTEMPTY | Errno::EXIST) if replace => {
                rustix::fs::renameat_with(scratch, self.name.as_str(), dir, name, rustix::fs::RenameFlags::EXCHANGE)
            }
            result => result,
        }
    }

    /// Sets the mode of the tree's own directory.
    pub(crate) fn set_mode(&self, mode: Mode) -> Result<(), StorageError> {
        let tree = storage::open_dir(self.scratch.dir(), &self.name)?;
        rustix::fs::fchmod(&tree, mode).during(|| "set the mode of the tree".to_owned())?;
        storage::sync(tree.as_fd(), "the tree")
    }

    /// Moves the tree to `name` in `dir`, which is on the same filesystem and has no such name.
    pub(crate) fn move_to(&self, dir: impl AsFd, name: &str) -> Result<(), rustix::io::Errno> {
        use rustix::fs::{RenameFlags, renameat, renameat_with};
        use rustix::io::Errno;
        match renameat_with(self.scratch.dir(), self.name.as_str(), dir.as_fd(), name, RenameFlags::NOREPLACE) {
            // NFS knows no flags. Without them a directory replaces an empty one at most.
            Err(Errno::INVAL | Errno::NOSYS) => renameat(self.scratch.dir(), self.name.as_str(), dir.as_fd(), name),
            result => result,
        }
    }
}

/// Removes what is not wanted, and what is left of `nodes` then.
fn remove_others(
    dir: &OwnedFd,
    mut nodes: BTreeMap<EntryPath, Node>,
    keeps: impl Fn(&EntryPath) -> bool,
) -> Result<BTreeMap<EntryPath, Node>, StorageError> {
    let (mut others, mut wanted) = (Vec::new(), HashSet::new());
    // From the back: what is in a directory comes before it.
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

/// Follows a link as a reader would, held inside the tree. A link to nothing
/// stays a link to nothing.
fn check_link(dir: &OwnedFd, path: &EntryPath, target: &str) -> Result<(), UnpackError> {
    use rustix::io::Errno;
    match storage::follow(dir.as_fd(), path.as_str()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::XDEV | Errno::LOOP | Errno::NOTDIR) => Err(UnpackError::entry(
            path,
            format!("is a link to {:?}, which leads outside the published files", super::shown(target)),
        )),
        Err(errno) => Err(errno).during(|| format!("check link {path}")).map_err(UnpackError::from),
    }
}

/// The scratch directory was open before anything was written: the kernel reports each failed write-back to every handle
/// that was open before it, and to only one of those that were opened afterwards, perhaps another pass's.
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
