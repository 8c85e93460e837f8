//! `.artifact.json`: the owner of an object's directory, and the revision of each of its trees. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::oci::Digest;
use crate::output::error::OutputError;
use crate::output::published::Retention;
use crate::plan::Revision;
use crate::request::{Fingerprint, ObjectId};
use crate::storage;

/// Name of the file.
pub(super) const MARKER: &str = ".artifact.json";
/// Maximum size of the file, in bytes.
pub(super) const MAX_BYTES: u64 = 64 * 1024;
/// Maximum number of trees that are kept, of any age: the file has room for as many.
const MOST_TREES: usize = 32;

/// Content of `.artifact.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Marker {
    /// Uid of the object; empty without a cluster.
    pub(super) uid: String,
    /// Trees in the directory, newest first. The link `current` decides which one is read.
    #[serde(default)]
    pub(super) trees: Vec<Tree>,
}

/// One tree in `trees/`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tree {
    pub(super) name: String,
    /// Absent for trees of earlier builds, which are published again.
    #[serde(default, skip_serializing_if = "Option::is_none", flatten)]
    revision: Option<TreeRevision>,
    /// True if `current` has pointed to the tree.
    #[serde(default)]
    shown: bool,
    /// Time at which `current` was pointed to another tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced: Option<Timestamp>,
}

/// Revision in a tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TreeRevision {
    pub(super) image: String,
    pub(super) digest: Digest,
    pub(super) fingerprint: Fingerprint,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) list_digest: Digest,
}

/// Returns the accounted size of files, in bytes: each takes at least one block.
pub(super) fn size(files: u64, bytes: u64) -> u64 {
    bytes.saturating_add(files.saturating_mul(4096))
}

impl TreeRevision {
    pub(super) fn revision(&self) -> Revision {
        Revision { digest: self.digest.clone(), fingerprint: self.fingerprint.clone() }
    }
}

impl Tree {
    /// Creates the record of a tree that nothing points to yet.
    pub(super) fn prepared(name: String, revision: TreeRevision) -> Self {
        Self { name, revision: Some(revision), shown: false, replaced: None }
    }
}

/// Format before 0.2: names of trees, and separately the revision of the first one.
#[derive(Deserialize)]
struct Old {
    uid: String,
    #[serde(default)]
    trees: Vec<String>,
}

