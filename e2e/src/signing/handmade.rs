//! Handmade signatures: content that the owner of a key can sign but cosign would not, in the formats of cosign 3.1.3.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData, SigningKey as _};
use serde_json::{Value, json};

use super::key::SigningKey;
use super::log::{LogEntry, dsse, hashedrekord, sha256};
use super::{BUNDLE, SIMPLE_SIGNING};
use crate::fixture::Fixture;

/// Payload type of an in-toto statement in an envelope.
pub const STATEMENT: &str = "application/vnd.in-toto+json";
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Private key of a signer, and the certificate for it if there is one. The private key is PKCS #8; its signatures are
/// ECDSA with the hash of the curve's size, Ed25519, or PKCS #1 v1.5 with SHA-256.
#[derive(Debug, Clone)]
pub enum Signer {
    Key {
        pkcs8_pem: String,
    },
    /// Key with a certificate, such as that of [`super::PrivateSigstore::certify`].
    Certified {
        pkcs8_pem: String,
        certificate_pem: String,
    },
}

impl From<&SigningKey> for Signer {
    fn from(key: &SigningKey) -> Self {
        Self::Key { pkcs8_pem: key.pkcs8_pem.clone() }
    }
}

impl Signer {
    /// Makes a signer with a new P-256 key.
    pub fn generate() -> Result<Self> {
        Ok(Self::Key { pkcs8_pem: KeyPair::generate()?.serialize_pem() })
    }

    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(self.key()?.sign(message)?)
    }

    /// Returns the public key or certificate that a log entry contains.
    pub fn verifier_pem(&self) -> Result<String> {
        match self {
            Self::Key { .. } => Ok(self.key()?.public_key_pem()),
            Self::Certified { certificate_pem, .. } => Ok(certificate_pem.clone()),
        }
    }

    fn key(&self) -> Result<KeyPair> {
        let (Self::Key { pkcs8_pem } | Self::Certified { pkcs8_pem, .. }) = self;
        Ok(KeyPair::from_pem(pkcs8_pem)?)
    }

    /// Returns the part of a bundle that identifies the signer.
    fn material(&self) -> Result<Value> {
        Ok(match self {
            Self::Key { .. } => {
                json!({"publicKey": {"hint": STANDARD.encode(sha256(&self.key()?.subject_public_key_info()))}})
            }
            Self::Certified { certificate_pem, .. } => {
                let base64: String = certificate_pem.lines().filter(|line| !line.starts_with("-----")).collect();
                json!({"certificate": {"rawBytes": base64}})
            }
        })
    }
}

/// Makes the statement of a signature or an attestation about a digest, which is `<algorithm>:<hex>`.
pub fn statement(digest: &str, predicate_type: &str, predicate: &Value) -> Result<Value> {
    let (algorithm, hex) = digest.split_once(':').context("a digest without an algorithm")?;
    Ok(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {algorithm: hex}, "annotations": {}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }))
}

/// Returns the bytes that a signature in an envelope covers (DSSE version 1, "PAE").
pub fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Signed statement as a bundle, and the body of its log entry.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Bundle without log entry.
    pub bundle: Value,
    /// Argument for [`super::HandmadeLog::entry`].
    pub log_body: Value,
}

impl Envelope {
    pub fn sign(signer: &Signer, statement: &Value) -> Result<Self> {
        Self::of(signer, STATEMENT, statement.to_string().as_bytes())
    }

    /// Signs any payload of any type.
    pub fn of(signer: &Signer, payload_type: &str, payload: &[u8]) -> Result<Self> {
        let signature = signer.sign(&signed_bytes(payload_type, payload))?;
        let envelope = json!({
            "payload": STANDARD.encode(payload),
            "payloadType": payload_type,
            "signatures": [{"sig": STANDARD.encode(&signature)}],
        });
        let log_body = dsse(&envelope, payload, &signature, &signer.verifier_pem()?);
        let bundle = json!({
            "mediaType": BUNDLE, "verificationMaterial": signer.material()?, "dsseEnvelope": envelope,
        });
        Ok(Self { bundle, log_body })
    }

