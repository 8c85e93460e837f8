//! A tree as keys and values: which file becomes which key, and what does not fit. Pure but for reading.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use crate::oci::{Digest, Hasher};
use crate::output::OutputError;
use crate::request::FileFilter;
use crate::unpack::path::EntryPath;
use crate::unpack::staged::{Node, Staged};

/// Most bytes of keys and values together. The API server takes 1 MiB for the whole object.
const MAX_BYTES: u64 = 900 * 1024;
/// Names that a message lists.
const MAX_SHOWN: usize = 10;
/// Longest key.
const MAX_KEY: usize = 253;

/// Keys and values that fit.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(super) text: BTreeMap<String, String>,
    pub(super) binary: BTreeMap<String, ByteString>,
    pub(super) bytes: u64,
    pub(super) skipped: u64,
}

/// Reads what `filter` keeps of a stage as keys and values.
pub(in crate::output) fn read(staged: &Staged, separator: &str, filter: &FileFilter) -> Result<Content, OutputError> {
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
        content.bytes = content.bytes.saturating_add(size);
        if content.bytes.saturating_add(key.len() as u64) > MAX_BYTES {
            return Err(OutputError::TooLarge(format!(
                "the files have more than {} KiB, which is what a ConfigMap holds; {:?} is where the limit was passed",
                MAX_BYTES / 1024,
                path.as_str()
            )));
        }
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
        return Err(OutputError::NothingLeft(top.take(MAX_SHOWN).collect::<Vec<_>>().join(", ")));
    }
    Ok(content)
}

/// Digest over keys and values: tells whether either was changed.
pub(super) fn digest(entries: &[(&str, &[u8])]) -> Digest {
    let mut hasher = Hasher::default();
    for part in entries.iter().flat_map(|(key, value)| [key.as_bytes(), value]) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finish()
}

fn check_key(key: &str, path: &str) -> Result<(), OutputError> {
    let legal = key.len() <= MAX_KEY
        && !matches!(key, "." | "..")
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if legal {
        return Ok(());
    }
    Err(OutputError::Conflict(format!(
        "{path:?} cannot be a ConfigMap key: letters, digits, - _ and . only, at most 253; use a volume output"
    )))
}
