//! Reading of a lock file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::entry::{API_VERSION, Entry, KIND};
use super::{Lock, Locked, MAX_ENTRIES};
use crate::oci::Reference;
use crate::yaml;

/// Beginning of the first line of an entry.
const START: &str = "- name:";

/// Error of a text that is no lock file of this version.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LockError {
    /// Not YAML, or not the fields of a lock.
    #[error("{problem}{}", at(*.line))]
    Invalid {
        /// Problem, and the expected form.
        problem: String,
        /// Line, if it is known.
        line: Option<u64>,
    },
    /// Two entries with one name.
    #[error("{0:?} has two entries")]
    Twice(String),
    /// Too many entries.
    #[error("{0} entries; expected at most {MAX_ENTRIES}")]
    TooMany(usize),
}

fn at(line: Option<u64>) -> String {
    line.map(|line| format!(" (line {line})")).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    artifacts: Vec<Entry>,
}

impl Lock {
    /// Parses the text of a file. Unknown fields are errors: their meaning would be lost.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let Document { api_version, kind, artifacts } = parse(text, 0)?;
        let invalid = |problem: String| LockError::Invalid { problem, line: None };
        if (api_version.as_str(), kind.as_str()) != (API_VERSION, KIND) {
            return Err(invalid(format!("{kind} of {api_version}; expected {KIND} of {API_VERSION}")));
        }
        if artifacts.len() > MAX_ENTRIES {
            return Err(LockError::TooMany(artifacts.len()));
        }
        let (head, chunks) = split(text);
        if chunks.len() != artifacts.len() {
            let (items, starts) = (artifacts.len(), chunks.len());
            return Err(invalid(format!(
                "{items} entries, but {starts} lines begin with {START:?}; expected one for each"
            )));
        }
        let mut entries = BTreeMap::new();
        for (entry, (line, text)) in artifacts.into_iter().zip(chunks) {
            // The lines of an entry alone must mean the entry, as they are kept when others change.
            if parse::<Vec<Entry>>(text, line)? != [entry.clone()] {
                let problem =
                    format!("the entry {:?} does not have the lines from {START:?} to the next one", entry.name);
                return Err(LockError::Invalid { problem, line: Some(line + 1) });
            }
            if let Some(problem) = contradiction(&entry) {
                return Err(LockError::Invalid { problem, line: Some(line + 1) });
            }
            let mut text = text.to_owned();
            if !text.ends_with('\n') {
                text.push('\n');
            }
            let name = entry.name.clone();
            if entries.insert(name.clone(), Locked { entry, text }).is_some() {
                return Err(LockError::Twice(name));
            }
        }
        // The head of an empty list is not that of a list.
        let head = head.filter(|_| !entries.is_empty()).map(str::to_owned);
        Ok(Self { head, entries })
    }
}

/// Returns the problem of an entry whose tag or digest is not that of its own image.
fn contradiction(entry: &Entry) -> Option<String> {
    // An image that cannot be parsed is in no file, so that the entry covers nothing.
    let Reference { tag, digest, .. } = entry.image.parse().ok()?;
    let (name, image) = (&entry.name, &entry.image);
    match (&tag, &digest) {
        (Some(_), None) if entry.tag != tag => Some(format!("the tag of {name:?} is not that of its image {image}")),
        (_, Some(digest)) if entry.digest != *digest => {
            Some(format!("the digest of {name:?} is not that of its image {image}"))
        }
        _ => None,
    }
}

/// Parses YAML that begins after `before` lines of the file.
fn parse<'de, T: Deserialize<'de>>(text: &'de str, before: u64) -> Result<T, LockError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|at| at.line() + before);
        LockError::Invalid { problem: format!("not a lock: {}", yaml::message(&error)), line }
    })
}

/// Returns the text before the first entry, and for each entry the number of lines before it and its lines.
fn split(text: &str) -> (Option<&str>, Vec<(u64, &str)>) {
    let (mut starts, mut at) = (Vec::new(), 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.starts_with(START) {
            starts.push((number as u64, at));
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).map(|(_, at)| *at).chain([text.len()]);
    let chunks = starts.iter().zip(ends).filter_map(|((line, from), to)| Some((*line, text.get(*from..to)?)));
    (starts.first().and_then(|(_, at)| text.get(..*at)), chunks.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Signer;
    use crate::testing::fields::assert_described;

    #[test]
    fn the_reference_describes_every_field() {
        assert_described::<Document>(KIND, "");
        assert_described::<Entry>(KIND, "artifacts[].");
        assert_described::<Signer>(KIND, "artifacts[].signers[].");
    }
}
