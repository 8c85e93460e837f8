//! The tree of one layer: its entries, the limits on further ones, and the check that they stay inside.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::Mode;

use super::UnpackError;
use super::budget::Budget;
use super::hashing::Hashing;
use super::path::{EntryPath, PathError};
use super::staged::{self, Changed, Node};
use crate::api::spec::Symlinks;
use crate::oci::Digest;
use crate::request::Limits;
use crate::storage::{self, During, Scratch, StorageError};

/// A tree to which one layer is being added. It is not durable yet, and its links have not been resolved.
#[derive(Debug)]
pub struct LayerTree {
    pub(super) scratch: Arc<Scratch>,
    /// Name of its directory in the scratch.
    pub(super) name: String,
    pub(super) dir: OwnedFd,
    pub(super) nodes: Nodes,
    /// Directories without an entry of their own, created for the entries in them.
    pub(super) implied: HashSet<EntryPath>,
    /// Paths of earlier layers that this layer of a container image hides.
    pub(super) hidden: Vec<Hidden>,
    /// Hard links to files of earlier layers, with their targets.
    pub(super) borrowed: BTreeMap<EntryPath, EntryPath>,
    budget: Arc<Budget>,
    rules: Rules,
    /// The last parent directory: most entries of an archive have the same parent as the entry before.
    last_parent: Option<(EntryPath, OwnedFd)>,
    hashing: Hashing,
    /// Copies whose digests have not been compared with their originals yet.
    copies: Vec<(EntryPath, Original)>,
    /// Placeholder for digests that `hashing` has not computed yet.
    unknown: Digest,
}

/// Expected content of a copy.
#[derive(Debug)]
enum Original {
    /// Content with this digest.
    Known(Digest),
    /// Content of the file at this path, whose digest is not known yet.
    Pending(EntryPath),
}

/// Rules for the entries of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) symlinks: Symlinks,
    /// True for a layer of a container image.
    pub(super) is_image: bool,
}

/// Content of earlier layers that a layer of a container image hides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    /// A path and everything below it.
    Path(EntryPath),
    /// Everything below a directory.
    Inside(EntryPath),
}

impl LayerTree {
    /// Creates the directory `name` in `scratch` for the tree.
    pub(super) fn create(
        scratch: Arc<Scratch>,
        name: String,
        budget: Arc<Budget>,
        rules: Rules,
    ) -> Result<Self, UnpackError> {
        let dir = storage::make_dir(scratch.dir(), &name, Mode::from_raw_mode(0o755))?;
        Ok(Self {
            scratch,
            name,
            dir,
            nodes: Nodes::default(),
            implied: HashSet::new(),
            hidden: Vec::new(),
            borrowed: BTreeMap::new(),
            budget,
            rules,
            last_parent: None,
            hashing: Hashing::default(),
            copies: Vec::new(),
            unknown: Digest::of(b""),
        })
    }

    /// Hashes the files that are added from now on, on a separate thread, if one can be started.
    pub(super) fn hash_elsewhere(&mut self) -> Result<(), UnpackError> {
        self.settle()?;
        self.hashing = Hashing::elsewhere().unwrap_or_default();
        Ok(())
    }

    /// Waits for all digests, and compares those of copies. Before this call the digests of added files may be
    /// unknown.
    ///
    /// A copy is made from the file on the volume, which another process may have changed. Each copy must have the
    /// bytes that came out of the archive.
    pub(super) fn settle(&mut self) -> Result<(), UnpackError> {
        for (path, digest) in std::mem::take(&mut self.hashing).finish()? {
            self.nodes.know(&path, digest);
        }
        for (path, original) in std::mem::take(&mut self.copies) {
            let expected = match &original {
                Original::Known(digest) => Some(digest),
                Original::Pending(path) => self.nodes.digest(path),
            };
            if expected.is_none() || self.nodes.digest(&path) != expected {
                let problem = "its copy for a hard link has other bytes than were unpacked";
                return Err(Changed::new(path.as_str(), problem).into());
            }
        }
        Ok(())
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.budget.limits
    }

    /// Adds a directory and its parents. An existing directory is no conflict.
    pub(super) fn add_directory(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        if path.is_root() {
            return Ok(());
        }
        match self.nodes.get(path) {
            Some(Node::Directory) => {
                self.implied.remove(path);
                return self.budget.entry(path);
            }
            Some(_) => return Err(UnpackError::entry(path, "is a directory here and something else before")),
            None => {}
        }
        let (parent, name) = self.parent(path)?;
        self.claim(path)?;
        storage::make_dir(&parent, name, Mode::from_raw_mode(0o755))?;
        self.nodes.insert(path.clone(), Node::Directory);
        self.keep_parent(path, parent);
        Ok(())
    }

