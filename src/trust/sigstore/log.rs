//! Verification of the log entries that the library does not support.
//!
//! For version 2 the library supports P-256 only (`RekorV2KeyDetails`), and for a `hashedrekord` SHA-256 only. Entries
//! for other keys are verified here, with the same checks in the same order:
//!
//! ```text
//! body ─▶ leaf ─▶ root of the tree ─▶ checkpoint, signed by the log that the entry names   (inclusion proof)
//! body, time, index ─▶ signed by that log                                                  (promise, version 1)
//! body names the signature, the signed content, and the key or certificate ─▶ each compared; the signature verified by
//! exactly the scheme that the body names
//! ```
//!
//! No claim is taken on trust: the values in the body must equal those in the bundle, byte by byte.

use jiff::Timestamp;
use serde::Serialize;
use sigstore_verify::crypto::{ArtifactHasher, KeyAlgorithm, Keyring, parse_certificate_info};
use sigstore_verify::types::{
    DerCertificate, HashAlgorithm, KindVersion, Sha256Hash, SignatureBytes, SignatureContent, TransparencyLogEntry,
};

use super::entry;
use super::evidence::Problem;
use super::key::PublicKey;
use super::signature::{self, Signed};

mod body;

pub(in crate::trust) use body::bytes_of_hex;
use body::{EntryBody, Schemes};

/// Problem of an entry with neither an inclusion proof nor a promise that is enough.
pub(super) const UNPROVEN: &str = "no proof of inclusion in the transparency log";
/// Problem of an entry in a log that the trusted root does not contain.
pub(super) const UNTRUSTED: &str = "its log is not trusted";

/// Key or certificate that verifies a signature: the key of the requirement, or the certificate of the bundle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verifier<'a> {
    Key(&'a PublicKey),
    Certificate(&'a DerCertificate),
}

impl Verifier<'_> {
    /// True if the library supports an entry for this key or certificate.
    pub(super) fn is_read_by_library(self, entry: &TransparencyLogEntry) -> bool {
        let algorithm = match self {
            Self::Key(key) => Some(key.algorithm),
            Self::Certificate(certificate) => parse_certificate_info(certificate).ok().map(|info| info.key_algorithm),
        };
        match (algorithm, entry.kind_version) {
            // The library refuses a key or certificate of unknown kind.
            (None | Some(KeyAlgorithm::EcdsaP256), _) => true,
            (Some(_), KindVersion::HashedRekordV002) => false,
            // The library accepts one hash for P-384, but keys may sign with another.
            (Some(KeyAlgorithm::EcdsaP384), KindVersion::HashedRekordV001 | KindVersion::DsseV001) => match self {
                Self::Key(_) => false,
                Self::Certificate(_) => entry.kind_version == KindVersion::DsseV001 || entry::records_sha256(entry),
            },
            (Some(_), _) => true,
        }
    }

    /// Returns the key, or the public key of the certificate.
    fn key(self) -> Result<PublicKey, Problem> {
        match self {
            Self::Key(key) => Ok(key.clone()),
            Self::Certificate(certificate) => {
                let info = parse_certificate_info(certificate).map_err(|error| Problem::Broken(error.to_string()))?;
                Ok(PublicKey::new(info.public_key, info.key_algorithm))
            }
        }
    }
}

/// Fails unless the entry is in the log that it names, and records this signature by this key.
pub(super) fn check(
    entry: &TransparencyLogEntry,
    content: &SignatureContent,
    signed: Signed<'_>,
    verifier: Verifier<'_>,
    logs: &Keyring,
) -> Result<(), Problem> {
    check_inclusion(entry, logs)?;
    check_promise(entry, logs)?;
    check_content(entry, content, signed, verifier)
}

/// Returns the times that the entries' inclusion promises prove.
pub(super) fn promised_times(entries: &[TransparencyLogEntry]) -> impl Iterator<Item = Timestamp> {
    entries
        .iter()
        .filter(|entry| entry.inclusion_promise.is_some() && !entry::is_v2(entry))
        .filter_map(|e| e.integrated_time)
}

fn log(text: impl Into<String>) -> Problem {
    Problem::Log(text.into())
}

fn id(entry: &TransparencyLogEntry) -> Result<Sha256Hash, Problem> {
    Sha256Hash::try_from(entry.log_id.key_id.as_bytes()).map_err(|error| log(error.to_string()))
}

