//! Errors that forbid fetching a digest.

use super::discovery::MAX_CANDIDATES;
use super::requirement::Entry;
use super::sigstore::RootError;
use super::verdict::Rejection;
use crate::api::Reason;
use crate::oci::Digest;
use crate::registry::RegistryError;

/// Error that forbids fetching a digest.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The registry failed, so signatures may exist that were not returned: this is not "no signature".
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No signature of an accepted format and type.
    #[error("{entry}: no signature of an accepted format and type for {digest}; found {seen}")]
    Missing {
        /// Name of the entry.
        entry: String,
        /// Short digest of the artifact.
        digest: String,
        /// Signatures or attestations found instead.
        seen: String,
    },
    /// Signatures, but none is valid for this digest.
    #[error("{entry}: no valid signature for {digest} (closest candidate: {problem})")]
    Invalid {
        /// Name of the entry.
        entry: String,
        /// Short digest of the artifact.
        digest: String,
        /// Problem of the candidate that comes closest.
        problem: String,
    },
    /// Signed, but not by an accepted signer.
    #[error("{entry}: {digest} is signed, but not by an accepted signer (closest candidate: {problem})")]
    Signer {
        /// Name of the entry.
        entry: String,
        /// Short digest of the artifact.
        digest: String,
        /// Signer of the candidate that comes closest.
        problem: String,
    },
    /// The trusted root cannot verify any signature.
    #[error("{entry}: the trusted root {error}")]
    Root {
        /// Name of the entry.
        entry: String,
        /// Problem of the root.
        error: RootError,
    },
    /// More candidates than the limit.
    #[error(
        "{0} has more than {MAX_CANDIDATES} signatures and attestations; no accepted signature among those examined"
    )]
    TooMany(String),
    /// The verifier panicked.
    #[error("the verification of a signature was aborted")]
    Aborted,
}

impl TrustError {
    /// Returns the error for an entry without an accepted signature, by the closest candidate.
    pub(super) fn rejected(entry: &Entry, artifact: &Digest, closest: Option<Rejection>) -> Self {
        let (entry, digest) = (entry.name.clone(), artifact.short());
        match closest {
            None => Self::Missing { entry, digest, seen: "none".to_owned() },
            Some(Rejection::Other(seen)) => Self::Missing { entry, digest, seen },
            Some(Rejection::Invalid(problem)) => Self::Invalid { entry, digest, problem },
            Some(Rejection::Signer(problem)) => Self::Signer { entry, digest, problem },
        }
    }

    /// Returns the name of the entry that is not satisfied; `None` if the search for signatures was not complete.
    pub fn entry(&self) -> Option<&str> {
        match self {
            Self::Registry(_) | Self::TooMany(_) | Self::Aborted => None,
            Self::Missing { entry, .. }
            | Self::Invalid { entry, .. }
            | Self::Signer { entry, .. }
            | Self::Root { entry, .. } => Some(entry),
        }
    }

    /// Returns the stable reason.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Registry(_) | Self::Aborted => None,
            Self::Missing { .. } => Some(Reason::SignatureMissing),
            Self::Invalid { .. } => Some(Reason::SignatureInvalid),
            Self::Signer { .. } => Some(Reason::IdentityMismatch),
            Self::Root { .. } => Some(Reason::TrustRootInvalid),
            Self::TooMany(_) => Some(Reason::LimitExceeded),
        }
    }
}
