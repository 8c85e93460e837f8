//! `index.json`: names of manifests. Pure.

use serde_json::{Map, Value, json};

use crate::oci::media_type::OCI_INDEX;
use crate::oci::{Descriptor, Digest, strict_json};

/// Name of the file.
pub(super) const INDEX: &str = "index.json";
/// Maximum size of the file, in bytes.
pub(super) const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum number of entries.
pub const MAX_ENTRIES: usize = 10_000;
/// Annotation with the name of an entry (image-spec annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
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

    /// Gives a manifest a name, and takes the name from the manifest that had it. An entry that loses its name, and an
    /// entry of the same manifest without a name, are removed. Returns false if there is no room.
    pub(super) fn name(&mut self, manifest: &Descriptor, name: &str, annotations: &[(&str, &str)]) -> bool {
        let digest = manifest.digest.to_string();
        self.manifests.retain(|entry| match name_of(entry) {
            Some(other) => other != name,
            None => digest_of(entry) != Some(&digest),
        });
        let mut entry = bare(manifest).with_annotation(REF_NAME, name);
        entry.annotations.extend(annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self.add(&entry)
    }

    /// Adds a manifest without a name, unless the index has it. Returns false if there is no room.
    pub(super) fn list(&mut self, manifest: &Descriptor) -> bool {
        let digest = manifest.digest.to_string();
        self.manifests.iter().any(|entry| digest_of(entry) == Some(&digest)) || self.add(&bare(manifest))
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

fn digest_of(entry: &Value) -> Option<&str> {
    entry.get("digest")?.as_str()
}

/// Returns true for a name that an entry may have.
pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}
