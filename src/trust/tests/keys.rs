//! Keys of every documented kind, in logs of both versions: valid signatures are accepted, and nothing else.

use rcgen::{RsaKeySize, SigningKey};
use sigstore_verify::crypto::{sha256, sha384};
use sigstore_verify::types::DerPublicKey;

use super::*;

/// Signer with a key of some kind.
pub(super) struct Holder {
    pub(super) key: rcgen::KeyPair,
    /// Name of the key type in a log of version 2 (protobuf-specs, `PublicKeyDetails`).
    pub(super) details: &'static str,
    hash: Hash,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
}

impl Hash {
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => sha256(bytes).as_bytes().to_vec(),
            Self::Sha384 => sha384(bytes).as_bytes().to_vec(),
        }
    }

    /// Returns the names of the hash in logs of version 1 and 2.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Sha256 => ["sha256", "SHA2_256"],
            Self::Sha384 => ["sha384", "SHA2_384"],
        }
    }
}

impl Holder {
    pub(super) fn all() -> Vec<Self> {
        let rsa = |size| rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap();
        let holder = |key, details, hash| Self { key, details, hash };
        let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        vec![
            holder(p256, "PKIX_ECDSA_P256_SHA_256", Hash::Sha256),
            holder(p384, "PKIX_ECDSA_P384_SHA_384", Hash::Sha384),
            holder(rsa(RsaKeySize::_2048), "PKIX_RSA_PKCS1V15_2048_SHA256", Hash::Sha256),
            holder(rsa(RsaKeySize::_3072), "PKIX_RSA_PKCS1V15_3072_SHA256", Hash::Sha256),
            holder(rsa(RsaKeySize::_4096), "PKIX_RSA_PKCS1V15_4096_SHA256", Hash::Sha256),
        ]
    }

    fn der(&self) -> Vec<u8> {
        DerPublicKey::from_pem(&self.key.public_key_pem()).unwrap().as_bytes().to_vec()
    }

    fn sign(&self, bytes: &[u8]) -> String {
        STANDARD.encode(self.key.sign(bytes).unwrap())
    }
}

/// Signature with the body of its log entry; tests may change each before the bundle is built.
pub(super) struct Case {
    /// `messageSignature` or `dsseEnvelope`, and the value.
    pub(super) content: (&'static str, Value),
    pub(super) body: Value,
}

pub(super) const CONTENT: &[u8] = b"content";

pub(super) fn envelope(holder: &Holder, version: usize) -> Case {
    let payload = json!({
        "_type": "https://in-toto.io/Statement/v1", "predicateType": SIGNATURE_PREDICATE, "predicate": {},
        "subject": [{"digest": {"sha256": Digest::of(CONTENT).hex()}}],
    })
    .to_string();
    let signed = pae(STATEMENT, payload.as_bytes());
    let signature = holder.sign(&signed);
    let envelope = json!({
        "payload": STANDARD.encode(&payload), "payloadType": STATEMENT, "signatures": [{"sig": signature}],
    });
    let pem = STANDARD.encode(holder.key.public_key_pem());
    let body = match version {
        1 => json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": Digest::of(envelope.to_string().as_bytes()).hex()},
            "payloadHash": {"algorithm": "sha256", "value": Digest::of(payload.as_bytes()).hex()},
            "signatures": [{"signature": signature, "verifier": pem}],
        }}),
        _ => body_v2(holder, &signed, &signature),
    };
    Case { content: ("dsseEnvelope", envelope), body }
}

pub(super) fn message(holder: &Holder, version: usize) -> Case {
    let (signature, [v1, v2]) = (holder.sign(CONTENT), holder.hash.names());
    let digest = holder.hash.of(CONTENT);
    let body = match version {
        1 => json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
            "data": {"hash": {"algorithm": v1, "value": hex(&digest)}},
            "signature": {
                "content": signature, "publicKey": {"content": STANDARD.encode(holder.key.public_key_pem())},
            },
        }}),
        _ => body_v2(holder, CONTENT, &signature),
    };
    let message = json!({
        "messageDigest": {"algorithm": v2, "digest": STANDARD.encode(&digest)}, "signature": signature,
    });
    Case { content: ("messageSignature", message), body }
}

