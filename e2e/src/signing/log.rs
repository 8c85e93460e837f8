//! Transparency log of version 1 that logs any content, with valid signatures: a real log would refuse false entries.
//!
//! The log is in no trusted root until [`HandmadeLog::trusted_in`] adds it.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData, SigningKey as _};
use serde_json::{Value, json};

/// Name of the log: before the signature of a checkpoint and, with the ID of the tree, in its first line.
const NAME: &str = "log.example.test";

/// Key of a log. The log stores no entries: each entry is the only one in its own tree.
#[derive(Debug)]
pub struct HandmadeLog {
    key: KeyPair,
}

/// Entry of a log; tests may change every field before it is serialized.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Kind of the entry, such as `hashedrekord`; `version` is the version of the kind.
    pub kind: String,
    pub version: String,
    /// Logged content, as JSON.
    pub body: Vec<u8>,
    /// Integrated time, in seconds since 1970.
    pub time: u64,
    /// SHA-256 of the log's public key.
    pub log_id: Vec<u8>,
    /// Signature over body, time, log and index 0 ("signed entry timestamp").
    pub promise: Vec<u8>,
    pub root_hash: Vec<u8>,
    pub tree_size: u64,
    pub index: u64,
    /// Signed note with root hash and tree size.
    pub checkpoint: String,
}

impl HandmadeLog {
    pub fn new() -> Result<Self> {
        Ok(Self { key: KeyPair::generate()? })
    }

    /// Logs a body with a time: one entry, in a tree of size 1.
    pub fn entry(&self, body: &Value, time: u64) -> Result<LogEntry> {
        let text =
            |name: &str| body[name].as_str().map(str::to_owned).with_context(|| format!("a body without {name}"));
        let (kind, version) = (text("kind")?, text("apiVersion")?);
        let body = body.to_string().into_bytes();
        let log_id = self.id();
        // Canonical JSON: the names in this order, without whitespace (RFC 8785).
        let promised = json!({
            "body": STANDARD.encode(&body), "integratedTime": time, "logID": hex(&log_id), "logIndex": 0,
        });
        // RFC 6962 section 2.1: the hash of a leaf, which is the root of a tree with one leaf.
        let root_hash = sha256(&[&[0], body.as_slice()].concat());
        let checkpoint = self.checkpoint(&root_hash, 1)?;
        let promise = self.key.sign(promised.to_string().as_bytes())?;
        Ok(LogEntry { kind, version, body, time, log_id, promise, root_hash, tree_size: 1, index: 0, checkpoint })
    }

    /// Returns a signed checkpoint for a tree with this root hash and size.
    pub fn checkpoint(&self, root_hash: &[u8], tree_size: u64) -> Result<String> {
        let note = format!("{NAME} - 1\n{tree_size}\n{}\n", STANDARD.encode(root_hash));
        let signature = [self.id().get(..4).unwrap_or_default(), &self.key.sign(note.as_bytes())?].concat();
        Ok(format!("{note}\n\u{2014} {NAME} {}\n", STANDARD.encode(signature)))
    }

    /// Returns a trusted root with this log added, valid from `since` to `until`, or without end. Times are RFC 3339.
    pub fn trusted_in(&self, trusted_root: &[u8], since: &str, until: Option<&str>) -> Result<Value> {
        let mut root: Value = serde_json::from_slice(trusted_root)?;
        let window = until.map_or_else(|| json!({"start": since}), |until| json!({"start": since, "end": until}));
        let log = json!({
            "baseUrl": format!("https://{NAME}"),
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(self.key.subject_public_key_info()),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": window,
            },
            "logId": {"keyId": STANDARD.encode(self.id())},
        });
        let logs = root.get_mut("tlogs").and_then(Value::as_array_mut);
        logs.context("a trusted root without logs")?.push(log);
        Ok(root)
    }

    fn id(&self) -> Vec<u8> {
        sha256(&self.key.subject_public_key_info())
    }
}

impl LogEntry {
    /// Returns the entry in the format of a bundle.
    pub fn in_bundle(&self) -> Value {
        json!({
            "logIndex": "0",
            "logId": {"keyId": STANDARD.encode(&self.log_id)},
            "kindVersion": {"kind": self.kind, "version": self.version},
            "integratedTime": self.time.to_string(),
            "inclusionPromise": {"signedEntryTimestamp": STANDARD.encode(&self.promise)},
            "inclusionProof": {
                "logIndex": self.index.to_string(),
                "rootHash": STANDARD.encode(&self.root_hash),
                "treeSize": self.tree_size.to_string(),
                "hashes": [],
                "checkpoint": {"envelope": self.checkpoint},
            },
            "canonicalizedBody": STANDARD.encode(&self.body),
        })
    }

    /// Returns the entry in the format of a legacy signature's annotation `dev.sigstore.cosign/bundle`.
    pub fn in_annotation(&self) -> Value {
        json!({
            "SignedEntryTimestamp": STANDARD.encode(&self.promise),
            "Payload": {
                "body": STANDARD.encode(&self.body), "integratedTime": self.time,
                "logIndex": 0, "logID": hex(&self.log_id),
            },
        })
    }
}

/// Makes the body of an entry for an envelope (DSSE) with one signature over this payload.
pub fn dsse(envelope: &Value, payload: &[u8], signature: &[u8], verifier_pem: &str) -> Value {
    let hash = |bytes: &[u8]| json!({"algorithm": "sha256", "value": hex(&sha256(bytes))});
    json!({
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": hash(envelope.to_string().as_bytes()),
            "payloadHash": hash(payload),
            "signatures": [{"signature": STANDARD.encode(signature), "verifier": STANDARD.encode(verifier_pem)}],
        },
    })
}

/// Makes the body of an entry for a signature over these bytes; `verifier_pem` is a certificate or a public key.
pub fn hashedrekord(signed: &[u8], signature: &[u8], verifier_pem: &str) -> Value {
    json!({
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hex(&sha256(signed))}},
            "signature": {
                "content": STANDARD.encode(signature),
                "publicKey": {"content": STANDARD.encode(verifier_pem)},
            },
        },
    })
}

pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
