//! What a row of the tables says.

use super::Divergence;

/// Who has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Who is asked for.
    Right,
    /// Who is asked for in some rows.
    Second,
    /// Who is never asked for.
    Stranger,
    /// With a key of another kind than the others, whose is P-256.
    P384,
    Rsa,
    Ed25519,
}

/// How a signature is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Bundle,
    Legacy,
}

impl Format {
    /// As status, spec and the command line have it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "Bundle",
            Self::Legacy => "Legacy",
        }
    }
}

/// What is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A manifest, to which everything is done.
    Manifest,
    /// An index, to which everything is done.
    Index,
    /// An index; everything is done to the first manifest in it.
    InIndex,
}

/// What is done to an artifact that was pushed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    /// `cosign sign`.
    Sign(Who),
    /// The same as before version 3: the signature stands under a tag.
    SignLegacy(Who),
    /// `cosign attest`: somebody says something else than that they sign.
    Attest(Who),
    /// Signed by hand, which is no different: by keys that cosign does not sign with.
    ByHand(Who),
    LegacyByHand(Who),
    /// An attestation whose manifest calls it a signature.
    Relabelled(Who),
    /// cosign's bundle of another artifact of another repository, put beside this one.
    OfAnother(Who),
    /// The same as before version 3.
    LegacyOfAnother(Who),
    /// Signed in another repository, and copied from there by `oras cp`.
    Copied(Who),
    CopiedLegacy(Who),
    /// A signature whose statement was changed.
    Altered(Who),
    /// A signature with more to say than anybody reads.
    Long(Who),
    /// A bundle that is none.
    Garbage,
    /// An index under the tag of the list of referrers that says the same thing twice.
    BrokenList,
    /// Something that is about the artifact and no signature.
    Unrelated,
    /// The tag is pointed at another artifact.
    MoveTag,
}

/// The verdict.
#[derive(Clone, Copy, Debug)]
pub(super) enum Want {
    /// Signed by this one, and kept so.
    By(Who, Format),
    /// Refused for this reason, and the message has these words.
    Refused(&'static str, &'static str),
}

/// One row: what is there, what is asked, and the verdicts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// What is special about it.
    pub(super) label: &'static str,
    pub(super) what: What,
    /// In this order.
    pub(super) deeds: &'static [Deed],
    /// Any of them may have signed.
    pub(super) asked: &'static [Who],
    /// Only signatures that are kept so count.
    pub(super) only: Option<Format>,
    /// The type of statement that is asked for, in place of a signature.
    pub(super) predicate: Option<&'static str>,
    pub(super) want: Want,
    /// Where cosign's verdict is the other one.
    pub(super) differs: Option<Divergence>,
}

impl Row {
    /// For what is the same in most rows.
    pub(super) const fn new(label: &'static str, deeds: &'static [Deed], want: Want) -> Self {
        let asked = &[Who::Right];
        Self { label, what: What::Manifest, deeds, asked, only: None, predicate: None, want, differs: None }
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
        matches!(self.want, Want::By(..))
    }

    /// How many manifests will refer to what is signed.
    pub(super) fn referrers(&self) -> usize {
        let refers_not = |deed: &&Deed| {
            use Deed::{BrokenList, CopiedLegacy, LegacyByHand, LegacyOfAnother, MoveTag, SignLegacy};
            let is_legacy = matches!(deed, SignLegacy(_) | LegacyByHand(_) | LegacyOfAnother(_) | CopiedLegacy(_));
            is_legacy || matches!(deed, BrokenList | MoveTag)
        };
        self.deeds.len() - self.deeds.iter().filter(refers_not).count()
    }
}
