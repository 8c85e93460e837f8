//! Versions in the files that publishers keep: the tag of a chart or catalog is its version.

use serde::Deserialize;

use crate::yaml;

/// Maximum size of such a file, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;

/// Reason why a tag does not fit a file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VersionError {
    /// A file that is neither a chart nor a catalog.
    #[error("no version: expected \"version\" of a Chart.yaml, or \"spec.version\" of a Catalog.yaml")]
    NoVersion,
    /// A file that is not YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// A catalog's version that is not `x.y.z`.
    #[error("invalid version {0:?}: expected x.y.z, without v, prerelease and build")]
    NotStrict(String),
    /// No tag that is the version.
    #[error("none of the tags {tags:?} is the version {version:?}")]
    NoTag {
        /// Version of the file.
        version: String,
        /// Tags of the destination.
        tags: Vec<String>,
    },
}

#[derive(Deserialize)]
struct File {
    version: Option<String>,
    spec: Option<Spec>,
}

#[derive(Deserialize)]
struct Spec {
    version: Option<String>,
}

/// Checks that one of the tags is the version in a `Chart.yaml` or `Catalog.yaml`. Tags have `_` in place of `+`. A
/// catalog's version is strictly `x.y.z`, as kubara requires.
pub fn check_tags(text: &str, tags: &[String]) -> Result<(), VersionError> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| VersionError::Yaml(yaml::problem(&error)))?;
    let version = match (file.version, file.spec.and_then(|spec| spec.version)) {
        (_, Some(version)) if !is_strict(&version) => return Err(VersionError::NotStrict(version)),
        (_, Some(version)) | (Some(version), None) => version,
        (None, None) => return Err(VersionError::NoVersion),
    };
    let tag = version.replace('+', "_");
    if tags.contains(&tag) { Ok(()) } else { Err(VersionError::NoTag { version, tags: tags.to_vec() }) }
}

fn is_strict(version: &str) -> bool {
    let parsed = semver::Version::parse(version);
    parsed.is_ok_and(|version| version.pre.is_empty() && version.build.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_tags_is_the_version_of_the_file() {
        let tags = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let rows = [
            ("version: 1.2.3+build\nname: chart", "latest 1.2.3_build", true),
            ("version: 1.2.3", "1.2.4", false),
            ("spec: {version: 1.2.3}", "1.2.3", true),
            ("spec: {version: v1.2.3}", "v1.2.3", false),
            ("spec: {version: 1.2.3-rc.1}", "1.2.3-rc.1", false),
            ("name: x", "1", false),
            ("[", "1", false),
        ];
        for (yaml, list, want) in rows {
            assert_eq!(check_tags(yaml, &tags(list)).is_ok(), want, "{yaml} {list}");
        }
    }
}
