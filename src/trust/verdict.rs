//! Evaluation of one candidate against one entry, and ranking of the rejections.

use std::borrow::Cow;

use super::legacy;
use super::requirement::{Entry, Signer, Verified};
use super::sigstore::{Bundle, Evidence, Material, Problem, Signed};
use super::statement::{self, StatementError};
use crate::api::vocabulary::{SIGNATURE_PREDICATE, SignatureFormat, TransparencyLog};
use crate::oci::Digest;
use crate::oci::descriptor::Annotations;

/// Expected subject of a bundle.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// These bytes.
    Content(&'a [u8]),
    /// Content with this digest. Keys that sign another hash than SHA-256 need the content itself.
    Digest(&'a Digest),
}

impl Artifact<'_> {
    pub(super) fn digest(&self) -> Cow<'_, Digest> {
        match self {
            Self::Content(content) => Cow::Owned(Digest::of(content)),
            Self::Digest(digest) => Cow::Borrowed(digest),
        }
    }
}

/// Possible signature. Its bytes match their digest; nothing else is verified yet.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Digest of `bytes`.
    pub(super) digest: Digest,
    pub(super) bytes: bytes::Bytes,
    pub(super) kind: CandidateKind,
}

/// Format by the place of discovery. It decides how the bytes are parsed; the bytes themselves do not.
#[derive(Clone, Debug)]
pub(super) enum CandidateKind {
    Bundle,
    /// Payload of a legacy signature, with the annotations of its layer.
    Legacy(Annotations),
}

impl CandidateKind {
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

impl From<StatementError> for Rejection {
    fn from(meaning: StatementError) -> Self {
        match meaning {
            StatementError::OtherType(_) => Self::Other(meaning.to_string()),
            StatementError::OtherArtifact(_) | StatementError::Broken(_) => Self::Invalid(meaning.to_string()),
        }
    }
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::OtherKey => Self::Signer("the signature does not verify with an accepted key".to_owned()),
            Problem::Log(_) | Problem::Broken(_) => Self::Invalid(problem.to_string()),
        }
    }
}

/// Judges one candidate. No I/O; takes about a millisecond for each key.
pub(super) fn judge(candidate: &Candidate, entry: &Entry, artifact: &Digest) -> Result<Verified, Rejection> {
    let Candidate { digest, bytes, kind } = candidate;
    if !entry.formats.contains(&kind.format()) {
        return Err(Rejection::Other(format!("a signature of format {}", kind.format().as_str())));
    }
    let (bundle, signed, proven) = match kind {
        CandidateKind::Bundle => {
            let bundle = Bundle::parse(bytes)?;
            match bundle.statement()? {
                Some(bytes) => statement::check(bytes, artifact, &entry.predicate_types)?,
                // A bundle without a statement counts as a plain signature.
                None => takes_signatures(entry)?,
            }
            (bundle, Signed::Artifact(artifact), true)
        }
        CandidateKind::Legacy(annotations) => {
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

fn takes_signatures(entry: &Entry) -> Result<(), StatementError> {
    let is_asked = entry.predicate_types.iter().any(|kind| kind == SIGNATURE_PREDICATE);
    if is_asked { Ok(()) } else { Err(StatementError::OtherType(SIGNATURE_PREDICATE.to_owned())) }
}

fn by_certificate(
    bundle: &Bundle,
    signed: Signed<'_>,
    entry: &Entry,
    proven: bool,
) -> Result<(Signer, Evidence), Rejection> {
    if entry.identities.is_empty() {
        return Err(Rejection::Signer("signed with a certificate, but only keys are accepted".to_owned()));
    }
    let evidence = bundle.by_certificate(signed, &entry.root, entry.certificate_transparency, proven)?;
    let missing = || {
        Rejection::Invalid(
            "its certificate has no identity; expected an email address or a URI as subject alternative name"
                .to_owned(),
        )
    };
    let identity = evidence.identity.as_ref().ok_or_else(missing)?;
    let (issuer, subject) = (identity.issuer.clone(), identity.subject.to_string());
    if !entry.identities.iter().any(|rule| rule.matches(identity)) {
        return Err(Rejection::Signer(format!("signed by {subject} (issuer {issuer})")));
    }
    Ok((Signer::Identity { issuer, subject }, evidence))
}

fn by_key(
    bundle: &Bundle,
    hint: &str,
    signed: Signed<'_>,
    entry: &Entry,
    proven: bool,
) -> Result<(Signer, Evidence), Rejection> {
    if entry.keys.is_empty() {
        return Err(Rejection::Signer("signed with a key, but only certificates are accepted".to_owned()));
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
        return Err(Rejection::Invalid(
            "the signature names an accepted key, but does not verify with it: it was altered, or names the wrong key"
                .to_owned(),
        ));
    }
    Err(nearest.into())
}
