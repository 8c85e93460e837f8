//! The lock file: the digest of every reference of some files, and what was verified when it was locked.
//!
//! ```text
//! OCIArtifact, ArtifactSet ──resolve──▶ Entry ──Lock::text──▶ supercargo.lock.yaml ──Lock::parse──▶ Entry
//! ```
//!
//! The text is made for `git diff`: entries are sorted by name, each has its own lines, and an entry that means the same
//! keeps its bytes. Nothing here reads files or sends requests.

use std::collections::BTreeMap;

use crate::oci::Digest;

mod entry;
mod parse;
mod selection;
mod text;

pub use entry::{API_VERSION, Entry, Gap, KIND, Signer};
pub use parse::LockError;
pub use selection::selection;

/// The usual name of a lock file.
pub const FILE: &str = "supercargo.lock.yaml";
/// The name of the record of directories, beside a lock file.
pub const RECORD: &str = "supercargo.record";
/// Name of the note of directories that are about to be exchanged, beside the record.
pub const PENDING: &str = ".supercargo.record.pending";
/// Maximum number of entries.
pub const MAX_ENTRIES: usize = 10_000;

/// A lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Comments and fields before the entries, as they were read.
    head: Option<String>,
    /// Entries by name, with their lines.
    entries: BTreeMap<String, Locked>,
}

/// An entry with its lines in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Locked {
    entry: Entry,
    text: String,
}

impl Lock {
    /// Returns the entry of a name that applies to an image with a selection.
    pub fn find(&self, name: &str, image: &str, selection: &Digest) -> Result<&Entry, Gap> {
        let entry = self.get(name).ok_or(Gap::Missing)?;
        entry.gap(image, selection).map_or(Ok(entry), Err)
    }

    /// Returns the entry of a name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name).map(|locked| &locked.entry)
    }

    /// Returns the names of the entries, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Adds or replaces an entry. One that means the same keeps its lines.
    pub fn set(&mut self, entry: Entry) {
        if self.get(&entry.name) != Some(&entry) {
            let text = text::entry(&entry);
            self.entries.insert(entry.name.clone(), Locked { entry, text });
        }
    }

    /// Keeps the entries with these names.
    pub fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        self.entries.retain(|name, _| keeps(name));
    }

    /// Returns the text of the file.
    pub fn text(&self) -> String {
        let head = self.head.as_deref().unwrap_or(text::HEAD);
        let lines: String = self.entries.values().map(|locked| locked.text.as_str()).collect();
        // A list without items is a null, not an empty list.
        if lines.is_empty() {
            format!("{}artifacts: []\n", head.trim_end_matches("artifacts:\n"))
        } else {
            head.to_owned() + &lines
        }
    }
}

#[cfg(test)]
mod tests;
