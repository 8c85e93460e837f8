//! Error in a spec, or in an object that it refers to.

use std::fmt;

use super::field::{Field, Spelling};
use crate::api::references::{MAX_ACCOUNT_SECRETS, MAX_REFERENCES};
use crate::oci::platform::ParsePlatformError;
use crate::oci::reference::ParseReferenceError;
use crate::oci::tag_selection::TagSelectionError;
use crate::pattern::PatternError;
use crate::registry::credentials::SecretError;
use crate::registry::tls::TlsError;
use crate::trust::identity::SubjectPatternError;
use crate::trust::sigstore::{KeyError, RootError};
use crate::unpack::path::PathError;

/// Error in a spec, or in an object that it refers to.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Invalid reference.
    Image(#[from] ParseReferenceError),
    /// Invalid selection of the tag.
    Selection(#[from] TagSelectionError),
    /// Selection of the tag beside a tag or a digest.
    TwoTags,
    /// Invalid platform.
    Platform(#[from] ParsePlatformError),
    /// Fields that exclude each other.
    Excluded(Field, Field),
    /// Invalid duration.
    Duration {
        /// The field.
        field: Field,
        /// Text of the field.
        text: String,
    },
    /// Duration below the minimum.
    ShortDuration {
        /// The field.
        field: Field,
        /// Text of the field.
        text: String,
        /// The minimum, in seconds.
        least: u64,
    },
    /// Invalid directory in the artifact.
    SubPath(PathError),
    /// Invalid pattern in a list.
    Pattern {
        /// The field.
        field: Field,
        /// Problem with the pattern.
        error: PatternError,
    },
    /// Invalid number of bytes in a limit.
    Bytes(Field),
    /// Output with no place, or with several.
    Place(String),
    /// `secret` output beside an output of another kind.
    MixedWithSecret(String, String),
    /// Two outputs with the same place.
    SamePlace(String, String),
    /// Namespace or name of the object that is not a Kubernetes name, and so may not be a directory name.
    Name(String),
    /// A name in the spec that admission would refuse. No command has an option for such a name.
    FieldName {
        /// Path of the field, with the index in each list.
        field: String,
        /// Rejected name.
        text: String,
        /// The expected form.
        expected: &'static str,
    },
    /// More references to other objects than a spec may have.
    References(usize),
    /// A ServiceAccount with more `imagePullSecrets` than are read.
    AccountSecrets {
        /// The ServiceAccount.
        name: String,
        /// Their number.
        number: usize,
    },
    /// Missing object that the spec names.
    NotFound {
        /// Secret, ConfigMap or ServiceAccount.
        kind: &'static str,
        /// Namespace of the object.
        namespace: String,
        /// Name of the object.
        name: String,
    },
    /// Existing object without the key that the spec names.
    KeyMissing {
        /// Secret or ConfigMap.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// The key that was expected.
        key: String,
    },
    /// Invalid certificates or keys.
    Unusable {
        /// The field.
        field: Field,
        /// Object with the certificates or keys.
        origin: Origin,
        /// Problem with them, without quoting them.
        problem: TlsError,
    },
    /// Invalid entry of `spec.verify`.
    Verify {
        /// Name of the entry.
        entry: String,
        /// Problem with the entry.
        problem: EntryProblem,
    },
    /// Secret without a valid public key under the key that the spec names.
    Key {
        /// Name of the entry.
        entry: String,
        /// Object with the public key.
        origin: Origin,
        /// Problem with the public key.
        error: KeyError,
    },
    /// Invalid trusted root.
    Root {
        /// Name of the entry.
        entry: String,
        /// Object with the trusted root; `None` for the root embedded in this release.
        origin: Option<Origin>,
        /// Problem with the trusted root.
        error: RootError,
    },
    /// Pull secret with unusable content.
    Secret(#[from] SecretError),
}

/// Secret or ConfigMap that a spec names. For a command it stands for a file, and its option names that.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Secret or ConfigMap.
    pub kind: &'static str,
    /// Name of the object.
    pub name: String,
}

/// Problem with an entry of `spec.verify`.
#[derive(Debug)]
pub enum EntryProblem {
    /// Two entries with the same name.
    Duplicate,
    /// Neither identities nor keys.
    NoSigner,
    /// Identities without a transparency log, which is their only proof of time.
    IdentityWithoutLog,
    /// List without an element.
    Empty(Field),
    /// Key with both a Secret and an inline text, or with neither.
    KeySource,
    /// Invalid inline key.
    InlineKey(KeyError),
    /// Identity with both an exact subject and a pattern, or with neither.
    Subject,
    /// Invalid pattern for subjects.
    SubjectRegExp(SubjectPatternError),
    /// Entry in a policy that requires no signature.
    Action,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message(Spelling::Object))
    }
}

