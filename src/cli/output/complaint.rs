//! Error report of a command for its user at a terminal.

use std::process::ExitCode;

use crate::api::Reason;
use crate::cli::output::exit::Exit;
use crate::cli::output::notes::warn;
use crate::failure::{Failure, printable};

/// Reason, message and remedy of an error.
#[derive(Debug)]
pub(crate) struct Complaint {
    reason: Reason,
    message: String,
    remedy: String,
}

impl Complaint {
    /// Creates an error report with the usual remedy of its reason.
    pub(crate) fn new(reason: Reason, message: impl std::fmt::Display) -> Self {
        // `Failure` makes the message printable and short.
        Failure::new(crate::failure::Class::Stalled, reason, message).into()
    }

    /// Creates an error report about an object of a cluster: with fields instead of options, and the remedy of status.
    pub(crate) fn of_object(failure: &Failure) -> Self {
        Self::of_status(failure.reason, &failure.message)
    }

    /// Creates an error report with the reason and message of a condition.
    pub(crate) fn of_status(reason: Reason, message: &str) -> Self {
        Self::about_object(reason, message, reason.remedy().to_owned())
    }

    /// Creates an error report about an object from a file, with the reason of its condition.
    pub(crate) fn about_object(reason: Reason, message: &str, remedy: String) -> Self {
        Self { reason, message: printable(message), remedy }
    }

    /// Replaces the remedy by another whole sentence.
    pub(crate) fn with_remedy(self, remedy: String) -> Self {
        Self { remedy, ..self }
    }

    pub(crate) fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the message.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the remedy.
    pub(crate) fn remedy(&self) -> &str {
        &self.remedy
    }

    /// Writes one line to standard error and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        warn(self);
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
        let reason = at_command_line(failure.reason);
        let message = failure.message_for_command().to_owned();
        let own = failure.for_command.as_ref().and_then(|texts| texts.remedy);
        Self { reason, message, remedy: own.unwrap_or_else(|| remedy(reason)).to_owned() }
    }
}

/// Returns the reason at a command line, where files stand for the Secrets and ConfigMaps of an object.
fn at_command_line(reason: Reason) -> Reason {
    if reason == Reason::SecretNotFound {
        Reason::FileNotFound
    } else if reason == Reason::SecretInvalid {
        Reason::FileInvalid
    } else {
        reason
    }
}

/// Returns the remedy at a command line, which may differ from that for an object.
pub fn remedy(reason: Reason) -> &'static str {
    match at_command_line(reason) {
        Reason::InvalidSpec => "Correct the option that the message names; --help shows its form.",
        Reason::ReferenceNotFound => {
            "Check the reference and the credentials: some registries hide repositories that the credentials may not read."
        }
        Reason::NoMatchingTag => "Correct --semver or --semver-filter, or push a tag with a version in the range.",
        Reason::Unauthorized => "Log in with supercargo login, or set --username and --password-stdin.",
        Reason::Forbidden => "Use credentials with the right that the message names.",
        Reason::RegistryUnavailable => "Check the host and the network, and try again.",
        Reason::RateLimited => "Wait and try again, or log in for a higher limit.",
        Reason::AddressDenied => {
            "Check the reference; --allow-cidr opens private and loopback networks; other networks stay closed."
        }
        Reason::TLSFailed => {
            "Check the registry's certificate. Set --ca-file to its authority, --client-certificate and --client-key if \
             it requires a client certificate, or --plain-http if it has no TLS."
        }
        Reason::PlatformNotFound => "Set --platform to a platform that the message names.",
        Reason::SignatureMissing => {
            "Sign the digest that the message names, or check that its signatures are in the same repository."
        }
        Reason::SignatureInvalid => {
            "If its key signs without a log, set --transparency-log ignored; else sign again, and check which key signed it."
        }
        Reason::IdentityMismatch => "If this signer may sign, accept it with an option for signers (--help).",
        Reason::LimitExceeded => "Make the content smaller; if the message names an option, it can be raised.",
        Reason::UnexpectedArtifactType => {
            "Check the reference, or add the type that the message names with --artifact-type."
        }
        Reason::NoMatchingLayer => {
            "Correct --layer-media-type or --layer-title; the message lists the media types of the layers."
        }
        Reason::UnsupportedFormat => "Keep the layer as a file with --layer-mode file.",
        Reason::LayerConflict => "Let the later layer win with --on-conflict last-wins.",
        Reason::SubPathNotFound => "Correct --sub-path, --include or --exclude; the message lists what is there.",
        Reason::StorageFull => "Free space on the disk, and try again.",
        Reason::StorageFailed => "Check that the path in the message exists and is writable.",
        Reason::OutputConflict => "Name another directory, or replace one that is not empty with --force.",
        Reason::OutputTooLarge => "Select fewer files with --sub-path, --include or --exclude.",
        Reason::TrustRootInvalid => "Set --trusted-root to a current file, or upgrade for the embedded root.",
        Reason::Timeout => "Raise --timeout, or find out why the step in the message was slow.",
        Reason::Internal => "Report it with the output of supercargo version and of the same command with -v.",
        Reason::Succeeded
        | Reason::Progressing
        | Reason::Suspended
        | Reason::FileNotFound
        | Reason::FileInvalid
        | Reason::SecretNotFound
        | Reason::SecretInvalid
        | Reason::ManifestInvalid
        | Reason::DigestMismatch
        | Reason::PolicyDenied
        | Reason::TagExists
        | Reason::PublishRefused
        | Reason::ObjectNotFound
        | Reason::ClusterUnavailable
        | Reason::UnsafeArchive => reason.remedy(),
    }
}

