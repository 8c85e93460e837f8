//! Every way in which a pass can fail, and its meaning for the object.
//!
//! This is the one place where an error becomes a class and a reason. The matches have no wildcard:
//! a new error does not compile until its class and reason are chosen.

use std::time::Duration;

use crate::api::Reason;
use crate::blob::BlobError;
use crate::oci::Digest;
use crate::oci::index::PlatformError;
use crate::oci::manifest::ManifestError;
use crate::output::{OutputError, Rehearsal};
use crate::registry::RegistryError;
use crate::registry::credentials::SecretError;
use crate::request::{Field, RequestError, Spelling};
use crate::storage::StorageError;
use crate::trust::TrustError;
use crate::trust::requirement::Objection;
use crate::unpack::UnpackError;

/// Maximum length of a condition's message, in bytes.
const MAX_MESSAGE: usize = 1024;

/// Class of a failure: the kind of event that resolves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Resolved by time: retried with back-off.
    Retry,
    /// Resolved by a change outside of the object: checked regularly.
    Wait,
    /// The API server did not answer a read. Retried with back-off; not a state of the object.
    Unanswered,
    /// Resolved by a user or administrator: the spec, the artifact or the operator's configuration must change.
    Stalled,
}

/// Obstacle of an output, by the check that shows its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Conflict at the output's place: another writer's object, for example, or a directory that must be created first.
    Place,
    /// The output belongs to an earlier object of the same name, with this uid.
    Earlier(String),
    /// The API server refuses a write: the given one, or one that only another pass can repeat.
    Refused(Option<Rehearsal>),
    /// The volume of this name cannot be used.
    Volume(String),
}

/// A failed pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Class of the failure.
    pub class: Class,
    /// Stable reason.
    pub reason: Reason,
    /// Human-readable message with the problem and its place. Contains no times, counters or credentials.
    pub message: String,
    /// The message with options instead of fields, for the user of a command. `None` if it names no field.
    pub for_command: Option<Box<str>>,
    /// Time until the next attempt, as requested by the registry.
    pub retry_after: Option<Duration>,
    /// Minimum number of bytes that a full volume lacks, if known.
    pub lacks: Option<u64>,
    /// The resolved digest that was refused, if the pass got that far.
    pub candidate: Option<Digest>,
    /// True if the failure is not about the content of the digest, but about the registry's answers or about content
    /// next to the digest, such as signatures. A retry with the same digest may succeed.
    pub is_beside_digest: bool,
    /// Obstacle of an output in the cluster: another writer, an earlier object, a quota, a policy or a missing right.
    /// It is checked often, because its removal causes no event.
    pub obstacle: Option<Box<Obstacle>>,
}

impl Failure {
    /// Creates a failure without a candidate.
    pub fn new(class: Class, reason: Reason, message: impl std::fmt::Display) -> Self {
        Self {
            class,
            reason,
            message: printable(&message.to_string()),
            for_command: None,
            retry_after: None,
            lacks: None,
            candidate: None,
            is_beside_digest: false,
            obstacle: None,
        }
    }

    /// Creates a failure whose message names fields of the spec.
    pub fn naming(class: Class, reason: Reason, message: impl Fn(Spelling) -> String) -> Self {
        let for_command = printable(&message(Spelling::Command)).into();
        Self { for_command: Some(for_command), ..Self::new(class, reason, message(Spelling::Object)) }
    }

    /// Returns the message for the user of a command, with options instead of fields.
    pub fn message_for_command(&self) -> &str {
        self.for_command.as_deref().unwrap_or(&self.message)
    }

    /// Adds a note to the message.
    #[must_use]
    pub fn with_note(self, note: &str) -> Self {
        /// Bytes of the message kept before a note, so that a long refusal does not cut off the note.
        const KEPT: usize = 380;
        let noted = |message: &str| {
            let cut = message.get(..message.floor_char_boundary(KEPT)).filter(|cut| cut.len() < message.len());
            let kept = cut.map_or_else(|| message.to_owned(), |cut| format!("{cut}…"));
            printable(&format!("{kept}, {note}"))
        };
        let for_command = self.for_command.as_deref().map(|message| noted(message).into());
        Self { message: noted(&self.message), for_command, ..self }
    }

    /// Sets the refused digest.
    #[must_use]
    pub fn of(self, candidate: &Digest) -> Self {
        Self { candidate: Some(candidate.clone()), ..self }
    }

    /// Creates a failure of a pass that did not end within `spec.timeout`.
    pub fn timeout(timeout: Duration, step: &str) -> Self {
        let message = |spelling| format!("{} of {timeout:?} ran out while {step}", Field::Timeout.name(spelling));
        Self::naming(Class::Retry, Reason::Timeout, message)
    }

