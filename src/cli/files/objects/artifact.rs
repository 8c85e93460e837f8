//! Artifacts of files: `OCIArtifact` objects, and the entries of an `ArtifactSet`.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::document::{check_fields, spec, values};
use crate::api::{ANNOTATION_DIRECTORY, OCIArtifactSpec, crd};
use crate::cli::files::directories::{Directories, parse};
use crate::cli::files::input::Source;
use crate::request::ObjectId;
use crate::unpack::path::EntryPath;

/// Field of an entry with its directory.
const DIRECTORY: &str = "directory";
/// The same field in a `vendir.yml`.
const VENDIR_DIRECTORY: &str = "path";
/// Field of an `ArtifactSet` with its entries.
const ARTIFACTS: &str = "artifacts";
/// Fields of an `ArtifactSet`.
const SET_FIELDS: [&str; 3] = ["apiVersion", "kind", ARTIFACTS];
/// Fields of an entry: its directory, and the fields of a spec about reading an artifact.
const ENTRY_FIELDS: [&str; 11] = [
    DIRECTORY,
    "image",
    "semver",
    "platform",
    "artifactTypes",
    "layers",
    "files",
    "registry",
    "verify",
    "limits",
    "timeout",
];
/// Maximum length of the directory's part of a made-up name.
const MAX_NAME: usize = 200;

/// An artifact of a file.
#[derive(Debug)]
pub(crate) struct Object {
    /// Identity in a pass. That of an entry has a name that is made from its directory.
    pub(crate) id: ObjectId,
    /// Spec of the object, or of the entry.
    pub(crate) spec: OCIArtifactSpec,
    /// Directory for the content, in place of outputs; relative to the file, and below the current directory if the
    /// file was named by such a path.
    pub(crate) directory: Option<PathBuf>,
    /// Directory that [`Self::directory`] is below.
    pub(crate) base: PathBuf,
    /// File that names the artifact.
    pub(crate) file: PathBuf,
    /// Index in the list of an `ArtifactSet`; `None` for an `OCIArtifact`.
    pub(crate) entry: Option<usize>,
}

impl Object {
    /// Reads an `OCIArtifact`.
    pub(super) fn read(
        id: ObjectId,
        document: &Value,
        source: &Source,
        directories: &mut Directories,
    ) -> Result<Self, String> {
        let spec = spec(&crd::artifact_schema(), document)?;
        let annotation = document.pointer("/metadata/annotations").and_then(|all| all.get(ANNOTATION_DIRECTORY));
        let directory = annotation.map(|value| {
            let text = value.as_str().ok_or_else(|| format!("{value} is not text"))?;
            directories.add(&source.base, &parse(text)?)
        });
        let directory = directory
            .transpose()
            .map_err(|problem: String| format!("metadata.annotations, {ANNOTATION_DIRECTORY}: {problem}"))?;
        Ok(Self { id, spec, directory, base: source.base.clone(), file: source.shown.clone(), entry: None })
    }
}

/// Returns the entries of an `ArtifactSet`, each with its name, which is its directory.
pub(super) fn entries(
    document: &Value,
    namespace: &str,
    source: &Source,
    directories: &mut Directories,
) -> Result<Vec<(String, Object)>, String> {
    check_fields(document, &SET_FIELDS, "")?;
    let artifacts = document.get(ARTIFACTS).and_then(Value::as_array);
    let artifacts = artifacts.ok_or_else(|| format!("{ARTIFACTS} is missing, or is not a list"))?;
    let schema = entry_schema();
    let entry = |(number, value): (usize, &Value)| {
        let path = format!("{ARTIFACTS}[{number}]");
        // A misspelt directory is missing too.
        check_entry(value, &path)?;
        let name = match value.get(DIRECTORY) {
            Some(Value::String(text)) => parse(text).map_err(|problem| format!("{path}.{DIRECTORY}: {problem}"))?,
            Some(_) => return Err(format!("{path}.{DIRECTORY} is not text")),
            None => return Err(format!("{path}.{DIRECTORY} is missing")),
        };
        let spec = entry_spec(&schema, value, &path).map_err(|problem| format!("{name}: {problem}"))?;
        let directory = directories.add(&source.base, &name);
        let directory = directory.map_err(|problem| format!("{path}.{DIRECTORY}: {problem}"))?;
        let id = ObjectId { namespace: namespace.to_owned(), name: made_up(&name, number), uid: String::new() };
        let (base, file) = (source.base.clone(), source.shown.clone());
        let object = Object { id, spec, directory: Some(directory), base, file, entry: Some(number) };
        Ok((name.to_string(), object))
    };
    artifacts.iter().enumerate().map(entry).collect()
}

/// Returns the schema of a spec with the fields that an entry can have.
fn entry_schema() -> Value {
    let schema = crd::artifact_schema();
    let all = schema.pointer("/properties/spec/properties").and_then(Value::as_object);
    let known = all.into_iter().flatten().filter(|(name, _)| ENTRY_FIELDS.contains(&name.as_str()));
    let known: Map<_, _> = known.map(|(name, field)| (name.clone(), field.clone())).collect();
    json!({"type": "object", "required": ["image"], "properties": known})
}

/// Fails if an entry has an unknown field. `path` is the directory in a `vendir.yml`.
fn check_entry(entry: &Value, path: &str) -> Result<(), String> {
    if entry.get(VENDIR_DIRECTORY).is_some() {
        return Err(format!("unknown field {path}.{VENDIR_DIRECTORY}; the nearest accepted field is {DIRECTORY}"));
    }
    check_fields(entry, &ENTRY_FIELDS, &format!("{path}.")).map_err(|problem| {
        match entry.get(DIRECTORY).and_then(Value::as_str) {
            Some(directory) => format!("{directory}: {problem}"),
            None => problem,
        }
    })
}

fn entry_spec(schema: &Value, entry: &Value, path: &str) -> Result<OCIArtifactSpec, String> {
    let fields = entry.as_object().into_iter().flatten().filter(|(name, _)| *name != DIRECTORY);
    let fields: Map<_, _> = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
    values(schema, Value::Object(fields), path)
}

/// Returns a name by the rules for objects. Only progress and errors show it.
fn made_up(directory: &EntryPath, number: usize) -> String {
    let name = directory.as_str().to_ascii_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(MAX_NAME).collect();
    format!("{}-{number}", name.trim_matches('-')).trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new field of the spec is for both, or belongs here.
    #[test]
    fn an_entry_has_every_field_of_a_spec_but_those_of_a_cluster() {
        let schema = crd::artifact_schema();
        let all = schema.pointer("/properties/spec/properties").unwrap().as_object().unwrap();
        let others: Vec<_> = all.keys().filter(|name| !ENTRY_FIELDS.contains(&name.as_str())).collect();
        assert_eq!(others, ["interval", "outputs", "suspend"]);
        assert!(ENTRY_FIELDS.iter().all(|name| *name == DIRECTORY || all.contains_key(*name)));
    }

    #[test]
    fn made_up_names_are_names_of_objects() {
        let name = |text: &str| made_up(&parse(text).unwrap(), 7);
        assert_eq!(name("vendor/Rules.d"), "vendor-rules-d-7");
        assert_eq!((name("_"), name("ä/b")), ("7".to_owned(), "b-7".to_owned()));
        assert_eq!(name(&"a/".repeat(400)).len(), MAX_NAME + 1);
    }
}
