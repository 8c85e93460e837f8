//! Signed content in cosign's formats, as bytes without a place.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use super::key::{PrivateKey, PrivateKeyError};
use crate::oci::{Digest, Repository};

/// Media type of a bundle, and artifact type of its referrer.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Annotation of a referrer with the kind of content of its bundle.
pub const CONTENT_ANNOTATION: &str = "dev.sigstore.bundle.content";
/// Annotation of a referrer with the predicate type of its statement.
pub const PREDICATE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";
/// Predicate type of a signature: a statement without a claim.
pub const PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// Media type of the payload of a legacy signature.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation of a legacy payload with its signature.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// Type of the payload of an envelope.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Type of a legacy payload.
const LEGACY_TYPE: &str = "cosign container image signature";
/// Time in the config of a legacy signature, as go-containerregistry writes an unset one.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Reason why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key cannot sign.
    #[error("the private key {0}")]
    Key(#[from] PrivateKeyError),
    /// The content could not be serialized.
    #[error("the signature cannot be serialized: {0}")]
    Json(#[from] serde_json::Error),
}

/// Content of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleContent {
    /// The bundle (Sigstore bundle version 0.3), the only layer of its referrer.
    pub bundle: Vec<u8>,
    /// Annotations of the referrer.
    pub annotations: [(&'static str, &'static str); 2],
}

/// Content of a legacy signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyContent {
    /// The payload, a layer of the manifest under the tag `.sig`.
    pub payload: Vec<u8>,
    /// Signature of the payload in base64, an annotation of the layer.
    pub signature: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: [Value; 1],
    predicate_type: &'a str,
    predicate: Value,
}

/// Returns the statement about an artifact (in-toto): the digest is its subject, and it claims nothing else.
fn statement(artifact: &Digest) -> Result<Vec<u8>, SignError> {
    let statement = Statement {
        kind: "https://in-toto.io/Statement/v1",
        subject: [json!({"digest": {"sha256": artifact.hex()}, "annotations": {}})],
        predicate_type: PREDICATE,
        predicate: json!({}),
    };
    Ok(serde_json::to_vec(&statement)?)
}

/// Signs a digest as cosign 3 does: a statement in an envelope (DSSE).
pub fn bundle(key: &PrivateKey, artifact: &Digest) -> Result<BundleContent, SignError> {
    let payload = statement(artifact)?;
    let signature = key.sign(&pre_authentication_encoding(IN_TOTO, &payload))?;
    let bundle = json!({
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": key.hint()}},
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": STANDARD.encode(signature)}],
        },
    });
    let annotations = [(CONTENT_ANNOTATION, "dsse-envelope"), (PREDICATE_ANNOTATION, PREDICATE)];
    Ok(BundleContent { bundle: serde_json::to_vec(&bundle)?, annotations })
}

/// Returns true if a bundle is one of [`bundle`] by this key for this artifact.
pub(crate) fn is_bundle_by(key: &PrivateKey, artifact: &Digest, bundle: &[u8]) -> bool {
    let Ok(bundle) = serde_json::from_slice::<Value>(bundle) else { return false };
    let text = |path: &str| bundle.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let Ok(payload) = statement(artifact) else { return false };
    text("/mediaType") == BUNDLE
        && text("/dsseEnvelope/payloadType") == IN_TOTO
        && text("/dsseEnvelope/payload") == STANDARD.encode(&payload)
        && key.has_signed(&pre_authentication_encoding(IN_TOTO, &payload), text("/dsseEnvelope/signatures/0/sig"))
}

/// Signs a digest as cosign did before version 3 ("simple signing", containers/image atomic-signature.md).
pub fn legacy(key: &PrivateKey, repository: &Repository, artifact: &Digest) -> Result<LegacyContent, SignError> {
    let payload = serde_json::to_vec(&json!({
        "critical": {
            "identity": {"docker-reference": repository.to_string()},
            "image": {"docker-manifest-digest": artifact},
            "type": LEGACY_TYPE,
        },
        "optional": null,
    }))?;
    let signature = STANDARD.encode(key.sign(&payload)?);
    Ok(LegacyContent { payload, signature })
}

/// Returns the tag of the legacy signatures of an artifact.
pub fn legacy_tag(artifact: &Digest) -> String {
    format!("{}.sig", artifact.to_string().replace(':', "-"))
}

impl LegacyContent {
    /// Returns the config of a manifest with these payloads, as cosign writes it: clients that expect an image find one.
    pub fn config(payloads: &[Digest]) -> Result<Vec<u8>, SignError> {
        let history = vec![json!({"created": NO_TIME}); payloads.len()];
        Ok(serde_json::to_vec(&json!({
            "architecture": "", "created": NO_TIME, "history": history, "os": "",
            "rootfs": {"type": "layers", "diff_ids": payloads}, "config": {},
        }))?)
    }
}

/// Returns the bytes that an envelope's signature is about (DSSE protocol, "PAE").
fn pre_authentication_encoding(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}
