//! The lock file: the digest of every reference of some files, and what was verified when it was locked.
//!
//! ```text
//! OCIArtifact, ArtifactSet ──resolve──▶ Entry ──Lock::text──▶ supercargo.lock.yaml ──Lock::parse──▶ Entry
//! ```
//!
//! The text is made for `git diff`: entries are sorted by name, each has its own lines, and an entry that means the same
//! keeps its bytes. Nothing here reads files or sends requests.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::vocabulary::SignatureFormat;
use crate::oci::Digest;

mod parse;
mod selection;
mod text;

pub use parse::LockError;
pub use selection::selection;

/// The usual name of a lock file.
pub const FILE: &str = "supercargo.lock.yaml";
/// Value of `kind` in a lock file.
pub const KIND: &str = "ArtifactLock";
/// Value of `apiVersion` in a lock file.
pub const API_VERSION: &str = "supercargo.dev/v1alpha1";
/// Maximum number of entries.
pub const MAX_ENTRIES: usize = 10_000;

/// One locked reference.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Directory of an entry of an `ArtifactSet`, or namespace and name of an OCIArtifact.
    pub name: String,
    /// Reference as the files have it.
    pub image: String,
    /// Tag that was resolved; absent for a digest alone.
    pub tag: Option<String>,
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Digest of the index's manifest for the platform.
    pub platform_digest: Option<Digest>,
    /// Media type of the manifest.
    pub media_type: Option<String>,
    /// Artifact type of the manifest.
    pub artifact_type: Option<String>,
    /// Bytes of the manifest's config and layers.
    pub size: u64,
    /// Digest of the list of files.
    pub files_digest: Digest,
    /// Digest of the fields that select files; see [`selection`].
    pub selection: Digest,
    /// Signatures that were verified, by requirement.
    #[serde(default)]
    pub signers: Vec<Signer>,
    /// Names of the policies that matched.
    #[serde(default)]
    pub policies: Vec<String>,
}

/// One verified signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signer {
    /// Name of the entry of `verify`, or of the policy that requires it.
    pub requirement: String,
    /// `Bundle` or `Legacy`.
    pub format: String,
    /// OIDC issuer.
    pub issuer: Option<String>,
    /// Email address or URI.
    pub subject: Option<String>,
    /// Digest of the public key.
    pub key_fingerprint: Option<Digest>,
}

impl Signer {
    /// Creates a signer without an identity or key.
    pub fn new(requirement: &str, format: SignatureFormat) -> Self {
        let (requirement, format) = (requirement.to_owned(), format.as_str().to_owned());
        Self { requirement, format, issuer: None, subject: None, key_fingerprint: None }
    }
}

/// Reason why an entry does not apply to a reference of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// No entry has the name.
    Missing,
    /// The entry is about another image, tag or digest.
    Image,
    /// Other fields select the tag or the files.
    Selection,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "has no entry in the lock",
            Self::Image => "has another image than its entry in the lock",
            Self::Selection => "selects other versions or files than its entry in the lock",
        })
    }
}

impl Entry {
    /// Returns the reason why the entry does not apply to an image with a selection. A digest that is pinned beside the
    /// tag, or is no longer, is the same image as long as it is the locked one.
    fn gap(&self, image: &str, selection: &Digest) -> Option<Gap> {
        let split = |image: &str| match image.split_once('@') {
            Some((name, digest)) => (name.to_owned(), Some(digest.to_owned())),
            None => (image.to_owned(), None),
        };
        let ((own, _), (name, pinned)) = (split(&self.image), split(image));
        if own != name || pinned.is_some_and(|pinned| pinned != self.digest.to_string()) {
            return Some(Gap::Image);
        }
        (self.selection != *selection).then_some(Gap::Selection)
    }
}

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
