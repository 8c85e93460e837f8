//! The rows with keys.

use super::{Action, Divergence, Format, Row, What, Who, by};
use crate::support::verdict::Verdict::Refused;
use Action::{
    Altered, Attest, BrokenList, ByHand, Copied, CopiedLegacy, Garbage, LegacyByHand, LegacyOfAnother, Long, MoveTag,
    OfAnother, Relabelled, Sign, SignLegacy, Unrelated,
};
use Format::{Bundle, Legacy};
use Who::{Ed25519, P384, Right, Rsa, Second, Stranger};

/// The predicate type of [`Action::Attest`].
pub(super) const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

pub(super) const MISSING: &str = "SignatureMissing";
pub(super) const INVALID: &str = "SignatureInvalid";
pub(super) const MISMATCH: &str = "IdentityMismatch";
pub(super) const NO_ROOT: &str = "TrustRootInvalid";

/// Rows for every kind of registry, and for the operator.
pub(super) const ROWS: &[Row] = &[
    Row::new("a bundle", &[Sign(Right)], by(Right, Bundle)),
    Row::new("a legacy signature", &[SignLegacy(Right)], by(Right, Legacy)),
    Row::new("both", &[SignLegacy(Right), Sign(Right)], by(Right, Bundle)),
    Row::new("the second of two keys", &[Sign(Second)], by(Second, Bundle)).asks(&[Right, Second]),
    Row::new("the second of two keys, legacy", &[SignLegacy(Second)], by(Second, Legacy)).asks(&[Right, Second]),
    Row::new("several have signed", &[Sign(Stranger), Sign(Right), Sign(Second)], by(Right, Bundle)),
    Row::new("several have signed, legacy", &[SignLegacy(Stranger), SignLegacy(Right)], by(Right, Legacy)),
    Row::new("something else is there too", &[Unrelated, Sign(Right)], by(Right, Bundle)),
    Row::new("an index", &[Sign(Right)], by(Right, Bundle)).of(What::Index),
    Row::new("an index, legacy", &[SignLegacy(Right)], by(Right, Legacy)).of(What::Index),
    Row::new("only what is in the index is signed", &[Sign(Right)], Refused(MISSING, "found none")).of(What::InIndex),
    Row::new("nothing is signed", &[], Refused(MISSING, "found none")),
    Row::new("something else is there", &[Unrelated], Refused(MISSING, "found none")),
    Row::new("the tag was moved after signing", &[Sign(Right), MoveTag], Refused(MISSING, "found none")),
    Row::new("a stranger's bundle", &[Sign(Stranger)], Refused(MISMATCH, "does not verify")),
    Row::new("a stranger's legacy signature", &[SignLegacy(Stranger)], Refused(MISMATCH, "does not verify")),
    // The signature covers the digest, not the registry.
    Row::new("a copy from another repository", &[Copied(Right)], by(Right, Bundle)),
    Row::new("a legacy copy from another repository", &[CopiedLegacy(Right)], by(Right, Legacy)),
    Row::new("of another digest", &[OfAnother(Right)], Refused(INVALID, "signs sha256:")),
    Row::new("of another digest, legacy", &[LegacyOfAnother(Right)], Refused(INVALID, "signs sha256:")),
    Row::new("a statement that was changed", &[Altered(Right)], Refused(INVALID, "does not verify")),
    Row::new("a bundle that is none", &[Garbage], Refused(INVALID, "not a valid bundle")),
    Row::new("a list that is none", &[BrokenList], Refused(INVALID, "invalid list that names it")),
    Row::new("a list that is none, and a legacy signature", &[BrokenList, SignLegacy(Right)], by(Right, Legacy)),
    Row::new("an attestation", &[Attest(Right)], Refused(MISSING, VULN)).differs(Divergence::Attestation),
    Row::new("an attestation, called a signature", &[Relabelled(Right)], Refused(MISSING, VULN))
        .differs(Divergence::Attestation),
    Row::new("an attestation that is asked for", &[Attest(Right)], by(Right, Bundle)).predicate(VULN),
    Row::new("a signature where an attestation is asked for", &[Sign(Right)], Refused(MISSING, "cosign/sign/v1"))
        .predicate(VULN),
    Row::new("a bundle that is none beside a good one", &[Garbage, Sign(Right)], by(Right, Bundle)),
    Row::new(
        "a good legacy signature beside a stranger's bundle",
        &[SignLegacy(Right), Sign(Stranger)],
        by(Right, Legacy),
    )
    .differs(Divergence::Hidden),
    Row::new("a good legacy signature beside a bundle that is none", &[SignLegacy(Right), Garbage], by(Right, Legacy)),
    Row::new("a bundle where legacy is asked for", &[Sign(Right)], Refused(MISSING, "found none")).only(Legacy),
    Row::new("a legacy signature where bundles are asked for", &[SignLegacy(Right)], Refused(MISSING, "found none"))
        .only(Bundle)
        .differs(Divergence::Formats),
    Row::new("a bundle of 400 KiB", &[Long(Right)], Refused(INVALID, "larger than")).differs(Divergence::Size),
];

/// Rows about kinds of keys, which do not depend on the registry.
pub(super) const KINDS: &[Row] = &[
    Row::new("P-384", &[Sign(P384)], by(P384, Bundle)).asks(&[P384]),
    Row::new("P-384, legacy", &[SignLegacy(P384)], by(P384, Legacy)).asks(&[P384]),
    Row::new("RSA", &[Sign(Rsa)], by(Rsa, Bundle)).asks(&[Rsa]),
    Row::new("RSA, legacy", &[SignLegacy(Rsa)], by(Rsa, Legacy)).asks(&[Rsa]),
    Row::new("Ed25519", &[ByHand(Ed25519)], by(Ed25519, Bundle)).asks(&[Ed25519]),
    Row::new("Ed25519, legacy", &[LegacyByHand(Ed25519)], by(Ed25519, Legacy)).asks(&[Ed25519]),
    // cosign 3.1.3 signs a hash with this kind of key (Ed25519ph), and does not accept this as a signature.
    Row::new("Ed25519 by cosign", &[SignLegacy(Ed25519)], Refused(MISMATCH, "does not verify")).asks(&[Ed25519]),
];
