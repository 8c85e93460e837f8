//! Rows of the tables.

use super::Divergence;
use crate::support::verdict::Verdict;

/// Owner of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The required signer.
    Right,
    /// A second signer, required in some rows.
    Second,
    /// A signer that is never required.
    Stranger,
    /// A signer with a key of another kind; the keys of the signers above are P-256.
    P384,
    Rsa,
    Ed25519,
}

/// Form in which a signature is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Bundle,
    Legacy,
}

impl Format {
    /// Returns the name in status, spec and at the command line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "Bundle",
            Self::Legacy => "Legacy",
        }
    }
}

/// Kind of artifact that is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A manifest, the subject of all actions.
    Manifest,
    /// An index, the subject of all actions.
    Index,
    /// An index; all actions apply to the first manifest in it.
    InIndex,
}

/// Action on a pushed artifact.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// `cosign sign`.
    Sign(Who),
    /// `cosign sign` as before version 3: the signature is stored under a tag.
    SignLegacy(Who),
    /// `cosign attest`: a statement of another type than a signature.
    Attest(Who),
    /// A handmade signature, equal to one of cosign, for keys that cosign does not sign with.
    ByHand(Who),
    LegacyByHand(Who),
    /// An attestation whose manifest declares a signature.
    Relabelled(Who),
    /// cosign's bundle of another artifact in another repository, attached to this artifact.
    OfAnother(Who),
    /// The legacy signature of another artifact, attached to this artifact.
    LegacyOfAnother(Who),
    /// Signed in another repository, and copied from there by `oras cp`.
    Copied(Who),
    CopiedLegacy(Who),
    /// A signature whose statement was changed.
    Altered(Who),
    /// A signature with a statement larger than the limit.
    Long(Who),
    /// A malformed bundle.
    Garbage,
    /// An index under the referrers tag with the same field twice.
    BrokenList,
    /// A referrer of the artifact that is not a signature.
    Unrelated,
    /// The tag is moved to another artifact.
    MoveTag,
}

/// Signature that an accepted artifact must have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature {
    pub(super) signer: Who,
    pub(super) format: Format,
}

/// Returns the verdict "accepted with a signature of this signer in this format".
pub(super) const fn by(signer: Who, format: Format) -> Verdict<Signature> {
    Verdict::Accepted(Signature { signer, format })
}

/// One row: the artifact, the requirements, and the verdicts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Special feature of the row.
    pub(super) label: &'static str,
    pub(super) what: What,
    /// Actions, in this order.
    pub(super) actions: &'static [Action],
    /// Accepted signers; any of them may have signed.
    pub(super) asked: &'static [Who],
    /// Only format of signatures that counts, if set.
    pub(super) only: Option<Format>,
    /// Required type of statement in place of a signature, if set.
    pub(super) predicate: Option<&'static str>,
    pub(super) want: Verdict<Signature>,
    /// Divergence that explains cosign's opposite verdict, if any.
    pub(super) differs: Option<Divergence>,
}

impl Row {
    /// Returns a row with the defaults of most rows.
    pub(super) const fn new(label: &'static str, actions: &'static [Action], want: Verdict<Signature>) -> Self {
        let asked = &[Who::Right];
        Self { label, what: What::Manifest, actions, asked, only: None, predicate: None, want, differs: None }
    }

    pub(super) const fn of(self, what: What) -> Self {
        Self { what, ..self }
    }

    pub(super) const fn asks(self, asked: &'static [Who]) -> Self {
        Self { asked, ..self }
    }

    pub(super) const fn only(self, format: Format) -> Self {
        Self { only: Some(format), ..self }
    }

    pub(super) const fn predicate(self, kind: &'static str) -> Self {
        Self { predicate: Some(kind), ..self }
    }

    pub(super) const fn differs(self, divergence: Divergence) -> Self {
        Self { differs: Some(divergence), ..self }
    }

    pub(super) fn is_accepted(&self) -> bool {
        matches!(self.want, Verdict::Accepted(_))
    }

    /// Returns the number of manifests that will refer to the signed artifact.
    pub(super) fn referrers(&self) -> usize {
        let refers_not = |action: &&Action| {
            use Action::{BrokenList, CopiedLegacy, LegacyByHand, LegacyOfAnother, MoveTag, SignLegacy};
            let is_legacy = matches!(action, SignLegacy(_) | LegacyByHand(_) | LegacyOfAnother(_) | CopiedLegacy(_));
            is_legacy || matches!(action, BrokenList | MoveTag)
        };
        self.actions.len() - self.actions.iter().filter(refers_not).count()
    }
}
