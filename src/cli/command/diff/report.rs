//! Result of a comparison, as text or JSON.

use serde::Serialize;

use super::changes::{Change, compare};
use super::content_of::{self, Budget, Content, printable_lines};
use super::side::{Shown, Tree};
use crate::cli::options::format::Format;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::table::table;
use crate::failure::printable;
use crate::oci::Digest;
use crate::unpack::staged::Node;

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    old: Named,
    new: Named,
    /// True if nothing differs.
    equal: bool,
    /// Numbers of entries.
    added: usize,
    removed: usize,
    changed: usize,
    unchanged: usize,
    /// Entries that differ, by path.
    changes: Vec<Row>,
}

/// One side.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    /// Repository, tag and digest in one string.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    /// Digest of the list of files.
    files_digest: Digest,
}

/// An entry that differs.
#[derive(Debug, Serialize)]
struct Row {
    path: String,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<Entry>,
    /// With `--content`, the comparison of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content>,
}

/// An entry of a tree.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Entry {
    Directory,
    File { mode: &'static str, size: u64, digest: Digest },
    Link { target: String },
}

impl From<Node> for Entry {
    fn from(node: Node) -> Self {
        match node {
            Node::Directory => Self::Directory,
            Node::File { size, executable, digest } => {
                Self::File { mode: if executable { "0755" } else { "0644" }, size, digest }
            }
            Node::Link { target } => Self::Link { target },
        }
    }
}

impl Report {
    /// Compares two trees; with a budget, lines of text files too.
    pub(super) fn of(trees: &[Tree; 2], mut budget: Option<&mut Budget>) -> Result<Self, Complaint> {
        let [old, new] = trees;
        let (changes, unchanged) = compare(old.listing.nodes(), new.listing.nodes());
        let count = |word: &str| changes.iter().filter(|change| change.word() == word).count();
        let (added, removed, changed) = (count("added"), count("removed"), count("changed"));
        let equal = changes.is_empty();
        let mut row = |change: Change| {
            let content = match &mut budget {
                Some(budget) => content_of::compare(&change, trees, budget)?,
                None => None,
            };
            let word = change.word();
            let Change { path, old, new } = change;
            let [old, new] = [old, new].map(|node| node.map(Entry::from));
            Ok(Row { path: path.to_string(), change: word, old, new, content })
        };
        let changes = changes.into_iter().map(&mut row).collect::<Result<_, Complaint>>()?;
        Ok(Self { old: named(old), new: named(new), equal, added, removed, changed, unchanged, changes })
    }

    pub(super) fn is_equal(&self) -> bool {
        self.equal
    }

    /// Returns the report for standard output.
    pub(super) fn shown(&self, format: Format) -> Result<String, Complaint> {
        format.show(|| self.text(), self)
    }

    fn text(&self) -> String {
        let name = |side: &Named| {
            let text = side.reference.as_ref().or(side.directory.as_ref()).map_or("", String::as_str);
            printable(text)
        };
        let mut text = format!("--- {}\n+++ {}\n", name(&self.old), name(&self.new));
        if !self.equal {
            let rows: Vec<_> = self.changes.iter().map(Row::cells).collect();
            text += &table(["CHANGE", "MODE", "SIZE", "PATH"], &rows);
        }
        for row in &self.changes {
            let alone = |why: &str| format!("{}: {why}\n", printable(&row.path));
            text += &match &row.content {
                None => String::new(),
                Some(Content::Text(lines)) => printable_lines(lines),
                Some(Content::Binary) => alone("not text"),
                Some(Content::TooLarge) => alone("too large to compare by lines"),
            };
        }
        let Self { added, removed, changed, unchanged, .. } = self;
        text + &format!("{added} added, {removed} removed, {changed} changed, {unchanged} unchanged\n")
    }
}

/// Output of `--format json` for a lock. The names are stable.
#[derive(Debug, Serialize)]
pub(super) struct LockReport {
    /// Path of the lock.
    lock: String,
    /// Artifacts whose digest is not that of the lock, by name.
    artifacts: Vec<ArtifactReport>,
    /// True if no file of any artifact differs.
    equal: bool,
    /// Number of artifacts with files that differ.
    changed: usize,
    /// Number of the other artifacts.
    unchanged: usize,
}

/// The differences of one artifact.
#[derive(Debug, Serialize)]
struct ArtifactReport {
    /// Name in the lock.
    name: String,
    #[serde(flatten)]
    files: Report,
}

impl LockReport {
    pub(super) fn new(lock: String) -> Self {
        Self { lock, artifacts: Vec::new(), equal: true, changed: 0, unchanged: 0 }
    }

    /// Adds an artifact: `None` for one with the digest of the lock.
    pub(super) fn add(&mut self, name: &str, files: Option<Report>) {
        let is_equal = files.as_ref().is_none_or(|files| files.equal);
        self.equal &= is_equal;
        let count = if is_equal { &mut self.unchanged } else { &mut self.changed };
        *count = count.saturating_add(1);
        self.artifacts.extend(files.map(|files| ArtifactReport { name: name.to_owned(), files }));
    }

    pub(super) fn is_equal(&self) -> bool {
        self.equal
    }

    /// Returns the report for standard output.
    pub(super) fn shown(&self, format: Format) -> Result<String, Complaint> {
        let block = |one: &ArtifactReport| format!("{}\n{}\n", printable(&one.name), one.files.text());
        let Self { changed, unchanged, .. } = self;
        let last = format!("artifacts: {changed} changed, {unchanged} unchanged\n");
        format.show(|| self.artifacts.iter().map(block).collect::<String>() + &last, self)
    }
}

fn named(tree: &Tree) -> Named {
    let files_digest = tree.listing.digest();
    match &tree.shown {
        Shown::Directory(path) => Named { reference: None, directory: Some(path.clone()), files_digest },
        Shown::Artifact(reference) => Named { reference: Some(reference.clone()), directory: None, files_digest },
    }
}

impl Row {
    fn cells(&self) -> [String; 4] {
        let sides = [&self.old, &self.new].map(|entry| entry.as_ref().map(Entry::cells));
        let cell = |index: usize| {
            let of = |cells: &Option<[String; 2]>| cells.as_ref().and_then(|cells| cells.get(index).cloned());
            let [old, new] = sides.each_ref().map(of);
            match (old, new) {
                (Some(old), Some(new)) if old != new => format!("{old} -> {new}"),
                (old, new) => new.or(old).unwrap_or_default(),
            }
        };
        [self.change.to_owned(), cell(0), cell(1), self.path.clone()]
    }
}

impl Entry {
    /// Returns the mode, or the kind, and the size, or the target.
    fn cells(&self) -> [String; 2] {
        match self {
            Self::Directory => ["directory".to_owned(), String::new()],
            Self::File { mode, size, .. } => [(*mode).to_owned(), size.to_string()],
            Self::Link { target } => ["link".to_owned(), target.clone()],
        }
    }
}
