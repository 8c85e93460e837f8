//! Parsing of a spec into a typed request: the last place that sees a raw string.
//!
//! [`Request::parse`] validates the spec together with the objects that it refers to. It does no I/O: the caller has
//! read the Secrets and the other objects that the spec names.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::api::OCIArtifactSpec;
use crate::api::references::MAX_REFERENCES;
use crate::api::spec::{LayersSpec, OutputSpec, SemverSpec, parse_duration};
use crate::oci::platform::{ParsePlatformError, Platform};
use crate::oci::reference::ParseReferenceError;
use crate::oci::tag_selection::TagSelectionError;
use crate::oci::{Hasher, Reference, TagSelection};
use crate::pattern::{PatternError, Patterns};
use crate::registry::Access;
use crate::registry::credentials::SecretError;
use crate::registry::tls::TlsError;
use crate::trust::requirement::Requirement;
use crate::trust::sigstore::{KeyError, RootError};
use crate::unpack::path::PathError;

mod images;
mod limits;
mod names;
mod policy;
mod referred;
mod selection;
mod verification;

pub use limits::{Limit, LimitExceeded, Limits, OwnLimits};
pub use names::check_names;
pub use policy::{Otherwise, Policies, Policy, speaks_about};
pub use referred::{MAX_ACCOUNT_SECRETS, Referred, trusted};
pub use selection::{FileFilter, FileSelection, LayerSelection, Unpacking};

/// Version of the published form. Incremented when unpacking or an output changes what it makes of the same bytes, so
/// that everything published by an older version is published again.
const FORMAT: &str = "2";

/// Identity of the object that a request came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Uid of the object; empty without a cluster.
    pub uid: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

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

/// Place that files are published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name of the output.
    pub output: String,
    /// Kind of the place, with its name.
    pub place: Place,
    /// Selection of the files for this place.
    pub filter: FileFilter,
}

/// Kind of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `<namespace>/<object>/current` on a volume of the operator.
    Volume {
        /// Name of the volume.
        volume: String,
    },
    /// Keys of a ConfigMap.
    ConfigMap(KeyedObject),
    /// Keys of a Secret.
    Secret {
        /// Name and form.
        keyed: KeyedObject,
        /// Type of the Secret, such as `Opaque`.
        kind: String,
    },
    /// Whole directory that a command line names. No object has such an output.
    Directory,
}

/// ConfigMap or Secret whose keys are paths and whose values are files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedObject {
    /// Name of the object; if immutable, the prefix of its name.
    pub name: String,
    /// True if each content is published as an immutable object of its own.
    pub immutable: bool,
    /// Replacement for `/` in keys.
    pub separator: String,
}

