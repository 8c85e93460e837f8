//! `index.json`: names of manifests. Pure.

use serde_json::{Map, Value, json};

use crate::oci::media_type::OCI_INDEX;
use crate::oci::{Descriptor, Digest, Reference, Repository, strict_json};

/// Name of the file.
pub(super) const INDEX: &str = "index.json";
/// Maximum size of the file, in bytes.
pub(super) const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum number of entries.
pub const MAX_ENTRIES: usize = 10_000;
/// Annotation with the name of an entry (image-spec annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with the repository of an entry without a name. Two repositories can have the same artifact and other
/// referrers.
pub(super) const REPOSITORY_OF: &str = "dev.supercargo.repository";
/// Maximum length of a name, in bytes.
const MAX_NAME: usize = 512;

/// An entry of `index.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The manifest. Its annotations are those of the entry, which nothing vouches for.
    pub descriptor: Descriptor,
    /// The name; `None` for a manifest that is in the index for its subject alone.
    pub name: Option<String>,
}

/// Entries that are not valid descriptors here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOut {
    Any,
    /// Without those whose digest is of another algorithm, whose blobs are elsewhere.
    Sha256,
}

impl Entry {
    /// Returns true unless the entry is known to be of another repository.
    pub(super) fn may_be_in(&self, repository: &Repository) -> bool {
        let of = match &self.name {
            Some(name) => repository_in(name),
            None => self.descriptor.annotations.get(REPOSITORY_OF).cloned(),
        };
        is_in(of.as_deref(), Some(&repository.to_string()))
    }
}

/// The file. Fields and entries of other programs are kept.
#[derive(Debug)]
pub(super) struct Index {
    document: Map<String, Value>,
    manifests: Vec<Value>,
}

impl Default for Index {
    fn default() -> Self {
        let document =
            Map::from_iter([("schemaVersion".to_owned(), json!(2)), ("mediaType".to_owned(), json!(OCI_INDEX))]);
        Self { document, manifests: Vec::new() }
    }
}

impl Index {
    /// Parses the file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        strict_json::check_up_to(bytes, MAX_ENTRIES.saturating_mul(16)).map_err(|error| format!("{INDEX}: {error}"))?;
        let mut document: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| format!("{INDEX}: {error}"))?;
        if document.get("schemaVersion") != Some(&json!(2)) {
            return Err(format!("{INDEX}: unsupported schemaVersion; expected 2"));
        }
        let manifests = match document.remove("manifests") {
            Some(Value::Array(manifests)) => manifests,
            // Go programs write `null` for an empty list.
            Some(Value::Null) => Vec::new(),
            Some(_) | None => return Err(format!("{INDEX}: no list of manifests")),
        };
        if manifests.len() > MAX_ENTRIES {
            return Err(format!("{INDEX} has {} entries, more than {MAX_ENTRIES}", manifests.len()));
        }
        Ok(Self { document, manifests })
    }

    /// Returns the content of the file.
    pub(super) fn to_json(&self) -> String {
        let mut document = self.document.clone();
        document.insert("manifests".to_owned(), Value::Array(self.manifests.clone()));
        Value::Object(document).to_string()
    }

    /// Returns the entries that are valid descriptors.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let entry = |value: &Value| {
            let descriptor: Descriptor = serde_json::from_value(value.clone()).ok()?;
            let name = descriptor.annotations.get(REF_NAME).cloned();
            Some(Entry { descriptor, name })
        };
        self.manifests.iter().filter_map(entry).collect()
    }

    /// Returns the problem of the first entry of these that [`Self::entries`] leaves out, if there is one.
    pub(super) fn left_out(&self, which: LeftOut) -> Option<String> {
        let counts = |entry: &Value| match which {
            LeftOut::Any => true,
            LeftOut::Sha256 => digest_of(entry).is_none_or(|digest| digest.starts_with("sha256:")),
        };
        let is_invalid = |entry: &Value| serde_json::from_value::<Descriptor>(entry.clone()).is_err();
        let at = self.manifests.iter().position(|entry| counts(entry) && is_invalid(entry))?;
        Some(format!("{INDEX}: manifests[{at}] is not a valid descriptor with a sha256 digest"))
    }

    /// Gives a manifest a name, and takes the name from the manifest that had it. An entry that loses its name, and an
    /// entry of the same manifest in the same repository without a name, are removed. Returns false if there is no room.
    pub(super) fn name(&mut self, manifest: &Descriptor, name: &str, annotations: &[(&str, &str)]) -> bool {
        let (digest, repository) = (manifest.digest.to_string(), repository_in(name));
        self.manifests.retain(|entry| match name_of(entry) {
            Some(other) => other != name,
            None => digest_of(entry) != Some(&digest) || !is_in(repository_of(entry), repository.as_deref()),
        });
        let mut entry = bare(manifest).with_annotation(REF_NAME, name);
        entry.annotations.extend(annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self.add(&entry)
    }

    /// Adds a manifest of a repository without a name, unless the index has it for that repository. Returns false if
    /// there is no room.
    pub(super) fn list(&mut self, manifest: &Descriptor, repository: Option<&str>) -> bool {
        let digest = manifest.digest.to_string();
        let is_there = |entry: &Value| {
            let of = name_of(entry).map_or_else(|| repository_of(entry).map(str::to_owned), repository_in);
            digest_of(entry) == Some(&digest) && is_in(of.as_deref(), repository)
        };
        if self.manifests.iter().any(is_there) {
            return true;
        }
        let mut entry = bare(manifest);
        entry.annotations.extend(repository.map(|repository| (REPOSITORY_OF.to_owned(), repository.to_owned())));
        self.add(&entry)
    }

    /// Keeps the entries that `keep` accepts by their name and digest; the digest is `None` if it is not supported.
    pub(super) fn retain(&mut self, keep: impl Fn(Option<&str>, Option<Digest>) -> bool) {
        self.manifests.retain(|entry| keep(name_of(entry), digest_of(entry).and_then(|digest| digest.parse().ok())));
    }

    fn add(&mut self, entry: &Descriptor) -> bool {
        let has_room = self.manifests.len() < MAX_ENTRIES;
        if has_room {
            self.manifests.push(json!(entry));
        }
        has_room
    }
}

/// Returns the descriptor for the index, without what other documents say about the manifest.
fn bare(manifest: &Descriptor) -> Descriptor {
    Descriptor::new(&manifest.media_type, manifest.digest.clone(), manifest.size)
}

fn name_of(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

/// Returns the repository of an entry without a name, if it is known.
fn repository_of(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REPOSITORY_OF)?.as_str()
}

/// Returns the repository in a name that is a whole reference.
fn repository_in(name: &str) -> Option<String> {
    name.parse::<Reference>().ok().map(|reference| reference.repository.to_string())
}

/// Returns true for an entry of a repository, and for one whose repository is unknown.
fn is_in(of: Option<&str>, repository: Option<&str>) -> bool {
    of.is_none() || of == repository
}

fn digest_of(entry: &Value) -> Option<&str> {
    entry.get("digest")?.as_str()
}

/// Returns true for a name that an entry may have.
pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}
