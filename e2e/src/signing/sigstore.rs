//! Private Sigstore of one run: certificate authority, transparency log and timestamp authority, as real programs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::authority::Keys;
use super::cosign::Cosign;
use super::handmade::Signer;
use super::identity::{Identity, IssuerKind};
use super::issuers::{CLIENT_ID, Issuers};
use crate::run::{Run, Service};
use crate::tools::SigningTools;
use crate::{http, ports, wait};

/// Start of validity, before any signature of a run.
const SINCE: &str = "2026-01-01T00:00:00Z";
/// Origin in Rekor's checkpoints; must be the host of Rekor's address in the trusted root.
const HOST: &str = "127.0.0.1";

/// Running Sigstore; dropping it ends it.
#[derive(Debug)]
pub struct PrivateSigstore {
    /// Trusted root: certificates and public keys, in the format of Sigstore's clients.
    pub trusted_root: PathBuf,
    /// Signing configuration: addresses for signing, in cosign's format.
    pub signing_config: PathBuf,
    issuers: Issuers,
    addresses: Addresses,
    services: Vec<Service>,
}

/// Ports of the programs.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    fulcio: u16,
    rekor: u16,
    timestamps: u16,
}

impl PrivateSigstore {
    /// Starts all programs with new keys; instances under different names are independent of each other.
    pub async fn start(run: &Run, tools: &SigningTools, name: &str) -> Result<Self> {
        let directory = run.subdirectory(&format!("sigstore/{name}"))?;
        let keys = Keys::create(&directory)?;
        let issuers = Issuers::start().await?;
        let addresses = Addresses { fulcio: ports::free()?, rekor: ports::free()?, timestamps: ports::free()? };
        let services = vec![
            start_timestamps(run, tools, name, &keys, addresses.timestamps).await?,
            start_rekor(run, tools, name, &keys, &directory, addresses.rekor).await?,
            start_fulcio(run, tools, name, &keys, &directory, &issuers, addresses.fulcio).await?,
        ];
        let ready = [(addresses.timestamps, "/ping"), (addresses.rekor, "/healthz"), (addresses.fulcio, "/healthz")];
        for (service, (port, path)) in services.iter().zip(ready) {
            wait::until(Duration::from_secs(20), &format!("{} to answer", service.name), || async {
                service.check_running()?;
                let answer = http::get(&format!("{HOST}:{port}"), path).await?;
                Ok((answer.status == 200).then_some(()))
            })
            .await?;
        }
        let sigstore = Self {
            trusted_root: directory.join("trusted_root.json"),
            signing_config: directory.join("signing_config.json"),
            issuers,
            addresses,
            services,
        };
        let cosign = Cosign::new(run, tools, &directory.join("cosign")).await?;
        sigstore.describe(&cosign, &keys).await?;
        Ok(sigstore)
    }

    /// Returns the bytes of `trusted_root.json`.
    pub fn trusted_root_json(&self) -> Result<Vec<u8>> {
        Ok(fs_err::read(&self.trusted_root)?)
    }

    /// Returns the issuer as certificates contain it.
    pub fn issuer(&self, kind: IssuerKind) -> String {
        self.issuers.url(kind)
    }

    /// Returns the subject in the certificate of an identity.
    pub fn subject(&self, identity: &Identity) -> String {
        identity.subject(&self.issuers.base)
    }

    /// Issues a token for an identity.
    pub fn identity_token(&self, identity: &Identity) -> Result<String> {
        self.token(identity.issuer(), &identity.claims(&self.issuers.base))
    }

    /// Issues a token with any claims, which override those that every token has.
    pub fn token(&self, issuer: IssuerKind, claims: &Value) -> Result<String> {
        self.issuers.token(issuer, claims)
    }

    /// Creates a key with a certificate by Fulcio for an identity, for handmade signatures.
    pub async fn certify(&self, identity: &Identity) -> Result<Signer> {
        let key = KeyPair::generate()?;
        let request = CertificateParams::default().serialize_request(&key)?.pem()?;
        let question = json!({
            "credentials": {"oidcIdentityToken": self.identity_token(identity)?},
            "certificateSigningRequest": STANDARD.encode(request),
        });
        let address = format!("{HOST}:{}", self.addresses.fulcio);
        let answer = http::post_json(&address, "/api/v2/signingCert", &question.to_string()).await?;
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        // Detached, because the certificate is in no certificate transparency log.
        let certificate = body.pointer("/signedCertificateDetachedSct/chain/certificates/0").and_then(Value::as_str);
        let certificate = certificate.with_context(|| format!("Fulcio: {} {}", answer.status, answer.body))?;
        Ok(Signer::Certified { pkcs8_pem: key.serialize_pem(), certificate_pem: certificate.to_owned() })
    }

    /// Returns flags of `cosign verify` for a signature by an identity. No certificate of this authority is in a
    /// certificate transparency log.
    pub fn verify_args(&self, identity: &Identity) -> Vec<String> {
        vec![
            format!("--trusted-root={}", self.trusted_root.display()),
            format!("--certificate-identity={}", self.subject(identity)),
            format!("--certificate-oidc-issuer={}", self.issuer(identity.issuer())),
            "--insecure-ignore-sct=true".to_owned(),
        ]
    }

    pub(super) fn signing_args(&self) -> Vec<String> {
        vec![
            format!("--signing-config={}", self.signing_config.display()),
            format!("--trusted-root={}", self.trusted_root.display()),
        ]
    }

