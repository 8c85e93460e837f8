//! Private keys of signers.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
    ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::pem;
use super::sealed::{self, SealError};
use crate::oci::Digest;

/// Labels of cosign's encrypted keys: today's, and that of version 1.
const SEALED: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];
/// Sizes of RSA keys that verifiers accept, in bytes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// Curves, each with the only hash that it is used with: cosign signs with the hash of the curve's size.
const CURVES: [(&EcdsaSigningAlgorithm, &dyn VerificationAlgorithm); 2] = [
    (&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_ASN1),
    (&ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1),
];

/// A private key: P-256, P-384, Ed25519 or RSA. `Debug` prints only the fingerprint of its public key. The library
/// overwrites the key's memory when it is dropped.
pub struct PrivateKey {
    pair: Pair,
    /// `SubjectPublicKeyInfo` of the public key.
    public: Vec<u8>,
}

enum Pair {
    /// P-256 with SHA-256, or P-384 with SHA-384, and how such a signature is verified.
    Ecdsa(EcdsaKeyPair, &'static dyn VerificationAlgorithm),
    Ed25519(Ed25519KeyPair),
    /// PKCS #1 v1.5 with SHA-256.
    Rsa(RsaKeyPair),
}

/// Reason why a file is not a usable private key. Never quotes the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// Not exactly one block of PEM with a private key.
    #[error("is not a private key in PEM; expected one block such as -----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----")]
    Pem,
    /// An encryption other than cosign's.
    #[error("is encrypted in a format that is not cosign's; convert it with cosign import-key-pair")]
    Encryption,
    /// cosign's format with unusual parameters, or damaged.
    #[error("is not a valid key in cosign's encrypted format")]
    Sealed,
    /// Another password.
    #[error("cannot be decrypted with this password")]
    Password,
    /// An unsupported kind of key.
    #[error("is a private key of an unsupported kind; expected P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits")]
    Kind,
    /// The library failed to sign.
    #[error("cannot sign")]
    Signing,
    /// The library failed to generate a key.
    #[error("cannot be generated")]
    Generating,
}

impl From<SealError> for PrivateKeyError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Format => Self::Sealed,
            SealError::Password => Self::Password,
        }
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({})", self.fingerprint())
    }
}

impl PrivateKey {
    /// Returns true if the file has a key in cosign's encrypted format, so that [`Self::from_pem`] needs its password.
    pub fn is_encrypted(pem: &[u8]) -> bool {
        let text = std::str::from_utf8(pem).unwrap_or_default();
        pem::private_key(text).is_some_and(|(label, _)| SEALED.contains(&label))
    }

    /// Parses a key: cosign's encrypted format, PKCS #8 (RFC 5958), SEC 1 (RFC 5915) or PKCS #1 (RFC 8017). The
    /// password is used for the first of them only.
    pub fn from_pem(pem: &[u8], password: &[u8]) -> Result<Self, PrivateKeyError> {
        let text = std::str::from_utf8(pem).map_err(|_| PrivateKeyError::Pem)?;
        let (label, content) = pem::private_key(text).ok_or(PrivateKeyError::Pem)?;
        match label {
            label if SEALED.contains(&label) => Self::from_pkcs8(&sealed::open(&content, password)?),
            "PRIVATE KEY" => Self::from_pkcs8(&content),
            "EC PRIVATE KEY" => Self::from_sec1(&content),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&content).map_err(|_| PrivateKeyError::Kind).and_then(Self::rsa),
            _ => Err(PrivateKeyError::Encryption),
        }
    }

    /// Generates a P-256 key, and returns it with its text in PEM, encrypted with the password as cosign does.
    pub fn generate(password: &[u8]) -> Result<(Self, Zeroizing<String>), PrivateKeyError> {
        let (random, failed) = (SystemRandom::new(), |_| PrivateKeyError::Generating);
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(failed)?;
        let (mut salt, mut nonce) = ([0; 32], [0; 24]);
        random.fill(&mut salt).and_then(|()| random.fill(&mut nonce)).map_err(failed)?;
        let sealed = sealed::seal(der.as_ref(), password, &salt, &nonce);
        let text = pem::block(SEALED[0], &sealed.map_err(|_| PrivateKeyError::Generating)?);
        Ok((Self::from_pkcs8(der.as_ref())?, Zeroizing::new(text)))
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, PrivateKeyError> {
        for (signing, verifying) in CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(signing, der) {
                return Self::ecdsa(pair, verifying);
            }
        }
        // The public key is not part of every file; where it is, it is compared.
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            let public = der_of(pair.public_key())?;
            return Ok(Self { pair: Pair::Ed25519(pair), public });
        }
        RsaKeyPair::from_pkcs8(der).map_err(|_| PrivateKeyError::Kind).and_then(Self::rsa)
    }

    fn from_sec1(der: &[u8]) -> Result<Self, PrivateKeyError> {
        let mut pairs = CURVES.into_iter();
        let pair = pairs
            .find_map(|(signing, verifying)| Some((EcdsaKeyPair::from_private_key_der(signing, der).ok()?, verifying)));
        pair.ok_or(PrivateKeyError::Kind).and_then(|(pair, verifying)| Self::ecdsa(pair, verifying))
    }

    fn ecdsa(pair: EcdsaKeyPair, verifying: &'static dyn VerificationAlgorithm) -> Result<Self, PrivateKeyError> {
        let public = der_of(pair.public_key())?;
        Ok(Self { pair: Pair::Ecdsa(pair, verifying), public })
    }

    fn rsa(pair: RsaKeyPair) -> Result<Self, PrivateKeyError> {
        if !RSA_BYTES.contains(&pair.public_modulus_len()) {
            return Err(PrivateKeyError::Kind);
        }
        let public = der_of(pair.public_key())?;
        Ok(Self { pair: Pair::Rsa(pair), public })
    }

    /// Returns the digest of the public key's `SubjectPublicKeyInfo`, the usual fingerprint of a key.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.public)
    }

    /// Returns the public key in PEM, as `spec.verify` and `cosign verify --key` take it.
    pub fn public_pem(&self) -> String {
        pem::block("PUBLIC KEY", &self.public)
    }

    /// Returns the hint by which a bundle names the key: cosign's is the base64 text of the fingerprint.
    pub(super) fn hint(&self) -> String {
        STANDARD.encode(self.fingerprint().as_bytes())
    }

    /// Returns true if a text is a signature of the message by this key, in base64.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match &self.pair {
            Pair::Ecdsa(_, algorithm) => *algorithm,
            Pair::Ed25519(_) => &ED25519,
            Pair::Rsa(_) => &RSA_PKCS1_2048_8192_SHA256,
        };
        let key = UnparsedPublicKey::new(algorithm, &self.public);
        STANDARD.decode(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
    }

    /// Signs a message with the key's only scheme. RFC 6979, or randomness of the library, makes the nonce.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PrivateKeyError> {
        let failed = |_| PrivateKeyError::Signing;
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair, _) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }
}

fn der_of(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Result<Vec<u8>, PrivateKeyError> {
    Ok(key.as_der().map_err(|_| PrivateKeyError::Kind)?.as_ref().to_vec())
}
