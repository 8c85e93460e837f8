//! The tree being made: what is in it, what may still come, and that it stays inside.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry as Slot, HashMap};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::UnpackError;
use super::path::EntryPath;
use crate::oci::{Digest, Hasher};
use crate::request::Limits;
use crate::storage::{self, During, Scratch, StorageError};

/// Directory of the tree in its scratch.
const TREE: &str = "tree";
/// Where a selected sub-directory is moved, to become the tree.
const SELECTED: &str = "selected";
/// Above this many files one `syncfs` is cheaper than an `fsync` for each.
const SYNCFS_ABOVE: usize = 32;
/// Copy buffer.
const BUFFER: usize = 128 * 1024;

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

/// A tree while layers are added to it. Not yet durable, its links not yet followed.
#[derive(Debug)]
pub struct Tree {
    scratch: Scratch,
    dir: OwnedFd,
    limits: Limits,
    /// Number of the layer being added, so that a path's owner is known.
    layer: usize,
    nodes: HashMap<EntryPath, (Node, usize)>,
    /// Folded spelling of each path → the path.
    folded: HashMap<String, EntryPath>,
    bytes: u64,
    /// Most entries of an archive have the parent of the one before.
    last_parent: Option<(EntryPath, OwnedFd)>,
    buffer: Vec<u8>,
}

/// A complete tree, durable on the target's filesystem: regular files, directories and links that
/// stay inside, within every limit.
#[derive(Debug)]
pub struct Staged {
    scratch: Scratch,
    name: &'static str,
    nodes: BTreeMap<EntryPath, Node>,
}

