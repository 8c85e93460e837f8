//! Name of the program as a plugin of kubectl.

use std::ffi::OsString;
use std::path::Path;

/// Names under which kubectl finds the plugin and its completion, with the words that they stand for.
const NAMES: [(&str, &[&str]); 2] = [
    ("kubectl-ociartifact", &["kubectl", "ociartifact"]),
    ("kubectl_complete-ociartifact", &["kubectl", "ociartifact", "complete", "--"]),
];

/// Returns the arguments of the program. As a plugin of kubectl, under the name `kubectl-ociartifact`, its commands are
/// those of `supercargo ociartifact`; errors and help then name them as kubectl's user wrote them.
pub fn arguments(all: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = all.into_iter().collect();
    let own = all.first().and_then(|first| Path::new(first).file_name());
    if let Some((_, words)) = NAMES.iter().find(|(name, _)| own.is_some_and(|own| own == *name)) {
        all.splice(..1, words.iter().map(OsString::from));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_decides() {
        let rows: [(&[&str], &[&str]); 6] = [
            (&["/usr/bin/kubectl-ociartifact", "tree", "x"], &["kubectl", "ociartifact", "tree", "x"]),
            (&["kubectl-ociartifact"], &["kubectl", "ociartifact"]),
            (&["/b/kubectl_complete-ociartifact", "-"], &["kubectl", "ociartifact", "complete", "--", "-"]),
            (&["/opt/kubectl-ociartifact/supercargo", "sync"], &["/opt/kubectl-ociartifact/supercargo", "sync"]),
            (&["supercargo", "kubectl-ociartifact"], &["supercargo", "kubectl-ociartifact"]),
            (&[], &[]),
        ];
        for (given, want) in rows {
            assert_eq!(arguments(given.iter().map(OsString::from)), want, "{given:?}");
        }
    }
}