impl Marker {
    /// Parses the file, including the format of versions before 0.2.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut marker: Self = serde_json::from_str(text).or_else(|error| {
            let Ok(Old { uid, trees }) = serde_json::from_str(text) else { return Err(error) };
            let old = |name| Tree { name, revision: None, shown: true, replaced: None };
            Ok(Self { uid, trees: trees.into_iter().map(old).collect() })
        })?;
        // Consumers may be able to write here, and each name will be removed some day.
        marker.trees.retain(|tree| storage::is_component(&tree.name));
        Ok(marker)
    }

    /// Fails if the directory belongs to an earlier object of the same name.
    pub(super) fn check_uid(&self, object: &ObjectId) -> Result<(), OutputError> {
        if self.uid == object.uid {
            return Ok(());
        }
        Err(OutputError::Earlier { what: format!("the directory {object}"), uid: self.uid.clone() })
    }

    /// Returns the accounted size of all trees, see [`size`].
    pub(super) fn bytes(&self) -> u64 {
        let sizes = self.trees.iter().filter_map(|tree| tree.revision.as_ref()).map(|one| size(one.files, one.bytes));
        sizes.fold(0, u64::saturating_add)
    }

    pub(super) fn revision_of(&self, tree: &str) -> Option<&TreeRevision> {
        self.trees.iter().find(|one| one.name == tree)?.revision.as_ref()
    }

    /// Returns the newest tree with `revision`.
    pub(super) fn of_revision(&self, revision: &Revision) -> Option<(&str, &TreeRevision)> {
        let mut all = self.trees.iter().filter_map(|tree| Some((tree.name.as_str(), tree.revision.as_ref()?)));
        all.find(|(_, found)| found.revision() == *revision)
    }

    /// Removes the records of trees that were prepared and never shown; returns their names.
    pub(super) fn take_unused(&mut self, current: Option<&str>) -> Vec<String> {
        let is_unused = |tree: &mut Tree| !tree.shown && Some(tree.name.as_str()) != current;
        self.trees.extract_if(.., is_unused).map(|tree| tree.name).collect()
    }

    /// Returns a name for a new tree. Names of the current tree, and of trees kept for readers, are not reused, even if
    /// such a tree is a damaged copy of this very revision: its files never change.
    pub(super) fn free_name(&self, revision: &str, current: Option<&str>) -> String {
        let is_taken = |name: &String| current == Some(name) || self.trees.iter().any(|tree| tree.name == *name);
        let numbered = (2_u64..).map(|number| format!("{revision}-{number}"));
        let mut names = std::iter::once(revision.to_owned()).chain(numbered);
        names.find(|name| !is_taken(name)).unwrap_or_default()
    }

    /// Records that `current` points to `tree` since `now`.
    pub(super) fn switched(&mut self, tree: &str, previous: Option<&str>, now: Timestamp) {
        for one in &mut self.trees {
            if one.name == tree {
                (one.shown, one.replaced) = (true, None);
            } else if Some(one.name.as_str()) == previous {
                (one.shown, one.replaced) = (true, Some(now));
            }
        }
    }

    /// Records that the switch to `tree` was reverted.
    pub(super) fn reverted(&mut self, tree: &str) {
        for one in self.trees.iter_mut().filter(|one| one.name == tree) {
            one.shown = false;
        }
    }

    /// Keeps the current tree, the newest earlier ones, and those that were replaced recently. Returns the time at
    /// which the next one may go.
    pub(super) fn retain(&mut self, current: Option<&str>, retention: Retention, now: Timestamp) -> Option<Timestamp> {
        let (mut others, mut next) = (0, None::<Timestamp>);
        self.trees.retain_mut(|tree| {
            if Some(tree.name.as_str()) == current {
                return true;
            }
            if !tree.shown {
                return false;
            }
            let replaced = *tree.replaced.get_or_insert(now);
            others += 1;
            if others <= retention.count.min(MOST_TREES) {
                return true;
            }
            let until = replaced.checked_add(retention.age).unwrap_or(Timestamp::MAX);
            let is_kept = until > now && others < MOST_TREES;
            if is_kept {
                next = Some(next.map_or(until, |next| next.min(until)));
            }
            is_kept
        });
        next
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AGE: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn tree(name: &str, shown: bool, replaced: Option<i64>) -> Tree {
        Tree { name: name.to_owned(), revision: None, shown, replaced: replaced.map(at) }
    }

    fn names(marker: &Marker) -> Vec<&str> {
        marker.trees.iter().map(|tree| tree.name.as_str()).collect()
    }

    #[test]
    fn trees_are_kept_by_number_and_by_age() {
        let trees = || {
            vec![
                tree("f", true, None),
                tree("prepared", false, None),
                tree("e", true, Some(100)),
                tree("d", true, Some(90)),
                tree("c", true, Some(80)),
                tree("b", true, Some(10)),
            ]
        };
        let rows: [(usize, i64, &[&str], Option<i64>); 4] = [
            (2, 200, &["f", "e", "d"], None),
            (0, 200, &["f"], None),
            (0, 135, &["f", "e", "d", "c"], Some(140)),
            (9, 1000, &["f", "e", "d", "c", "b"], None),
        ];
        for (count, now, want, next) in rows {
            let mut marker = Marker { uid: String::new(), trees: trees() };
            let got = marker.retain(Some("f"), Retention { count, age: AGE }, at(now));
            assert_eq!((names(&marker).as_slice(), got), (want, next.map(at)), "{count} at {now}");
        }
    }

    #[test]
    fn a_tree_without_a_replacement_time_ages_from_the_first_prune() {
        let mut marker = Marker { uid: String::new(), trees: vec![tree("b", true, None), tree("a", true, None)] };
        let retention = Retention { count: 0, age: AGE };
        assert_eq!(marker.retain(Some("b"), retention, at(0)), Some(at(60)));
        assert_eq!(names(&marker), ["b", "a"]);
        assert_eq!(marker.retain(Some("b"), retention, at(61)), None);
        assert_eq!(names(&marker), ["b"]);
    }

    #[test]
    fn the_number_of_young_trees_is_bounded() {
        let trees = (0..100).map(|number| tree(&number.to_string(), true, Some(0))).collect();
        let mut marker = Marker { uid: String::new(), trees };
        marker.retain(Some("0"), Retention { count: 0, age: AGE }, at(1));
        assert_eq!(marker.trees.len(), MOST_TREES);
    }

    #[test]
    fn tree_names_that_leave_the_directory_are_dropped() {
        let names = ["../../victim/current", "/etc/passwd", "..", ".", "", "a/b", "good"];
        let trees: Vec<_> = names.iter().map(|name| serde_json::json!({"name": name, "shown": false})).collect();
        let text = serde_json::json!({"uid": "u", "trees": trees}).to_string();
        let marker = Marker::parse(&text).unwrap();
        assert_eq!(marker.trees.iter().map(|tree| tree.name.as_str()).collect::<Vec<_>>(), ["good"]);
    }

    #[test]
    fn markers_of_earlier_versions_are_parsed() {
        let text = r#"{"uid": "u", "revision": {"image": "r/a"}, "trees": ["b", "a"]}"#;
        let marker = Marker::parse(text).unwrap();
        assert_eq!((marker.uid.as_str(), names(&marker)), ("u", vec!["b", "a"]));
        assert!(marker.revision_of("b").is_none());
        for broken in ["", "{}", "[]", r#"{"uid": 1}"#, r#"{"uid": "u", "trees": [1]}"#] {
            assert!(Marker::parse(broken).is_err(), "{broken}");
        }
        let round = serde_json::to_string(&marker).unwrap();
        assert_eq!(names(&Marker::parse(&round).unwrap()), ["b", "a"]);
    }
}
