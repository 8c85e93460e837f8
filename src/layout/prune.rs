//! Removal of names that are not kept, and of blobs that nothing leads to.

use std::collections::HashSet;
use std::path::Path;

use super::directory::{BLOBS, Layout, OCI_LAYOUT};
use super::index::{INDEX, LeftOut};
use super::ours::OURS;
use super::{Entry, LayoutError};
use crate::oci::Digest;
use crate::storage;

/// Result of a removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Number of names.
    pub names: usize,
    /// Number of blobs.
    pub blobs: usize,
    /// Bytes of the blobs.
    pub bytes: u64,
}

impl Layout {
    /// Removes the layout from its directory, which stays, if it has no entry and no other process has it open.
    pub fn discard(dir: &Path) -> Result<(), LayoutError> {
        let layout = Self::open_alone(dir)?;
        if !layout.entries()?.is_empty() {
            return Ok(());
        }
        for name in [INDEX, "blobs", OCI_LAYOUT, OURS] {
            storage::remove_tree(layout.dir(), name)?;
        }
        Ok(())
    }

    /// Removes the names that `rejected` returns, then every blob that no entry leads to, and unfinished files.
    ///
    /// Fails if another process has the layout open: it may have written blobs that the index does not lead to yet, or
    /// may be reading what would be removed. A process that opens the layout meanwhile waits. Fails too if an entry or a
    /// manifest cannot be read, because what it leads to is not known then.
    pub fn prune(dir: &Path, rejected: impl FnOnce(&[Entry]) -> HashSet<String>) -> Result<Pruned, LayoutError> {
        let layout = Self::open_alone(dir)?;
        if let Some(problem) = layout.index()?.left_out(LeftOut::Sha256) {
            return Err(LayoutError::Invalid { layout: layout.shown(), problem });
        }
        let entries = layout.entries()?;
        let removed = rejected(&entries);
        let is_removed = |name: Option<&str>| name.is_some_and(|name| removed.contains(name));
        let kept = || entries.iter().filter(|entry| !is_removed(entry.name.as_deref()));
        layout.check_documents(kept())?;
        let reachable = layout.reachable(kept());
        let mut pruned = Pruned { names: removed.len(), ..Pruned::default() };
        // The index first: a killed process leaves blobs without a name, never a name without blobs.
        layout.change_index(|index| {
            index.retain(|name, digest| !is_removed(name) && digest.is_none_or(|digest| reachable.contains(&digest)));
            true
        })?;
        let blobs = storage::open_dir(layout.dir(), BLOBS)?;
        for name in storage::names(&blobs)? {
            // Blobs of other algorithms are elsewhere; a file of another name is not ours.
            let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else { continue };
            if !reachable.contains(&digest) {
                let size = layout.open_blob(&digest)?.map_or(0, |(_, size)| size);
                storage::remove_tree(&blobs, &name)?;
                pruned.blobs += 1;
                pruned.bytes = pruned.bytes.saturating_add(size);
            }
        }
        layout.ours()?.sweep()?;
        Ok(pruned)
    }
}
