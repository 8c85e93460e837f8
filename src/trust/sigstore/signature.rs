//! Verification of one signature with one key.

use sigstore_verify::crypto::{SigningScheme, verify_signature, verify_signature_prehashed};
use sigstore_verify::types::{HashAlgorithm, SignatureBytes, SignatureContent};

use super::evidence::Problem;
use super::key::PublicKey;
use crate::oci::Digest;

/// Expected subject of a signature.
#[derive(Clone, Copy, Debug)]
pub(in crate::trust) enum Signed<'a> {
    /// The artifact with this digest, or a statement about it.
    Artifact(&'a Digest),
    /// Exactly these bytes.
    Bytes(&'a [u8]),
}

/// Returns the signature in the content of a bundle.
pub(super) fn of(content: &SignatureContent) -> Result<&SignatureBytes, Problem> {
    match content {
        SignatureContent::MessageSignature(message) => Ok(&message.signature),
        SignatureContent::DsseEnvelope(envelope) => Ok(&envelope.signature.sig),
        _ => Err(Problem::Broken("its kind of signature is unknown".to_owned())),
    }
}

/// True if the key made the signature over this content by exactly this scheme.
pub(super) fn verifies(content: &SignatureContent, signed: Signed<'_>, key: &PublicKey, scheme: SigningScheme) -> bool {
    let is_over = |bytes: &[u8], signature| verify_signature(&key.der, bytes, signature, scheme).is_ok();
    match (content, signed) {
        (SignatureContent::DsseEnvelope(envelope), _) => is_over(&envelope.pae(), &envelope.signature.sig),
        (SignatureContent::MessageSignature(message), Signed::Bytes(bytes)) => is_over(bytes, &message.signature),
        (SignatureContent::MessageSignature(message), Signed::Artifact(digest)) => {
            scheme.hash_algorithm() == Some(HashAlgorithm::Sha2256)
                && verify_signature_prehashed(&key.der, digest.as_bytes(), &message.signature, scheme).is_ok()
        }
        (_, _) => false,
    }
}
