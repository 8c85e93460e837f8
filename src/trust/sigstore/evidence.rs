//! Outcome of a verification: the facts that a valid signature proves, or the problem.

use jiff::Timestamp;
use sigstore_verify::Error;

use crate::trust::identity::Identity;

/// Reason to reject a signature as invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::trust) enum Problem {
    /// Made by another key, or for other content.
    #[error("the signature does not verify with the configured key")]
    OtherKey,
    /// Not proven to be in the transparency log.
    #[error("{0}")]
    Log(String),
    /// Any other problem.
    #[error("{0}")]
    Broken(String),
}

impl From<Error> for Problem {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library may add variants; all others are broken")]
    fn from(error: Error) -> Self {
        match error {
            Error::TransparencyLog(error) => Self::Log(error.to_string()),
            Error::Bundle(error) if error.to_string().contains("nclusion") => Self::Log(error.to_string()),
            error => Self::Broken(error.to_string()),
        }
    }
}

/// Facts that a valid signature proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::trust) struct Evidence {
    /// Identity in the certificate; `None` for a signature by key.
    pub(in crate::trust) identity: Option<Identity>,
    /// Earliest time attested by a log or a timestamp authority.
    pub(in crate::trust) time: Option<Timestamp>,
    /// Index of the entry in the transparency log.
    pub(in crate::trust) log_index: Option<u64>,
}
