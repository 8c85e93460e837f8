//! Metadata of charts: the fields of `Chart.yaml`, and what Helm requires of them.

use std::collections::BTreeSet;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::oci::descriptor::Annotations;

/// Metadata of a chart, in the order in which Helm writes it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) home: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sources: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) keywords: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) maintainers: Vec<Maintainer>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) icon: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) condition: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) tags: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) app_version: String,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) deprecated: bool,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    pub(super) annotations: Annotations,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) kube_version: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) dependencies: Vec<Dependency>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) r#type: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Maintainer {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) email: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) url: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Dependency {
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) version: String,
    pub(super) repository: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) condition: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) enabled: bool,
    #[serde(rename = "import-values", skip_serializing_if = "Vec::is_empty")]
    pub(super) import_values: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) alias: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Metadata {
    /// Returns the first problem, with the name of its field.
    pub(super) fn problem(&self) -> Option<String> {
        let Self { api_version, name, version, r#type, dependencies, .. } = self;
        if !matches!(api_version.as_str(), "v1" | "v2") {
            return Some(format!("apiVersion {api_version:?} is neither v1 nor v2"));
        }
        if name.is_empty() || name.contains(['/', '\\']) || matches!(&**name, "." | "..") {
            return Some(format!("name {name:?} is not a file name"));
        }
        if let Err(error) = Version::parse(version) {
            return Some(format!("version {version:?} is not a semantic version: {error}"));
        }
        if !matches!(r#type.as_str(), "" | "application" | "library") {
            return Some(format!("type {type:?} is neither application nor library", r#type = r#type));
        }
        let mut keys = BTreeSet::new();
        dependencies.iter().find_map(|dependency| {
            let Dependency { name, alias, .. } = dependency;
            if name.is_empty() {
                return Some("dependencies: an entry has no name".to_owned());
            }
            if !alias.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
                return Some(format!(
                    "dependencies: the alias {alias:?} of {name:?} has other characters than a-z, A-Z, 0-9, _ and -"
                ));
            }
            let key = if alias.is_empty() { name } else { alias };
            (!keys.insert(key)).then(|| format!("dependencies: two entries have the name or alias {key:?}"))
        })
    }
}
