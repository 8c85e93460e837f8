//! Legacy cosign signatures: a layer under the tag `sha256-<hex>.sig`, with everything except the payload in its
//! annotations. They are converted to equivalent bundles, so that both formats pass the same checks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::sigstore::{Bundle, Problem, bytes_of_hex};
use crate::oci::Digest;
use crate::oci::descriptor::Annotations;

/// Media type of the layer with the payload.
pub(super) const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const LOG: &str = "dev.sigstore.cosign/bundle";

/// Maximum number of certificates in a chain.
const MAX_CERTIFICATES: usize = 8;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Annotation with the log's inclusion promise and the entry that it covers.
#[derive(Deserialize)]
struct Promise {
    #[serde(rename = "SignedEntryTimestamp")]
    signed: String,
    #[serde(rename = "Payload")]
    payload: PromisedEntry,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromisedEntry {
    body: String,
    integrated_time: i64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// Kind and version in the body of the log entry.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryKind {
    kind: String,
    api_version: String,
}

/// Builds the bundle that is equivalent to a layer: version 0.1, in which the log's inclusion promise is enough.
pub(super) fn bundle(annotations: &Annotations, payload: &[u8]) -> Result<Bundle, Problem> {
    let annotation = |key: &str| annotations.get(key).map(String::as_str).filter(|text| !text.is_empty());
    let signature = annotation(SIGNATURE).ok_or_else(|| broken(&"no signature annotation"))?;
    let entries: Vec<Value> = annotation(LOG).map(entry).transpose()?.into_iter().collect();
    let material = match annotation(CERTIFICATE) {
        Some(leaf) => {
            let chain = certificates(leaf).chain(annotation(CHAIN).into_iter().flat_map(certificates));
            let chain: Vec<Value> = chain.take(MAX_CERTIFICATES).map(|der| json!({"rawBytes": der})).collect();
            json!({"x509CertificateChain": {"certificates": chain}, "tlogEntries": entries})
        }
        None => json!({"publicKey": {"hint": ""}, "tlogEntries": entries}),
    };
    let digest = STANDARD.encode(Digest::of(payload).as_bytes());
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "verificationMaterial": material,
        "messageSignature": {"messageDigest": {"algorithm": "SHA2_256", "digest": digest}, "signature": signature},
    });
    Bundle::parse(bundle.to_string().as_bytes())
}

fn entry(text: &str) -> Result<Value, Problem> {
    let Promise { signed, payload } = serde_json::from_str(text).map_err(|error| broken(&error))?;
    let body = STANDARD.decode(&payload.body).map_err(|error| broken(&error))?;
    let EntryKind { kind, api_version } = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
    Ok(json!({
        "logIndex": payload.log_index.to_string(),
        "logId": {"keyId": STANDARD.encode(bytes_of_hex(&payload.log_id).ok_or_else(|| broken(&"the log ID is not hexadecimal"))?)},
        "kindVersion": {"kind": kind, "version": api_version},
        "integratedTime": payload.integrated_time.to_string(),
        "inclusionPromise": {"signedEntryTimestamp": signed},
        "canonicalizedBody": payload.body,
    }))
}

/// Returns the base64 content of each certificate block of a PEM text, without line ends (RFC 7468).
fn certificates(pem: &str) -> impl Iterator<Item = String> {
    let blocks = pem.split(BEGIN).skip(1).filter_map(|rest| rest.split(END).next());
    blocks.map(|block| block.split_whitespace().collect())
}

fn broken(problem: &dyn std::fmt::Display) -> Problem {
    Problem::Broken(format!("not a valid legacy signature: {problem}"))
}
