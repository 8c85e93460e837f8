//! Errors of publishing.

use crate::oci::Digest;
use crate::oci::manifest::ManifestError;
use crate::pack::PackError;
use crate::registry::RegistryError;
use crate::sign::SignError;

/// Reason why an artifact was not published. The tags named by the command are unchanged then.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A failed request, at the source or the destination.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A manifest that no reader would accept.
    #[error("{what}: {error}")]
    Manifest {
        /// The manifest.
        what: String,
        /// The problem.
        error: ManifestError,
    },
    /// A tag of another digest that is not replaced.
    #[error("{reference} refers to {found}, not to {wanted}")]
    TagExists {
        /// Repository and tag.
        reference: String,
        /// Digest that the tag refers to.
        found: Digest,
        /// Digest that was to be published.
        wanted: Digest,
    },
    /// A tag that refers to another digest right after it was written.
    #[error("{reference} refers to {found} right after it was set to {wanted}: another client set it at the same time")]
    TagMoved {
        /// Repository and tag.
        reference: String,
        /// Digest that the tag refers to.
        found: Digest,
        /// Digest that was published.
        wanted: Digest,
    },
    /// A source that resolves to another digest than the expected one.
    #[error("{reference} resolves to {found}; expected {expected} (--expect-digest)")]
    OtherDigest {
        /// The source.
        reference: String,
        /// Its digest.
        found: Digest,
        /// The expected digest.
        expected: Digest,
    },
    /// More manifests than a copy may have.
    #[error("{what} has more than {limit} manifests")]
    TooManyManifests {
        /// The artifact.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// Indexes that are nested too deeply.
    #[error("{what} contains indexes more than {limit} levels deep")]
    TooDeep {
        /// The artifact.
        what: String,
        /// The limit.
        limit: usize,
    },
    /// Signatures under a tag at the destination that the source does not have, so that replacing the tag would lose
    /// them.
    #[error("{reference} has signatures or attestations that the source does not have")]
    LegacyConflict {
        /// Repository and tag at the destination.
        reference: String,
    },
    /// A tag for a list of referrers that refers to something else.
    #[error("{reference} is not a list of referrers: {problem}")]
    NotAList {
        /// Repository and tag.
        reference: String,
        /// The problem.
        problem: String,
    },
    /// A tag for signatures that refers to something else.
    #[error("{reference} is not a manifest with signatures")]
    NotSignatures {
        /// Repository and tag.
        reference: String,
    },
    /// Nothing was packaged.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A panic while an artifact was packaged.
    #[error("packaging was aborted")]
    Aborted,
    /// A referrer without something that makes it one.
    #[error("invalid referrer: {0}")]
    Referrer(&'static str),
    /// Nothing was signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A list of referrers or signatures that other clients keep replacing.
    #[error("the list under {reference} was changed by other clients during each of {tries} writes")]
    Contended {
        /// Repository and tag.
        reference: String,
        /// Number of attempts.
        tries: usize,
    },
}

impl PublishError {
    /// Returns the remedy for the user of a command, where that of the reason does not fit.
    pub(crate) fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::LegacyConflict { .. } => {
                Some("Copy these signatures to the source first; --force replaces the tag, and they are lost.")
            }
            Self::OtherDigest { .. } => {
                Some("Check the new digest, then set --expect-digest to it; nothing was written.")
            }
            Self::TagMoved { .. } | Self::Contended { .. } => {
                Some("Run the command again when no other client writes to it.")
            }
            Self::Registry(_)
            | Self::Manifest { .. }
            | Self::TagExists { .. }
            | Self::TooManyManifests { .. }
            | Self::TooDeep { .. }
            | Self::NotAList { .. }
            | Self::NotSignatures { .. }
            | Self::Pack(_)
            | Self::Aborted
            | Self::Referrer(_)
            | Self::Sign(_) => None,
        }
    }
}
