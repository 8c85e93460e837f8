//! Conversion of a tree to keys and values, with its limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;

use crate::oci::{Digest, Hasher};
use crate::output::error::OutputError;
use crate::request::{FileFilter, KeyedObject, Target};
use crate::storage::Call;
use crate::unpack::path::EntryPath;
use crate::unpack::staged::{Node, Staged};

/// Maximum size of keys and values together, in bytes. The API server accepts 1 MiB of values.
const MAX_BYTES: u64 = 900 * 1024;
/// Maximum estimated size of the stored object, in bytes. etcd accepts requests of 1.5 MiB; the difference is for
/// metadata and for the fields of other managers.
const MAX_STORED: u64 = 1280 * 1024;
/// Storage overhead of a key and its value, in bytes: tags and lengths of the map entry, and `"f:":{},` in
/// `managedFields`.
const PER_KEY: u64 = 24;
/// Maximum number of names in a message.
const MAX_NAMES: usize = 10;
/// Maximum length of a key.
const MAX_KEY: usize = 253;

/// Keys and values within the limits.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(super) text: BTreeMap<String, String>,
    pub(super) binary: BTreeMap<String, ByteString>,
    /// Size of the values, in bytes.
    pub(super) bytes: u64,
    /// Size of the keys, in bytes.
    keys: u64,
    /// Number of keys.
    entries: u64,
    pub(super) skipped: u64,
}

impl Content {
    /// Estimates the size of the stored object: each key is stored twice, in the data and in `managedFields`.
    pub(super) fn stored_bytes(&self) -> u64 {
        let keys = self.keys.saturating_mul(2).saturating_add(self.entries.saturating_mul(PER_KEY));
        self.bytes.saturating_add(keys)
    }

    /// Counts a key and the size of its value, before the value is read.
    fn count(&mut self, key: &str, size: u64, path: &str) -> Result<(), OutputError> {
        self.bytes = self.bytes.saturating_add(size);
        self.keys = self.keys.saturating_add(key.len() as u64);
        self.entries += 1;
        let rows = [
            (self.bytes.saturating_add(self.keys), MAX_BYTES, "for the keys and values"),
            (
                self.stored_bytes(),
                MAX_STORED,
                "for a stored object, which records each key twice (data and managedFields),",
            ),
        ];
        match rows.into_iter().find(|(bytes, limit, _)| bytes > limit) {
            None => Ok(()),
            Some((_, limit, what)) => Err(OutputError::TooLarge(format!(
                "{path:?} exceeds the limit of {} KiB {what} of a ConfigMap or Secret",
                limit / 1024
            ))),
        }
    }
}

/// Reads the files of a stage that the target selects as keys and values, on a thread of the volume for `namespace`.
pub(in crate::output) async fn of(
    target: &Target,
    keyed: &KeyedObject,
    staged: &Arc<Staged>,
    namespace: &str,
) -> Result<Content, OutputError> {
    let (staged, separator, filter) = (Arc::clone(staged), keyed.separator.clone(), target.filter.clone());
    let pool = staged.pool().clone();
    pool.run(Call::Long(namespace), move || read(&staged, &separator, &filter)).await?
}

/// Reads the files of a stage that `filter` selects as keys and values.
fn read(staged: &Staged, separator: &str, filter: &FileFilter) -> Result<Content, OutputError> {
    let mut content = Content::default();
    let mut owners = BTreeMap::new();
    for (path, node) in staged.nodes().iter().filter(|(path, _)| filter.keeps(path)) {
        let size = match node {
            Node::File { size, .. } => *size,
            Node::Directory => continue,
            Node::Link { .. } => {
                content.skipped += 1;
                continue;
            }
        };
        let key = path.as_str().replace('/', separator);
        check_key(&key, path.as_str())?;
        content.count(&key, size, path.as_str())?;
        if let Some(other) = owners.insert(key.clone(), path.clone()) {
            return Err(OutputError::Conflict(format!(
                "{:?} and {:?} both become the key {key:?}; choose another separator",
                other.as_str(),
                path.as_str()
            )));
        }
        match String::from_utf8(staged.read(path)?) {
            Ok(text) => drop(content.text.insert(key, text)),
            Err(error) => drop(content.binary.insert(key, ByteString(error.into_bytes()))),
        }
    }
    let is_empty = content.text.is_empty() && content.binary.is_empty();
    if is_empty && !filter.is_all() && staged.files() > 0 {
        let top = staged.nodes().keys().map(EntryPath::as_str).filter(|path| !path.contains('/'));
        return Err(OutputError::NothingLeft(top.take(MAX_NAMES).collect::<Vec<_>>().join(", ")));
    }
    Ok(content)
}

/// Returns the digest over keys and values, which changes if either does.
pub(super) fn digest(entries: &[(&str, &[u8])]) -> Digest {
    let mut hasher = Hasher::default();
    entries.iter().flat_map(|(key, value)| [key.as_bytes(), value]).for_each(|part| hasher.field(part));
    hasher.finish()
}

/// Checks the API server's rule for keys (`IsConfigMapKey`).
fn check_key(key: &str, path: &str) -> Result<(), OutputError> {
    let legal = key.len() <= MAX_KEY
        && key != "."
        && !key.starts_with("..")
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if legal {
        return Ok(());
    }
    Err(OutputError::Conflict(format!(
        "{path:?} cannot be a key of a ConfigMap or Secret: expected at most 253 \
         letters, digits, - _ and ., without .. at the start. Exclude the file from this output"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_the_api_server_refuses_is_a_conflict() {
        let long = "x".repeat(253);
        let rows = [
            ("a", true),
            (".a", true),
            ("a..b", true),
            ("-", true),
            (long.as_str(), true),
            (".", false),
            ("..", false),
            ("..a", false),
            ("...", false),
            ("a b", false),
            ("a/b", false),
        ];
        for (key, want) in rows {
            let result = check_key(key, "entry");
            assert_eq!(result.is_ok(), want, "{key:?}");
            assert!(
                result.err().is_none_or(|error| matches!(error, OutputError::Conflict(text) if text.contains("entry")))
            );
        }
    }

    /// Counts a number of files of one size; returns the content and the error.
    fn count(files: u64, key: usize, size: u64) -> (Content, Option<String>) {
        let mut content = Content::default();
        for number in 0..files {
            let key = format!("{number:0key$}");
            if let Err(OutputError::TooLarge(text)) = content.count(&key, size, &key) {
                return (content, Some(text));
            }
        }
        (content, None)
    }

    #[test]
    fn keys_count_beside_values_and_again_in_managed_fields() {
        assert!(count(1, 1, 900 * 1024 - 1).1.is_none());
        let of_one = count(1, 2, 900 * 1024 - 1).1.unwrap();
        assert!(of_one.contains("900 KiB") && of_one.contains("00"), "{of_one}");
        assert!(count(3_000, 100, 200).1.is_none());
        // 780 KiB of keys and values, and 1.4 MiB stored.
        let many = count(5_000, 100, 60).1.unwrap();
        assert!(many.contains("1280 KiB") && many.contains("\"00"), "{many}");
        let (content, _) = count(1_000, 100, 10);
        assert_eq!(content.stored_bytes(), 1_000 * (2 * 100 + 10 + PER_KEY));
    }
}
