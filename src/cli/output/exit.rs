//! Exit codes: one for each class of reasons, the same for every command that reads one artifact.

use std::process::ExitCode;

use crate::api::Reason;

/// Outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success.
    Done,
    /// Any other failure than those below.
    Fault,
    /// Usage error. clap ends with this code too.
    Usage,
    /// Failure that may be temporary: the same command may succeed later.
    Later,
    /// Missing, unusable or insufficient credentials or certificates.
    Credentials,
    /// Missing artifact, or missing part of it.
    NotFound,
    /// Signature, signer or policy that does not allow the artifact.
    Unverified,
    /// Content that is refused, by this program or by the registry that is to store it.
    Content,
    /// Address or TLS connection that is refused.
    Transport,
}

/// Outcomes of a command that sends no request, without those of a missing or refused artifact.
pub(crate) const LOCAL: &[Exit] = &[Exit::Done, Exit::Fault, Exit::Usage, Exit::Later, Exit::Credentials];
/// Outcomes of a command that uses a registry.
pub(crate) const REMOTE: &[Exit] = &[
    Exit::Done,
    Exit::Fault,
    Exit::Usage,
    Exit::Later,
    Exit::Credentials,
    Exit::NotFound,
    Exit::Unverified,
    Exit::Content,
    Exit::Transport,
];

/// Returns the part of `--help` about exit codes, for a command with these outcomes.
pub(crate) fn help(exits: &[&[Exit]]) -> String {
    lines(exits, None)
}

/// Returns the same part for a command that ends with the code of [`Exit::Fault`] for this result too.
pub(crate) fn help_with(result: &str, exits: &[&[Exit]]) -> String {
    lines(exits, Some(result))
}

fn lines(exits: &[&[Exit]], result: Option<&str>) -> String {
    let line = |exit: &Exit| {
        let (code, meaning) = (exit.code(), exit.meaning());
        match result.filter(|_| *exit == Exit::Fault) {
            Some(result) => format!("\n  {code}  {result};\n     {meaning}"),
            None => format!("\n  {code}  {meaning}"),
        }
    };
    format!("Exit codes:{}", exits.iter().copied().flatten().map(line).collect::<String>())
}

impl Exit {
    fn meaning(self) -> &'static str {
        match self {
            Self::Done => "success",
            Self::Fault => "other failure: a directory that is not empty, a failed write, an internal error",
            Self::Usage => "usage error: an invalid option or argument",
            Self::Later => "temporary failure: registry unavailable, rate limit, timeout, disk full",
            Self::Credentials => "missing or insufficient credentials, or a file that is missing or invalid",
            Self::NotFound => "not found: repository, tag, digest, version, platform, layer or sub-path",
            Self::Unverified => "verification refused: signature, signer, policy or trusted root",
            Self::Content => "content refused: unsafe or invalid content, digest, type or limit",
            Self::Transport => "connection refused: TLS, or an address that is closed to this program",
        }
    }

    /// Returns the outcome for a reason.
    pub(crate) fn of(reason: Reason) -> Self {
        match reason {
            Reason::Succeeded | Reason::Progressing | Reason::Suspended => Self::Done,
            Reason::StorageFailed
            | Reason::OutputConflict
            | Reason::OutputTooLarge
            | Reason::TagExists
            | Reason::Internal => Self::Fault,
            Reason::InvalidSpec => Self::Usage,
            Reason::RegistryUnavailable
            | Reason::RateLimited
            | Reason::Timeout
            | Reason::StorageFull
            | Reason::ClusterUnavailable => Self::Later,
            Reason::FileNotFound
            | Reason::FileInvalid
            | Reason::SecretNotFound
            | Reason::SecretInvalid
            | Reason::Unauthorized
            | Reason::Forbidden => Self::Credentials,
            Reason::ReferenceNotFound
            | Reason::ObjectNotFound
            | Reason::NoMatchingTag
            | Reason::PlatformNotFound
            | Reason::NoMatchingLayer
            | Reason::SubPathNotFound => Self::NotFound,
            Reason::SignatureMissing
            | Reason::SignatureInvalid
            | Reason::IdentityMismatch
            | Reason::PolicyDenied
            | Reason::TrustRootInvalid => Self::Unverified,
            Reason::AddressDenied | Reason::TLSFailed => Self::Transport,
            Reason::ManifestInvalid
            | Reason::UnexpectedArtifactType
            | Reason::UnsupportedFormat
            | Reason::DigestMismatch
            | Reason::LimitExceeded
            | Reason::UnsafeArchive
            | Reason::PublishRefused
            | Reason::LayerConflict => Self::Content,
        }
    }

    /// Returns the outcome of several failures: the one that they have in common, or [`Self::Fault`]. Without a failure
    /// it is success.
    pub(crate) fn of_all(reasons: impl IntoIterator<Item = Reason>) -> Self {
        let mut exits = reasons.into_iter().map(Self::of);
        match exits.next() {
            None => Self::Done,
            Some(first) if exits.all(|exit| exit == first) => first,
            Some(_) => Self::Fault,
        }
    }

    /// Returns the exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Fault => 1,
            Self::Usage => 2,
            Self::Later => 3,
            Self::Credentials => 4,
            Self::NotFound => 5,
            Self::Unverified => 6,
            Self::Content => 7,
            Self::Transport => 8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help_and_in_the_documentation() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/command-line.md");
        let documentation = fs_err::read_to_string(path).unwrap();
        for reason in Reason::ALL {
            let code = Exit::of(*reason).code();
            assert!(help(&[REMOTE]).contains(&format!("\n  {code}  ")), "{code}");
            let row = documentation.lines().find(|line| line.starts_with(&format!("| {code} |")));
            let named = row.is_some_and(|row| code == 0 || row.contains(&format!("`{reason}`")));
            assert!(named, "docs/command-line.md has no row that starts with | {code} | and names {reason}");
        }
    }

    #[test]
    fn a_difference_is_named_beside_its_code() {
        let text = help_with("anything differs", &[REMOTE]);
        assert!(text.contains("\n  0  success\n  1  anything differs;\n     other failure: "), "{text}");
    }

    #[test]
    fn exit_codes_group_the_reasons() {
        let rows = [
            (Reason::Succeeded, 0),
            (Reason::OutputConflict, 1),
            (Reason::InvalidSpec, 2),
            (Reason::RegistryUnavailable, 3),
            (Reason::Unauthorized, 4),
            (Reason::ReferenceNotFound, 5),
            (Reason::SignatureMissing, 6),
            (Reason::UnsafeArchive, 7),
            (Reason::TLSFailed, 8),
        ];
        for (reason, want) in rows {
            assert_eq!(Exit::of(reason).code(), want, "{reason}");
        }
        assert_eq!(Exit::of_all([]), Exit::Done);
        assert_eq!(Exit::of_all([Reason::Timeout, Reason::RateLimited]), Exit::Later);
        assert_eq!(Exit::of_all([Reason::Timeout, Reason::Unauthorized, Reason::Timeout]), Exit::Fault);
    }
}