    /// Adds a file of exactly `size` bytes. `broken` converts errors of `reader`.
    pub(super) fn add_file(
        &mut self,
        path: &EntryPath,
        executable: bool,
        size: u64,
        reader: &mut impl Read,
        broken: &impl Fn(io::Error) -> UnpackError,
    ) -> Result<(), UnpackError> {
        self.budget.file(path, size)?;
        self.refuse_second(path)?;
        let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
        let (parent, name) = self.parent(path)?;
        self.claim(path)?;
        self.scratch.room_for(size)?;
        let mut file = storage::create_file(parent.as_fd(), name, mode)?;
        self.copy(path, size, reader, &mut file, broken)?;
        self.keep_parent(path, parent);
        self.nodes.insert(path.clone(), Node::File { size, executable, digest: self.unknown.clone() });
        self.hashing.ended(path.clone())?;
        for (path, digest) in self.hashing.made() {
            self.nodes.know(&path, digest);
        }
        Ok(())
    }

    /// Adds a symbolic link whose target has been checked lexically.
    pub(super) fn add_link(&mut self, path: &EntryPath, target: &str) -> Result<(), UnpackError> {
        if self.rules.symlinks == Symlinks::Reject {
            return Err(UnpackError::entry(path, "is a symbolic link, which spec.files.symlinks: Reject refuses"));
        }
        self.refuse_second(path)?;
        self.budget.target(path, target)?;
        let (parent, name) = self.parent(path)?;
        self.claim(path)?;
        rustix::fs::symlinkat(target, &parent, name).during(|| format!("create link {path}"))?;
        self.nodes.insert(path.clone(), Node::Link { target: target.to_owned() });
        self.keep_parent(path, parent);
        Ok(())
    }

    /// Adds an archive's hard link as a copy of an earlier file.
    pub(super) fn add_copy(&mut self, path: &EntryPath, of: &EntryPath) -> Result<(), UnpackError> {
        match self.nodes.get(of) {
            Some(Node::File { size, executable, digest }) => {
                let (size, executable) = (*size, *executable);
                // Only an empty file can have the placeholder digest as its own.
                let is_pending = size > 0 && *digest == self.unknown;
                let original = if is_pending { Original::Pending(of.clone()) } else { Original::Known(digest.clone()) };
                let mut file = ReadBack(staged::open(self.dir.as_fd(), of.as_str(), of.as_str())?);
                let broken = |error: io::Error| {
                    if error.kind() == io::ErrorKind::UnexpectedEof {
                        Changed::new(of.as_str(), format!("expected {size} bytes, found fewer")).into()
                    } else {
                        StorageError::from_io(format!("read {of}"), &error).into()
                    }
                };
                self.add_file(path, executable, size, &mut file, &broken)?;
                self.copies.push((path.clone(), original));
                Ok(())
            }
            // The target may be in an earlier layer.
            None if self.rules.is_image => {
                self.refuse_second(path)?;
                self.budget.path(path)?;
                self.budget.target(path, of.as_str())?;
                self.claim(path)?;
                self.borrowed.insert(path.clone(), of.clone());
                Ok(())
            }
            Some(Node::Directory | Node::Link { .. }) | None => Err(UnpackError::no_file_before(path, of)),
        }
    }

    /// Hides a path of earlier layers.
    pub(super) fn hide(&mut self, path: EntryPath) -> Result<(), UnpackError> {
        self.budget.path(&path)?;
        self.budget.entry(&path)?;
        self.hidden.push(Hidden::Path(path));
        Ok(())
    }

    /// Hides everything that earlier layers have in a directory.
    pub(super) fn hide_all_in(&mut self, directory: EntryPath) -> Result<(), UnpackError> {
        self.budget.path(&directory)?;
        self.budget.entry(&directory)?;
        self.hidden.push(Hidden::Inside(directory));
        Ok(())
    }