impl RequestError {
    /// Returns the message for a reader.
    pub fn message(&self, spelling: Spelling) -> String {
        let name = |field: Field| field.name(spelling);
        match self {
            Self::Image(error) => format!("{}: {error}", name(Field::Image)),
            Self::Selection(error @ TagSelectionError::Range(_)) => format!("{}: {error}", name(Field::SemverRange)),
            Self::Selection(error) => format!("{}: {error}", name(Field::SemverFilter)),
            Self::TwoTags => format!(
                "{} selects the tag, so {} must have neither a tag nor a digest",
                name(Field::Semver),
                name(Field::Image)
            ),
            Self::Platform(error) => format!("{}: {error}", name(Field::Platform)),
            Self::Excluded(field, other) => format!("{} excludes {}", name(*field), name(*other)),
            Self::Duration { field, text } => {
                format!("{}: \"{text}\" is not a duration; expected for example 90s, 10m or 1h30m", name(*field))
            }
            Self::ShortDuration { field, text, least } => {
                format!("{}: \"{text}\" is too short; expected at least {least}s", name(*field))
            }
            Self::SubPath(error) => format!("{} {error}", name(Field::SubPath)),
            Self::Pattern { field, error } => format!("{}: {error}", name(*field)),
            Self::Bytes(field) => {
                format!("{} is not a number of bytes such as 1048576, 512Mi or 1G", name(*field))
            }
            Self::Place(output) => format!("output {output}: set exactly one of volume, configMap and secret"),
            Self::MixedWithSecret(secret, other) => {
                format!("outputs {secret} and {other}: an object with a secret output may have only secret outputs")
            }
            Self::SamePlace(one, other) => format!("outputs {one} and {other} go to the same place"),
            Self::Name(text) => format!("namespace and name must be Kubernetes names: \"{text}\""),
            Self::FieldName { field, text, expected } => format!("{field}: {text:?} is not {expected}"),
            Self::References(number) => format!(
                "spec.registry and spec.verify name {number} Secrets, ConfigMaps and ServiceAccounts; at most \
                 {MAX_REFERENCES} are allowed"
            ),
            Self::AccountSecrets { name, number } => {
                format!("ServiceAccount {name} has {number} imagePullSecrets; at most {MAX_ACCOUNT_SECRETS} are read")
            }
            Self::NotFound { kind, namespace, name } => format!("{kind} {namespace}/{name} does not exist"),
            Self::KeyMissing { kind, name, key } => format!("{kind} {name} has no key {key}"),
            Self::Unusable { field, origin, problem } => {
                format!("{}: {problem}", origin.below(*field, spelling))
            }
            Self::Verify { entry, problem } => in_entry(entry, &problem.message(spelling), spelling),
            Self::Key { entry, origin, error } => {
                in_entry(entry, &format!("{} {error}", origin.below(Field::Keys, spelling)), spelling)
            }
            Self::Root { entry, origin, error } => {
                let embedded = || "the trusted root embedded in this release".to_owned();
                let root = origin.as_ref().map_or_else(embedded, |one| one.below(Field::TrustedRootRef, spelling));
                in_entry(entry, &format!("{root} {error}"), spelling)
            }
            Self::Secret(error) => error.to_string(),
        }
    }
}

impl Origin {
    /// Returns the name of a field, with the object that it refers to.
    fn below(&self, field: Field, spelling: Spelling) -> String {
        let Self { kind, name } = self;
        match spelling {
            Spelling::Object | Spelling::Entry => format!("{}: {kind} {name}", field.name(spelling)),
            Spelling::Command => field.name(spelling).to_owned(),
        }
    }
}

impl EntryProblem {
    fn message(&self, spelling: Spelling) -> String {
        let name = |field: Field| field.name(spelling);
        match self {
            Self::Duplicate => "duplicate name".to_owned(),
            Self::NoSigner => format!("no accepted signer; set {} or {}", name(Field::Keyless), name(Field::Keys)),
            Self::IdentityWithoutLog => {
                format!("{} must be Required with {}", name(Field::TransparencyLog), name(Field::Keyless))
            }
            Self::Empty(field) => format!("{} must not be empty", name(*field)),
            Self::KeySource => format!("{}: set exactly one of secretRef and inline", name(Field::Keys)),
            Self::InlineKey(error) => format!("{} {error}", name(Field::InlineKey)),
            Self::Subject => {
                format!("set exactly one of {} and {}", name(Field::Subject), name(Field::SubjectRegExp))
            }
            Self::SubjectRegExp(error) => format!("{} {error}", name(Field::SubjectRegExp)),
            Self::Action => format!("only {}: Verify allows entries", name(Field::PolicyAction)),
        }
    }
}

/// Returns a problem with the name of its entry. A command has one entry, its options.
fn in_entry(entry: &str, problem: &str, spelling: Spelling) -> String {
    match spelling {
        Spelling::Object | Spelling::Entry => format!("entry {entry}: {problem}"),
        Spelling::Command => problem.to_owned(),
    }
}