    /// True if all inputs of a rule were available and the rule refuses the digest. False if a key, a trusted root or a
    /// registry's answer was unavailable or unreadable: then the verdict is unknown. Published content is withdrawn
    /// only if this is true.
    ///
    /// A digest without any signature, or with a broken one, counts: for published content passes report this only
    /// while the registry shows the artifact itself.
    pub fn is_verdict_of_trust(&self) -> bool {
        let is_known = self.reason != Reason::PolicyDenied || self.class == Class::Stalled;
        self.reason.is_of_trust() && self.reason != Reason::TrustRootInvalid && is_known
    }

    /// Converts an error of reading an output. An error of the API server says nothing about the object.
    pub(crate) fn of_reading(error: OutputError) -> Self {
        let is_of_server = matches!(error, OutputError::Api { .. });
        let failure = Self::from(error);
        if is_of_server { Self { class: Class::Unanswered, ..failure } } else { failure }
    }

    /// Creates a failure by a defect of the operator.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(Class::Retry, Reason::Internal, message)
    }
}

/// True for a character that could change the display of the surrounding text in a terminal or log: controls, line and
/// paragraph ends, text directions, and invisible characters (Unicode, `Default_Ignorable_Code_Point`) including tags.
pub(crate) fn is_disruptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Escapes characters that could change the display in a terminal or log, and truncates long texts.
pub(crate) fn printable(text: &str) -> String {
    let mut printed = String::with_capacity(text.len());
    for c in text.chars() {
        if is_disruptive(c) {
            printed.extend(c.escape_default());
        } else {
            printed.push(c);
        }
        if printed.len() > MAX_MESSAGE {
            printed.push('…');
            break;
        }
    }
    printed
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let (class, reason) = match &error {
            RequestError::NotFound { .. }
            | RequestError::KeyMissing { .. }
            | RequestError::Secret(SecretError::KeyMissing { .. }) => (Class::Wait, Reason::SecretNotFound),
            RequestError::Secret(SecretError::Malformed { .. } | SecretError::OtherHost { .. })
            | RequestError::Unusable { .. }
            | RequestError::AccountSecrets { .. }
            | RequestError::Key { .. } => (Class::Wait, Reason::SecretInvalid),
            RequestError::Root { .. } => (Class::Wait, Reason::TrustRootInvalid),
            RequestError::Image(_)
            | RequestError::Selection(_)
            | RequestError::TwoTags
            | RequestError::Platform(_)
            | RequestError::Excluded(..)
            | RequestError::Duration { .. }
            | RequestError::SubPath(_)
            | RequestError::Pattern { .. }
            | RequestError::Verify { .. }
            | RequestError::Bytes(_)
            | RequestError::Place(_)
            | RequestError::SamePlace(..)
            | RequestError::MixedWithSecret(..)
            | RequestError::FieldName { .. }
            | RequestError::References(_)
            | RequestError::Name(_) => (Class::Stalled, Reason::InvalidSpec),
        };
        Self::naming(class, reason, |spelling| error.message(spelling))
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let (class, reason, retry_after) = match &error {
            RegistryError::NotFound(_) => (Class::Wait, Reason::ReferenceNotFound, None),
            RegistryError::NoMatchingTag { .. } => (Class::Wait, Reason::NoMatchingTag, None),
            RegistryError::Unauthorized { .. } => (Class::Wait, Reason::Unauthorized, None),
            RegistryError::Forbidden { .. } => (Class::Wait, Reason::Forbidden, None),
            RegistryError::RateLimited { retry_after, .. } => (Class::Retry, Reason::RateLimited, *retry_after),
            RegistryError::Unavailable { .. } | RegistryError::Protocol { .. } => {
                (Class::Retry, Reason::RegistryUnavailable, None)
            }
            RegistryError::HeldBack { retry_after, .. } => {
                (Class::Retry, Reason::RegistryUnavailable, Some(*retry_after))
            }
            RegistryError::AddressDenied { .. }
            | RegistryError::PortDenied { .. }
            | RegistryError::PlainHttpDenied { .. } => (Class::Stalled, Reason::AddressDenied, None),
            RegistryError::Tls { .. } => (Class::Retry, Reason::TLSFailed, None),
            // The bytes are not the artifact's: a fault in transit, which may be temporary.
            RegistryError::DigestMismatch { .. } | RegistryError::LongerThanNamed { .. } => {
                (Class::Retry, Reason::DigestMismatch, None)
            }
            RegistryError::TooLarge { .. } | RegistryError::TooMany { .. } => {
                (Class::Stalled, Reason::LimitExceeded, None)
            }
            RegistryError::Manifest(ManifestError::Platform(PlatformError::Empty)) => {
                (Class::Stalled, Reason::ManifestInvalid, None)
            }
            RegistryError::Manifest(ManifestError::Platform(_)) => (Class::Stalled, Reason::PlatformNotFound, None),
            RegistryError::Manifest(_) => (Class::Stalled, Reason::ManifestInvalid, None),
        };
        let is_beside_digest = matches!(
            &error,
            RegistryError::AddressDenied { .. }
                | RegistryError::PortDenied { .. }
                | RegistryError::PlainHttpDenied { .. }
                | RegistryError::TooLarge { .. }
                | RegistryError::Manifest(ManifestError::TypeDisagrees { .. } | ManifestError::Type(_))
        );
        Self { retry_after, is_beside_digest, ..Self::new(class, reason, error) }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        let (reason, error) = match (error.reason(), error) {
            // About the signatures, not about the digest itself.
            (_, TrustError::Registry(error)) => return Self { is_beside_digest: true, ..error.into() },
            (None, error) => return Self::internal(error),
            (Some(reason), error) => (reason, error),
        };
        // Signatures are often pushed a moment after the tag.
        let class = if reason == Reason::SignatureMissing { Class::Wait } else { Class::Stalled };
        // The same digest can be signed again later.
        Self { is_beside_digest: true, ..Self::new(class, reason, error) }
    }
}

