//! Result of `supercargo pin`: lines, or one JSON object.

use std::collections::BTreeMap;

use serde::Serialize;

use super::files::File;
use crate::cli::options::format::Format;
use crate::cli::output::complaint::Complaint;
use crate::failure::printable;
use crate::oci::{Digest, Reference};
use crate::pin::Found;

/// Digests by reference.
pub(super) type Digests = BTreeMap<String, Digest>;

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// References with a tag, in the order of the files and lines.
    references: Vec<Row>,
    /// Number of references that were changed, or with `--check` are to be changed.
    pub(super) changed: usize,
}

/// A reference with a tag.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    file: String,
    line: usize,
    /// Reference after the command; with `--check`, the reference in the file.
    reference: String,
    /// Digest in the file before the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Digest>,
    /// Digest that the tag has now; absent with `--unpin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    /// True if the reference was changed, or with `--check` is to be changed.
    changed: bool,
}

/// Returns the rows of a file.
pub(super) fn rows(file: &File, is_check: bool, digests: &Digests) -> Vec<Row> {
    let row = |found: &Found| {
        let tagged = found.tagged()?;
        let digest = digests.get(&tagged.to_string()).cloned();
        let after = if is_check { found.reference.digest.clone() } else { digest.clone() };
        Some(Row {
            file: file.shown.display().to_string(),
            line: found.line,
            reference: Reference { digest: after, ..tagged }.to_string(),
            previous: found.reference.digest.clone(),
            changed: found.reference.digest != digest,
            digest,
        })
    };
    file.found.iter().filter_map(row).collect()
}

impl Report {
    pub(super) fn new(references: Vec<Row>) -> Self {
        let changed = references.iter().filter(|row| row.changed).count();
        Self { references, changed }
    }

    /// Returns the text for the user.
    pub(super) fn text(&self, format: Format) -> Result<String, Complaint> {
        let changed = self.references.iter().filter(|row| row.changed);
        let line = |row: &Row| printable(&format!("{}:{}: {}", row.file, row.line, row.reference)) + "\n";
        format.show(|| changed.map(line).collect(), self)
    }
}
