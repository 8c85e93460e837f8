//! Entries that differ between two trees.

use std::collections::{BTreeMap, BTreeSet};

use crate::unpack::path::EntryPath;
use crate::unpack::staged::Node;

type Nodes = BTreeMap<EntryPath, Node>;

/// An entry that differs: absent on one side, or different on both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) path: EntryPath,
    pub(super) old: Option<Node>,
    pub(super) new: Option<Node>,
}

impl Change {
    /// Returns the word for the change.
    pub(super) fn word(&self) -> &'static str {
        match (&self.old, &self.new) {
            (None, _) => "added",
            (Some(_), None) => "removed",
            (Some(_), Some(_)) => "changed",
        }
    }
}

/// Returns the entries that differ, by path, and the number of those that are equal. A directory with entries is
/// implied by these, and left out.
pub(super) fn compare(old: &Nodes, new: &Nodes) -> (Vec<Change>, usize) {
    let (old, new) = (leaves(old), leaves(new));
    let paths: BTreeSet<&EntryPath> = old.keys().chain(new.keys()).copied().collect();
    let (mut changes, mut equal) = (Vec::new(), 0_usize);
    for path in paths {
        let [before, after] = [&old, &new].map(|nodes| nodes.get(path).copied());
        if before == after {
            equal = equal.saturating_add(1);
        } else {
            changes.push(Change { path: path.clone(), old: before.cloned(), new: after.cloned() });
        }
    }
    (changes, equal)
}

/// Returns the entries without the directories that have entries.
fn leaves(nodes: &Nodes) -> BTreeMap<&EntryPath, &Node> {
    let parents: BTreeSet<EntryPath> = nodes.keys().filter_map(|path| Some(path.split()?.0)).collect();
    nodes.iter().filter(|(path, _)| !parents.contains(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;

    fn nodes(entries: &[(&str, Node)]) -> Nodes {
        entries.iter().map(|(path, node)| (EntryPath::parse(path.as_bytes()).unwrap(), node.clone())).collect()
    }

    fn file(content: &str, executable: bool) -> Node {
        Node::File { size: content.len() as u64, executable, digest: Digest::of(content.as_bytes()) }
    }

    fn link(target: &str) -> Node {
        Node::Link { target: target.to_owned() }
    }

    #[test]
    fn entries_that_differ_are_listed_by_path() {
        let old = nodes(&[
            ("bin", Node::Directory),
            ("bin/run", file("x", false)),
            ("empty", Node::Directory),
            ("gone", file("g", false)),
            ("kind", Node::Directory),
            ("kind/a", file("a", false)),
            ("link", link("gone")),
            ("same", file("s", false)),
        ]);
        let new = nodes(&[
            ("bin", Node::Directory),
            ("bin/run", file("x", true)),
            ("kind", file("k", false)),
            ("link", link("same")),
            ("new", file("n", false)),
            ("same", file("s", false)),
        ]);
        let (changes, equal) = compare(&old, &new);
        let found: Vec<_> = changes.iter().map(|change| (change.word(), change.path.as_str())).collect();
        let want = [
            ("changed", "bin/run"),
            ("removed", "empty"),
            ("removed", "gone"),
            ("added", "kind"),
            ("removed", "kind/a"),
            ("changed", "link"),
            ("added", "new"),
        ];
        assert_eq!((found.as_slice(), equal), (want.as_slice(), 1));
        assert_eq!(compare(&old, &old), (Vec::new(), 6));
    }
}
