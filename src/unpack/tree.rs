//! The tree of one layer: its entries, the limits on further ones, and the check that they stay inside.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::Mode;

use super::budget::Budget;
use super::copies::Copies;
use super::error::UnpackError;
use super::hashing::Hashing;
use super::nodes::Nodes;
use super::path::EntryPath;
use super::read_back::{self, Changed, ReadBack};
use super::rules;
use super::staged::Node;
use crate::api::vocabulary::Symlinks;
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
    copies: Copies,
    /// Placeholder for digests that `hashing` has not computed yet.
    unknown: Digest,
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
            copies: Copies::default(),
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
    pub(super) fn settle(&mut self) -> Result<(), UnpackError> {
        for (path, digest) in std::mem::take(&mut self.hashing).finish()? {
            self.nodes.know(&path, digest);
        }
        Ok(std::mem::take(&mut self.copies).check(&self.nodes)?)
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
            Some(_) => {
                return Err(UnpackError::entry(
                    path,
                    "is a directory, but an earlier entry with the same path is a file or link",
                ));
            }
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
        rules::refuse_symlink(path, self.rules.symlinks)?;
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
                let known = (!is_pending).then(|| digest.clone());
                let mut file = ReadBack(read_back::open(self.dir.as_fd(), of.as_str(), of.as_str())?);
                let broken = |error: io::Error| {
                    if error.kind() == io::ErrorKind::UnexpectedEof {
                        Changed::new(of.as_str(), format!("expected {size} bytes, found fewer")).into()
                    } else {
                        StorageError::from_io(format!("read {of}"), &error).into()
                    }
                };
                self.add_file(path, executable, size, &mut file, &broken)?;
                self.copies.add(path, of, known);
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
            path.split().ok_or_else(|| UnpackError::entry(path, "is the root; expected a directory"))?;
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
            Some(_) => return Err(UnpackError::entry(path, "has a parent that is not a directory")),
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
        rules::refuse_whiteout(path)?;
        self.budget.entry(path)?;
        self.nodes.check(path)
    }

    fn refuse_second(&self, path: &EntryPath) -> Result<(), UnpackError> {
        if self.nodes.get(path).is_some() || self.borrowed.contains_key(path) {
            return Err(UnpackError::entry(path, "is a duplicate entry"));
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