impl From<&Objection> for Failure {
    fn from(Objection { text, is_verdict, .. }: &Objection) -> Self {
        // A policy that cannot be applied often only lacks its key.
        let class = if *is_verdict { Class::Stalled } else { Class::Wait };
        Self::new(class, Reason::PolicyDenied, text)
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        if error.is_panic() {
            return Self::internal(error);
        }
        let reason = if error.is_full() { Reason::StorageFull } else { Reason::StorageFailed };
        let obstacle = error.volume().map(|volume| Box::new(Obstacle::Volume(volume.to_owned())));
        let is_beside_digest = obstacle.is_some();
        Self { lacks: error.lacks(), obstacle, is_beside_digest, ..Self::new(Class::Retry, reason, error) }
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Registry(error) => error.into(),
            BlobError::Storage(error) => error.into(),
            BlobError::TooLarge { .. } => Self::new(Class::Stalled, Reason::LimitExceeded, error),
            BlobError::Short { .. } | BlobError::Changed { .. } => {
                Self::new(Class::Retry, Reason::DigestMismatch, error)
            }
            BlobError::Aborted => Self::internal(error),
        }
    }
}

impl From<UnpackError> for Failure {
    fn from(error: UnpackError) -> Self {
        let reason = match &error {
            UnpackError::Storage(_) | UnpackError::Stopped => None,
            UnpackError::Entry { .. } | UnpackError::Archive { .. } => Some(Reason::UnsafeArchive),
            UnpackError::Conflict(_) => Some(Reason::LayerConflict),
            UnpackError::Unsupported { .. } | UnpackError::Method { .. } => Some(Reason::UnsupportedFormat),
            // The artifact itself is not at fault.
            UnpackError::Changed { .. } | UnpackError::FileChanged(_) => {
                return Self::new(Class::Retry, Reason::DigestMismatch, error);
            }
            UnpackError::Symlink { entry } => {
                let message = |spelling| {
                    format!("entry {entry:?} is a symbolic link, and {} is Reject", Field::Symlinks.name(spelling))
                };
                return Self::naming(Class::Stalled, Reason::UnsafeArchive, message);
            }
            UnpackError::ContentDigest { .. } => Some(Reason::DigestMismatch),
            UnpackError::Limit { .. } => Some(Reason::LimitExceeded),
            UnpackError::SubPath { .. } | UnpackError::NothingLeft { .. } => Some(Reason::SubPathNotFound),
        };
        match (reason, error) {
            (Some(reason), error) => Self::new(Class::Stalled, reason, error),
            (None, UnpackError::Storage(error)) => error.into(),
            (None, error) => Self::internal(error),
        }
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        // The obstacle is at the place, independent of the content.
        let obstructed = |class, reason, obstacle, error: OutputError| Self {
            is_beside_digest: true,
            obstacle: Some(Box::new(obstacle)),
            ..Self::new(class, reason, error)
        };
        match error {
            OutputError::Storage(error) => error.into(),
            OutputError::Changed(_) => Self::new(Class::Retry, Reason::DigestMismatch, error),
            OutputError::NoVolume { .. } | OutputError::NoCluster(_) => {
                Self::new(Class::Stalled, Reason::InvalidSpec, error)
            }
            OutputError::NoSecretDirectory(_) => {
                obstructed(Class::Stalled, Reason::StorageFailed, Obstacle::Place, error)
            }
            OutputError::Obstacle(_) => obstructed(Class::Stalled, Reason::OutputConflict, Obstacle::Place, error),
            OutputError::Earlier { ref uid, .. } => {
                obstructed(Class::Wait, Reason::OutputConflict, Obstacle::Earlier(uid.clone()), error)
            }
            OutputError::Refused { ref rehearsal, .. } => {
                obstructed(Class::Wait, Reason::StorageFailed, Obstacle::Refused(rehearsal.clone()), error)
            }
            OutputError::Conflict(_) => Self::new(Class::Stalled, Reason::OutputConflict, error),
            OutputError::NothingLeft(_) => Self::new(Class::Stalled, Reason::SubPathNotFound, error),
            OutputError::TooLarge(_) => Self::new(Class::Stalled, Reason::OutputTooLarge, error),
            // Other objects of the namespace may release space.
            OutputError::Quota { .. } => {
                Self { is_beside_digest: true, ..Self::new(Class::Retry, Reason::LimitExceeded, error) }
            }
            OutputError::Api { .. } | OutputError::Busy(_) => Self::new(Class::Retry, Reason::StorageFailed, error),
            OutputError::Aborted | OutputError::GivenUp => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::policy::Enforcement;
    use crate::trust::sigstore::RootError;

    #[test]
    fn only_an_answer_to_what_is_asked_is_a_verdict() {
        let of = |is_verdict| Objection { text: "x".to_owned(), enforcement: Enforcement::Enforce, is_verdict };
        let trust = |error: TrustError| Failure::from(error);
        let (entry, digest) = (|| "e".to_owned(), || "d".to_owned());
        let ended = || RootError::Nothing("certificate authority");
        let rows = [
            ("denied", Failure::from(&of(true)), true),
            ("a policy that cannot be applied", Failure::from(&of(false)), false),
            ("no signature", trust(TrustError::Missing { entry: entry(), digest: digest(), seen: entry() }), true),
            ("a broken one", trust(TrustError::Invalid { entry: entry(), digest: digest(), problem: entry() }), true),
            ("somebody else's", trust(TrustError::Signer { entry: entry(), digest: digest(), problem: entry() }), true),
            ("a root that has ended", trust(TrustError::Root { entry: entry(), error: ended() }), false),
            ("too many", trust(TrustError::TooMany("d".to_owned())), false),
            ("the verifier", trust(TrustError::Aborted), false),
            ("the registry", trust(TrustError::Registry(RegistryError::NotFound("x".to_owned()))), false),
            ("a missing key", RequestError::NotFound { kind: "Secret", name: entry() }.into(), false),
            ("a broken root", RequestError::Root { entry: entry(), origin: None, error: ended() }.into(), false),
            ("the archive", Failure::new(Class::Stalled, Reason::UnsafeArchive, "x"), false),
        ];
        for (label, failure, want) in rows {
            assert_eq!(failure.is_verdict_of_trust(), want, "{label}");
        }
    }

    #[test]
    fn what_is_said_about_a_digest_never_decides_for_good() {
        let errors = [
            TrustError::Registry(RegistryError::TooMany { repository: "r/a".to_owned(), limit: 1, what: "referrers" }),
            TrustError::Registry(RegistryError::Manifest(ManifestError::Platform(PlatformError::Empty))),
            TrustError::TooMany("sha256:0123".to_owned()),
        ];
        for error in errors {
            let failure = Failure::from(error);
            assert_eq!((failure.class, failure.is_beside_digest), (Class::Stalled, true), "{failure:?}");
        }
    }

    #[test]
    fn a_message_cannot_redraw_a_terminal_or_grow_without_end() {
        let shown = printable("entry \u{1b}[2J\u{202e}gpj.exe\n");
        assert_eq!(shown, r"entry \u{1b}[2J\u{202e}gpj.exe\n");
        for c in [
            '\u{61c}',
            '\u{2028}',
            '\u{2029}',
            '\u{2067}',
            '\u{feff}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e007f}',
            '\r',
            '\u{85}',
        ] {
            assert!(printable(&format!("a{c}b")).is_ascii(), "{c:?}");
        }
        assert_eq!(printable("größer 大きい 🚀"), "größer 大きい 🚀");
        assert!(printable(&"x".repeat(100_000)).len() < 1100);
    }
}
