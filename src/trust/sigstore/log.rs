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
use serde::{Deserialize, Serialize};
use sigstore_verify::crypto::{
    ArtifactHasher, KeyAlgorithm, Keyring, SigningScheme, parse_certificate_info, verify_signature,
    verify_signature_prehashed,
};
use sigstore_verify::rekor::body::{HashedRekordV002DataInner, PublicKeyRaw, RekorEntryBody, X509CertificateRaw};
use sigstore_verify::types::{
    DerCertificate, DerPublicKey, HashAlgorithm, KindVersion, Sha256Hash, SignatureBytes, SignatureContent,
    TransparencyLogEntry,
};

use super::{Key, Problem, Signed, entry};
use crate::oci::strict_json;

/// Key or certificate that verifies a signature: the key of the requirement, or the certificate of the bundle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verifier<'a> {
    Key(&'a Key),
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
                Self::Certificate(_) => entry.kind_version == KindVersion::DsseV001 || entry::is_of_sha256(entry),
            },
            (Some(_), _) => true,
        }
    }

    /// Returns the key, or the public key of the certificate.
    fn key(self) -> Result<Key, Problem> {
        match self {
            Self::Key(key) => Ok(key.clone()),
            Self::Certificate(certificate) => {
                let info = parse_certificate_info(certificate).map_err(|error| Problem::Broken(error.to_string()))?;
                Ok(Key::of(info.public_key, info.key_algorithm))
            }
        }
    }
}

/// Claims in the body of a log entry.
struct Logged {
    signature: SignatureBytes,
    key: Option<DerPublicKey>,
    certificate: Option<DerCertificate>,
    scheme: Schemes,
    /// Hash algorithm and digest of the signed content.
    content: (HashAlgorithm, Vec<u8>),
}

/// Signature scheme that the entry names.
enum Schemes {
    /// The named scheme; `None` if it is unknown.
    Named(Option<SigningScheme>),
    /// Any scheme of the key with this hash.
    Hashed(HashAlgorithm),
    /// Any scheme of the key: the entry names none.
    Any,
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
    entries.iter().filter(|entry| entry.inclusion_promise.is_some() && !is_v2(entry)).filter_map(|e| e.integrated_time)
}

fn is_v2(entry: &TransparencyLogEntry) -> bool {
    entry.kind_version == KindVersion::HashedRekordV002
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
        return if entry.inclusion_promise.is_some() {
            Ok(())
        } else {
            Err(log("nothing proves that it is in the log"))
        };
    };
    let checkpoint = proof.checkpoint.checkpoint().ok_or_else(|| log("the inclusion proof has no checkpoint"))?;
    let (index, size, root) = if is_v2(entry) {
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
    let key = logs.key(&id).ok_or_else(|| log("it is in a log that is not trusted"))?;
    let is_signed = checkpoint.signatures().iter().any(|one| {
        id.as_bytes().starts_with(one.key_id.as_bytes()) && key.verify(checkpoint.signed_data(), &one.signature).is_ok()
    });
    if is_signed { Ok(()) } else { Err(log("the log that it names has not signed the checkpoint")) }
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
    let key = key.ok_or_else(|| log("its log was not trusted at the time that is proven"))?;
    let promised = Promised {
        body: entry.canonicalized_body.to_base64(),
        time: entry.integrated_time.map_or(0, Timestamp::as_second),
        log: id.to_hex(),
        index: entry.log_index.as_i64(),
    };
    let promised = serde_json::to_vec(&promised).map_err(|error| log(error.to_string()))?;
    let signature = SignatureBytes::new(promise.signed_entry_timestamp.as_bytes().to_vec());
    key.verify(&promised, &signature).map_err(|error| log(format!("the promise of the log does not verify: {error}")))
}

fn check_content(
    entry: &TransparencyLogEntry,
    content: &SignatureContent,
    signed: Signed<'_>,
    verifier: Verifier<'_>,
) -> Result<(), Problem> {
    let logged = Logged::read(entry, content)?;
    let other = |what: &str| log(format!("the entry of the log is of another {what}"));
    let signature = match content {
        SignatureContent::MessageSignature(message) => &message.signature,
        SignatureContent::DsseEnvelope(envelope) => &envelope.signature.sig,
        _ => return Err(Problem::Broken("it holds no signature that is known".to_owned())),
    };
    if logged.signature != *signature {
        return Err(other("signature"));
    }
    let key = verifier.key()?;
    let is_named = match verifier {
        Verifier::Key(key) => logged.certificate.is_none() && logged.key.as_ref() == Some(&key.der),
        Verifier::Certificate(own) => logged.key.is_none() && logged.certificate.as_ref() == Some(own),
    };
    if !is_named {
        return Err(other("key"));
    }
    let schemes: Vec<SigningScheme> = match logged.scheme {
        Schemes::Named(scheme) => key.schemes().iter().copied().filter(|one| Some(*one) == scheme).collect(),
        Schemes::Hashed(hash) => {
            key.schemes().iter().copied().filter(|one| one.hash_algorithm() == Some(hash)).collect()
        }
        Schemes::Any => key.schemes().to_vec(),
    };
    let (hash, digest) = &logged.content;
    let (is_of_digest, is_signed): (bool, Box<dyn Fn(SigningScheme) -> bool>) = match (content, signed) {
        (SignatureContent::DsseEnvelope(envelope), _) => {
            let pae = envelope.pae();
            let bytes = if matches!(logged.scheme, Schemes::Any) { envelope.payload.as_bytes() } else { &pae };
            let is_of_digest = hashed(*hash, bytes)? == *digest;
            (is_of_digest, Box::new(move |scheme| verify_signature(&key.der, &pae, signature, scheme).is_ok()))
        }
        (_, Signed::Bytes(bytes)) => {
            let is_of_digest = hashed(*hash, bytes)? == *digest;
            (is_of_digest, Box::new(move |scheme| verify_signature(&key.der, bytes, signature, scheme).is_ok()))
        }
        (_, Signed::Artifact(own)) if *hash == HashAlgorithm::Sha2256 => {
            let own = own.as_bytes();
            (
                own == digest.as_slice(),
                Box::new(move |scheme| {
                    scheme.hash_algorithm() == Some(HashAlgorithm::Sha2256)
                        && verify_signature_prehashed(&key.der, own, signature, scheme).is_ok()
                }),
            )
        }
        (_, Signed::Artifact(_)) => {
            return Err(log("the log has it by another hash than SHA-256, for which the content is needed"));
        }
    };
    if !is_of_digest {
        return Err(other("artifact"));
    }
    if schemes.into_iter().any(is_signed) { Ok(()) } else { Err(other("kind of key, or of signature")) }
}

