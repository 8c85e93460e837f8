//! Body of a log entry: the signature, content and signer that the log has recorded.

use serde::Deserialize;
use sigstore_verify::crypto::SigningScheme;
use sigstore_verify::rekor::body::{HashedRekordV002DataInner, PublicKeyRaw, RekorEntryBody, X509CertificateRaw};
use sigstore_verify::types::{
    DerCertificate, DerPublicKey, HashAlgorithm, SignatureBytes, SignatureContent, TransparencyLogEntry,
};

use crate::oci::strict_json;
use crate::trust::sigstore::entry;
use crate::trust::sigstore::evidence::Problem;

/// Claims in the body of a log entry.
pub(super) struct EntryBody {
    pub(super) signature: SignatureBytes,
    pub(super) key: Option<DerPublicKey>,
    pub(super) certificate: Option<DerCertificate>,
    pub(super) scheme: Schemes,
    /// Hash algorithm and digest of the signed content.
    pub(super) content: (HashAlgorithm, Vec<u8>),
}

/// Signature scheme that the entry names.
pub(super) enum Schemes {
    /// The named scheme; `None` if it is unknown.
    Named(Option<SigningScheme>),
    /// Any scheme of the key with this hash.
    Hashed(HashAlgorithm),
    /// Any scheme of the key: the entry names none.
    Any,
}

impl Schemes {
    /// True if the body allows a signature by this scheme.
    pub(super) fn allows(&self, scheme: SigningScheme) -> bool {
        match self {
            Self::Named(named) => *named == Some(scheme),
            Self::Hashed(hash) => scheme.hash_algorithm() == Some(*hash),
            Self::Any => true,
        }
    }
}

impl EntryBody {
    /// Parses the body of an entry for a signature of this kind.
    pub(super) fn parse(entry: &TransparencyLogEntry, content: &SignatureContent) -> Result<Self, Problem> {
        let bytes = entry.canonicalized_body.as_bytes();
        let broken = |error: &dyn std::fmt::Display| Problem::Log(format!("invalid log entry: {error}"));
        strict_json::check(bytes).map_err(|error| broken(&error))?;
        if entry::is_v2(entry) {
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
                    return Err(broken(&"expected exactly one signature"));
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
            (_, _) => Err(Problem::Log("the log entry is for another kind of signature".to_owned())),
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

/// Decodes an even number of hexadecimal digits.
pub(in crate::trust) fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    let pairs = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(pairs.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}