/// Returns the remedy for a failure of an object from a file: its own, or the usual one of its reason.
pub(crate) fn remedy_of(failure: &Failure) -> &'static str {
    let own = failure.for_command.as_ref().and_then(|texts| texts.remedy);
    own.unwrap_or_else(|| remedy_in_files(failure.reason))
}

/// Remedy for a registry without trusted TLS, where an object from a file names it.
const TLS_IN_FILES: &str = "Check the registry's certificate. Set registry.caRef of the object or entry to its authority, \
                            registry.clientCertificateRef if it requires a client certificate, or registry.plainHTTP: true \
                            if it has no TLS.";

/// Remedies that name a field of an object or entry in a file.
const FIELDS_IN_FILES: [(Reason, &str); 11] = [
    (
        Reason::ReferenceNotFound,
        "Check the image and the credentials: some registries hide repositories that the credentials may not read.",
    ),
    (
        Reason::AddressDenied,
        "Check the image; --allow-cidr opens private and loopback networks; other networks stay closed.",
    ),
    (Reason::InvalidSpec, "Correct the field of the object or entry that the message names."),
    (Reason::PlatformNotFound, "Set platform of the object or entry to one that the message names."),
    (Reason::UnexpectedArtifactType, "Correct the image, or add the type that the message names to artifactTypes."),
    (Reason::NoMatchingLayer, "Correct layers or the image; the message names the layers of the artifact."),
    (
        Reason::UnsupportedFormat,
        "Push the content as tar, tar+gzip, tar+zstd, zip or plain file layers, or set layers.mode to File.",
    ),
    (
        Reason::LayerConflict,
        "Push the artifact with each path in one layer only, or set layers.onConflict to LastWins.",
    ),
    (Reason::SubPathNotFound, "Correct files of the object or entry; the message lists what the artifact contains."),
    (
        Reason::IdentityMismatch,
        "If this signer may sign, add it to the requirement: NAME is in verify of the object or entry, POLICY/NAME in \
             that OCIArtifactPolicy; otherwise push a revision that an accepted signer signed.",
    ),
    (Reason::OutputTooLarge, "Publish less with files.subPath, or use a volume output for content that is not secret."),
];