impl Logged {
    fn read(entry: &TransparencyLogEntry, content: &SignatureContent) -> Result<Self, Problem> {
        let bytes = entry.canonicalized_body.as_bytes();
        let broken = |error: &dyn std::fmt::Display| log(format!("the entry of the log cannot be read: {error}"));
        strict_json::check(bytes).map_err(|error| broken(&error))?;
        if is_v2(entry) {
            let body: BodyV2 = serde_json::from_slice(bytes).map_err(|error| broken(&error))?;
            let RecordV2 { data, signature } = body.spec.hashed_rekord_v002;
            let VerifierV2 { key_details, x509_certificate, public_key } = signature.verifier;
            let scheme = scheme_named(&key_details).filter(|scheme| scheme.hash_algorithm() == Some(data.algorithm));
            return Ok(Self {
                signature: signature.content,
                key: public_key.map(|key| key.raw_bytes),
                certificate: x509_certificate.map(|certificate| certificate.raw_bytes),
                scheme: Schemes::Named(scheme),
                content: (data.algorithm, data.digest.as_bytes().to_vec()),
            });
        }
        let body =
            RekorEntryBody::parse(&entry.canonicalized_body, entry.kind_version).map_err(|error| broken(&error))?;
        let unhex = |text: &str| bytes_of_hex(text).ok_or_else(|| broken(&"a hash is not hexadecimal"));
        match (body, content) {
            (RekorEntryBody::HashedRekordV001(body), SignatureContent::MessageSignature(_)) => {
                let (hash, signature) = (body.spec.data.hash, body.spec.signature);
                Ok(Self {
                    key: signature.public_key.parse_public_key().ok(),
                    certificate: signature.public_key.parse_certificate().ok(),
                    signature: signature.content,
                    scheme: Schemes::Hashed(hash.algorithm),
                    content: (hash.algorithm, unhex(hash.value.as_str())?),
                })
            }
            (RekorEntryBody::DsseV001(body), SignatureContent::DsseEnvelope(_)) => {
                let (hash, mut signatures) = (body.spec.payload_hash, body.spec.signatures.into_iter());
                let (Some(one), None) = (signatures.next(), signatures.next()) else {
                    return Err(broken(&"it must have exactly one signature"));
                };
                let pem = std::str::from_utf8(one.verifier.as_bytes()).map_err(|error| broken(&error))?;
                Ok(Self {
                    key: DerPublicKey::from_pem(pem).ok(),
                    certificate: DerCertificate::from_pem(pem).ok(),
                    signature: one.signature,
                    scheme: Schemes::Any,
                    content: (hash.algorithm, unhex(&hash.value)?),
                })
            }
            (_, _) => Err(log("the entry of the log is for another kind of signature")),
        }
    }
}

/// `hashedrekord` of version 0.0.2, with keys that the library's own type does not support.
#[derive(Deserialize)]
struct BodyV2 {
    spec: SpecV2,
}

#[derive(Deserialize)]
struct SpecV2 {
    #[serde(rename = "hashedRekordV002")]
    hashed_rekord_v002: RecordV2,
}

#[derive(Deserialize)]
struct RecordV2 {
    data: HashedRekordV002DataInner,
    signature: SignatureV2,
}

#[derive(Deserialize)]
struct SignatureV2 {
    content: SignatureBytes,
    verifier: VerifierV2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerifierV2 {
    key_details: String,
    x509_certificate: Option<X509CertificateRaw>,
    public_key: Option<PublicKeyRaw>,
}

/// Returns the signature scheme of a key type (protobuf-specs, `PublicKeyDetails`).
fn scheme_named(details: &str) -> Option<SigningScheme> {
    match details {
        "PKIX_ECDSA_P256_SHA_256" => Some(SigningScheme::EcdsaP256Sha256),
        "PKIX_ECDSA_P384_SHA_384" => Some(SigningScheme::EcdsaP384Sha384),
        "PKIX_ECDSA_P384_SHA_256" => Some(SigningScheme::EcdsaP384Sha256),
        "PKIX_RSA_PKCS1V15_2048_SHA256" | "PKIX_RSA_PKCS1V15_3072_SHA256" | "PKIX_RSA_PKCS1V15_4096_SHA256" => {
            Some(SigningScheme::RsaPkcs1Sha256)
        }
        _ => None,
    }
}

fn hashed(hash: HashAlgorithm, bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut hasher = ArtifactHasher::new(hash).map_err(|error| Problem::Broken(error.to_string()))?;
    hasher.update(bytes);
    Ok(hasher.finalize().as_bytes().to_vec())
}

/// Decodes an even number of hexadecimal digits.
pub(in crate::trust) fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    let pairs = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(pairs.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}
