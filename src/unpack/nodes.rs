//! The entries of a tree by path.

use std::collections::{BTreeMap, HashMap};

use super::error::UnpackError;
use super::path::EntryPath;
use super::staged::Node;
use crate::oci::Digest;

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
        Err(UnpackError::spelling(path, other.as_str()))
    }

    pub(super) fn insert(&mut self, path: EntryPath, node: Node) {
        let folded = path.folded();
        if folded != path.as_str() {
            self.folded.insert(folded.into_owned(), path.clone());
        }
        self.by_path.insert(path, node);
    }

    pub(super) fn digest(&self, path: &EntryPath) -> Option<&Digest> {
        match self.by_path.get(path) {
            Some(Node::File { digest, .. }) => Some(digest),
            Some(Node::Directory | Node::Link { .. }) | None => None,
        }
    }

    /// Sets the digest of a file.
    pub(super) fn know(&mut self, path: &EntryPath, made: Digest) {
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