/// Returns the remedy for an object from a file, in the table of `sync`, which does not retry.
pub fn remedy_in_files(reason: Reason) -> &'static str {
    if let Some((_, remedy)) = FIELDS_IN_FILES.iter().find(|(one, _)| *one == reason) {
        return remedy;
    }
    match reason {
        Reason::SecretNotFound => {
            "Add the Secret, ConfigMap, ServiceAccount or key that the message names to the files of --filename."
        }
        Reason::NoMatchingTag => "Correct semver, or push a tag with a version in its range.",
        Reason::TrustRootInvalid => {
            "Replace the trusted_root.json of the entry that the message names (trustedRootRef) with a current one; if \
             the entry has none, upgrade."
        }
        Reason::Unauthorized => {
            "Log in with supercargo login, or name a pull secret with the right user and password in \
             registry.pullSecrets of the object or entry."
        }
        Reason::Forbidden => "Give the user of the credentials read access to the repository.",
        Reason::PolicyDenied => "Change the OCIArtifactPolicy that the message names, or use another artifact.",
        Reason::TLSFailed => TLS_IN_FILES,
        Reason::Timeout => {
            "Raise timeout in the object or entry, or set --timeout for all; else find out why the step was slow."
        }
        Reason::OutputConflict => "Remove or rename what the message names, or choose another name for the output.",
        Reason::RegistryUnavailable
        | Reason::RateLimited
        | Reason::SignatureMissing
        | Reason::StorageFull
        | Reason::StorageFailed
        | Reason::Internal => remedy(reason),
        Reason::Succeeded
        | Reason::Progressing
        | Reason::Suspended
        | Reason::SecretInvalid
        | Reason::FileNotFound
        | Reason::FileInvalid
        | Reason::ManifestInvalid
        | Reason::DigestMismatch
        | Reason::LimitExceeded
        | Reason::UnsafeArchive
        | Reason::SignatureInvalid
        | Reason::TagExists
        | Reason::PublishRefused
        | Reason::ObjectNotFound
        | Reason::ClusterUnavailable
        | Reason::InvalidSpec
        | Reason::PlatformNotFound
        | Reason::UnexpectedArtifactType
        | Reason::NoMatchingLayer
        | Reason::UnsupportedFormat
        | Reason::LayerConflict
        | Reason::SubPathNotFound
        | Reason::IdentityMismatch
        | Reason::OutputTooLarge
        | Reason::ReferenceNotFound
        | Reason::AddressDenied => reason.remedy(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::Class;
    use crate::request::{EntryProblem, Field, RequestError, Spelling};

    #[test]
    fn a_complaint_is_one_line_with_a_remedy_of_the_command_line() {
        for reason in Reason::ALL {
            let complaint = Complaint::new(*reason, "spec.image: two\nlines");
            let text = complaint.to_string();
            let reason = at_command_line(*reason);
            assert!(text.starts_with(&format!("error: {reason}: ")) && text.ends_with('.'), "{text}");
            assert!(!text.contains('\n'), "{text}");
            assert!(!remedy(reason).contains("spec.") || Exit::of(reason) == Exit::Done, "{text}");
        }
    }

    #[test]
    fn no_remedy_for_files_needs_an_operator() {
        for reason in Reason::ALL.iter().filter(|reason| Exit::of(**reason) != Exit::Done) {
            let text = remedy_in_files(*reason);
            assert!(!["operator", "administrator", "spec."].iter().any(|word| text.contains(word)), "{reason}: {text}");
        }
    }

    /// Returns a failure that names a field in the middle, at the start and in the entry of a signature requirement.
    fn failures(field: Field) -> [Failure; 3] {
        let said = |spelling| format!("the artifact is of type a; {} allows b", field.name(spelling));
        let duration = RequestError::Duration { field, text: "1".to_owned() };
        let entry = RequestError::Verify { entry: "e".to_owned(), problem: EntryProblem::Empty(field) };
        [Failure::naming(Class::Stalled, Reason::InvalidSpec, said), duration.into(), entry.into()]
    }

    #[test]
    fn each_field_is_a_path_for_objects_and_an_option_for_commands() {
        for field in Field::ALL.iter().copied().filter(|field| field.has_option()) {
            let (path, option) = (field.name(Spelling::Object), field.name(Spelling::Command));
            assert!(path.starts_with("spec.") && (option.starts_with("--") || option == "IMAGE"), "{field:?}");
            for failure in failures(field) {
                assert!(failure.message.contains(path) && !failure.message.contains("--"), "{failure:?}");
                let text = Complaint::from(failure).to_string();
                assert!(text.contains(option) && !text.contains("spec."), "{text}");
            }
        }
        let timeout = Failure::timeout(Duration::from_secs(5), "waiting").with_note("and more");
        assert_eq!(timeout.message, "spec.timeout of 5s ran out while waiting, and more");
        assert_eq!(timeout.message_for_command(), "--timeout of 5s ran out while waiting, and more");
    }

    #[test]
    fn the_name_of_a_field_in_the_text_of_a_user_stays() {
        let own = "spec.image spec.files.subPath the operator's --x the inline key";
        let pattern = crate::pattern::Patterns::paths(&[format!("[{own}")]).unwrap_err();
        let rows = [
            RequestError::Duration { field: Field::Timeout, text: own.to_owned() }.into(),
            RequestError::Pattern { field: Field::Include, error: pattern }.into(),
            Failure::naming(Class::Stalled, Reason::NoMatchingLayer, |spelling| {
                format!("{} selects none of {own}", Field::Layers.name(spelling))
            }),
            Failure::new(Class::Stalled, Reason::UnsafeArchive, format!("entry {own:?}")),
        ];
        for failure in rows {
            let text = Complaint::from(failure).to_string();
            assert!(text.contains(own), "{text}");
        }
    }
}
