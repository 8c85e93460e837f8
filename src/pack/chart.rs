//! Helm charts: the metadata in `Chart.yaml`, and what Helm makes of it.

use std::io::Read;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::annotation::{CREATED, SOURCE, VERSION};
use super::error::PackError;
use super::walk::Source;
use crate::oci::descriptor::Annotations;
use crate::oci::draft::canonical_json;
use crate::oci::media_type::TITLE;

/// File that describes a chart.
pub const FILE: &str = "Chart.yaml";
/// Maximum size of that file, in bytes.
pub(super) const MAX_BYTES: u64 = 1024 * 1024;
const DESCRIPTION: &str = "org.opencontainers.image.description";
const URL: &str = "org.opencontainers.image.url";
const AUTHORS: &str = "org.opencontainers.image.authors";

/// A chart, described by its metadata.
#[derive(Clone, Debug)]
pub struct Chart {
    metadata: Metadata,
    /// `Chart.yaml` with another version, if one was requested.
    rewritten: Option<Vec<u8>>,
}

/// Metadata of a chart, in the order in which Helm writes it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    home: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keywords: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    maintainers: Vec<Maintainer>,
    #[serde(skip_serializing_if = "String::is_empty")]
    icon: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    condition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tags: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    app_version: String,
    #[serde(skip_serializing_if = "is_false")]
    deprecated: bool,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations,
    #[serde(skip_serializing_if = "String::is_empty")]
    kube_version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<Dependency>,
    #[serde(skip_serializing_if = "String::is_empty")]
    r#type: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Maintainer {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    email: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Dependency {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    repository: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    condition: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    enabled: bool,
    #[serde(rename = "import-values", skip_serializing_if = "Vec::is_empty")]
    import_values: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    alias: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Chart {
    /// Reads and checks the chart in a directory. With `version`, the chart gets that version: not in the directory,
    /// but in the archive and in the config.
    pub fn read(source: &Source, version: Option<&str>) -> Result<Self, PackError> {
        let Some(bytes) = source.read(FILE, MAX_BYTES)? else {
            return Err(PackError::description(FILE, "does not exist; a chart has it in its top directory"));
        };
        let chart = Self::parse(&bytes)?;
        match version {
            Some(version) if version != chart.version() => Self::with_version(&bytes, version),
            Some(_) | None => Ok(chart),
        }
    }

    /// Parses and checks the metadata.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackError> {
        let fail = |problem: String| PackError::description(FILE, problem);
        let metadata: Metadata = serde_saphyr::from_slice(bytes).map_err(|error| fail(error.to_string()))?;
        if !matches!(metadata.api_version.as_str(), "v1" | "v2") {
            return Err(fail(format!("apiVersion {:?} is neither v1 nor v2", metadata.api_version)));
        }
        if metadata.name.is_empty() || metadata.name.contains(['/', '\\']) || matches!(&*metadata.name, "." | "..") {
            return Err(fail(format!("name {:?} is not a file name", metadata.name)));
        }
        if let Err(error) = Version::parse(&metadata.version) {
            return Err(fail(format!("version {:?} is not a semantic version: {error}", metadata.version)));
        }
        Ok(Self { metadata, rewritten: None })
    }

    /// Reads the chart in a packaged chart: `<name>/Chart.yaml`, which Helm writes first. At most `limit` bytes are
    /// decompressed.
    pub fn in_archive(archive: impl Read, limit: u64) -> Result<Self, PackError> {
        let fail = |problem: &dyn std::fmt::Display| PackError::description("the packaged chart", problem);
        let decoded = flate2::read::GzDecoder::new(archive).take(limit);
        let mut tar = tar::Archive::new(decoded);
        for entry in tar.entries().map_err(|error| fail(&error))? {
            let entry = entry.map_err(|error| fail(&error))?;
            let path = entry.path_bytes().into_owned();
            let mut parts = path.split(|byte| *byte == b'/').filter(|part| *part != b".");
            let (Some(name), Some(file), None) = (parts.next(), parts.next(), parts.next()) else { continue };
            if file != FILE.as_bytes() {
                continue;
            }
            let mut bytes = Vec::new();
            entry.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
            let chart = Self::parse(&bytes)?;
            if name != chart.name().as_bytes() {
                return Err(fail(&format!("its directory is not named after the chart, {:?}", chart.name())));
            }
            return Ok(chart);
        }
        Err(fail(&"has no Chart.yaml in its top directory"))
    }

    /// Returns the chart in `Chart.yaml` with another version. Only the line of the version changes.
    fn with_version(bytes: &[u8], version: &str) -> Result<Self, PackError> {
        let text = String::from_utf8_lossy(bytes);
        let changed = |line: &str| {
            let end = line.len() - line.trim_end_matches(['\r', '\n']).len();
            let end = line.get(line.len().saturating_sub(end)..).unwrap_or_default();
            if line.starts_with("version:") { format!("version: {version:?}{end}") } else { line.to_owned() }
        };
        let rewritten: String = text.split_inclusive('\n').map(changed).collect();
        let chart = Self::parse(rewritten.as_bytes())?;
        if chart.version() != version {
            return Err(PackError::description(
                FILE,
                "the version is not on a line of its own that starts with version:",
            ));
        }
        Ok(Self { rewritten: Some(rewritten.into_bytes()), ..chart })
    }

    /// Name of the chart, which is the last segment of the repository too.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Version of the chart.
    pub fn version(&self) -> &str {
        &self.metadata.version
    }

    /// Returns the tag for the version: tags have no `+`.
    pub fn tag(&self) -> String {
        self.version().replace('+', "_")
    }

    /// Returns `Chart.yaml` if it differs from the one in the directory.
    pub(super) fn rewritten(&self) -> Option<&[u8]> {
        self.rewritten.as_deref()
    }

    /// Returns the config: the metadata as JSON.
    pub(super) fn config(&self) -> Result<Vec<u8>, PackError> {
        canonical_json(&self.metadata).map_err(|error| PackError::description(FILE, error))
    }

    /// Returns the annotations of the manifest. Neither the chart nor a user can override the name and the version,
    /// which clients compare.
    pub(super) fn annotations(&self, created: &str, given: &Annotations) -> Annotations {
        let Metadata { name, version, description, home, sources, maintainers, .. } = &self.metadata;
        let authors: Vec<_> = maintainers
            .iter()
            .map(
                |Maintainer { name, email, .. }| {
                    if email.is_empty() { name.clone() } else { format!("{name} ({email})") }
                },
            )
            .collect();
        let fields = [
            (DESCRIPTION, description.clone()),
            (URL, home.clone()),
            (SOURCE, sources.first().cloned().unwrap_or_default()),
            (AUTHORS, authors.join(", ")),
            (CREATED, created.to_owned()),
        ];
        let pair = |(key, value): (&str, String)| (key.to_owned(), value);
        let mut annotations: Annotations =
            fields.into_iter().filter(|(_, value)| !value.trim().is_empty()).map(pair).collect();
        annotations.extend(self.metadata.annotations.clone());
        annotations.extend(given.clone());
        annotations.extend([(TITLE, name.clone()), (VERSION, version.clone())].map(pair));
        annotations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "# A chart.\napiVersion: v2\nname: app\nversion: 1.2.3 # of the chart\nappVersion: 1.16\n\
        description: Runs <app>\ndependencies:\n  - name: lib\n    version: 0.1.0\n    repository: oci://example.test\n";

    #[test]
    fn the_config_has_the_order_of_helm() {
        let config = String::from_utf8(Chart::parse(YAML.as_bytes()).unwrap().config().unwrap()).unwrap();
        let want = concat!(
            r#"{"name":"app","version":"1.2.3","description":"Runs \u003capp\u003e","apiVersion":"v2","#,
            r#""appVersion":"1.16","dependencies":[{"name":"lib","version":"0.1.0","repository":"oci://example.test"}]}"#
        );
        assert_eq!(config, want);
    }

    #[test]
    fn another_version_changes_one_line() {
        let chart = Chart::with_version(YAML.as_bytes(), "2.0.0+b.1").unwrap();
        assert_eq!((chart.version(), chart.tag().as_str()), ("2.0.0+b.1", "2.0.0_b.1"));
        let want = YAML.replace("version: 1.2.3 # of the chart", "version: \"2.0.0+b.1\"");
        assert_eq!(chart.rewritten(), Some(want.as_bytes()));
        let inline = "{apiVersion: v2, name: app, version: 1.2.3}";
        let refused = Chart::with_version(inline.as_bytes(), "2.0.0");
        assert!(matches!(refused, Err(PackError::Description { .. })), "{refused:?}");
    }

    #[test]
    fn invalid_charts_are_refused() {
        for (from, to) in
            [("v2", "v3"), ("name: app", "name: a/b"), ("name: app", "name: .."), ("1.2.3", "1.2"), ("1.2.3", "v1.2.3")]
        {
            let text = YAML.replacen(from, to, 1);
            assert!(Chart::parse(text.as_bytes()).is_err(), "{to}");
        }
    }
}
