//! Helm charts: the metadata in `Chart.yaml`, and what Helm makes of it.

use serde::Deserialize;

use super::metadata::{Dependency, Maintainer, Metadata};
use crate::oci::descriptor::Annotations;
use crate::oci::draft::canonical_json;
use crate::oci::media_type::TITLE;
use crate::pack::annotation::{CREATED, SOURCE, VERSION};
use crate::pack::error::PackError;
use crate::pack::walk::Source;

/// File that describes a chart.
pub(in crate::pack) const FILE: &str = "Chart.yaml";
/// File with the dependencies of a chart of the first version.
pub(super) const REQUIREMENTS: &str = "requirements.yaml";
/// Maximum size of these files, in bytes.
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

impl Chart {
    /// Reads and checks the chart in a directory. With `version`, the chart gets that version: not in the directory,
    /// but in the archive and in the config.
    pub fn read(source: &Source, version: Option<&str>) -> Result<Self, PackError> {
        let Some(bytes) = source.read(FILE, MAX_BYTES)? else {
            return Err(PackError::description(FILE, "does not exist; a chart has it in its top directory"));
        };
        Self::of(&bytes, source.read(REQUIREMENTS, MAX_BYTES)?.as_deref(), version)
    }

    /// Returns the chart of these files, with another version if one is given.
    pub(super) fn of(yaml: &[u8], requirements: Option<&[u8]>, version: Option<&str>) -> Result<Self, PackError> {
        let chart = Self::parse(yaml)?;
        let chart = match version {
            Some(version) if version != chart.version() => Self::with_version(yaml, version)?,
            Some(_) | None => chart,
        };
        match requirements {
            Some(bytes) => chart.with_requirements(bytes),
            None => Ok(chart),
        }
    }

    /// Parses and checks the metadata.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackError> {
        let fail = |problem: String| PackError::description(FILE, problem);
        let metadata: Metadata = serde_saphyr::from_slice(bytes).map_err(|error| fail(error.to_string()))?;
        match metadata.problem() {
            Some(problem) => Err(fail(problem)),
            None => Ok(Self { metadata, rewritten: None }),
        }
    }

    /// Takes the dependencies of `requirements.yaml`, in which charts of the first version have them.
    pub(super) fn with_requirements(mut self, bytes: &[u8]) -> Result<Self, PackError> {
        #[derive(Deserialize)]
        struct Requirements {
            #[serde(default)]
            dependencies: Vec<Dependency>,
        }
        let fail = |problem: String| PackError::description(REQUIREMENTS, problem);
        let parsed: Requirements = serde_saphyr::from_slice(bytes).map_err(|error| fail(error.to_string()))?;
        self.metadata.dependencies = parsed.dependencies;
        match self.metadata.problem() {
            Some(problem) => Err(fail(problem)),
            None => Ok(self),
        }
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

    /// Returns the names of the charts that this one depends on.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = &str> {
        self.metadata.dependencies.iter().map(|dependency| dependency.name.as_str())
    }

    /// Returns `Chart.yaml` if it differs from the one in the directory.
    pub(in crate::pack) fn rewritten(&self) -> Option<&[u8]> {
        self.rewritten.as_deref()
    }

    /// Returns the config: the metadata as JSON.
    pub(in crate::pack) fn config(&self) -> Result<Vec<u8>, PackError> {
        canonical_json(&self.metadata).map_err(|error| PackError::description(FILE, error))
    }

    /// Returns the annotations of the manifest. Neither the chart nor a user can override the name and the version,
    /// which clients compare.
    pub(in crate::pack) fn annotations(&self, created: &str, given: &Annotations) -> Annotations {
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
        let rows = [
            ("v2", "v3", "apiVersion"),
            ("apiVersion: v2\n", "", "apiVersion"),
            ("name: app", "name: a/b", "name"),
            ("name: app", "name: ..", "name"),
            ("name: app\n", "", "name"),
            ("1.2.3", "1.2", "version"),
            ("1.2.3", "v1.2.3", "version"),
            ("version: 1.2.3", "", "version"),
            ("name: app", "name: app\ntype: operator", "type"),
            ("name: lib", "name: lib\n    alias: a.b", "alias"),
            ("  - name: lib", "  - {name: lib}\n  - name: lib", "dependencies"),
            ("name: lib", "alias: x", "dependencies"),
        ];
        for (from, to, field) in rows {
            let text = YAML.replacen(from, to, 1);
            let refused = Chart::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(field), "{to}: {refused}");
        }
        let twice = b"dependencies: [{name: lib, alias: a}, {name: other, alias: a}]";
        let refused = Chart::of(YAML.as_bytes(), Some(twice), None).unwrap_err().to_string();
        assert!(refused.starts_with("requirements.yaml: ") && refused.contains("dependencies"), "{refused}");
    }

    #[test]
    fn requirements_of_old_charts_are_dependencies() {
        let chart = Chart::of(YAML.as_bytes(), Some(b"dependencies: [{name: old}]"), None).unwrap();
        assert_eq!(chart.dependencies().collect::<Vec<_>>(), ["old"]);
    }
}