    /// Returns the parent directory of `path` and the last component. Creates the directory and its parents if they
    /// have no entry yet.
    fn parent<'a>(&mut self, path: &'a EntryPath) -> Result<(OwnedFd, &'a str), UnpackError> {
        // Checked first, because each of the path's directories costs a system call below.
        self.budget.path(path)?;
        let (parent, name) =
            path.split().ok_or_else(|| UnpackError::entry(path, "is the root itself, and no directory"))?;
        if let Some((kept, handle)) = self.last_parent.take()
            && kept == parent
        {
            return Ok((handle, name));
        }
        if parent.is_root() {
            let dir = self.dir.try_clone().map_err(|error| StorageError::from_io("duplicate a handle", &error))?;
            return Ok((dir, name));
        }
        match self.nodes.get(&parent) {
            Some(Node::Directory) => {}
            Some(_) => return Err(UnpackError::entry(path, "is below something that is not a directory")),
            None => {
                self.add_directory(&parent)?;
                self.implied.insert(parent.clone());
            }
        }
        Ok((storage::open_dir(self.dir.as_fd(), parent.as_str())?, name))
    }

    fn keep_parent(&mut self, path: &EntryPath, handle: OwnedFd) {
        if let Some((parent, _)) = path.split() {
            self.last_parent = Some((parent, handle));
        }
    }

    /// Drops the kept handle, because its directory may have been removed.
    pub(super) fn forget_parent(&mut self) {
        self.last_parent = None;
    }

    /// Counts a path that is about to be created, and checks that it is unique in every spelling.
    fn claim(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        if path.has_whiteout() {
            return Err(UnpackError::entry(path, PathError::Whiteout.to_string()));
        }
        self.budget.entry(path)?;
        self.nodes.check(path)
    }

    fn refuse_second(&self, path: &EntryPath) -> Result<(), UnpackError> {
        if self.nodes.get(path).is_some() || self.borrowed.contains_key(path) {
            return Err(UnpackError::entry(path, "is there twice"));
        }
        Ok(())
    }

    /// Writes exactly `size` bytes, and hashes them.
    fn copy(
        &mut self,
        path: &EntryPath,
        size: u64,
        reader: &mut impl Read,
        file: &mut fs_err::File,
        broken: &impl Fn(io::Error) -> UnpackError,
    ) -> Result<(), UnpackError> {
        let mut left = size;
        while left > 0 {
            let read = reader.read(self.hashing.room(left)?).map_err(broken)?;
            if read == 0 {
                return Err(UnpackError::entry(path, format!("ends {left} bytes early")));
            }
            let bytes = self.hashing.took(read);
            file.write_all(bytes).map_err(|error| StorageError::from_io(format!("write {path}"), &error))?;
            left = left.saturating_sub(read as u64);
        }
        Ok(())
    }
}

/// A complete file of the stage, for which an early end is an error.
struct ReadBack(fs_err::File);

impl Read for ReadBack {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

/// The entry at each path. No two paths differ only in their spelling.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_path: BTreeMap<EntryPath, Node>,
    /// Paths that differ from their folded form, by that form.
    folded: HashMap<String, EntryPath>,
}

impl Nodes {
    pub(super) fn get(&self, path: &EntryPath) -> Option<&Node> {
        self.by_path.get(path)
    }

    /// Returns the entries by path, each directory before its contents.
    pub(super) fn into_map(self) -> BTreeMap<EntryPath, Node> {
        self.by_path
    }

    /// Returns the names at the top.
    pub(super) fn top(&self) -> impl Iterator<Item = &str> {
        self.by_path.keys().filter(|path| path.depth() == 1).map(EntryPath::as_str)
    }

    /// Returns the direct children of a directory.
    pub(super) fn children(&self, directory: &EntryPath) -> Vec<EntryPath> {
        let depth = directory.depth() + 1;
        self.below(directory).filter(|path| path.depth() == depth).cloned().collect()
    }

    /// Fails if a path differs from another path only in its spelling.
    pub(super) fn check(&self, path: &EntryPath) -> Result<(), UnpackError> {
        let Some(other) = self.other_spelling(path) else { return Ok(()) };
        let problem = format!("differs from {:?} only in case or Unicode form", other.as_str());
        Err(UnpackError::entry(path, problem))
    }

    pub(super) fn insert(&mut self, path: EntryPath, node: Node) {
        let folded = path.folded();
        if folded != path.as_str() {
            self.folded.insert(folded.into_owned(), path.clone());
        }
        self.by_path.insert(path, node);
    }

    fn digest(&self, path: &EntryPath) -> Option<&Digest> {
        match self.by_path.get(path) {
            Some(Node::File { digest, .. }) => Some(digest),
            Some(Node::Directory | Node::Link { .. }) | None => None,
        }
    }

    /// Sets the digest of a file.
    fn know(&mut self, path: &EntryPath, made: Digest) {
        if let Some(Node::File { digest, .. }) = self.by_path.get_mut(path) {
            *digest = made;
        }
    }

    /// Removes a path and everything below it.
    pub(super) fn remove_all(&mut self, path: &EntryPath) {
        let gone: Vec<_> = self.below(path).chain([path]).cloned().collect();
        for path in gone {
            self.by_path.remove(&path);
            if self.folded.get(path.folded().as_ref()).is_some_and(|of| *of == path) {
                self.folded.remove(path.folded().as_ref());
            }
        }
    }

    fn below<'a>(&'a self, directory: &'a EntryPath) -> impl Iterator<Item = &'a EntryPath> {
        // Paths with a common prefix can sort between a directory and its contents: "a", "a-b", "a/b".
        let from = self.by_path.range(directory..).map(|(path, _)| path).filter(move |path| *path != directory);
        from.take_while(|path| path.as_str().starts_with(directory.as_str()))
            .filter(move |path| path.strip_prefix(directory).is_some())
    }

    fn other_spelling(&self, path: &EntryPath) -> Option<EntryPath> {
        let folded = path.folded();
        if let Some(taken) = self.folded.get(folded.as_ref()).filter(|taken| *taken != path) {
            return Some(taken.clone());
        }
        if folded == path.as_str() {
            return None;
        }
        EntryPath::parse(folded.as_bytes()).ok().filter(|plain| self.by_path.contains_key(plain))
    }
}
