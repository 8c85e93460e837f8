//! A transparency log of version 1 that logs whatever it is told, with right signatures: nobody else would log a lie.
//!
//! It is known to nobody until [`HandmadeLog::trusted_in`] writes it into a trusted root.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData, SigningKey as _};
use serde_json::{Value, json};

/// Stands before the signature of a checkpoint; with the number of a tree, at its top.
const NAME: &str = "log.example.test";

/// The key of a log; it keeps no entries, and each is the only one of a tree of its own.
#[derive(Debug)]
pub struct HandmadeLog {
    key: KeyPair,
}

/// What a log says of something; every field may be changed before it is written down.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// `hashedrekord` and the like, and the version of that.
    pub kind: String,
    pub version: String,
    /// What was logged, as JSON.
    pub body: Vec<u8>,
    /// In seconds since 1970.
    pub time: u64,
    /// The hash of the log's public key.
    pub log_id: Vec<u8>,
    /// Over body, time, log and index 0 ("signed entry timestamp").
    pub promise: Vec<u8>,
    pub root_hash: Vec<u8>,
    pub tree_size: u64,
    pub index: u64,
    /// A signed note about root hash and size.
    pub checkpoint: String,
}

impl HandmadeLog {
    pub fn new() -> Result<Self> {
        Ok(Self { key: KeyPair::generate()? })
    }

    /// Logs something as of a time: one entry, in a tree of one.
    pub fn entry(&self, body: &Value, time: u64) -> Result<LogEntry> {
        let text =
            |name: &str| body[name].as_str().map(str::to_owned).with_context(|| format!("a body without {name}"));
        let (kind, version) = (text("kind")?, text("apiVersion")?);
        let body = body.to_string().into_bytes();
        let log_id = self.id();
        // The names in this order, and nothing between (RFC 8785).
        let promised = json!({
            "body": STANDARD.encode(&body), "integratedTime": time, "logID": hex(&log_id), "logIndex": 0,
        });
        // RFC 6962 section 2.1: the hash of a leaf, which is the root of a tree that has no other.
        let root_hash = sha256(&[&[0], body.as_slice()].concat());
        let checkpoint = self.checkpoint(&root_hash, 1)?;
        let promise = self.key.sign(promised.to_string().as_bytes())?;
        Ok(LogEntry { kind, version, body, time, log_id, promise, root_hash, tree_size: 1, index: 0, checkpoint })
    }

    /// Its word that a tree of so many entries has that root.
    pub fn checkpoint(&self, root_hash: &[u8], tree_size: u64) -> Result<String> {
        let note = format!("{NAME} - 1\n{tree_size}\n{}\n", STANDARD.encode(root_hash));
        let signature = [self.id().get(..4).unwrap_or_default(), &self.key.sign(note.as_bytes())?].concat();
        Ok(format!("{note}\n\u{2014} {NAME} {}\n", STANDARD.encode(signature)))
    }

    /// A trusted root with this log in it, besides the others, from one time to another or for ever; as of RFC 3339.
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
    /// As it stands in a bundle.
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

    /// As it stands beside a legacy signature, in `dev.sigstore.cosign/bundle`.
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

/// The body for an envelope (DSSE) with one signature, over this payload.
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

/// The body for a signature over these bytes, by the owner of a certificate or a public key, which is PEM.
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
