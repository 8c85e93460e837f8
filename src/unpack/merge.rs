//! Merging of the layers' trees, in the order of the manifest.
//!
//! Layers are unpacked in parallel, each into a separate directory, so everything that depends on their order is
//! here: conflicts, and the files of earlier layers that a layer of a container image hides.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use super::error::UnpackError;
use super::path::EntryPath;
use super::staged::Node;
use super::tree::{Hidden, LayerTree};
use crate::api::vocabulary::OnConflict;
use crate::storage::{self, During, StorageError};

/// Handling of a path that is in two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Equal nodes are no conflict; different ones are rejected, or the later layer takes precedence.
    Artifact(OnConflict),
    /// The later layer takes precedence.
    Image,
}

/// Prepares the first layer. There are no earlier layers to hide or to link to.
pub(super) fn lowest(mut tree: LayerTree) -> Result<LayerTree, UnpackError> {
    tree.hidden.clear();
    let borrowed = std::mem::take(&mut tree.borrowed);
    settle(&mut tree, borrowed)?;
    Ok(tree)
}

/// Merges `upper` into `base`, as the later layer.
pub(super) fn put_over(base: &mut LayerTree, mut upper: LayerTree, rule: Rule) -> Result<(), UnpackError> {
    for hidden in std::mem::take(&mut upper.hidden) {
        match hidden {
            Hidden::Path(path) => remove(base, &path)?,
            Hidden::Inside(directory) => {
                for path in base.nodes.children(&directory) {
                    remove(base, &path)?;
                }
            }
        }
    }
    let borrowed = std::mem::take(&mut upper.borrowed);
    settle(base, borrowed)?;
    let mut moved = HashSet::new();
    let LayerTree { dir, nodes, implied, .. } = upper;
    for (path, node) in nodes.into_map() {
        let came_along = path.split().is_some_and(|(parent, _)| moved.contains(&parent));
        let is_new = came_along || base.nodes.get(&path).is_none();
        if is_new || is_replaced(base, &path, &node, rule, &implied)? {
            base.nodes.check(&path)?;
            if !came_along {
                rename(&dir, base, &path)?;
            }
            if node == Node::Directory {
                moved.insert(path.clone());
            }
            base.nodes.insert(path, node);
        }
    }
    Ok(())
}

/// Copies the files of earlier layers to which a layer has hard links.
fn settle(base: &mut LayerTree, borrowed: impl IntoIterator<Item = (EntryPath, EntryPath)>) -> Result<(), UnpackError> {
    for (path, of) in borrowed {
        if !matches!(base.nodes.get(&of), Some(Node::File { .. })) {
            return Err(UnpackError::no_file_before(&path, &of));
        }
        if path != of {
            if base.nodes.get(&path).is_some() {
                // The removed file may be the one that an earlier copy is compared with.
                base.settle()?;
            }
            remove(base, &path)?;
            base.add_copy(&path, &of)?;
        }
    }
    base.settle()
}

/// Returns true if the node at the path in `base` was removed for `node`; false if it stays.
fn is_replaced(
    base: &mut LayerTree,
    path: &EntryPath,
    node: &Node,
    rule: Rule,
    implied: &HashSet<EntryPath>,
) -> Result<bool, UnpackError> {
    let Some(before) = base.nodes.get(path) else { return Ok(true) };
    if before == node {
        return Ok(false);
    }
    if implied.contains(path) {
        return Err(UnpackError::entry(path, "is a directory in one layer and another kind in an earlier layer"));
    }
    let one_is_directory = *before == Node::Directory || *node == Node::Directory;
    match rule {
        Rule::Artifact(OnConflict::LastWins) if !one_is_directory => {}
        Rule::Artifact(OnConflict::Fail | OnConflict::LastWins) => return Err(UnpackError::Conflict(path.to_string())),
        Rule::Image => {}
    }
    remove(base, path)?;
    Ok(true)
}

/// Removes a path and everything below it. Succeeds if it is absent.
fn remove(base: &mut LayerTree, path: &EntryPath) -> Result<(), UnpackError> {
    let Some((parent, name)) = path.split().filter(|_| base.nodes.get(path).is_some()) else { return Ok(()) };
    storage::remove_tree(directory(&base.dir, &parent)?, name)?;
    base.nodes.remove_all(path);
    base.forget_parent();
    Ok(())
}

fn rename(from: &OwnedFd, base: &LayerTree, path: &EntryPath) -> Result<(), UnpackError> {
    let Some((parent, name)) = path.split() else { return Ok(()) };
    let (from, to) = (directory(from, &parent)?, directory(&base.dir, &parent)?);
    rustix::fs::renameat(&from, name, &to, name).during(|| format!("move {path}"))?;
    Ok(())
}

fn directory(dir: &OwnedFd, path: &EntryPath) -> Result<OwnedFd, StorageError> {
    if path.is_root() {
        return dir.try_clone().map_err(|error| StorageError::from_io("duplicate a handle", &error));
    }
    storage::open_dir(dir.as_fd(), path.as_str())
}
