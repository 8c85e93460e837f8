//! Catalogs of kubara: the description in `Catalog.yaml`, and scaffolds of new catalogs and services.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::annotation::{CREATED, EPOCH};
use super::error::PackError;
use super::walk::Source;
use crate::oci::Manifest;
use crate::oci::descriptor::Annotations;
use crate::storage::StorageError;
use crate::yaml;

/// Artifact type of catalogs.
pub const ARTIFACT_TYPE: &str = "application/vnd.kubara.catalog.v1";
/// File that describes a catalog.
pub const FILE: &str = "Catalog.yaml";
/// Maximum size of that file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;
const API_VERSION: &str = "kubara.io/v1alpha1";
/// Annotations of the manifest.
const NAME: &str = "io.kubara.catalog.name";
const VERSION: &str = "io.kubara.catalog.version";
/// Maximum length of a name (RFC 1123 label).
const MAX_NAME: usize = 63;
/// Directories of a new catalog.
const DIRECTORIES: [&str; 5] = [
    "platform-configs/helm",
    "platform-configs/terraform",
    "platform-components/helm",
    "platform-components/terraform",
    "services",
];

/// Description of a catalog.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Clone, Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Clone, Debug, Deserialize)]
struct Spec {
    version: String,
}

impl Description {
    /// Reads and checks the description of the catalog in a directory.
    pub fn read(source: &Source) -> Result<Self, PackError> {
        match source.read(FILE, MAX_BYTES)? {
            Some(bytes) => Self::parse(&bytes),
            None => Err(PackError::description(FILE, "does not exist; a catalog has it in its top directory")),
        }
    }

    /// Parses and checks a description.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackError> {
        let fail = |problem: String| PackError::description(FILE, problem);
        let parsed: Self = serde_saphyr::from_slice(bytes).map_err(|error| fail(yaml::problem(&error)))?;
        if parsed.api_version != API_VERSION || parsed.kind != "Catalog" {
            return Err(fail(format!("expected apiVersion {API_VERSION} and kind Catalog")));
        }
        if !is_name(&parsed.metadata.name) {
            return Err(fail(format!("metadata.name: {}", PackError::Name(parsed.metadata.name))));
        }
        if !is_version(&parsed.spec.version) {
            return Err(fail(format!("spec.version {:?} is not of the form 1.2.3", parsed.spec.version)));
        }
        Ok(parsed)
    }

    /// Name of the catalog.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Version of the catalog, which is the tag too.
    pub fn version(&self) -> &str {
        &self.spec.version
    }

    /// Returns the annotations of the manifest. Neither the file nor a user can override those of the format.
    pub(super) fn annotations(&self, given: &Annotations) -> Annotations {
        let mut annotations = self.metadata.annotations.clone();
        annotations.extend(given.clone());
        let forced = [(NAME, self.name()), (VERSION, self.version()), (CREATED, EPOCH)];
        annotations.extend(forced.map(|(key, value)| (key.to_owned(), value.to_owned())));
        annotations
    }
}

/// Name and version of a catalog in its manifest. Its name is that of its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InManifest {
    /// `metadata.name`.
    pub name: String,
    /// `spec.version`, which is the tag too.
    pub version: String,
}

impl InManifest {
    /// Returns them; `None` for other artifacts.
    pub fn of(manifest: &Manifest) -> Option<Self> {
        let annotation = |key: &str| manifest.annotations.get(key).cloned();
        let found = Self { name: annotation(NAME)?, version: annotation(VERSION)? };
        let is_catalog = manifest.artifact_type == ARTIFACT_TYPE;
        (is_catalog && is_name(&found.name) && is_version(&found.version)).then_some(found)
    }
}

/// Returns true for a name of a catalog or service.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= MAX_NAME
        && name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
}

/// Returns true for `x.y.z` in digits without leading zeros.
pub fn is_version(text: &str) -> bool {
    let number = |part: &str| part == "0" || (!part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit()));
    let parts: Vec<_> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && number(part))
}

/// Creates a catalog in the new directory `name` of `parent`.
pub fn create(parent: &Path, name: &str) -> Result<PathBuf, PackError> {
    if !is_name(name) {
        return Err(PackError::Name(name.to_owned()));
    }
    let root = parent.join(name);
    let failed = |error: std::io::Error| StorageError::from_io(error.to_string(), &error);
    match fs_err::create_dir(&root) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(PackError::Exists(root.display().to_string()));
        }
        result => result.map_err(failed)?,
    }
    for directory in DIRECTORIES {
        fs_err::create_dir_all(root.join(directory)).map_err(failed)?;
    }
    let text =
        format!("apiVersion: {API_VERSION}\nkind: Catalog\nmetadata:\n  name: {name}\nspec:\n  version: 0.1.0\n");
    let path = root.join(FILE);
    fs_err::write(&path, text).map_err(failed)?;
    Ok(path)
}