    /// Signs the message itself, without an envelope, as `cosign sign-blob` does.
    pub fn message(signer: &Signer, message: &[u8]) -> Result<Self> {
        let signature = signer.sign(message)?;
        let log_body = hashedrekord(message, &signature, &signer.verifier_pem()?);
        let digest = json!({"algorithm": "SHA2_256", "digest": STANDARD.encode(sha256(message))});
        let bundle = json!({
            "mediaType": BUNDLE,
            "verificationMaterial": signer.material()?,
            "messageSignature": {"messageDigest": digest, "signature": STANDARD.encode(&signature)},
        });
        Ok(Self { bundle, log_body })
    }

    /// Returns the bundle with a log entry, which may be about other content.
    pub fn logged(&self, entry: &LogEntry) -> Value {
        let mut bundle = self.bundle.clone();
        if let Some(material) = bundle.get_mut("verificationMaterial").and_then(Value::as_object_mut) {
            material.insert("tlogEntries".to_owned(), json!([entry.in_bundle()]));
        }
        bundle
    }
}

/// Makes the artifact for pushing a bundle. Pushed without a tag it becomes a referrer, or an entry under the fallback
/// tag if the registry has no referrers API.
pub fn attachment(bundle: &Value, predicate_type: &str, subject: &str, subject_size: usize) -> Fixture {
    Fixture::artifact(BUNDLE)
        .with_config_artifact_type(BUNDLE)
        .layer(BUNDLE, bundle.to_string().as_bytes(), &[])
        .about(subject, subject_size)
        .annotations(&[
            ("dev.sigstore.bundle.content", "dsse-envelope"),
            ("dev.sigstore.bundle.predicateType", predicate_type),
        ])
}

/// Makes the payload of a legacy signature for `host:port/repository`.
pub fn simple_signing(repository: &str, digest: &str) -> Value {
    json!({
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
}

/// Legacy signature: a layer under the `.sig` tag.
#[derive(Debug, Clone)]
pub struct Legacy {
    pub payload: Vec<u8>,
    pub annotations: Vec<(String, String)>,
    /// Argument for [`super::HandmadeLog::entry`].
    pub log_body: Value,
}

impl Legacy {
    pub fn sign(signer: &Signer, payload: &Value) -> Result<Self> {
        Self::of(signer, payload.to_string().into_bytes())
    }

    /// Signs any payload.
    pub fn of(signer: &Signer, payload: Vec<u8>) -> Result<Self> {
        let signature = signer.sign(&payload)?;
        let annotation = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut annotations = vec![annotation("dev.cosignproject.cosign/signature", &STANDARD.encode(&signature))];
        if let Signer::Certified { certificate_pem, .. } = signer {
            annotations.push(annotation("dev.sigstore.cosign/certificate", certificate_pem));
            annotations.push(annotation("dev.sigstore.cosign/chain", ""));
        }
        let log_body = hashedrekord(&payload, &signature, &signer.verifier_pem()?);
        Ok(Self { payload, annotations, log_body })
    }

    /// Adds a log entry, which may be about other content.
    #[must_use]
    pub fn logged(mut self, entry: &LogEntry) -> Self {
        self.annotations.push(("dev.sigstore.cosign/bundle".to_owned(), entry.in_annotation().to_string()));
        self
    }

    /// Makes the artifact for the `.sig` tag.
    pub fn fixture(signatures: &[Self]) -> Fixture {
        let config = json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}});
        let fixture = Fixture::new(IMAGE_CONFIG, config.to_string().as_bytes());
        signatures.iter().fold(fixture, |fixture, signature| {
            let annotations = signature.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let annotations: Vec<(&str, &str)> = annotations.collect();
            fixture.layer(SIMPLE_SIGNING, &signature.payload, &annotations)
        })
    }
}
