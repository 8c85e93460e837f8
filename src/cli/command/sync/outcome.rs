//! Result for one artifact.

use serde::Serialize;

use crate::api::Reason;
use crate::cli::artifacts::in_file;
use crate::cli::files::objects::Object;
use crate::cli::output::complaint::{Complaint, remedy_of};
use crate::cli::output::signer::ShownSigner;
use crate::failure::Failure;
use crate::oci::{Digest, Manifest};
use crate::registry::Pinned;
use crate::request::Request;
use crate::trust::{Basis, Verified};

/// Change of an artifact's content; in a dry run, the change that would follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Change {
    /// Another revision, or the first one.
    Published,
    /// None: the content is the wanted one.
    Unchanged,
    /// The same revision again, because its content was changed or was incomplete.
    Repaired,
    /// None: the object has no outputs.
    Verified,
    /// None: the object is suspended.
    Suspended,
    /// Removed, because no object in the files names it any more.
    Pruned,
}

impl Change {
    pub(super) fn text(self, dry_run: bool) -> &'static str {
        match self {
            Self::Published if dry_run => "would be published",
            Self::Published => "published",
            Self::Unchanged => "unchanged",
            Self::Repaired if dry_run => "would be repaired",
            Self::Repaired => "repaired",
            Self::Verified => "verified; the object has no outputs",
            Self::Suspended => "suspended",
            Self::Pruned if dry_run => "would be pruned",
            Self::Pruned => "pruned",
        }
    }
}

/// An artifact whose processing succeeded.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) change: Change,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<Digest>,
    pub(super) platform_digest: Option<Digest>,
    /// Digest that consumers read before, if it is another one.
    pub(super) previous: Option<Digest>,
    /// Number of files in the largest output.
    pub(super) files: Option<u64>,
    /// Places of the content.
    pub(super) places: Vec<String>,
    pub(super) signers: Vec<SignedBy>,
    pub(super) warnings: Vec<String>,
}

impl Done {
    /// Creates the result of a suspended object.
    pub(super) fn suspended() -> Self {
        Self::without_digest(Change::Suspended)
    }

    pub(super) fn without_digest(change: Change) -> Self {
        let (tag, digest, platform_digest, previous, files) = (None, None, None, None, None);
        let (places, signers, warnings) = (Vec::new(), Vec::new(), Vec::new());
        Self { change, tag, digest, platform_digest, previous, files, places, signers, warnings }
    }

    /// Creates the result of a pass, without the parts that depend on outputs.
    pub(super) fn of(
        change: Change,
        request: &Request,
        pinned: &Pinned,
        manifest: Option<&Manifest>,
        basis: Option<&Basis>,
    ) -> Self {
        let verified = match basis {
            Some(Basis::Judged(judgement)) => judgement.verified.as_slice(),
            Some(Basis::NoPolicy) | None => &[],
        };
        let doubts = basis.into_iter().flat_map(Basis::doubts).map(|doubt| doubt.message.as_str());
        Self {
            tag: pinned.tag().map(str::to_owned),
            digest: Some(pinned.digest().clone()),
            platform_digest: manifest.and_then(|manifest| manifest.platform_digest.clone()),
            signers: verified.iter().map(SignedBy::of).collect(),
            warnings: request.requirement.warnings().chain(doubts).map(str::to_owned).collect(),
            ..Self::without_digest(change)
        }
    }
}

/// An artifact that is not Ready.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) digest: Option<Digest>,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        let remedy = remedy_of(&failure).to_owned();
        let Failure { reason, message, candidate, .. } = failure;
        Self { reason, message, remedy, digest: candidate }
    }
}

impl Refused {
    /// Reports a failure of an artifact to the author of its file.
    pub(super) fn of(object: &Object, failure: Failure) -> Self {
        let (reason, message) = in_file(object, &failure);
        Self { reason, message, ..failure.into() }
    }
}

impl From<Complaint> for Refused {
    /// Reports an error of the user's own files, whose remedy is that of a command.
    fn from(complaint: Complaint) -> Self {
        let (reason, message) = (complaint.reason(), complaint.message().to_owned());
        Self { reason, message, remedy: complaint.remedy().to_owned(), digest: None }
    }
}

/// Signer of an artifact: a key, or an identity.
#[derive(Debug, Serialize)]
pub(super) struct SignedBy {
    /// Requirement that the signature satisfies: NAME of the object, or POLICY/NAME.
    requirement: String,
    #[serde(flatten)]
    signer: ShownSigner,
}

impl SignedBy {
    pub(super) fn of(Verified { entry, signer, .. }: &Verified) -> Self {
        Self { requirement: entry.clone(), signer: signer.into() }
    }
}
