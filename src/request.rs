//! Parsing of a spec into a typed request: the last place that sees a raw string.
//!
//! [`Request::parse`] validates the spec together with the objects that it refers to. It does no I/O: the caller has
//! read the Secrets and the other objects that the spec names.

use std::sync::Arc;
use std::time::Duration;

use crate::api::OCIArtifactSpec;
use crate::api::spec::{LayersSpec, SemverSpec, parse_duration};
use crate::oci::platform::Platform;
use crate::oci::tag_selection::TagSelectionError;
use crate::oci::{Reference, TagSelection};
use crate::pattern::Patterns;
use crate::registry::Access;
use crate::trust::requirement::Requirement;

mod error;
mod field;
mod fingerprint;
mod images;
mod limits;
mod names;
mod object;
mod policy;
mod referred;
mod selection;
mod target;
mod verification;

pub use error::{EntryProblem, Origin, RequestError};
pub use field::{Field, Spelling};
pub use fingerprint::Fingerprint;
pub use limits::{Limit, LimitExceeded, Limits, OwnLimits};
pub use names::check_names;
pub use object::ObjectId;
pub use policy::{Otherwise, Policies, Policy, speaks_about};
pub use referred::{Referred, trusted};
pub use selection::{FileFilter, FileSelection, LayerSelection, Unpacking};
pub use target::{KeyedObject, OutputKind, Place, Target};

/// Validated input of a pass.
#[derive(Clone, Debug)]
pub struct Request {
    /// Object that the request came from.
    pub object: ObjectId,
    /// Reference to resolve.
    pub reference: Reference,
    /// Selection of the tag by version, if the reference has neither a tag nor a digest.
    pub selection: Option<TagSelection>,
    /// Platform of the manifest to select from an index.
    pub platform: Option<Platform>,
    /// Credentials and transport for the registry.
    pub access: Access,
    /// Time between two polls of a tag.
    pub interval: Duration,
    /// Time limit of the whole pass.
    pub timeout: Duration,
    /// Accepted artifact types; if empty, every type.
    pub artifact_types: Patterns,
    /// Selection of the layers to fetch.
    pub layers: LayerSelection,
    /// Treatment of the fetched layers.
    pub unpacking: Unpacking,
    /// Selection of the files to publish.
    pub files: FileSelection,
    /// Limits that the object and its matching policies set.
    pub limits: OwnLimits,
    /// Requirements on the digest, verified before anything of it is fetched.
    pub requirement: Arc<Requirement>,
    /// Places that the files are published to.
    pub targets: Vec<Target>,
    /// Fingerprint of every field here that changes the published content.
    pub fingerprint: Fingerprint,
}

impl Request {
    /// Parses a spec. `referred` must have an entry for every object that the spec names.
    pub fn parse(object: ObjectId, spec: &OCIArtifactSpec, referred: &Referred) -> Result<Self, RequestError> {
        for name in [&object.namespace, &object.name] {
            if !is_kubernetes_name(name) {
                return Err(RequestError::Name(name.clone()));
            }
        }
        check_names(spec)?;
        let mut reference: Reference = spec.image.parse()?;
        let selection = spec.semver.as_ref().map(selection).transpose()?;
        match (&selection, reference.tag.is_some() || reference.digest.is_some()) {
            (Some(_), true) => return Err(RequestError::TwoTags),
            (None, false) => reference.tag = Some("latest".to_owned()),
            (Some(_), false) | (None, true) => {}
        }
        let platform = spec.platform.as_deref().map(str::parse).transpose()?;
        let targets = target::targets(&spec.outputs)?;
        let required = referred.policies.required(&reference.repository);
        let mut entries = verification::entries(&spec.verify, referred)?;
        entries.extend(required.entries);
        let LayersSpec { mode, on_conflict, .. } = spec.layers;
        let keychain = referred.keychain(spec, &reference.repository)?;
        let namespace = object.namespace.as_str().into();
        let access = Access { keychain, transport: referred.transport(spec)?, namespace };
        let request = Self {
            object,
            reference,
            selection,
            platform,
            access,
            interval: duration(Field::Interval, &spec.interval, Duration::from_secs(1))?,
            timeout: duration(Field::Timeout, &spec.timeout, Duration::from_secs(1))?,
            artifact_types: Patterns::names(&spec.artifact_types)
                .map_err(|error| RequestError::Pattern { field: Field::ArtifactTypes, error })?,
            layers: LayerSelection::parse(spec)?,
            unpacking: Unpacking { mode, on_conflict, symlinks: spec.files.symlinks },
            files: FileSelection::parse(spec)?,
            limits: required.limits.iter().fold(selection::own_limits(spec.limits.as_ref())?, OwnLimits::lowered),
            requirement: Arc::new(Requirement::new(entries, required.objections, required.applied)),
            targets,
            fingerprint: Fingerprint::default(),
        };
        Ok(Self { fingerprint: Fingerprint::of(&request), ..request })
    }