    /// Returns flags with the addresses for signing, in place of a signing configuration.
    pub(super) fn legacy_signing_args(&self) -> Vec<String> {
        let Addresses { fulcio, timestamps, .. } = self.addresses;
        vec![
            format!("--fulcio-url=http://{HOST}:{fulcio}"),
            format!("--timestamp-server-url=http://{HOST}:{timestamps}/api/v1/timestamp"),
            format!("--trusted-root={}", self.trusted_root.display()),
        ]
    }

    /// Ends the programs; existing signatures can still be verified.
    pub async fn stop(&mut self) -> Result<()> {
        for mut service in self.services.drain(..) {
            service.process.kill().await?;
        }
        Ok(())
    }

    /// Writes the trusted root and the signing configuration with cosign, because the formats are cosign's.
    async fn describe(&self, cosign: &Cosign, keys: &Keys) -> Result<()> {
        let addresses = self.addresses;
        let url = |port: u16| format!("url=http://{HOST}:{port}");
        let (fulcio, rekor) = (url(addresses.fulcio), url(addresses.rekor));
        let timestamps = format!("{}/api/v1/timestamp", url(addresses.timestamps));
        let root = cosign.command(&["trusted-root", "create"]);
        let root = root.arg(format!("--fulcio={fulcio},certificate-chain={}", keys.fulcio_chain.display()));
        let key = format!("public-key={},start-time={SINCE},origin={HOST}", keys.rekor_public_key.display());
        let root = root.arg(format!("--rekor={rekor},{key}"));
        let root = root.arg(format!("--tsa={timestamps},certificate-chain={}", keys.timestamp_chain.display()));
        root.arg("--out").arg(self.trusted_root.to_string_lossy()).stdout().await?;

        let service = |url: &str, version: u32| format!("{url},api-version={version},start-time={SINCE},operator=e2e");
        let config = cosign.command(&["signing-config", "create", "--rekor-config=ANY", "--tsa-config=ANY"]);
        let config = config.arg(format!("--fulcio={}", service(&fulcio, 1)));
        let config = config.arg(format!("--rekor={}", service(&rekor, 2)));
        let config = config.arg(format!("--tsa={}", service(&timestamps, 1)));
        let issuer = format!("url={}", self.issuer(IssuerKind::Email));
        let config = config.arg(format!("--oidc-provider={}", service(&issuer, 1)));
        config.arg("--out").arg(self.signing_config.to_string_lossy()).stdout().await?;
        Ok(())
    }
}

async fn start_timestamps(run: &Run, tools: &SigningTools, name: &str, keys: &Keys, port: u16) -> Result<Service> {
    let args = [
        format!("--port={port}"),
        format!("--key={}", keys.timestamp_key.display()),
        format!("--chain={}", keys.timestamp_chain.display()),
    ];
    run.service(&format!("sigstore-{name}-timestamps"), &tools.timestamp_server, &args, &[]).await
}

async fn start_rekor(
    run: &Run,
    tools: &SigningTools,
    name: &str,
    keys: &Keys,
    directory: &Path,
    port: u16,
) -> Result<Service> {
    let args = [
        "serve".to_owned(),
        format!("--http-port={port}"),
        format!("--grpc-port={}", ports::free()?),
        format!("--http-metrics-port={}", ports::free()?),
        format!("--hostname={HOST}"),
        format!("--storage-dir={}", directory.join("rekor").display()),
        format!("--signer-filepath={}", keys.rekor_key.display()),
        // Rekor responds only when a checkpoint covers the entry.
        "--checkpoint-interval=200ms".to_owned(),
        "--batch-max-age=50ms".to_owned(),
    ];
    run.service(&format!("sigstore-{name}-rekor"), &tools.rekor, &args, &[]).await
}

async fn start_fulcio(
    run: &Run,
    tools: &SigningTools,
    name: &str,
    keys: &Keys,
    directory: &Path,
    issuers: &Issuers,
    port: u16,
) -> Result<Service> {
    let config = directory.join("fulcio.yaml");
    fs_err::write(&config, fulcio_config(issuers)?)?;
    let args = [
        "serve".to_owned(),
        format!("--host={HOST}"),
        format!("--port={port}"),
        format!("--grpc-host={HOST}"),
        format!("--grpc-port={}", ports::free()?),
        format!("--metrics-port={}", ports::free()?),
        "--ca=fileca".to_owned(),
        format!("--fileca-cert={}", keys.fulcio_chain.display()),
        format!("--fileca-key={}", keys.fulcio_key.display()),
        // The key is not encrypted, but the flag is required.
        "--fileca-key-passwd=none".to_owned(),
        "--fileca-watch=false".to_owned(),
        format!("--config-path={}", config.display()),
        // Abstract socket, so that no file is left behind.
        format!("--legacy-unix-domain-socket=@supercargo-e2e-fulcio-{port}"),
        "--ct-log-url=".to_owned(),
    ];
    run.service(&format!("sigstore-{name}-fulcio"), &tools.fulcio, &args, &[]).await
}

/// Returns Fulcio's configuration: the accepted issuers, and the type of identity of each.
fn fulcio_config(issuers: &Issuers) -> Result<String> {
    let mut text = "oidc-issuers:\n".to_owned();
    for kind in IssuerKind::ALL {
        let (url, what) = (issuers.url(kind), kind.fulcio_type());
        writeln!(text, "  {url}:\n    issuer-url: {url}\n    client-id: {CLIENT_ID}\n    type: {what}")?;
        if kind == IssuerKind::Uri {
            writeln!(text, "    subject-domain: {}", issuers.base)?;
        }
    }
    Ok(text)
}
