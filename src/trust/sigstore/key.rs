//! Public keys of signers.

use sigstore_verify::crypto::{KeyAlgorithm, SigningScheme};
use sigstore_verify::types::DerPublicKey;

use crate::oci::Digest;

/// Public key of a supported kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    pub(super) der: DerPublicKey,
    pub(super) algorithm: KeyAlgorithm,
    fingerprint: Digest,
}

/// Error for a text that is not a supported public key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not exactly one PEM block called PUBLIC KEY.
    #[error("is not a PEM public key; expected one block that starts with -----BEGIN PUBLIC KEY-----")]
    Pem,
    /// Unsupported kind of key.
    #[error("is a public key of an unsupported kind; expected P-256, P-384, Ed25519 or RSA")]
    Kind,
}

impl PublicKey {
    /// Parses one `PUBLIC KEY` block (RFC 7468 section 13).
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(pem).map_err(|_| KeyError::Pem)?;
        if text.matches("-----BEGIN").count() != 1 {
            return Err(KeyError::Pem);
        }
        let der = DerPublicKey::from_pem(text.trim()).map_err(|_| KeyError::Pem)?;
        let algorithm = KeyAlgorithm::from_spki(&der).map_err(|_| KeyError::Kind)?;
        let key = Self::new(der, algorithm);
        if key.schemes().is_empty() { Err(KeyError::Kind) } else { Ok(key) }
    }

    pub(super) fn new(der: DerPublicKey, algorithm: KeyAlgorithm) -> Self {
        Self { fingerprint: Digest::of(der.as_bytes()), der, algorithm }
    }

    /// Returns the digest of its `SubjectPublicKeyInfo`, the usual fingerprint of a key.
    pub fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }

    /// Returns the signature schemes that the key may have used: cosign hashes with SHA-256 for every curve, other
    /// clients with the hash that fits the curve.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library may know more kinds than are offered")]
    pub(super) fn schemes(&self) -> &'static [SigningScheme] {
        match self.algorithm {
            KeyAlgorithm::EcdsaP256 => &[SigningScheme::EcdsaP256Sha256],
            KeyAlgorithm::EcdsaP384 => &[SigningScheme::EcdsaP384Sha384, SigningScheme::EcdsaP384Sha256],
            KeyAlgorithm::Ed25519 => &[SigningScheme::Ed25519],
            KeyAlgorithm::Rsa => &[SigningScheme::RsaPkcs1Sha256],
            _ => &[],
        }
    }
}
