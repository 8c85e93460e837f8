//! Kinds of the documents of files, for errors about files that are no input.

use std::path::PathBuf;

use crate::cli::files::input::Source;

/// Kinds of our own API group. An `ArtifactLock` and a `PolicyTest` are no input, and lie beside it.
pub(super) const KINDS: [&str; 5] = ["OCIArtifact", "OCIArtifactPolicy", "ArtifactSet", "ArtifactLock", "PolicyTest"];
/// Version of our own API group.
pub(crate) const API_VERSION: &str = "supercargo.dev/v1alpha1";
/// Maximum number of files in an error.
const SHOWN: usize = 5;

/// Kinds of documents by file, in the order in which the files were read.
#[derive(Debug, Default)]
pub(super) struct Found(Vec<(PathBuf, Vec<String>)>);

impl Found {
    /// Begins a file.
    pub(super) fn begin(&mut self, source: &Source) {
        self.0.push((source.shown.clone(), Vec::new()));
    }

    /// Adds the kind of a document, which is empty if it has none.
    pub(super) fn add(&mut self, source: &Source, kind: &str) {
        let last = self.0.last_mut().filter(|(file, _)| *file == source.shown);
        if let Some((_, kinds)) = last.filter(|(_, kinds)| !kinds.iter().any(|known| known == kind)) {
            kinds.push(kind.to_owned());
        }
    }

    /// Returns the problem of files without an artifact.
    pub(super) fn no_artifact(&self) -> String {
        let shown = self.0.iter().take(SHOWN).map(|(file, kinds)| {
            let kinds = match kinds.as_slice() {
                [] => "is empty".to_owned(),
                [kind] if kind.is_empty() => "has no kind".to_owned(),
                [kind] => format!("is {} {kind}", if kind.starts_with(['A', 'E', 'I', 'O']) { "an" } else { "a" }),
                kinds => {
                    let kinds: Vec<_> = kinds.iter().filter(|kind| !kind.is_empty()).map(String::as_str).collect();
                    format!("has the kinds {}", kinds.join(", "))
                }
            };
            format!("{} {kinds}", file.display())
        });
        let mut files: Vec<String> = shown.collect();
        if self.0.len() > SHOWN {
            files.push(format!("and {} more files", self.0.len() - SHOWN));
        }
        if files.is_empty() {
            files.push("no file was found".to_owned());
        }
        format!("{}; expected OCIArtifact or an ArtifactSet with entries", files.join(", "))
    }
}

/// Returns the problem of a document with an unknown kind or version, of which one is ours.
pub(super) fn unexpected(kind: &str, version: &str) -> String {
    let kinds = KINDS.join(" or ");
    if version.is_empty() {
        format!("{kind}: apiVersion is missing; expected {API_VERSION}")
    } else if kind.is_empty() {
        format!("kind is missing; expected {kinds}")
    } else {
        format!("{kind} of {version}: expected {kinds} of {API_VERSION}")
    }
}