fn body_v2(holder: &Holder, signed: &[u8], signature: &str) -> Value {
    json!({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
        "data": {"algorithm": holder.hash.names()[1], "digest": STANDARD.encode(holder.hash.of(signed))},
        "signature": {"content": signature, "verifier": {
            "keyDetails": holder.details, "publicKey": {"rawBytes": STANDARD.encode(holder.der())},
        }},
    }}})
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}

/// Builds the log entry of a body, as the only entry in the log's tree.
pub(super) fn logged(log: &Signatory, body: &Value) -> Value {
    let (bytes, is_v2) = (body.to_string(), body["apiVersion"] == "0.0.2");
    let root = Digest::of(&[&[0], bytes.as_bytes()].concat());
    let (root, id) = (STANDARD.encode(root.as_bytes()), log.key().fingerprint().clone());
    let note = format!("log.example\n1\n{root}\n");
    let signature = log.0.sign(note.as_bytes()).unwrap();
    let line = STANDARD.encode([id.as_bytes().get(..4).unwrap(), signature.as_bytes()].concat());
    let mut entry = json!({
        "logIndex": "0", "logId": {"keyId": STANDARD.encode(id.as_bytes())},
        "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
        "inclusionProof": {
            "logIndex": "0", "rootHash": root, "treeSize": "1", "hashes": [],
            "checkpoint": {"envelope": format!("{note}\n\u{2014} log.example {line}\n")},
        },
        "canonicalizedBody": STANDARD.encode(&bytes),
    });
    if !is_v2 {
        let time = 1_767_225_600_i64;
        let promised =
            json!({"body": STANDARD.encode(&bytes), "integratedTime": time, "logID": id.hex(), "logIndex": 0});
        let signature = log.0.sign(promised.to_string().as_bytes()).unwrap();
        entry["integratedTime"] = json!(time.to_string());
        entry["inclusionPromise"] = json!({"signedEntryTimestamp": STANDARD.encode(signature.as_bytes())});
    }
    entry
}

fn bundle(case: &Case, entry: &Value) -> Value {
    let mut bundle = json!({
        "mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": ""}, "tlogEntries": [entry]},
    });
    bundle[case.content.0] = case.content.1.clone();
    bundle
}

fn judged(log: &Signatory, holder: &Holder, bundle: &Value) -> Result<Verified, TrustError> {
    let entry = Entry {
        keys: vec![PublicKey::from_pem(holder.key.public_key_pem().as_bytes()).unwrap()],
        log: TransparencyLog::Required,
        root: log.trusted(),
        ..entry(&[])
    };
    judge_bundle(bundle.to_string().as_bytes(), Artifact::Content(CONTENT), &entry)
}

/// Returns the cases of one key: both forms of a signature, in logs of both versions.
fn cases(holder: &Holder) -> Vec<(String, Case)> {
    let named = |form: &str, version: usize, case| (format!("{form} by {} in version {version}", holder.details), case);
    [1, 2]
        .into_iter()
        .flat_map(|version| {
            [
                named("an envelope", version, envelope(holder, version)),
                named("a message", version, message(holder, version)),
            ]
        })
        .collect()
}

#[test]
fn every_key_that_the_documents_name_verifies_in_logs_of_both_versions() {
    let log = Signatory::new();
    for holder in Holder::all() {
        for (label, case) in cases(&holder) {
            let verified = judged(&log, &holder, &bundle(&case, &logged(&log, &case.body)));
            let verified = verified.unwrap_or_else(|error| panic!("{label}: {error}"));
            assert_eq!(verified.signer, Signer::Key(Digest::of(&holder.der())), "{label}");
            assert_eq!(verified.log_index, Some(0), "{label}");
        }
    }
}