impl Tree {
    pub(super) fn create(scratch: Scratch, limits: Limits) -> Result<Self, UnpackError> {
        let dir = storage::make_dir(scratch.dir(), TREE, Mode::from_raw_mode(0o755))?;
        Ok(Self {
            scratch,
            dir,
            limits,
            layer: 0,
            nodes: HashMap::new(),
            folded: HashMap::new(),
            bytes: 0,
            last_parent: None,
            buffer: vec![0; BUFFER],
        })
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// Adds a directory and those above it. One that is there already is no conflict.
    pub(super) fn add_directory(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        if path.is_root() {
            return Ok(());
        }
        match self.nodes.get(path) {
            Some((Node::Directory, _)) => Ok(()),
            Some(_) => Err(UnpackError::entry(path, "is a directory here and something else before")),
            None => {
                let parent = self.parent(path)?;
                let (_, name) = path.split().ok_or_else(|| UnpackError::entry(path, "names no directory"))?;
                self.claim(path, Node::Directory)?;
                storage::make_dir(&parent, name, Mode::from_raw_mode(0o755))?;
                self.last_parent = None;
                Ok(())
            }
        }
    }

    /// Adds a file of exactly `size` bytes. `broken` names what is being read when reading fails.
    pub(super) fn add_file(
        &mut self,
        path: &EntryPath,
        executable: bool,
        size: u64,
        reader: &mut impl Read,
        broken: &impl Fn(io::Error) -> UnpackError,
    ) -> Result<(), UnpackError> {
        self.reserve(size)?;
        if self.nodes.contains_key(path) {
            return self.compare_file(path, executable, size, reader, broken);
        }
        let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
        let parent = self.parent(path)?;
        let (_, name) = path.split().ok_or_else(|| UnpackError::entry(path, "names no file"))?;
        self.check_free(path)?;
        let mut file = storage::create_file(parent.as_fd(), name, mode)?;
        let digest = self.copy(path, size, reader, Some(&mut file), broken)?;
        self.keep_parent(path, parent);
        self.claim(path, Node::File { size, executable, digest })
    }

    /// Adds a symbolic link whose target was checked by its words.
    pub(super) fn add_link(&mut self, path: &EntryPath, target: &str) -> Result<(), UnpackError> {
        let node = Node::Link { target: target.to_owned() };
        match self.nodes.get(path) {
            Some((before, layer)) if *before == node && *layer != self.layer => return Ok(()),
            Some((_, layer)) => return Err(self.twice(path, *layer)),
            None => {}
        }
        let parent = self.parent(path)?;
        let (_, name) = path.split().ok_or_else(|| UnpackError::entry(path, "is a link in place of the root"))?;
        self.claim(path, node)?;
        rustix::fs::symlinkat(target, &parent, name).during(|| format!("create link {path}"))?;
        Ok(())
    }

    /// Adds what an archive calls a hard link: a copy of a file that came before.
    pub(super) fn add_copy(&mut self, path: &EntryPath, of: &EntryPath) -> Result<(), UnpackError> {
        let Some((Node::File { size, executable, .. }, _)) = self.nodes.get(of) else {
            return Err(UnpackError::entry(
                path,
                format!("is a hard link to {:?}, which is no file before it", of.as_str()),
            ));
        };
        let (size, executable) = (*size, *executable);
        let mut file = storage::open_file(self.dir.as_fd(), of.as_str())?;
        let broken = |error| StorageError::from_io(format!("read {of}"), &error).into();
        self.add_file(path, executable, size, &mut file, &broken)
    }

    /// Keeps what is under `sub_path`, checks every link against the kernel, and makes all durable.
    pub fn finish(self, sub_path: &EntryPath) -> Result<Staged, UnpackError> {
        let (dir, name) = if sub_path.is_root() {
            (self.dir, TREE)
        } else {
            if !matches!(self.nodes.get(sub_path), Some((Node::Directory, _))) {
                return Err(self.no_sub_path(sub_path));
            }
            let dir = storage::open_dir(self.dir.as_fd(), sub_path.as_str())?;
            rustix::fs::renameat(&self.dir, sub_path.as_str(), self.scratch.dir(), SELECTED)
                .during(|| format!("select {sub_path}"))?;
            (dir, SELECTED)
        };
        let nodes: BTreeMap<EntryPath, Node> = self
            .nodes
            .into_iter()
            .filter_map(|(path, (node, _))| Some((path.strip_prefix(sub_path).filter(|path| !path.is_root())?, node)))
            .collect();
        for (path, node) in &nodes {
            if let Node::Link { target } = node {
                check_link(&dir, path, target)?;
            }
        }
        make_durable(&dir, &nodes)?;
        Ok(Staged { scratch: self.scratch, name, nodes })
    }

    /// Counts an entry and its bytes against the limits.
    fn reserve(&mut self, size: u64) -> Result<(), UnpackError> {
        self.bytes = self.bytes.saturating_add(size);
        let limit = self.limits.extracted_bytes;
        if self.bytes > limit {
            return Err(UnpackError::Limit { what: "bytes", limit, flag: "--max-extracted-bytes" });
        }
        Ok(())
    }

    /// The directory that `path` goes into; made, with those above it, where no entry has named it.
    fn parent(&mut self, path: &EntryPath) -> Result<OwnedFd, UnpackError> {
        if path.depth() > self.limits.depth {
            let limit = self.limits.depth as u64;
            return Err(UnpackError::Limit { what: "directories inside each other", limit, flag: "--max-depth" });
        }
        let (parent, _) = path.split().ok_or_else(|| UnpackError::entry(path, "is the root itself"))?;
        if let Some((kept, _)) = &self.last_parent
            && *kept == parent
            && let Some((_, handle)) = self.last_parent.take()
        {
            return Ok(handle);
        }
        if parent.is_root() {
            return Ok(self.dir.try_clone().map_err(|error| StorageError::from_io("duplicate a handle", &error))?);
        }
        match self.nodes.get(&parent) {
            Some((Node::Directory, _)) => {}
            Some(_) => return Err(UnpackError::entry(path, "is below something that is not a directory")),
            None => self.add_directory(&parent)?,
        }
        Ok(storage::open_dir(self.dir.as_fd(), parent.as_str())?)
    }

    fn keep_parent(&mut self, path: &EntryPath, handle: OwnedFd) {
        if let Some((parent, _)) = path.split() {
            self.last_parent = Some((parent, handle));
        }
    }

    /// Records a path, which must be new in every spelling.
    fn claim(&mut self, path: &EntryPath, node: Node) -> Result<(), UnpackError> {
        if self.nodes.len() as u64 >= self.limits.entries {
            return Err(UnpackError::Limit { what: "entries", limit: self.limits.entries, flag: "--max-entries" });
        }
        self.check_free(path)?;
        self.folded.insert(path.folded(), path.clone());
        self.nodes.insert(path.clone(), (node, self.layer));
        Ok(())
    }

    fn check_free(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        match self.folded.entry(path.folded()) {
            Slot::Occupied(taken) if taken.get() != path => {
                let problem = format!("differs from {:?} only in case or Unicode form", taken.get().as_str());
                Err(UnpackError::entry(path, problem))
            }
            Slot::Occupied(_) | Slot::Vacant(_) => Ok(()),
        }
    }

    /// A second layer may repeat a file. It may not change it.
    fn compare_file(
        &mut self,
        path: &EntryPath,
        executable: bool,
        size: u64,
        reader: &mut impl Read,
        broken: &impl Fn(io::Error) -> UnpackError,
    ) -> Result<(), UnpackError> {
        let Some((before, layer)) = self.nodes.get(path).cloned() else { return Ok(()) };
        if layer == self.layer {
            return Err(self.twice(path, layer));
        }
        let digest = self.copy(path, size, reader, None, broken)?;
        if before == (Node::File { size, executable, digest }) { Ok(()) } else { Err(self.twice(path, layer)) }
    }

    fn twice(&self, path: &EntryPath, layer: usize) -> UnpackError {
        if layer == self.layer {
            UnpackError::entry(path, "is there twice")
        } else {
            UnpackError::Conflict(path.to_string())
        }
    }

    /// Hashes, and writes where there is a file, exactly `size` bytes.
    fn copy(
        &mut self,
        path: &EntryPath,
        size: u64,
        reader: &mut impl Read,
        mut file: Option<&mut fs_err::File>,
        broken: &impl Fn(io::Error) -> UnpackError,
    ) -> Result<Digest, UnpackError> {
        let (mut hasher, mut left) = (Hasher::default(), size);
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let buffer = self.buffer.get_mut(..want).unwrap_or_default();
            let read = reader.read(buffer).map_err(broken)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                return Err(UnpackError::entry(path, format!("ends {left} bytes early")));
            }
            hasher.update(bytes);
            if let Some(file) = &mut file {
                file.write_all(bytes).map_err(|error| StorageError::from_io(format!("write {path}"), &error))?;
            }
            left -= read as u64;
        }
        Ok(hasher.finish())
    }

    fn no_sub_path(&self, wanted: &EntryPath) -> UnpackError {
        let mut top: Vec<&str> = self.nodes.keys().filter(|path| path.depth() == 1).map(EntryPath::as_str).collect();
        top.sort_unstable();
        top.truncate(10);
        let found = if top.is_empty() { "nothing".to_owned() } else { super::shown(&top.join(", ")) };
        UnpackError::SubPath { wanted: wanted.to_string(), found }
    }
}

