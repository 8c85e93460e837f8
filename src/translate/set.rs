//! The `ArtifactSet` that sources with directories become.

use super::fields::Problems;
use super::node::{Map, Node};
use super::spec::Spec;

/// Maximum number of entries, as for files of `sync`.
const MAX_ENTRIES: usize = 1000;

/// Entries of the set, each with its path in the source.
#[derive(Debug, Default)]
pub(super) struct Set {
    entries: Vec<(String, String, Spec)>,
}

impl Set {
    /// Adds a directory. One that is the same as another entry's, above or below it is a problem: each directory is
    /// replaced as a whole.
    pub(super) fn add(&mut self, directory: &str, spec: Spec, path: &str, problems: &Problems) {
        let Some(directory) = relative(directory, path, problems) else { return };
        if self.entries.len() >= MAX_ENTRIES {
            if self.entries.len() == MAX_ENTRIES {
                problems.add(path, format!("more than {MAX_ENTRIES} artifacts"));
            }
            return;
        }
        let overlaps = |other: &str| {
            let is_in = |one: &str, two: &str| format!("{one}/").starts_with(&format!("{two}/"));
            is_in(&directory, other) || is_in(other, &directory)
        };
        if let Some((_, other, _)) = self.entries.iter().find(|(_, other, _)| overlaps(other)) {
            problems.add(path, format!("the directory \"{directory}\" and \"{other}\" of another entry overlap"));
        }
        self.entries.push((path.to_owned(), directory, spec));
    }

    /// Returns the document.
    pub(super) fn document(self, problems: &Problems) -> Node {
        // Another problem is the cause, or at least the first to mend.
        if self.entries.is_empty() && problems.is_empty() {
            problems.add("document", "no artifact; expected at least one");
        }
        let artifacts: Vec<Map> = self
            .entries
            .into_iter()
            .map(|(_, directory, spec)| spec.fields(Map::default().with("directory", directory)))
            .collect();
        Map::default()
            .with("apiVersion", "supercargo.dev/v1alpha1")
            .with("kind", "ArtifactSet")
            .with("artifacts", artifacts)
            .into()
    }
}

/// Returns a relative path without `.` and empty parts; a problem for one that is absolute, leads upwards or is the
/// current directory.
pub(super) fn relative(text: &str, path: &str, problems: &Problems) -> Option<String> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let problem = if text.starts_with('/') {
        "is absolute"
    } else if parts.contains(&"..") {
        "has .."
    } else if parts.is_empty() {
        "is the current directory"
    } else {
        return Some(parts.join("/"));
    };
    problems.add(path, format!("\"{text}\" {problem}; expected a directory below that of the file"));
    None
}
