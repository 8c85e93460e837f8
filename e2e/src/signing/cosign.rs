//! cosign, the reference client, called as on a command line but without the user's configuration.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::key::{KeyKind, SigningKey};
use crate::registry::Registry;
use crate::run::{Invocation, Run};
use crate::tools::SigningTools;

/// Flags for a bundle without log entry and timestamp.
pub(super) const NO_LOG: [&str; 2] = ["--use-signing-config=false", "--tlog-upload=false"];
/// Flag for the format of signatures before bundles.
pub(super) const LEGACY: &str = "--new-bundle-format=false";

/// cosign with its own home directory. References are `host:port/repository@digest`, in registries without TLS and login
/// unless [`Cosign::to`] names another one.
#[derive(Debug, Clone)]
pub struct Cosign {
    run: Run,
    program: PathBuf,
    home: PathBuf,
    /// Empty trusted root. Without a trusted root cosign would fetch the public one, even to verify with a key.
    empty_root: PathBuf,
    /// Flags for the registry.
    connection: Vec<String>,
    /// Directory with the configuration of docker.
    login: PathBuf,
}

/// Result of `cosign verify` for an image.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub accepted: bool,
    /// Standard output and standard error.
    pub text: String,
}

impl Cosign {
    /// Creates `home`, with an empty trusted root.
    pub async fn new(run: &Run, tools: &SigningTools, home: &Path) -> Result<Self> {
        fs_err::create_dir_all(home.join("keys"))?;
        let empty_root = home.join("empty-root.json");
        let cosign = Self {
            run: run.clone(),
            program: tools.cosign.clone(),
            home: home.to_owned(),
            empty_root: empty_root.clone(),
            connection: vec!["--allow-http-registry".to_owned()],
            login: home.to_owned(),
        };
        cosign.command(&["trusted-root", "create", "--out"]).arg(empty_root.to_string_lossy()).stdout().await?;
        Ok(cosign)
    }

    /// Returns a copy for a registry, with its authority, and a directory with the configuration of docker.
    #[must_use]
    pub fn to(&self, registry: &Registry, login: &Path) -> Self {
        let authority = registry.tls.as_ref().map(|tls| format!("--registry-cacert={}", tls.authority.display()));
        let connection = authority.map_or_else(|| self.connection.clone(), |authority| vec![authority]);
        Self { connection, login: login.to_owned(), ..self.clone() }
    }

    /// Creates a key pair under a name.
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

    /// Signs with a key: a bundle without log entry.
    pub async fn sign(&self, image: &str, key: &SigningKey) -> Result<()> {
        self.signing("sign", image, key, &NO_LOG).await
    }

    /// Signs with a key as cosign did before version 3: the signature is under the `.sig` tag.
    pub async fn sign_legacy(&self, image: &str, key: &SigningKey) -> Result<()> {
        self.signing("sign", image, key, &[&NO_LOG[..], &[LEGACY]].concat()).await
    }

    /// Attests with a key: a bundle whose statement has `predicate_type`, a URI or one of cosign's short names.
    pub async fn attest(&self, image: &str, key: &SigningKey, predicate_type: &str, predicate: &Value) -> Result<()> {
        let file = self.predicate(image, predicate)?;
        let more = ["--type", predicate_type, "--predicate", &file];
        self.signing("attest", image, key, &[&NO_LOG[..], &more].concat()).await
    }

    /// Runs `cosign verify`; without `--trusted-root` in `args` only the keys named there are trusted.
    pub async fn verify<S: AsRef<str>>(&self, image: &str, args: &[S]) -> Result<Verdict> {
        self.verdict("verify", image, args).await
    }

    /// Runs `cosign verify-attestation`.
    pub async fn verify_attestation<S: AsRef<str>>(&self, image: &str, args: &[S]) -> Result<Verdict> {
        self.verdict("verify-attestation", image, args).await
    }

    /// Returns any other command; it writes below its home directory, and can reach no host by HTTPS.
    pub fn command(&self, args: &[&str]) -> Invocation {
        let command = self.run.command(&self.program).args(args).directory(&self.home);
        let command = command.env("HOME", self.home.to_string_lossy()).env("COSIGN_PASSWORD", "");
        let command = command.env("DOCKER_CONFIG", self.login.to_string_lossy());
        // cosign fetches missing data from the public Sigstore. No test may depend on that.
        command.env("HTTPS_PROXY", "http://127.0.0.1:9")
    }

    async fn verdict<S: AsRef<str>>(&self, what: &str, image: &str, args: &[S]) -> Result<Verdict> {
        let named = args.iter().any(|arg| arg.as_ref().starts_with("--trusted-root"));
        let empty_root = format!("--trusted-root={}", self.empty_root.display());
        let command = self.command(&[what]).args(&self.connection).args(args);
        let command = if named { command } else { command.arg(empty_root) };
        let output = command.arg(image).output().await?;
        Ok(Verdict { accepted: output.exit.success(), text: format!("{}{}", output.stdout, output.stderr) })
    }

    pub(super) async fn signing<S: AsRef<str>>(
        &self,
        what: &str,
        image: &str,
        key: &SigningKey,
        more: &[S],
    ) -> Result<()> {
        let named = more.iter().any(|arg| arg.as_ref().starts_with("--trusted-root"));
        let command = self.command(&[what, "--yes"]).args(&self.connection);
        let command = command.arg("--key").arg(key.private.to_string_lossy()).args(more);
        let empty_root = format!("--trusted-root={}", self.empty_root.display());
        let command = if named { command } else { command.arg(empty_root) };
        command.arg(image).stdout().await?;
        Ok(())
    }

    /// Writes a predicate about an image to a file and returns its path.
    pub(super) fn predicate(&self, image: &str, predicate: &Value) -> Result<String> {
        let path = self.home.join(format!("{}.predicate.json", image.replace(['/', ':', '@'], "-")));
        fs_err::write(&path, predicate.to_string())?;
        Ok(path.to_string_lossy().into_owned())
    }
}
