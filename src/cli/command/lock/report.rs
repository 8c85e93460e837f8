//! Result of `supercargo lock`: lines, or one JSON object.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::cli::artifacts::Artifact;
use crate::cli::options::format::Format;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::count;
use crate::failure::printable;
use crate::lock::{Entry, Lock};
use crate::oci::Digest;

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    /// Path of the lock.
    lock: String,
    /// Entries of the old and the new lock, by name.
    artifacts: Vec<Row<'a>>,
    /// Number of entries that were changed, or with `--check` are to be changed.
    pub(super) changed: usize,
}

/// An artifact in the old or the new lock.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    name: &'a str,
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    digest: &'a Digest,
    /// Digest in the lock before the command, if it was another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a Digest>,
    /// Tag in the lock before the command, if it was another one.
    #[serde(skip)]
    previous_tag: Option<&'a str>,
    change: Change,
}

/// Difference between the files and the old lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Change {
    /// The lock has no entry.
    Added,
    /// The tag has another digest.
    Moved,
    /// The digest is the same; the image, the selection, or what was verified is not.
    Edited,
    /// No artifact has the entry.
    Removed,
    /// The entry applies.
    Unchanged,
}

impl Change {
    fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Moved => "moved",
            Self::Edited => "edited",
            Self::Removed => "removed",
            Self::Unchanged => "unchanged",
        }
    }
}

/// State of an artifact now.
pub(super) enum Now {
    /// Entry for the lock.
    Entry(Box<Entry>),
    /// With `--check`: the tag and its digest, if the lock has no entry with this digest.
    Resolved { tag: Option<String>, digest: Digest },
}

/// Returns a row for each artifact of the files and each entry of the old lock, by name.
fn rows<'a>(all: &'a [Artifact<'a>], now: &'a BTreeMap<String, Now>, old: &'a Lock, is_whole: bool) -> Vec<Row<'a>> {
    let mut rows: Vec<_> = all.iter().filter_map(|artifact| row(artifact, now.get(&artifact.name), old)).collect();
    let is_surplus = |name: &&str| !all.iter().any(|artifact| artifact.name == **name);
    let surplus = old.names().filter(is_surplus).filter_map(|name| old.get(name));
    let change = if is_whole { Change::Removed } else { Change::Unchanged };
    rows.extend(surplus.map(|entry| Row { change, ..Row::of(entry) }));
    rows.sort_by_key(|row| row.name);
    rows
}

/// Returns the row of an artifact; `None` for one that is neither in the old lock nor was looked at.
fn row<'a>(artifact: &'a Artifact<'a>, now: Option<&'a Now>, old: &'a Lock) -> Option<Row<'a>> {
    let before = old.get(&artifact.name);
    let row = match now {
        None => return before.map(Row::of),
        Some(Now::Entry(entry)) => {
            Row { change: change(before, &entry.digest, before == Some(&**entry)), ..Row::of(entry) }
        }
        Some(Now::Resolved { tag, digest }) => Row {
            name: &artifact.name,
            image: &artifact.object.spec.image,
            tag: tag.as_deref(),
            digest,
            previous: None,
            previous_tag: None,
            change: change(before, digest, false),
        },
    };
    let previous = before.map(|before| &before.digest).filter(|previous| *previous != row.digest);
    let previous_tag = before.and_then(|before| before.tag.as_deref()).filter(|tag| row.tag != Some(*tag));
    Some(Row { previous, previous_tag, ..row })
}

fn change(before: Option<&Entry>, digest: &Digest, is_same: bool) -> Change {
    match before {
        None => Change::Added,
        Some(before) if before.digest != *digest => Change::Moved,
        Some(_) if is_same => Change::Unchanged,
        Some(_) => Change::Edited,
    }
}

impl Row<'_> {
    /// Returns the line of a change, with the tag or the digest before it.
    fn line(&self) -> String {
        let Self { name, tag, digest, change, .. } = self;
        let tag = match (self.previous_tag, tag) {
            (Some(previous), Some(tag)) => format!(" {previous} -> {tag}"),
            (_, Some(tag)) => format!(" {tag}"),
            (_, None) => String::new(),
        };
        let before = self.previous.filter(|_| self.previous_tag.is_none());
        let before = before.map(|digest| format!("{} -> ", digest.short())).unwrap_or_default();
        printable(&format!("{name}: {}{tag} {before}{digest}", change.as_str())) + "\n"
    }
}

impl<'a> Row<'a> {
    /// Returns the row of an entry that is unchanged.
    fn of(entry: &'a Entry) -> Self {
        let Entry { name, image, tag, digest, .. } = entry;
        Self { name, image, tag: tag.as_deref(), digest, previous: None, previous_tag: None, change: Change::Unchanged }
    }
}

impl<'a> Report<'a> {
    /// Creates the report of a command that has looked at the artifacts of `now`: at all of them if `is_whole`.
    pub(super) fn new(
        path: &Path,
        all: &'a [Artifact<'a>],
        now: &'a BTreeMap<String, Now>,
        old: &'a Lock,
        is_whole: bool,
    ) -> Self {
        let artifacts = rows(all, now, old, is_whole);
        let changed = artifacts.iter().filter(|row| row.change != Change::Unchanged).count();
        Self { lock: path.display().to_string(), artifacts, changed }
    }

    /// Returns the text for standard output.
    pub(super) fn text(&self, format: Format) -> Result<String, Complaint> {
        let changed = self.artifacts.iter().filter(|row| row.change != Change::Unchanged);
        format.show(|| changed.map(Row::line).collect(), self)
    }

    /// Returns the number of artifacts by change, for standard error.
    pub(super) fn summary(&self) -> String {
        let all = [Change::Added, Change::Moved, Change::Edited, Change::Removed, Change::Unchanged];
        let counted = all.iter().filter_map(|change| {
            let number = self.artifacts.iter().filter(|row| row.change == *change).count();
            (number > 0).then(|| format!("{number} {}", change.as_str()))
        });
        let counted: Vec<_> = counted.collect();
        if counted.is_empty() {
            "no artifacts".to_owned()
        } else {
            format!("{}: {}", count(self.artifacts.len(), "artifact"), counted.join(", "))
        }
    }
}
