//! Evaluation of one candidate against one entry, and ranking of the rejections.

use super::Artifact;
use super::legacy;
use super::requirement::{Entry, Signer, Verified};
use super::sigstore::{Bundle, Evidence, Identity, Material, Problem, Signed};
use super::statement::{self, Meaning};
use crate::api::verify::{SIGNATURE_PREDICATE, SignatureFormat, TransparencyLog};
use crate::oci::Digest;
use crate::oci::manifest::Annotations;

/// Possible signature. Its bytes match their digest; nothing else is verified yet.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Digest of `bytes`.
    pub(super) digest: Digest,
    pub(super) bytes: bytes::Bytes,
    pub(super) kind: Kind,
}

/// Format by the place of discovery. It decides how the bytes are parsed; the bytes themselves do not.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Bundle,
    /// Payload of a legacy signature, with the annotations of its layer.
    Legacy(Annotations),
}

impl Kind {
    fn format(&self) -> SignatureFormat {
        match self {
            Self::Bundle => SignatureFormat::Bundle,
            Self::Legacy(_) => SignatureFormat::Legacy,
        }
    }
}

/// Reason to reject a candidate for an entry. Later variants are closer to success.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Rejection {
    /// Content of another format or type than the entry accepts.
    #[error("{0}")]
    Other(String),
    /// Not a valid signature of this artifact.
    #[error("{0}")]
    Invalid(String),
    /// Signed by a signer that is not accepted.
    #[error("{0}")]
    Signer(String),
}

impl From<Meaning> for Rejection {
    fn from(meaning: Meaning) -> Self {
        match meaning {
            Meaning::OtherType(_) => Self::Other(meaning.to_string()),
            Meaning::OtherArtifact(_) | Meaning::Broken(_) => Self::Invalid(meaning.to_string()),
        }
    }
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::OtherKey => Self::Signer("it is by another key, or was altered".to_owned()),
            Problem::Log(_) | Problem::Broken(_) => Self::Invalid(problem.to_string()),
        }
    }
}

/// Judges one candidate. No I/O; takes about a millisecond for each key.
pub(super) fn judge(candidate: &Candidate, entry: &Entry, artifact: &Digest) -> Result<Verified, Rejection> {
    let Candidate { digest, bytes, kind } = candidate;
    if !entry.formats.contains(&kind.format()) {
        return Err(Rejection::Other(format!("it is of the format {}", kind.format().as_str())));
    }
    let (bundle, signed, proven) = match kind {
        Kind::Bundle => {
            let bundle = Bundle::parse(bytes)?;
            match bundle.statement()? {
                Some(bytes) => statement::check(bytes, artifact, &entry.predicate_types)?,
                // A bundle without a statement counts as a plain signature.
                None => takes_signatures(entry)?,
            }
            (bundle, Signed::Artifact(artifact), true)
        }
        Kind::Legacy(annotations) => {
            takes_signatures(entry)?;
            statement::check_legacy(bytes, artifact)?;
            (legacy::bundle(annotations, bytes)?, Signed::Bytes(bytes), false)
        }
    };
    let (signer, evidence) = signer(&bundle, signed, entry, proven)?;
    Ok(verified(entry, kind.format(), digest, signer, &evidence))
}

/// Judges a bundle that the caller supplies together with the artifact. The statement's type is not checked. The log's
/// promise alone is enough only for a bundle in the form of version 0.1 that has no inclusion proof at all.
pub(super) fn judge_bundle(bytes: &[u8], artifact: Artifact<'_>, entry: &Entry) -> Result<Verified, Rejection> {
    let bundle = Bundle::parse(bytes)?;
    if let Some(statement) = bundle.statement()? {
        statement::check_subject(statement, &artifact.digest())?;
    }
    let signed = match artifact {
        Artifact::Content(content) => Signed::Bytes(content),
        Artifact::Digest(digest) => Signed::Artifact(digest),
    };
    let (signer, evidence) = signer(&bundle, signed, entry, false)?;
    Ok(verified(entry, SignatureFormat::Bundle, &Digest::of(bytes), signer, &evidence))
}

fn signer(bundle: &Bundle, signed: Signed<'_>, entry: &Entry, proven: bool) -> Result<(Signer, Evidence), Rejection> {
    match bundle.material() {
        Material::Certificate => by_certificate(bundle, signed, entry, proven),
        Material::Key(hint) => by_key(bundle, hint, signed, entry, proven),
    }
}

fn verified(entry: &Entry, format: SignatureFormat, digest: &Digest, signer: Signer, evidence: &Evidence) -> Verified {
    let Evidence { log_index, time, .. } = *evidence;
    Verified { entry: entry.name.clone(), format, signer, log_index, time, digest: digest.clone() }
}

fn takes_signatures(entry: &Entry) -> Result<(), Meaning> {
    let is_asked = entry.predicate_types.iter().any(|kind| kind == SIGNATURE_PREDICATE);
    if is_asked { Ok(()) } else { Err(Meaning::OtherType(SIGNATURE_PREDICATE.to_owned())) }
}

fn by_certificate(
    bundle: &Bundle,
    signed: Signed<'_>,
    entry: &Entry,
    proven: bool,
) -> Result<(Signer, Evidence), Rejection> {
    if entry.identities.is_empty() {
        return Err(Rejection::Signer("it is by a certificate, and only keys are accepted".to_owned()));
    }
    let evidence = bundle.by_certificate(signed, &entry.root, entry.certificate_transparency, proven)?;
    let nobody = || Rejection::Invalid("its certificate names nobody".to_owned());
    let Identity { issuer, subject } = evidence.identity.as_ref().ok_or_else(nobody)?;
    if !entry.identities.iter().any(|rule| rule.is(issuer, subject)) {
        return Err(Rejection::Signer(format!("it is by {subject} of {issuer}")));
    }
    Ok((Signer::Identity { issuer: issuer.clone(), subject: subject.to_string() }, evidence))
}

fn by_key(
    bundle: &Bundle,
    hint: &str,
    signed: Signed<'_>,
    entry: &Entry,
    proven: bool,
) -> Result<(Signer, Evidence), Rejection> {
    if entry.keys.is_empty() {
        return Err(Rejection::Signer("it is by a key, and only certificates are accepted".to_owned()));
    }
    let mut nearest = Problem::OtherKey;
    for key in &entry.keys {
        let evidence = match entry.log {
            TransparencyLog::Required => bundle.by_key_in_log(signed, key, &entry.root, proven),
            TransparencyLog::Ignored => bundle.by_key(signed, key),
        };
        match evidence {
            Ok(evidence) => return Ok((Signer::Key(key.fingerprint().clone()), evidence)),
            Err(Problem::OtherKey) => {}
            Err(problem) => nearest = problem,
        }
    }
    if nearest == Problem::OtherKey && !hint.is_empty() && entry.has_key_of(hint) {
        return Err(Rejection::Invalid("it was altered: it names an accepted key, which did not make it".to_owned()));
    }
    Err(nearest.into())
}
