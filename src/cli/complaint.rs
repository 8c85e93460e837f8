//! Error report of a command for its user at a terminal.

use std::io::Write;
use std::process::ExitCode;

use super::exit::Exit;
use crate::api::Reason;
use crate::failure::Failure;

/// Fields of an object that messages name, and the options that replace them. Longer fields come first.
const FIELDS: [(&str, &str); 13] = [
    ("spec.files.subPath", "--sub-path"),
    ("spec.files.include or exclude", "--include or --exclude"),
    ("spec.layers.mediaTypes", "--layer-media-type"),
    ("spec.layers.titles", "--layer-title"),
    ("spec.artifactTypes", "--artifact-type"),
    ("spec.layers", "--layer-media-type or --layer-title"),
    ("spec.platform", "--platform"),
    ("spec.semver.range", "--semver"),
    ("spec.semver.filter", "--semver-filter"),
    ("spec.semver", "--semver"),
    ("spec.timeout", "--timeout"),
    ("spec.image", "IMAGE"),
    ("the operator's --", "--"),
];

/// Reason, message and remedy of an error.
#[derive(Debug)]
pub(super) struct Complaint {
    reason: Reason,
    message: String,
    remedy: String,
}

impl Complaint {
    /// Creates an error report with the usual remedy of its reason.
    pub(super) fn new(reason: Reason, message: impl std::fmt::Display) -> Self {
        // `Failure` makes the message printable and short.
        Failure::new(crate::failure::Class::Stalled, reason, message).into()
    }

    /// Replaces the remedy by another whole sentence.
    pub(super) fn with_remedy(self, remedy: String) -> Self {
        Self { remedy, ..self }
    }

    pub(super) fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the message.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Writes one line to standard error and returns the exit code.
    pub(super) fn tell(&self) -> ExitCode {
        // If standard error is closed, the exit code is the only report.
        let _ = writeln!(std::io::stderr(), "{self}");
        Exit::of(self.reason).into()
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error: {}: {}. {}", self.reason, self.message.trim_end_matches('.'), self.remedy)
    }
}

impl From<Failure> for Complaint {
    fn from(failure: Failure) -> Self {
        let message = if speaks_of_fields(failure.reason) {
            FIELDS.iter().fold(failure.message, |message, (field, option)| message.replace(field, option))
        } else {
            failure.message
        };
        Self { reason: failure.reason, message, remedy: remedy(failure.reason).to_owned() }
    }
}

/// Returns true for reasons whose messages may name fields. In other messages, names from an artifact stay unchanged
/// even if they look like a field.
fn speaks_of_fields(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::InvalidSpec
            | Reason::AddressDenied
            | Reason::NoMatchingTag
            | Reason::PlatformNotFound
            | Reason::UnexpectedArtifactType
            | Reason::NoMatchingLayer
            | Reason::Timeout
    )
}

/// Returns the remedy at a command line, which may differ from that for an object.
fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::InvalidSpec => "Correct what the message names; --help shows the form.",
        Reason::SecretNotFound => "Check the path.",
        Reason::SecretInvalid => {
            "Write the file again: credentials with docker login or podman login, certificates and keys in PEM."
        }
        Reason::ReferenceNotFound => "Check IMAGE, and the credentials: some registries hide what these may not read.",
        Reason::NoMatchingTag => "Correct --semver or --semver-filter, or push a tag with a version in the range.",
        Reason::Unauthorized => "Log in with docker login or podman login, or give --username and --password-stdin.",
        Reason::Forbidden => "Log in as a user who may read the repository.",
        Reason::RegistryUnavailable => "Check the host and the network, and try again.",
        Reason::RateLimited => "Wait and try again, or log in for a higher limit.",
        Reason::AddressDenied => {
            "Check IMAGE; --allow-cidr opens private and loopback networks, and nothing opens the others."
        }
        Reason::TLSFailed => {
            "Check the registry's certificate; --ca-file names its authority, --client-certificate and --client-key \
             what it wants from clients, and a registry without TLS needs --plain-http."
        }
        Reason::PlatformNotFound => "Set --platform to one of those that the message names.",
        Reason::SignatureMissing => "Sign the digest that the message names, or check where its signatures are kept.",
        Reason::IdentityMismatch => "Find out whether the signer that the message names may sign; then name it.",
        Reason::LimitExceeded => "Make the artifact smaller, or raise the option that the message names.",
        Reason::UnexpectedArtifactType => "Check IMAGE, or add the type that the message names with --artifact-type.",
        Reason::NoMatchingLayer => "Correct --layer-media-type or --layer-title; the message names what is there.",
        Reason::UnsupportedFormat => "Take it as a file, with --layer-mode file.",
        Reason::LayerConflict => "Take what the later layer has, with --on-conflict last-wins.",
        Reason::SubPathNotFound => "Correct --sub-path, --include or --exclude; the message names what is there.",
        Reason::StorageFull => "Make room there, and try again.",
        Reason::StorageFailed => "Check that what the message names exists and may be written to.",
        Reason::OutputConflict => "Name another directory; where it is only not empty, --force replaces it.",
        Reason::OutputTooLarge => "Take less, with --sub-path, --include or --exclude.",
        Reason::Timeout => "Raise --timeout, or look at what the message says was slow.",
        Reason::Internal => "Report it with what --log-level=debug prints.",
        Reason::Succeeded
        | Reason::Progressing
        | Reason::Suspended
        | Reason::ManifestInvalid
        | Reason::DigestMismatch
        | Reason::SignatureInvalid
        | Reason::PolicyDenied
        | Reason::TrustRootInvalid
        | Reason::UnsafeArchive => reason.remedy(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_one_line_that_names_options() {
        for reason in Reason::ALL {
            let complaint = Complaint::new(*reason, "spec.image: two\nlines");
            let text = complaint.to_string();
            assert!(text.starts_with(&format!("error: {reason}: ")) && text.ends_with('.'), "{text}");
            assert!(!text.contains('\n'), "{text}");
            assert!(!remedy(*reason).contains("spec.") || Exit::of(*reason) == Exit::Done, "{text}");
        }
        let rows = [
            (Reason::InvalidSpec, "spec.image: short names", "error: InvalidSpec: IMAGE: short names. "),
            (Reason::InvalidSpec, "spec.semver.filter: not one", "error: InvalidSpec: --semver-filter: not one. "),
            (Reason::Timeout, "spec.timeout of 5s ran out", "error: Timeout: --timeout of 5s ran out. "),
            (Reason::UnsafeArchive, "entry \"spec.image\"", "error: UnsafeArchive: entry \"spec.image\". "),
        ];
        for (reason, message, want) in rows {
            let text = Complaint::new(reason, message).to_string();
            assert!(text.starts_with(want), "{text}");
        }
    }
}
