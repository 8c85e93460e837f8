//! Key pairs to sign with.

use std::path::PathBuf;

use anyhow::Result;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};

/// What a key is.
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

    /// As it stands in the names of files and repositories.
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

/// A key pair that cosign has; see [`super::Cosign::key_pair`].
#[derive(Debug, Clone)]
pub struct SigningKey {
    pub kind: KeyKind,
    /// The public key, as `spec.verify` takes it.
    pub public_pem: String,
    /// The same in a file.
    pub public: PathBuf,
    /// The private key as cosign keeps it, encrypted with the empty password.
    pub private: PathBuf,
    /// The private key as PKCS #8, for signatures that cosign does not make.
    pub pkcs8_pem: String,
}

impl SigningKey {
    /// Flags of `cosign verify` for a signature of this key that is in no log.
    pub fn verify_args(&self) -> Vec<String> {
        let mut args = vec!["--key".to_owned(), self.public.display().to_string()];
        args.push("--insecure-ignore-tlog=true".to_owned());
        if self.kind == KeyKind::P384 {
            // It signs with the hash of the curve's size, and takes SHA-256 for granted when it verifies.
            args.push("--signature-digest-algorithm=sha384".to_owned());
        }
        args
    }
}