impl Staged {
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
            let line = match node {
                Node::Directory => format!("d {:?}\n", path.as_str()),
                Node::File { size, executable, digest } => {
                    format!("f {:?} {} {size} {digest}\n", path.as_str(), if *executable { "755" } else { "644" })
                }
                Node::Link { target } => format!("l {:?} {target:?}\n", path.as_str()),
            };
            hasher.update(line.as_bytes());
        }
        hasher.finish()
    }

    /// Reads one of its files.
    pub(crate) fn read(&self, path: &EntryPath, limit: u64) -> Result<Vec<u8>, StorageError> {
        let tree = storage::open_dir(self.scratch.dir(), self.name)?;
        let mut file = storage::open_file(tree.as_fd(), path.as_str())?;
        let mut bytes = Vec::new();
        let failed = |error: io::Error| StorageError::from_io(format!("read {path}"), &error);
        file.rewind().map_err(failed)?;
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    /// Moves the tree to `name` in `dir`, which is on the same filesystem and has no such name.
    pub(crate) fn move_to(&self, dir: impl AsFd, name: &str) -> Result<(), rustix::io::Errno> {
        rustix::fs::renameat_with(self.scratch.dir(), self.name, dir.as_fd(), name, rustix::fs::RenameFlags::NOREPLACE)
    }
}

/// Follows a link as a reader would, with the kernel holding it inside the tree. A link to nothing
/// stays a link to nothing.
fn check_link(dir: &OwnedFd, path: &EntryPath, target: &str) -> Result<(), UnpackError> {
    use rustix::io::Errno;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(dir, path.as_str(), flags, Mode::empty(), resolve) {
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::XDEV | Errno::LOOP | Errno::NOTDIR) => Err(UnpackError::entry(
            path,
            format!("is a link to {:?}, which leads outside the published files", super::shown(target)),
        )),
        Err(errno) => Err(errno).during(|| format!("check link {path}")).map_err(UnpackError::from),
    }
}

fn make_durable(dir: &OwnedFd, nodes: &BTreeMap<EntryPath, Node>) -> Result<(), StorageError> {
    if nodes.len() > SYNCFS_ABOVE {
        return rustix::fs::syncfs(dir).during(|| "sync the filesystem".to_owned());
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
