//! Signatures that need a Sigstore: by an identity, or logged.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::cosign::{Cosign, LEGACY, NO_LOG};
use super::identity::Identity;
use super::key::SigningKey;
use super::sigstore::PrivateSigstore;

impl Cosign {
    /// Signs with an identity: a bundle with a certificate, a log entry and a timestamp.
    pub async fn sign_keyless(&self, image: &str, sigstore: &PrivateSigstore, identity: &Identity) -> Result<()> {
        self.keyless("sign", image, sigstore.identity_token(identity)?, sigstore.signing_args()).await
    }

    /// Attests with an identity.
    pub async fn attest_keyless(
        &self,
        image: &str,
        sigstore: &PrivateSigstore,
        identity: &Identity,
        predicate_type: &str,
        predicate: &Value,
    ) -> Result<()> {
        let file = self.predicate(image, predicate)?;
        let more = ["--type", predicate_type, "--predicate", &file].map(str::to_owned);
        let args = [sigstore.signing_args(), more.to_vec()].concat();
        self.keyless("attest", image, sigstore.identity_token(identity)?, args).await
    }

    /// Attests a file with an identity, and writes the bundle to another file; `predicate` has a type and a content.
    pub async fn attest_blob_keyless(
        &self,
        file: &Path,
        bundle: &Path,
        sigstore: &PrivateSigstore,
        identity: &Identity,
        predicate: (&str, Value),
    ) -> Result<()> {
        let (predicate_type, predicate) = predicate;
        let predicate = self.predicate(&file.to_string_lossy(), &predicate)?;
        let command = self.command(&["attest-blob", "--yes", "--type", predicate_type, "--predicate", &predicate]);
        let command = command.args(sigstore.signing_args()).arg("--bundle").arg(bundle.to_string_lossy());
        let command = command.arg("--identity-token").arg(sigstore.identity_token(identity)?);
        command.arg(file.to_string_lossy()).stdout().await?;
        Ok(())
    }

    /// Signs with an identity as cosign did before version 3, under the `.sig` tag: with a certificate and a timestamp,
    /// but without log entry, because the legacy format supports only version 1 of the log.
    pub async fn sign_keyless_legacy(
        &self,
        image: &str,
        sigstore: &PrivateSigstore,
        identity: &Identity,
    ) -> Result<()> {
        let no_log = NO_LOG.iter().chain([&LEGACY]).map(ToString::to_string).collect();
        let args = [sigstore.legacy_signing_args(), no_log].concat();
        self.keyless("sign", image, sigstore.identity_token(identity)?, args).await
    }

    /// Signs with a key: a bundle with a log entry and a timestamp.
    pub async fn sign_logged(&self, image: &str, key: &SigningKey, sigstore: &PrivateSigstore) -> Result<()> {
        self.signing("sign", image, key, &sigstore.signing_args()).await
    }

    async fn keyless(&self, what: &str, image: &str, token: String, args: Vec<String>) -> Result<()> {
        let command = self.command(&[what, "--yes", "--allow-http-registry"]).args(args);
        command.arg("--identity-token").arg(token).arg(image).stdout().await?;
        Ok(())
    }
}
