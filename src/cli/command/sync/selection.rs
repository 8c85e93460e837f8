//! Artifacts that `--only` names.

use crate::api::Reason;
use crate::cli::artifacts::is_named;
use crate::cli::files::objects::{Input, Object};
use crate::cli::output::complaint::Complaint;

/// Maximum number of artifacts in an error.
const SHOWN: usize = 5;

/// An artifact of the files: its namespace and name, and the rest.
pub(super) type Selected<'a> = (&'a (String, String), &'a Object);

/// Returns the artifacts to process, in the order of their names; all without `--only`.
pub(super) fn select<'a>(input: &'a Input, only: &[String]) -> Result<Vec<Selected<'a>>, Complaint> {
    let is_named = |(key, object): &Selected<'_>, text: &String| is_named(key, object, text);
    if let Some(text) = only.iter().find(|text| !input.objects.iter().any(|one| is_named(&one, text))) {
        let mut names: Vec<_> =
            input.objects.keys().take(SHOWN).map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        if input.objects.len() > SHOWN {
            names.push(format!("and {} more", input.objects.len() - SHOWN));
        }
        let problem = format!("--only {text}: the files have no such artifact; they have {}", names.join(", "));
        return Err(Complaint::new(Reason::InvalidSpec, problem));
    }
    let is_selected = |one: &Selected<'_>| only.is_empty() || only.iter().any(|text| is_named(one, text));
    Ok(input.objects.iter().filter(is_selected).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::files::input::Subdirectories;

    #[test]
    fn artifacts_are_named_by_name_or_directory() {
        let dir = tempfile::tempdir().unwrap();
        let object = |namespace: &str, name: &str| {
            format!(
                "---\napiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
                 spec: {{image: ghcr.io/a/b}}\n"
            )
        };
        let set = "---\napiVersion: supercargo.dev/v1alpha1\nkind: ArtifactSet\nartifacts: [{directory: vendor/a, image: ghcr.io/a/b}]\n";
        let placed = "---\napiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nmetadata: {name: p, namespace: w, annotations: \
                      {supercargo.dev/directory: oad/p}}\nspec: {image: ghcr.io/a/b}\n";
        let file = dir.path().join("a.yaml");
        let text = [object("x", "a"), object("w", "a"), object("w", "b"), set.to_owned(), placed.to_owned()].concat();
        fs_err::write(&file, text).unwrap();
        let input = Input::read(&[file], Subdirectories::Refuse, "default").unwrap();
        let selected = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|text| (*text).to_owned()).collect();
            let names =
                |all: Vec<Selected<'_>>| all.iter().map(|(key, _)| format!("{}/{}", key.0, key.1)).collect::<Vec<_>>();
            select(&input, &only).map(names).map_err(|complaint| complaint.to_string())
        };
        let path = dir.path().join("vendor/a").display().to_string();
        let rows: [(&[&str], &[&str]); 8] = [
            (&[], &["default/vendor/a", "w/a", "w/b", "w/p", "x/a"]),
            (&["oad/p/"], &["w/p"]),
            (&["a"], &["w/a", "x/a"]),
            (&["w/a", "b"], &["w/a", "w/b"]),
            (&["vendor/a"], &["default/vendor/a"]),
            (&["vendor/a/"], &["default/vendor/a"]),
            (&["default/vendor/a"], &["default/vendor/a"]),
            (&[&path], &["default/vendor/a"]),
        ];
        for (only, want) in rows {
            assert_eq!(selected(only).unwrap(), want, "{only:?}");
        }
        for missing in ["c", "z/a", "vendor", ""] {
            let error = selected(&["a", missing]).unwrap_err();
            assert!(error.contains("InvalidSpec") && error.contains("--only") && error.contains("x/a"), "{error}");
        }
    }
}