/// Verifies the inclusion proof: the body is a leaf of a tree whose root the log has signed. In version 2 the size and
/// root come from the signed checkpoint alone, and the index is the entry's own.
fn check_inclusion(entry: &TransparencyLogEntry, logs: &Keyring) -> Result<(), Problem> {
    let Some(proof) = &entry.inclusion_proof else {
        return if entry.inclusion_promise.is_some() { Ok(()) } else { Err(log(UNPROVEN)) };
    };
    let checkpoint = proof.checkpoint.checkpoint().ok_or_else(|| log("the inclusion proof has no checkpoint"))?;
    let (index, size, root) = if entry::is_v2(entry) {
        (entry.log_index.get(), checkpoint.tree_size(), checkpoint.root_hash())
    } else {
        (proof.log_index.get(), proof.tree_size, &proof.root_hash)
    };
    if checkpoint.root_hash() != root {
        return Err(log("the inclusion proof and the checkpoint disagree on the root of the tree"));
    }
    let leaf = sigstore_merkle::hash_leaf(entry.canonicalized_body.as_bytes());
    sigstore_merkle::verify_inclusion_proof(&leaf, index, size, &proof.hashes, root)
        .map_err(|error| log(format!("the inclusion proof does not verify: {error}")))?;
    let id = id(entry)?;
    let key = logs.key(&id).ok_or_else(|| log(UNTRUSTED))?;
    let is_signed = checkpoint.signatures().iter().any(|one| {
        id.as_bytes().starts_with(one.key_id.as_bytes()) && key.verify(checkpoint.signed_data(), &one.signature).is_ok()
    });
    if is_signed { Ok(()) } else { Err(log("the checkpoint is not signed by the log that the entry names")) }
}

/// Content that a log of version 1 signs as its inclusion promise, with the fields in the order of RFC 8785.
#[derive(Serialize)]
struct Promised {
    body: String,
    #[serde(rename = "integratedTime")]
    time: i64,
    #[serde(rename = "logID")]
    log: String,
    #[serde(rename = "logIndex")]
    index: i64,
}

fn check_promise(entry: &TransparencyLogEntry, logs: &Keyring) -> Result<(), Problem> {
    let Some(promise) = &entry.inclusion_promise else { return Ok(()) };
    let id = id(entry)?;
    let key = match entry.integrated_time {
        Some(time) => logs.key_at(&id, time),
        None => logs.key(&id),
    };
    let key = key.ok_or_else(|| log("its log was not trusted at the time of the signature"))?;
    let promised = Promised {
        body: entry.canonicalized_body.to_base64(),
        time: entry.integrated_time.map_or(0, Timestamp::as_second),
        log: id.to_hex(),
        index: entry.log_index.as_i64(),
    };
    let promised = serde_json::to_vec(&promised).map_err(|error| log(error.to_string()))?;
    let signature = SignatureBytes::new(promise.signed_entry_timestamp.as_bytes().to_vec());
    key.verify(&promised, &signature)
        .map_err(|error| log(format!("the log's inclusion promise does not verify: {error}")))
}

/// Fails unless the body records this signature, this content and this key, and the key verifies the signature by exactly
/// the scheme that the body names.
fn check_content(
    entry: &TransparencyLogEntry,
    content: &SignatureContent,
    signed: Signed<'_>,
    verifier: Verifier<'_>,
) -> Result<(), Problem> {
    let body = EntryBody::parse(entry, content)?;
    let other = |what: &str| log(format!("the log entry records another {what}"));
    if body.signature != *signature::of(content)? {
        return Err(other("signature"));
    }
    let is_named = match verifier {
        Verifier::Key(key) => body.certificate.is_none() && body.key.as_ref() == Some(&key.der),
        Verifier::Certificate(own) => body.key.is_none() && body.certificate.as_ref() == Some(own),
    };
    if !is_named {
        return Err(other("key"));
    }
    if !records_content(&body, content, signed)? {
        return Err(other("artifact"));
    }
    let key = verifier.key()?;
    let mut schemes = key.schemes().iter().filter(|scheme| body.scheme.allows(**scheme));
    let is_signed = schemes.any(|scheme| signature::verifies(content, signed, &key, *scheme));
    if is_signed { Ok(()) } else { Err(other("kind of key, or of signature")) }
}

/// True if the digest in the body is that of the signed content.
fn records_content(body: &EntryBody, content: &SignatureContent, signed: Signed<'_>) -> Result<bool, Problem> {
    let (hash, digest) = &body.content;
    Ok(match (content, signed) {
        (SignatureContent::DsseEnvelope(envelope), _) if matches!(body.scheme, Schemes::Any) => {
            hashed(*hash, envelope.payload.as_bytes())? == *digest
        }
        (SignatureContent::DsseEnvelope(envelope), _) => hashed(*hash, &envelope.pae())? == *digest,
        (_, Signed::Bytes(bytes)) => hashed(*hash, bytes)? == *digest,
        (_, Signed::Artifact(own)) if *hash == HashAlgorithm::Sha2256 => own.as_bytes() == digest.as_slice(),
        (_, Signed::Artifact(_)) => {
            return Err(log(
                "the log entry records a hash other than SHA-256, which requires the content itself; a digest is not enough",
            ));
        }
    })
}

fn hashed(hash: HashAlgorithm, bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut hasher = ArtifactHasher::new(hash).map_err(|error| Problem::Broken(error.to_string()))?;
    hasher.update(bytes);
    Ok(hasher.finalize().as_bytes().to_vec())
}
