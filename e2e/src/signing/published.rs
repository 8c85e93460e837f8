//! Signatures published by third parties: `e2e/fixtures/signatures`, whose README names their sources.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// Row of `cases.json`: a bundle and the facts about it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Published {
    /// File name in the fixtures; `trusted_root` and `key` are file names too.
    pub bundle: String,
    pub trusted_root: String,
    /// Signed digest: `sha256:<hex>` or `sha512:<hex>`.
    pub digest: String,
    /// Issuer of the signer's identity; `issuer` and `subject` are absent if the signer is a key.
    pub issuer: Option<String>,
    pub subject: Option<String>,
    /// File with the public key.
    pub key: Option<String>,
    /// Predicate type of an attestation.
    pub predicate_type: Option<String>,
}

impl Published {
    pub fn all() -> Result<Vec<Self>> {
        let cases = fs_err::read_to_string(Self::path("cases.json"))?;
        serde_json::from_str(&cases).context("reading cases.json")
    }

    /// Returns the path of a file in the fixtures.
    pub fn path(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/signatures").join(name)
    }

    /// Returns arguments of `cosign verify-blob` or `verify-blob-attestation`, with the true facts.
    pub fn verify_args(&self) -> Result<Vec<String>> {
        let flag = |name: &str, file: &str| format!("--{name}={}", Self::path(file).display());
        let mut args = vec![flag("bundle", &self.bundle), flag("trusted-root", &self.trusted_root)];
        args.extend(self.key.as_ref().map(|key| flag("key", key)));
        args.extend(self.subject.as_ref().map(|subject| format!("--certificate-identity={subject}")));
        args.extend(self.issuer.as_ref().map(|issuer| format!("--certificate-oidc-issuer={issuer}")));
        if let Some(kind) = &self.predicate_type {
            let (algorithm, hex) = self.digest.split_once(':').context("a digest without an algorithm")?;
            args.extend([format!("--type={kind}"), format!("--digest={hex}"), format!("--digestAlg={algorithm}")]);
            args.insert(0, "verify-blob-attestation".to_owned());
        } else {
            args.push(self.digest.clone());
            args.insert(0, "verify-blob".to_owned());
        }
        if self.trusted_root.contains("staging") {
            // An entry in version 2 of the log has no time; only the timestamp authority provides it.
            args.push("--use-signed-timestamps=true".to_owned());
        }
        Ok(args)
    }
}