/// Adds a service to the catalog in `catalog`.
pub fn add(catalog: &Path, service: &str) -> Result<PathBuf, PackError> {
    if !is_name(service) {
        return Err(PackError::Name(service.to_owned()));
    }
    Description::read(&Source::open(catalog)?)?;
    let failed = |error: std::io::Error| StorageError::from_io(error.to_string(), &error);
    let services = catalog.join("services");
    fs_err::create_dir_all(&services).map_err(failed)?;
    let text = format!(
        "apiVersion: {API_VERSION}\nkind: ServiceDefinition\nmetadata:\n  name: {service}\nspec:\n  chartPath: {service}\n  \
         status: disabled\n  clusterTypes:\n    - hub\n    - spoke\n"
    );
    let path = services.join(format!("{service}.yaml"));
    let file = fs_err::OpenOptions::new().write(true).create_new(true).open(&path);
    match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(PackError::Exists(path.display().to_string()));
        }
        file => std::io::Write::write_all(&mut file.map_err(failed)?, text.as_bytes()).map_err(failed)?,
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Descriptor, Document};

    fn yaml(name: &str, version: &str) -> String {
        format!("apiVersion: {API_VERSION}\nkind: Catalog\nmetadata:\n  name: {name}\nspec:\n  version: {version}\n")
    }

    #[test]
    fn only_strict_names_and_versions_are_accepted() {
        for (name, version, valid) in [
            ("a", "0.1.0", true),
            ("a-1", "10.20.30", true),
            ("A", "0.1.0", false),
            ("-a", "0.1.0", false),
            ("a-", "0.1.0", false),
            ("a", "v0.1.0", false),
            ("a", "0.1", false),
            ("a", "0.1.0-rc.1", false),
            ("a", "0.1.0+b", false),
            ("a", "01.1.0", false),
            ("a", "0.1.0.0", false),
        ] {
            assert_eq!(Description::parse(yaml(name, version).as_bytes()).is_ok(), valid, "{name} {version}");
        }
        assert!(Description::parse(yaml("a", "0.1.0").replace("Catalog", "Other").as_bytes()).is_err());
    }

    #[test]
    fn a_manifest_is_a_catalogs_by_its_type_name_and_version() {
        let manifest = |artifact_type: &str, name: &str, version: &str| {
            let text = serde_json::json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": artifact_type, "config": Descriptor::empty(), "layers": [Descriptor::empty()],
                "annotations": {NAME: name, VERSION: version},
            });
            let Document::Manifest(manifest) = Document::parse(text.to_string().as_bytes(), None).unwrap() else {
                panic!("an index");
            };
            InManifest::of(&manifest).map(|found| (found.name, found.version))
        };
        let found = ("a".to_owned(), "1.2.3".to_owned());
        assert_eq!(manifest(ARTIFACT_TYPE, "a", "1.2.3"), Some(found));
        for (artifact_type, name, version) in
            [("a/b", "a", "1.2.3"), (ARTIFACT_TYPE, "../a", "1.2.3"), (ARTIFACT_TYPE, "a", "latest")]
        {
            assert_eq!(manifest(artifact_type, name, version), None, "{name} {version}");
        }
    }

    #[test]
    fn annotations_of_the_format_cannot_be_overridden() {
        let text = yaml("a", "0.1.0").replace(
            "  name: a\n",
            "  name: a\n  annotations:\n    io.kubara.catalog.name: other\n    team: platform\n",
        );
        let given = Annotations::from([("io.kubara.catalog.version".to_owned(), "9.9.9".to_owned())]);
        let annotations = Description::parse(text.as_bytes()).unwrap().annotations(&given);
        let want = [
            ("io.kubara.catalog.name", "a"),
            ("io.kubara.catalog.version", "0.1.0"),
            (CREATED, EPOCH),
            ("team", "platform"),
        ];
        assert_eq!(annotations, want.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_scaffold_is_a_catalog_and_is_not_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        create(parent.path(), "example").unwrap();
        let root = parent.path().join("example");
        assert!(DIRECTORIES.iter().all(|directory| root.join(directory).is_dir()));
        assert_eq!(Description::read(&Source::open(&root).unwrap()).unwrap().version(), "0.1.0");
        assert!(matches!(create(parent.path(), "example"), Err(PackError::Exists(_))));
        assert!(create(parent.path(), "../escape").is_err());
        add(&root, "db").unwrap();
        assert!(matches!(add(&root, "db"), Err(PackError::Exists(_))));
        let service: serde_json::Value =
            serde_saphyr::from_str(&fs_err::read_to_string(root.join("services/db.yaml")).unwrap()).unwrap();
        assert_eq!(service["spec"]["clusterTypes"], serde_json::json!(["hub", "spoke"]));
        assert!(matches!(add(parent.path(), "db"), Err(PackError::Description { .. })));
    }
}