/// Digest over everything that affects what a request publishes for a given manifest digest: 12 hex digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Computes the fingerprint. Limits are not part of it: they decide whether content is published, not which.
    fn of(request: &Request) -> Self {
        let mut hasher = Hasher::default();
        let mut add = |text: &str| hasher.field(text.as_bytes());
        add(FORMAT);
        let platform = request.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        let Unpacking { mode, on_conflict, symlinks } = request.unpacking;
        add(&platform);
        add(&format!("{mode:?} {on_conflict:?} {symlinks:?}"));
        add(request.files.sub_path.as_str());
        let LayerSelection { media_types, titles } = &request.layers;
        let mut add_all = |texts: &[String]| {
            add(&texts.len().to_string());
            for text in texts {
                add(text);
            }
        };
        [request.artifact_types.texts(), media_types.texts(), titles.texts()].into_iter().for_each(&mut add_all);
        request.files.filter.texts().into_iter().for_each(&mut add_all);
        for Target { output, place, filter } in &request.targets {
            add_all(std::slice::from_ref(output));
            filter.texts().into_iter().for_each(&mut add_all);
            match place {
                Place::Volume { volume } => add_all(&["volume".to_owned(), volume.clone()]),
                Place::ConfigMap(KeyedObject { name, immutable, separator }) => {
                    add_all(&["configMap".to_owned(), name.clone(), immutable.to_string(), separator.clone()]);
                }
                Place::Secret { keyed: KeyedObject { name, immutable, separator }, kind } => {
                    let form = [name.clone(), immutable.to_string(), separator.clone(), kind.clone()];
                    add_all(&["secret".to_owned()]);
                    add_all(&form);
                }
                Place::Directory => add_all(&["directory".to_owned()]),
            }
        }
        let digest = hasher.finish();
        Self(digest.hex().get(..12).unwrap_or_default().to_owned())
    }

    /// Returns the text used in status, annotations and directory names.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Error in a spec, or in an object that it refers to.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Invalid `spec.image`.
    #[error("spec.image: {0}")]
    Image(#[from] ParseReferenceError),
    /// Invalid `spec.semver`.
    #[error("spec.semver.{0}")]
    Selection(#[from] TagSelectionError),
    /// `spec.semver` beside a tag or a digest.
    #[error("spec.semver chooses the tag, so spec.image must have neither a tag nor a digest")]
    TwoTags,
    /// Invalid `spec.platform`.
    #[error("spec.platform: {0}")]
    Platform(#[from] ParsePlatformError),
    /// Fields of `spec.registry` that exclude each other.
    #[error("spec.registry: {0}")]
    Transport(&'static str),
    /// Invalid `spec.interval` or `spec.timeout`.
    #[error("spec.{field}: \"{text}\" is not a duration such as 90s, 10m or 1h30m, or is out of bounds")]
    Duration {
        /// Name of the field.
        field: &'static str,
        /// Text of the field.
        text: String,
    },
    /// Invalid `spec.files.subPath`.
    #[error("spec.files.subPath {0}")]
    SubPath(PathError),
    /// Invalid pattern in a list.
    #[error("{field}: {error}")]
    Pattern {
        /// Path of the field.
        field: &'static str,
        /// Problem with the pattern.
        error: PatternError,
    },
    /// Invalid number of bytes in `spec.limits`.
    #[error("spec.limits.{field} is not a number of bytes such as 1048576, 512Mi or 1G")]
    Bytes {
        /// Name of the field.
        field: &'static str,
    },
    /// Output with no place, or with several.
    #[error("output {0}: set exactly one of volume, configMap and secret")]
    Place(String),
    /// `secret` output beside an output of another kind.
    #[error("outputs {0} and {1}: an object with a secret output may have only secret outputs")]
    MixedWithSecret(String, String),
    /// Two outputs with the same place.
    #[error("outputs {0} and {1} go to the same place")]
    SamePlace(String, String),
    /// Namespace or name of the object that is not a Kubernetes name, and so may not be a directory name.
    #[error("namespace and name must be Kubernetes names: \"{0}\"")]
    Name(String),
    /// A name in the spec that admission would refuse.
    #[error("{field}: {text:?} is not {expected}")]
    FieldName {
        /// Path of the field.
        field: String,
        /// Rejected name.
        text: String,
        /// The expected form.
        expected: &'static str,
    },
    /// More references to other objects than a spec may have.
    #[error("spec names {0} Secrets, ConfigMaps and ServiceAccounts; at most {MAX_REFERENCES} are allowed")]
    References(usize),
    /// A ServiceAccount with more `imagePullSecrets` than are read.
    #[error("ServiceAccount {name} has {number} imagePullSecrets; at most {MAX_ACCOUNT_SECRETS} are read")]
    AccountSecrets {
        /// The ServiceAccount.
        name: String,
        /// Their number.
        number: usize,
    },
    /// Missing object that the spec names.
    #[error("{kind} {name} does not exist in this namespace")]
    NotFound {
        /// Secret, ConfigMap or ServiceAccount.
        kind: &'static str,
        /// Name of the object.
        name: String,
    },
    /// Existing object without the key that the spec names.
    #[error("{kind} {name} has no key {key}")]
    KeyMissing {
        /// Secret or ConfigMap.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// The key that was expected.
        key: String,
    },
    /// Invalid certificates or keys.
    #[error("spec.registry.{field}: {kind} {name}: {problem}")]
    Unusable {
        /// Name of the field below `spec.registry`.
        field: &'static str,
        /// Secret or ConfigMap.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// Problem with them, without quoting them.
        problem: TlsError,
    },
    /// Invalid entry of `spec.verify`.
    #[error("spec.verify, {entry}: {problem}")]
    Verify {
        /// Name of the entry.
        entry: String,
        /// Problem with the entry.
        problem: String,
    },
    /// Secret without a valid public key under the key that the spec names.
    #[error("spec.verify, {entry}: {place} {error}")]
    Key {
        /// Name of the entry.
        entry: String,
        /// The Secret.
        place: String,
        /// Problem with the public key.
        error: KeyError,
    },
    /// Invalid trusted root.
    #[error("spec.verify, {entry}: the trusted root, {place}, {error}")]
    Root {
        /// Name of the entry.
        entry: String,
        /// The Secret or ConfigMap.
        place: String,
        /// Problem with the trusted root.
        error: RootError,
    },
    /// Pull secret with unusable content.
    #[error(transparent)]
    Secret(#[from] SecretError),
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
        let targets = spec.outputs.iter().map(target).collect::<Result<Vec<_>, _>>()?;
        for (index, one) in targets.iter().enumerate() {
            if let Some(other) = targets.iter().take(index).find(|other| other.place.is_same(&one.place)) {
                return Err(RequestError::SamePlace(other.output.clone(), one.output.clone()));
            }
        }
        let is_secret = |target: &&Target| matches!(target.place, Place::Secret { .. });
        if let (Some(secret), Some(other)) =
            (targets.iter().find(is_secret), targets.iter().find(|target| !is_secret(target)))
        {
            return Err(RequestError::MixedWithSecret(secret.output.clone(), other.output.clone()));
        }
        let asked = referred.policies.asked(&reference.repository);
        let mut entries = verification::entries(&spec.verify, referred)?;
        entries.extend(asked.entries);
        let LayersSpec { mode, on_conflict, .. } = spec.layers;
        let keychain = referred.keychain(spec, &reference.repository)?;
        let access = Access { keychain, transport: referred.transport(spec)? };
        let request = Self {
            object,
            reference,
            selection,
            platform,
            access,
            interval: duration("interval", &spec.interval, Duration::from_secs(1))?,
            timeout: duration("timeout", &spec.timeout, Duration::from_secs(1))?,
            artifact_types: Patterns::names(&spec.artifact_types)
                .map_err(|error| RequestError::Pattern { field: "spec.artifactTypes", error })?,
            layers: LayerSelection::parse(spec)?,
            unpacking: Unpacking { mode, on_conflict, symlinks: spec.files.symlinks },
            files: FileSelection::parse(spec)?,
            limits: asked.limits.iter().fold(selection::own_limits(spec.limits.as_ref())?, OwnLimits::lowered),
            requirement: Arc::new(Requirement::new(entries, asked.objections, asked.applied)),
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

impl Place {
    /// Returns true if each content is published as an object of its own.
    pub fn is_immutable(&self) -> bool {
        match self {
            Self::ConfigMap(keyed) | Self::Secret { keyed, .. } => keyed.immutable,
            Self::Volume { .. } | Self::Directory => false,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Volume { volume: a }, Self::Volume { volume: b })
            | (Self::ConfigMap(KeyedObject { name: a, .. }), Self::ConfigMap(KeyedObject { name: b, .. }))
            | (
                Self::Secret { keyed: KeyedObject { name: a, .. }, .. },
                Self::Secret { keyed: KeyedObject { name: b, .. }, .. },
            ) => a == b,
            (Self::Directory, Self::Directory) => true,
            (Self::Volume { .. } | Self::ConfigMap(_) | Self::Secret { .. } | Self::Directory, _) => false,
        }
    }
}

fn selection(semver: &SemverSpec) -> Result<TagSelection, TagSelectionError> {
    TagSelection::new(&semver.range, semver.prereleases, semver.filter.as_deref())
}

fn target(output: &OutputSpec) -> Result<Target, RequestError> {
    let place = match (&output.volume, &output.config_map, &output.secret) {
        (Some(volume), None, None) => Place::Volume { volume: volume.name.clone() },
        (None, Some(map), None) => Place::ConfigMap(KeyedObject {
            name: map.name.clone(),
            immutable: map.immutable,
            separator: map.separator.clone(),
        }),
        (None, None, Some(secret)) => Place::Secret {
            keyed: KeyedObject {
                name: secret.name.clone(),
                immutable: secret.immutable,
                separator: secret.separator.clone(),
            },
            kind: secret.kind.clone(),
        },
        (None, None, None) | (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            return Err(RequestError::Place(output.name.clone()));
        }
    };
    let filter = FileFilter::parse(&output.include, &output.exclude)
        .map_err(|error| RequestError::Pattern { field: "spec.outputs include or exclude", error })?;
    Ok(Target { output: output.name.clone(), place, filter })
}

fn duration(field: &'static str, text: &str, least: Duration) -> Result<Duration, RequestError> {
    parse_duration(text)
        .filter(|duration| *duration >= least)
        .ok_or_else(|| RequestError::Duration { field, text: text.to_owned() })
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
        Request::parse(object(), &serde_json::from_value(spec).unwrap(), &Referred::default())
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
    fn what_changes_the_content_changes_the_fingerprint_and_nothing_else_does() {
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
            (json!({"image": "ghcr.io/a/b", "registry": {"pullSecrets": [{"name": "s"}]}}), "Secret s"),
            (json!({"image": "ghcr.io/a/b", "registry": {"serviceAccountName": "a"}}), "ServiceAccount a"),
            (json!({"image": "ghcr.io/a/b", "registry": {"caRef": {"name": "c"}}}), "ConfigMap c"),
            (json!({"image": "ghcr.io/a/b", "registry": {"caRef": {"kind": "Secret", "name": "c"}}}), "Secret c"),
            (json!({"image": "ghcr.io/a/b", "registry": {"clientCertificateRef": {"name": "t"}}}), "Secret t"),
            (
                json!({"image": "ghcr.io/a/b", "registry": {"plainHTTP": true, "insecureSkipVerify": true}}),
                "plainHTTP excludes",
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
