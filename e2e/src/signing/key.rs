//! Key pairs for signing.

use std::path::PathBuf;

use anyhow::Result;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};

/// Algorithm of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    P256,
    P384,
    Ed25519,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

impl KeyKind {
    pub const ALL: [Self; 6] = [Self::P256, Self::P384, Self::Ed25519, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// Returns the name for files and repositories.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
        }
    }

    pub(super) fn generate(self) -> Result<KeyPair> {
        Ok(match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
            Self::Ed25519 => KeyPair::generate_for(&PKCS_ED25519)?,
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
            Self::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072)?,
            Self::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096)?,
        })
    }
}

/// Key pair of cosign; see [`super::Cosign::key_pair`].
#[derive(Debug, Clone)]
pub struct SigningKey {
    pub kind: KeyKind,
    /// Public key in PEM, the format of `spec.verify`.
    pub public_pem: String,
    /// File with the public key.
    pub public: PathBuf,
    /// File with the private key in cosign's format, encrypted with the empty password.
    pub private: PathBuf,
    /// Private key as PKCS #8, for signatures that cosign does not make.
    pub pkcs8_pem: String,
}

impl SigningKey {
    /// Returns flags of `cosign verify` for a signature with this key without log entry.
    pub fn verify_args(&self) -> Vec<String> {
        let mut args = vec!["--key".to_owned(), self.public.display().to_string()];
        args.push("--insecure-ignore-tlog=true".to_owned());
        if self.kind == KeyKind::P384 {
            // cosign signs with the hash of the curve's size, but assumes SHA-256 when it verifies.
            args.push("--signature-digest-algorithm=sha384".to_owned());
        }
        args
    }
}