    /// Returns the request with a directory of the command line as its only output.
    #[must_use]
    pub fn into_directory(mut self) -> Self {
        let filter = FileFilter::default();
        self.targets = vec![Target { output: "files".to_owned(), place: Place::Directory, filter }];
        Self { fingerprint: Fingerprint::of(&self), ..self }
    }
}

fn selection(semver: &SemverSpec) -> Result<TagSelection, TagSelectionError> {
    TagSelection::new(&semver.range, semver.prereleases, semver.filter.as_deref())
}

fn duration(field: Field, text: &str, least: Duration) -> Result<Duration, RequestError> {
    let duration = parse_duration(text).ok_or_else(|| RequestError::Duration { field, text: text.to_owned() })?;
    if duration < least {
        return Err(RequestError::ShortDuration { field, text: text.to_owned(), least: least.as_secs() });
    }
    Ok(duration)
}

/// Returns true for an RFC 1123 subdomain. In a cluster the API server has checked these names; names from files are
/// checked only here.
fn is_kubernetes_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> ObjectId {
        ObjectId { namespace: "team-a".to_owned(), name: "schemas".to_owned(), uid: "u".to_owned() }
    }

    fn parse(spec: serde_json::Value) -> Result<Request, RequestError> {
        let referred = Referred { namespace: "team".to_owned(), ..Referred::default() };
        Request::parse(object(), &serde_json::from_value(spec).unwrap(), &referred)
    }

    #[test]
    fn the_shortest_spec_means_latest_on_the_default_volume() {
        let request = parse(json!({"image": "ghcr.io/a/b"})).unwrap();
        assert_eq!(request.reference.tag.as_deref(), Some("latest"));
        assert_eq!(request.interval, Duration::from_secs(600));
        let place = Place::Volume { volume: "default".to_owned() };
        let filter = FileFilter::default();
        assert_eq!(request.targets, [Target { output: "files".to_owned(), place, filter }]);
    }

    #[test]
    fn the_fingerprint_changes_with_the_content_and_with_nothing_else() {
        let of = |spec| parse(spec).unwrap().fingerprint;
        let base = of(json!({"image": "ghcr.io/a/b:1"}));
        assert_eq!(base, of(json!({"image": "ghcr.io/a/b:2", "interval": "1h", "timeout": "1m"})));
        assert_eq!(base, of(json!({"image": "ghcr.io/a/b:1", "limits": {"ratio": 5}})));
        let config_map = |more: serde_json::Value| {
            let mut map = json!({"name": "m"});
            map.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            of(json!({"image": "ghcr.io/a/b:1", "outputs": [{"name": "files", "configMap": map}]}))
        };
        let different = [
            base,
            of(json!({"image": "ghcr.io/a/b:1", "files": {"subPath": "x"}})),
            of(json!({"image": "ghcr.io/a/b:1", "files": {"include": ["x"]}})),
            of(json!({"image": "ghcr.io/a/b:1", "files": {"exclude": ["x"]}})),
            of(json!({"image": "ghcr.io/a/b:1", "files": {"symlinks": "Reject"}})),
            of(json!({"image": "ghcr.io/a/b:1", "artifactTypes": ["a/b"]})),
            of(json!({"image": "ghcr.io/a/b:1", "layers": {"mode": "File"}})),
            of(json!({"image": "ghcr.io/a/b:1", "layers": {"onConflict": "LastWins"}})),
            of(json!({"image": "ghcr.io/a/b:1", "layers": {"mediaTypes": ["x"]}})),
            of(json!({"image": "ghcr.io/a/b:1", "layers": {"titles": ["x"]}})),
            of(json!({"image": "ghcr.io/a/b:1", "outputs": [{"name": "files", "volume": {}, "include": ["x"]}]})),
            of(json!({"image": "ghcr.io/a/b:1", "platform": "linux/arm64"})),
            of(json!({"image": "ghcr.io/a/b:1", "outputs": []})),
            of(json!({"image": "ghcr.io/a/b:1", "outputs": [{"name": "files", "volume": {"name": "other"}}]})),
            config_map(json!({})),
            config_map(json!({"immutable": true})),
            config_map(json!({"separator": "."})),
        ];
        for (index, one) in different.iter().enumerate() {
            assert!(!different.iter().skip(index + 1).any(|other| other == one), "row {index}");
        }
    }

    #[test]
    fn a_spec_that_admission_did_not_see_is_refused_with_its_field() {
        let rows = [
            (json!({"image": "nginx"}), "spec.image"),
            (json!({"image": "ghcr.io/a/b", "interval": "soon"}), "spec.interval"),
            (json!({"image": "ghcr.io/a/b", "timeout": "0s"}), "spec.timeout"),
            (json!({"image": "ghcr.io/a/b", "files": {"subPath": "../x"}}), "spec.files.subPath"),
            (json!({"image": "ghcr.io/a/b", "files": {"include": ["[a"]}}), "spec.files.include"),
            (json!({"image": "ghcr.io/a/b", "layers": {"titles": ["{a"]}}), "spec.layers.titles"),
            (json!({"image": "ghcr.io/a/b", "artifactTypes": ["[a"]}), "spec.artifactTypes"),
            (json!({"image": "ghcr.io/a/b", "limits": {"layerBytes": "some"}}), "spec.limits.layerBytes"),
            (json!({"image": "ghcr.io/a/b", "limits": {"fileBytes": 0}}), "spec.limits.fileBytes"),
            (json!({"image": "ghcr.io/a/b", "outputs": [{"name": "o"}]}), "output o"),
            (
                json!({"image": "ghcr.io/a/b", "outputs": [{"name": "o", "volume": {}}, {"name": "p", "volume": {}}]}),
                "outputs o and p",
            ),
            (json!({"image": "ghcr.io/a/b", "semver": {"range": "newest"}}), "spec.semver.range"),
            (json!({"image": "ghcr.io/a/b", "semver": {"range": "*", "filter": "("}}), "spec.semver.filter"),
            (json!({"image": "ghcr.io/a/b:1", "semver": {"range": "*"}}), "neither a tag nor a digest"),
            (json!({"image": "ghcr.io/a/b", "platform": "amd64"}), "spec.platform"),
            (json!({"image": "ghcr.io/a/b", "registry": {"pullSecrets": [{"name": "s"}]}}), "Secret team/s "),
            (json!({"image": "ghcr.io/a/b", "registry": {"serviceAccountName": "a"}}), "ServiceAccount team/a "),
            (json!({"image": "ghcr.io/a/b", "registry": {"caRef": {"name": "c"}}}), "ConfigMap team/c "),
            (json!({"image": "ghcr.io/a/b", "registry": {"caRef": {"kind": "Secret", "name": "c"}}}), "Secret team/c "),
            (json!({"image": "ghcr.io/a/b", "registry": {"clientCertificateRef": {"name": "t"}}}), "Secret team/t "),
            (
                json!({"image": "ghcr.io/a/b", "registry": {"plainHTTP": true, "insecureSkipVerify": true}}),
                "spec.registry.plainHTTP excludes",
            ),
        ];
        for (spec, want) in rows {
            let error = parse(spec).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
        let outside = ObjectId { name: "../x".to_owned(), ..object() };
        let spec: OCIArtifactSpec = serde_json::from_value(json!({"image": "ghcr.io/a/b"})).unwrap();
        assert!(matches!(Request::parse(outside, &spec, &Referred::default()), Err(RequestError::Name(_))));
    }
}