#[test]
fn a_log_entry_for_another_signature_key_or_content_is_refused() {
    let (log, other_log) = (Signatory::new(), Signatory::new());
    let (holders, others) = (Holder::all(), Holder::all());
    for (holder, other) in holders.iter().zip(&others) {
        for ((label, case), (_, theirs)) in cases(holder).into_iter().zip(cases(other)) {
            let refuse = |what: &str, bundle: &Value| {
                let judged = judged(&log, holder, bundle);
                assert!(
                    matches!(judged, Err(TrustError::Invalid { .. } | TrustError::Signer { .. })),
                    "{label}, {what}: {judged:?}"
                );
            };
            let entry = logged(&log, &case.body);
            refuse("an entry of somebody else", &bundle(&case, &logged(&log, &theirs.body)));
            refuse("a log that is not trusted", &bundle(&case, &logged(&other_log, &case.body)));
            refuse("no entry", &bundle(&case, &Value::Null));
            for pointer in changed(&case.body) {
                let mut body = case.body.clone();
                let from = theirs.body.pointer(pointer).unwrap();
                let slot = body.pointer_mut(pointer).unwrap();
                *slot = if *slot == *from { spoilt(slot) } else { from.clone() };
                refuse(pointer, &bundle(&case, &logged(&log, &body)));
            }
            let checkpoint = "/inclusionProof/checkpoint/envelope";
            let mut entry_of = entry.clone();
            *entry_of.pointer_mut(checkpoint).unwrap() =
                logged(&log, &theirs.body).pointer(checkpoint).unwrap().clone();
            refuse("a checkpoint of another tree", &bundle(&case, &entry_of));
            let mut entry_of = entry.clone();
            entry_of.as_object_mut().unwrap().remove("inclusionProof");
            refuse("no proof", &bundle(&case, &entry_of));
            if let Some(promise) = entry.get("inclusionPromise") {
                let mut entry_of = logged(&log, &theirs.body);
                entry_of["canonicalizedBody"] = entry["canonicalizedBody"].clone();
                entry_of["inclusionProof"] = entry["inclusionProof"].clone();
                assert_ne!(promise, &entry_of["inclusionPromise"]);
                refuse("the promise of something else", &bundle(&case, &entry_of));
            }
        }
    }
}

/// Returns the fields of a body that must equal those of the bundle.
fn changed(body: &Value) -> &'static [&'static str] {
    match (body["kind"].as_str(), body["apiVersion"].as_str()) {
        (Some("dsse"), _) => {
            &["/spec/signatures/0/signature", "/spec/signatures/0/verifier", "/spec/payloadHash/value"]
        }
        (_, Some("0.0.1")) => &[
            "/spec/signature/content",
            "/spec/signature/publicKey/content",
            "/spec/data/hash/value",
            "/spec/data/hash/algorithm",
        ],
        _ => &[
            "/spec/hashedRekordV002/signature/content",
            "/spec/hashedRekordV002/signature/verifier/publicKey/rawBytes",
            "/spec/hashedRekordV002/signature/verifier/keyDetails",
            "/spec/hashedRekordV002/data/digest",
            "/spec/hashedRekordV002/data/algorithm",
        ],
    }
}

/// Returns another value of the same form.
fn spoilt(value: &Value) -> Value {
    let text = value.as_str().unwrap();
    json!(match text {
        "sha256" => "sha384".to_owned(),
        "sha384" => "sha256".to_owned(),
        "SHA2_256" => "SHA2_384".to_owned(),
        "SHA2_384" => "SHA2_256".to_owned(),
        "PKIX_ECDSA_P384_SHA_384" => "PKIX_ECDSA_P384_SHA_256".to_owned(),
        _ if text.starts_with("PKIX_") => "PKIX_ED25519".to_owned(),
        _ if text.starts_with('a') => format!("b{}", &text[1..]),
        _ => format!("a{}", &text[1..]),
    })
}
