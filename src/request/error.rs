//! Error in a spec, or in an object that it refers to.

use super::MAX_ACCOUNT_SECRETS;
use crate::api::references::MAX_REFERENCES;
use crate::oci::platform::ParsePlatformError;
use crate::oci::reference::ParseReferenceError;
use crate::oci::tag_selection::TagSelectionError;
use crate::pattern::PatternError;
use crate::registry::credentials::SecretError;
use crate::registry::tls::TlsError;
use crate::trust::sigstore::{KeyError, RootError};
use crate::unpack::path::PathError;

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
