//! The reference client, as a person would call it, with nothing of that person's own configuration.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::identity::Identity;
use super::key::{KeyKind, SigningKey};
use super::sigstore::PrivateSigstore;
use crate::run::{Invocation, Run};
use crate::tools::SigningTools;

/// A bundle that is in no log and has no time.
const NO_LOG: [&str; 2] = ["--use-signing-config=false", "--tlog-upload=false"];
/// What stood for signatures before there were bundles.
const LEGACY: &str = "--new-bundle-format=false";

/// cosign with a home of its own. References are `host:port/repository@digest`, in registries without TLS.
#[derive(Debug, Clone)]
pub struct Cosign {
    run: Run,
    program: PathBuf,
    home: PathBuf,
    /// Trusts nobody. Without one it would ask the network whom to trust, even for a key.
    nobody: PathBuf,
}

/// What `cosign verify` made of an image.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub accepted: bool,
    /// Everything that it printed.
    pub text: String,
}

impl Cosign {
    /// `home` is made.
    pub async fn new(run: &Run, tools: &SigningTools, home: &Path) -> Result<Self> {
        fs_err::create_dir_all(home.join("keys"))?;
        let nobody = home.join("nobody.json");
        let cosign =
            Self { run: run.clone(), program: tools.cosign.clone(), home: home.to_owned(), nobody: nobody.clone() };
        cosign.command(&["trusted-root", "create", "--out"]).arg(nobody.to_string_lossy()).stdout().await?;
        Ok(cosign)
    }

    /// A new key pair under a name.
    pub async fn key_pair(&self, name: &str, kind: KeyKind) -> Result<SigningKey> {
        let prefix = self.home.join("keys").join(name);
        let path = |end: &str| prefix.with_extension(end);
        let key = kind.generate()?;
        let pkcs8_pem = key.serialize_pem();
        fs_err::write(path("pem"), &pkcs8_pem)?;
        let import = self.command(&["import-key-pair", "--yes", "--key"]).arg(path("pem").to_string_lossy());
        import.arg("--output-key-prefix").arg(prefix.to_string_lossy()).stdout().await?;
        let public_pem = key.public_key_pem();
        ensure!(fs_err::read_to_string(path("pub"))?.trim() == public_pem.trim(), "cosign imported another key");
        Ok(SigningKey { kind, public_pem, public: path("pub"), private: path("key"), pkcs8_pem })
    }

    /// Signs with a key: a bundle that is in no log.
    pub async fn sign(&self, image: &str, key: &SigningKey) -> Result<()> {
        self.signing("sign", image, key, &NO_LOG).await
    }

    /// Signs with a key as cosign did before version 3: the signature stands under the `.sig` tag.
    pub async fn sign_legacy(&self, image: &str, key: &SigningKey) -> Result<()> {
        self.signing("sign", image, key, &[&NO_LOG[..], &[LEGACY]].concat()).await
    }

    /// Attests with a key: a bundle whose statement is of `predicate_type`, a URI or one of cosign's names for some.
    pub async fn attest(&self, image: &str, key: &SigningKey, predicate_type: &str, predicate: &Value) -> Result<()> {
        let file = self.predicate(image, predicate)?;
        let more = ["--type", predicate_type, "--predicate", &file];
        self.signing("attest", image, key, &[&NO_LOG[..], &more].concat()).await
    }

    /// Signs as somebody: a bundle with a certificate, in the log, with a time of the authority.
    pub async fn sign_keyless(&self, image: &str, sigstore: &PrivateSigstore, identity: &Identity) -> Result<()> {
        self.keyless("sign", image, sigstore.identity_token(identity)?, sigstore.signing_args()).await
    }

    /// Attests as somebody.
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

    /// Signs as somebody as cosign did before version 3, under the `.sig` tag: with a certificate and a time of the
    /// authority, and in no log, since its legacy form knows only version 1 of that.
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

    /// Signs with a key: a bundle in the log, with a time of the authority.
    pub async fn sign_logged(&self, image: &str, key: &SigningKey, sigstore: &PrivateSigstore) -> Result<()> {
        self.signing("sign", image, key, &sigstore.signing_args()).await
    }

    /// `cosign verify`; without a `--trusted-root` among `args` nobody is trusted who is not named there.
    pub async fn verify<S: AsRef<str>>(&self, image: &str, args: &[S]) -> Result<Verdict> {
        self.verdict("verify", image, args).await
    }

    /// `cosign verify-attestation`.
    pub async fn verify_attestation<S: AsRef<str>>(&self, image: &str, args: &[S]) -> Result<Verdict> {
        self.verdict("verify-attestation", image, args).await
    }

    /// Any other command; what it writes goes below its home, and it reaches nobody by HTTPS.
    pub fn command(&self, args: &[&str]) -> Invocation {
        let command = self.run.command(&self.program).args(args).directory(&self.home);
        let home = self.home.to_string_lossy().into_owned();
        let command = command.env("HOME", home.as_str()).env("COSIGN_PASSWORD", "").env("DOCKER_CONFIG", home);
        // Where it misses something it asks the public Sigstore for it. No test is to depend on that.
        command.env("HTTPS_PROXY", "http://127.0.0.1:9")
    }

    async fn verdict<S: AsRef<str>>(&self, what: &str, image: &str, args: &[S]) -> Result<Verdict> {
        let named = args.iter().any(|arg| arg.as_ref().starts_with("--trusted-root"));
        let nobody = format!("--trusted-root={}", self.nobody.display());
        let command = self.command(&[what, "--allow-http-registry"]).args(args);
        let command = if named { command } else { command.arg(nobody) };
        let output = command.arg(image).output().await?;
        Ok(Verdict { accepted: output.exit.success(), text: format!("{}{}", output.stdout, output.stderr) })
    }

    async fn signing<S: AsRef<str>>(&self, what: &str, image: &str, key: &SigningKey, more: &[S]) -> Result<()> {
        let named = more.iter().any(|arg| arg.as_ref().starts_with("--trusted-root"));
        let command = self.command(&[what, "--yes", "--allow-http-registry", "--key"]);
        let command = command.arg(key.private.to_string_lossy()).args(more);
        let nobody = format!("--trusted-root={}", self.nobody.display());
        let command = if named { command } else { command.arg(nobody) };
        command.arg(image).stdout().await?;
        Ok(())
    }

    async fn keyless(&self, what: &str, image: &str, token: String, args: Vec<String>) -> Result<()> {
        let command = self.command(&[what, "--yes", "--allow-http-registry"]).args(args);
        command.arg("--identity-token").arg(token).arg(image).stdout().await?;
        Ok(())
    }

    /// A file that this predicate of this image is in.
    fn predicate(&self, image: &str, predicate: &Value) -> Result<String> {
        let path = self.home.join(format!("{}.predicate.json", image.replace(['/', ':', '@'], "-")));
        fs_err::write(&path, predicate.to_string())?;
        Ok(path.to_string_lossy().into_owned())
    }
}
