//! Signatures by hand: what the owner of a key can say that cosign would not, in the shapes of cosign 3.1.3.

use anyhow::{Context, Result};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData, SigningKey as _};
use serde_json::{Value, json};

use super::key::SigningKey;
use super::{BUNDLE, SIMPLE_SIGNING};
use crate::fixture::Fixture;

/// What is signed in an envelope (in-toto).
const STATEMENT: &str = "application/vnd.in-toto+json";
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What this key makes of these bytes: ECDSA with the hash of the curve's size, Ed25519, or PKCS #1 v1.5 with SHA-256.
pub fn sign(key: &SigningKey, message: &[u8]) -> Result<Vec<u8>> {
    Ok(KeyPair::from_pem(&key.pkcs8_pem)?.sign(message)?)
}

/// The statement of a signature or an attestation about a digest, which is `<algorithm>:<hex>`.
pub fn statement(digest: &str, predicate_type: &str, predicate: &Value) -> Result<Value> {
    let (algorithm, hex) = digest.split_once(':').context("a digest without an algorithm")?;
    Ok(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {algorithm: hex}, "annotations": {}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }))
}

/// What a signature in an envelope is over (DSSE version 1, "PAE").
pub fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// A bundle with a statement, by a key, in no log.
pub fn bundle(key: &SigningKey, statement: &Value) -> Result<Value> {
    let payload = statement.to_string();
    let signature = sign(key, &signed_bytes(STATEMENT, payload.as_bytes()))?;
    let public = KeyPair::from_pem(&key.pkcs8_pem)?.subject_public_key_info();
    Ok(json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {
            "publicKey": {"hint": STANDARD.encode(digest::digest(&digest::SHA256, &public))},
        },
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": STATEMENT,
            "signatures": [{"sig": STANDARD.encode(signature)}],
        },
    }))
}

/// The artifact that a bundle is pushed in. Whoever pushes it without a tag makes it a referrer, or an entry under the
/// fallback tag where there is no API for that.
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

/// The payload of a legacy signature of `host:port/repository`.
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

/// What stands under the `.sig` tag: these payloads, each with the signature of a key.
pub fn legacy(signed: &[(&SigningKey, Value)]) -> Result<Fixture> {
    let config = json!({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}});
    let mut fixture = Fixture::new(IMAGE_CONFIG, config.to_string().as_bytes());
    for (key, payload) in signed {
        let payload = payload.to_string();
        let signature = STANDARD.encode(sign(key, payload.as_bytes())?);
        let annotations = [("dev.cosignproject.cosign/signature", signature.as_str())];
        fixture = fixture.layer(SIMPLE_SIGNING, payload.as_bytes(), &annotations);
    }
    Ok(fixture)
}
