//! The tree being made: what is in it, what may still come, and that it stays inside.

use std::collections::hash_map::{Entry as Slot, HashMap};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Mode;

use super::UnpackError;
use super::path::EntryPath;
use super::staged::{Node, Staged};
use crate::oci::{Digest, Hasher};
use crate::request::Limits;
use crate::storage::{self, During, Scratch, StorageError};

/// Directory of the tree in its scratch.
const TREE: &str = "tree";
/// Copy buffer.
const BUFFER: usize = 128 * 1024;

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
        if !sub_path.is_root() && !matches!(self.nodes.get(sub_path), Some((Node::Directory, _))) {
            return Err(self.no_sub_path(sub_path));
        }
        let below = |path: EntryPath| path.strip_prefix(sub_path).filter(|path| !path.is_root());
        let nodes = self.nodes.into_iter().filter_map(|(path, (node, _))| Some((below(path)?, node))).collect();
        Staged::new(self.scratch, TREE, sub_path, nodes)
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
