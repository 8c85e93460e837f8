//! The one place where an error becomes a class and a reason. The matches have no wildcard: a new error does not compile
//! until its class and reason are chosen.

use super::text::remedy_of;
use super::{Class, Failure, Obstacle, causes};
use crate::api::Reason;
use crate::blob::BlobError;
use crate::layout::LayoutError;
use crate::oci::index::PlatformError;
use crate::oci::manifest::ManifestError;
use crate::output::OutputError;
use crate::pack::PackError;
use crate::publish::PublishError;
use crate::registry::RegistryError;
use crate::registry::credentials::SecretError;
use crate::request::{Field, RequestError};
use crate::storage::StorageError;
use crate::trust::TrustError;
use crate::trust::requirement::Objection;
use crate::unpack::UnpackError;

impl Failure {
    /// Converts an error of reading an output. An error of the API server is not a state of the object.
    pub(crate) fn of_reading(error: OutputError) -> Self {
        let is_of_server = matches!(error, OutputError::Api { .. });
        let failure = Self::from(error);
        if is_of_server { Self { class: Class::Unanswered, ..failure } } else { failure }
    }
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
            | RequestError::ShortDuration { .. }
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
            RegistryError::Local { is_full: true, .. } => (Class::Retry, Reason::StorageFull, None),
            RegistryError::Local { .. } => (Class::Retry, Reason::StorageFailed, None),
            RegistryError::HeldBack { retry_after, .. } => {
                (Class::Retry, Reason::RegistryUnavailable, Some(*retry_after))
            }
            RegistryError::Refused { .. } => (Class::Stalled, Reason::PublishRefused, None),
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

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let remedy = error.remedy();
        let failure = match error {
            PublishError::Registry(error) => error.into(),
            PublishError::TagExists { .. } | PublishError::LegacyConflict { .. } => {
                Self::new(Class::Stalled, Reason::TagExists, error)
            }
            PublishError::TagMoved { .. } | PublishError::Contended { .. } => {
                Self::new(Class::Retry, Reason::TagExists, error)
            }
            PublishError::OtherDigest { .. } => Self::new(Class::Stalled, Reason::DigestMismatch, error),
            PublishError::Manifest { .. }
            | PublishError::NotAList { .. }
            | PublishError::NotSignatures { .. }
            | PublishError::TooDeep { .. } => Self::new(Class::Stalled, Reason::ManifestInvalid, error),
            PublishError::Pack(error) => error.into(),
            PublishError::Aborted => Self::internal(error),
            PublishError::Referrer(_) => Self::new(Class::Stalled, Reason::InvalidSpec, error),
            // A key that cannot sign is refused when it is read.
            PublishError::Sign(error) => Self::internal(error),
            PublishError::TooManyManifests { .. } => Self::new(Class::Stalled, Reason::LimitExceeded, error),
        };
        failure.with_command_remedy(remedy)
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

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        let reason = match &error {
            LayoutError::Missing(_) => Reason::ReferenceNotFound,
            LayoutError::NotEmpty(_) | LayoutError::InUse(_) => Reason::OutputConflict,
            LayoutError::Invalid { .. } | LayoutError::Incomplete { .. } | LayoutError::Manifest(_) => {
                Reason::ManifestInvalid
            }
            LayoutError::TooLarge { .. } => Reason::LimitExceeded,
            LayoutError::Corrupt { .. } => Reason::DigestMismatch,
            LayoutError::Name(_) => Reason::InvalidSpec,
            LayoutError::ReadOnly(_) => Reason::Internal,
            LayoutError::Storage(error) => return error.clone().into(),
        };
        Self::new(Class::Stalled, reason, error)
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

impl From<PackError> for Failure {
    fn from(error: PackError) -> Self {
        let reason = match error {
            PackError::Entry(error) => return error.into(),
            PackError::Layout(error) => return error.into(),
            PackError::Storage(error) => return error.into(),
            PackError::Stopped => return Self::internal(error),
            PackError::Changed(_) => Reason::StorageFailed,
            PackError::Path { .. } | PackError::Nothing => Reason::SubPathNotFound,
            PackError::Option { .. } | PackError::Name(_) | PackError::Reference { .. } => Reason::InvalidSpec,
            PackError::Exists(_) => Reason::OutputConflict,
            PackError::NoSource { .. } => Reason::FileNotFound,
            PackError::Ignore { .. } | PackError::Description { .. } | PackError::Dependencies(_) => {
                Reason::FileInvalid
            }
            PackError::TooLarge { .. } => Reason::LimitExceeded,
            PackError::Manifest(_) => Reason::ManifestInvalid,
        };
        Self::new(Class::Stalled, reason, error)
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
        let remedy = remedy_of(&error);
        let failure = match error {
            OutputError::Storage(error) => error.into(),
            OutputError::Changed(_) => Self::new(Class::Retry, Reason::DigestMismatch, error),
            OutputError::NoVolume { .. } | OutputError::NoCluster(_) => {
                Self::new(Class::Stalled, Reason::InvalidSpec, error)
            }
            OutputError::NoSecretDirectory(_) => {
                obstructed(Class::Stalled, Reason::StorageFailed, Obstacle::Place, error)
            }
            OutputError::Obstacle(_) | OutputError::Differs { .. } => {
                obstructed(Class::Stalled, Reason::OutputConflict, Obstacle::Place, error)
            }
            OutputError::Earlier { ref uid, .. } => {
                obstructed(Class::Wait, Reason::OutputConflict, Obstacle::Earlier(uid.clone()), error)
            }
            OutputError::Refused { ref rehearsal, .. } => {
                obstructed(Class::Wait, Reason::StorageFailed, Obstacle::Refused(rehearsal.clone()), error)
            }
            OutputError::Git { .. } => Self::new(Class::Stalled, Reason::UnsafeArchive, error),
            OutputError::OtherFiles { .. } => Self::new(Class::Stalled, Reason::DigestMismatch, error),
            OutputError::Conflict(_) => Self::new(Class::Stalled, Reason::OutputConflict, error),
            OutputError::NothingLeft(_) => Self::new(Class::Stalled, Reason::SubPathNotFound, error),
            OutputError::TooLarge(_) => Self::new(Class::Stalled, Reason::OutputTooLarge, error),
            // Other objects of the namespace may release space.
            OutputError::Quota { .. } => {
                Self { is_beside_digest: true, ..Self::new(Class::Retry, Reason::LimitExceeded, error) }
            }
            OutputError::Api { kind, name, source } => {
                Self::new(Class::Retry, Reason::StorageFailed, format!("{kind} {name}: {}", causes(&*source)))
            }
            OutputError::Busy(_) => Self::new(Class::Retry, Reason::StorageFailed, error),
            OutputError::Aborted | OutputError::GivenUp => Self::internal(error),
        };
        failure.with_command_remedy(remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::vocabulary::Enforcement;
    use crate::trust::sigstore::RootError;

    #[test]
    fn only_a_refusal_with_all_inputs_is_a_verdict() {
        let of = |is_verdict| Objection {
            policy: None,
            text: "x".to_owned(),
            enforcement: Enforcement::Enforce,
            is_verdict,
        };
        let trust = |error: TrustError| Failure::from(error);
        let (entry, digest) = (|| "e".to_owned(), || "d".to_owned());
        let ended = || RootError::Nothing("certificate authority");
        let rows = [
            ("denied", Failure::from(&of(true)), true),
            ("a policy that cannot be applied", Failure::from(&of(false)), false),
            ("no signature", trust(TrustError::Missing { entry: entry(), digest: digest(), seen: entry() }), true),
            ("a broken one", trust(TrustError::Invalid { entry: entry(), digest: digest(), problem: entry() }), true),
            (
                "by another signer",
                trust(TrustError::Signer { entry: entry(), digest: digest(), problem: entry() }),
                true,
            ),
            ("a root that has ended", trust(TrustError::Root { entry: entry(), error: ended() }), false),
            ("too many", trust(TrustError::TooMany("d".to_owned())), false),
            ("the verifier", trust(TrustError::Aborted), false),
            ("the registry", trust(TrustError::Registry(RegistryError::NotFound("x".to_owned()))), false),
            (
                "a missing key",
                RequestError::NotFound { kind: "Secret", namespace: "n".to_owned(), name: entry() }.into(),
                false,
            ),
            ("a broken root", RequestError::Root { entry: entry(), origin: None, error: ended() }.into(), false),
            ("the archive", Failure::new(Class::Stalled, Reason::UnsafeArchive, "x"), false),
        ];
        for (label, failure, want) in rows {
            assert_eq!(failure.is_verdict_of_trust(), want, "{label}");
        }
    }

    #[test]
    fn failures_beside_a_digest_do_not_settle_it() {
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
}
