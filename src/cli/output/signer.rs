//! Signers in JSON: in results, and in the notes of the cache.

use serde::{Deserialize, Serialize};

use crate::oci::Digest;
use crate::trust::Signer;

/// Signer in JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum ShownSigner {
    /// Digest of the public key.
    #[serde(rename_all = "camelCase")]
    Key { key_fingerprint: Digest },
    /// OIDC issuer, and the email address or URI that it vouched for.
    Identity { issuer: String, subject: String },
}

impl From<&Signer> for ShownSigner {
    fn from(signer: &Signer) -> Self {
        match signer.clone() {
            Signer::Key(key_fingerprint) => Self::Key { key_fingerprint },
            Signer::Identity { issuer, subject } => Self::Identity { issuer, subject },
        }
    }
}

impl From<&ShownSigner> for Signer {
    fn from(shown: &ShownSigner) -> Self {
        match shown.clone() {
            ShownSigner::Key { key_fingerprint } => Self::Key(key_fingerprint),
            ShownSigner::Identity { issuer, subject } => Self::Identity { issuer, subject },
        }
    }
}

/// Returns signers as a note of the cache, which [`parse_note`] reads.
pub(crate) fn note(mut signers: Vec<ShownSigner>) -> Option<String> {
    signers.sort_unstable();
    signers.dedup();
    if signers.is_empty() { None } else { serde_json::to_string(&signers).ok() }
}

/// Returns the signers of a note; none if it was not written by [`note`].
pub(crate) fn parse_note(note: &str) -> Vec<ShownSigner> {
    serde_json::from_str(note).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_keeps_each_signer_once() {
        let identity = Signer::Identity { issuer: "https://i".to_owned(), subject: "a@b".to_owned() };
        let key = Signer::Key(Digest::of(b""));
        let shown: Vec<ShownSigner> = [&identity, &key, &identity].map(ShownSigner::from).into();
        let note = note(shown).unwrap();
        assert!(note.contains("\"keyFingerprint\":\"sha256:e3b0"), "{note}");
        let signers: Vec<Signer> = parse_note(&note).iter().map(Signer::from).collect();
        assert_eq!(signers, [key, identity]);
        assert_eq!(parse_note("the key sha256:e3b0, and another"), []);
        assert_eq!(super::note(Vec::new()), None);
    }
}
