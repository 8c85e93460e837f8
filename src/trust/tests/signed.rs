//! Signatures in parts: the bytes that are signed, or that must equal signed bytes.
//!
//! [`coding`] decides about each field, and an unknown field fails the tests. In a checkpoint only the note and the
//! log's own signature count; in a timestamp only the signed content and its signature, not the certificates.

use std::ops::Range;

use sigstore_verify::types::DerPublicKey;

use super::published::{self, Published, fixture};
use super::*;
use crate::trust::verdict::{self, CandidateKind};

/// Valid signature, with the entry that it satisfies.
#[derive(Clone)]
pub(super) struct Specimen {
    pub(super) name: String,
    form: Form,
    /// The bundle, or the log annotation of a legacy signature; `null` if it is in no log.
    document: Value,
    entry: Entry,
    /// `SubjectPublicKeyInfo` of the entry's key, if it has one.
    key: Option<Vec<u8>>,
    artifact: Digest,
}

#[derive(Clone)]
enum Form {
    Bundle,
    Legacy { payload: Vec<u8>, signature: Vec<u8> },
}

/// Encoding of bytes in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Base64,
    Hex,
    Text,
    Number,
}

/// Location of bytes.
#[derive(Clone, Debug)]
enum Place {
    /// JSON pointer into the document.
    Document(String, Coding),
    Payload,
    Signature,
    /// Digest of the expected artifact.
    Artifact,
    /// Accepted key.
    Key,
}

/// Signed bytes.
#[derive(Clone, Debug)]
pub(super) struct Field {
    place: Place,
    spans: Vec<Range<usize>>,
}

impl Specimen {
    /// Returns one specimen of each kind: published ones, and kinds that are not published, made here.
    pub(super) fn all() -> Vec<Self> {
        let published = Published::nameable().map(|row| Self {
            name: row.bundle.clone(),
            form: Form::Bundle,
            document: row.document(),
            entry: row.entry(),
            key: row.key.as_deref().map(|file| der_of(&fixture(file))),
            artifact: row.artifact(),
        });
        published.chain([keyed(), legacy(None), legacy(Some("sha256"))]).collect()
    }

    pub(super) fn verdict(&self) -> Result<Verified, Rejection> {
        self.verdict_of(self.document.to_string().as_bytes())
    }

    /// Judges the signature with another text in place of the document.
    pub(super) fn verdict_of(&self, text: &[u8]) -> Result<Verified, Rejection> {
        let (bytes, kind) = match &self.form {
            Form::Bundle => (text, CandidateKind::Bundle),
            Form::Legacy { payload, signature } => {
                let mut annotations = json!({"dev.cosignproject.cosign/signature": STANDARD.encode(signature)});
                if !self.document.is_null() {
                    // Annotations in a manifest are always valid UTF-8.
                    let text = std::str::from_utf8(text).map_err(|error| Rejection::Invalid(error.to_string()))?;
                    annotations["dev.sigstore.cosign/bundle"] = json!(text);
                }
                (payload.as_slice(), CandidateKind::Legacy(serde_json::from_value(annotations).unwrap()))
            }
        };
        let candidate = Candidate { digest: self.artifact.clone(), bytes: bytes.to_vec().into(), kind };
        verdict::judge(&candidate, &self.entry, &self.artifact)
    }

    /// Returns all signed fields.
    pub(super) fn fields(&self) -> Vec<Field> {
        let mut places: Vec<Place> = leaves(&self.document)
            .into_iter()
            .filter_map(|pointer| Some(Place::Document(pointer.clone(), self.coding(&pointer)?)))
            .collect();
        places.push(Place::Artifact);
        if self.key.is_some() {
            places.push(Place::Key);
        }
        if matches!(self.form, Form::Legacy { .. }) {
            places.extend([Place::Payload, Place::Signature]);
        }
        places.into_iter().map(|place| Field { spans: self.spans(&place), place }).collect()
    }

    pub(super) fn document(&self) -> &Value {
        &self.document
    }

    fn coding(&self, pointer: &str) -> Option<Coding> {
        let is_v2 =
            self.document.pointer("/verificationMaterial/tlogEntries/0/kindVersion/version") == Some(&json!("0.0.2"));
        coding(pointer, is_v2)
    }

    /// Returns the signed values of a document by their JSON pointers.
    pub(super) fn says(&self, document: &Value) -> Vec<(String, Vec<Option<Vec<u8>>>)> {
        let said = |field: Field| {
            let Place::Document(pointer, coding) = field.place else { return None };
            let bytes = document.pointer(&pointer).and_then(|value| decode(value, coding));
            let bytes = bytes.as_deref();
            let spans = field.spans.into_iter();
            Some((pointer, spans.map(|span| bytes.and_then(|bytes| bytes.get(span)).map(<[u8]>::to_vec)).collect()))
        };
        self.fields().into_iter().filter_map(said).collect()
    }

    pub(super) fn bytes(&self, field: &Field) -> Vec<u8> {
        self.get(&field.place)
    }

    fn get(&self, place: &Place) -> Vec<u8> {
        match (place, &self.form) {
            (Place::Document(pointer, coding), _) => decode(self.document.pointer(pointer).unwrap(), *coding).unwrap(),
            (Place::Artifact, _) => self.artifact.as_bytes().to_vec(),
            (Place::Key, _) => self.key.clone().unwrap(),
            (Place::Payload, Form::Legacy { payload, .. }) => payload.clone(),
            (Place::Signature, Form::Legacy { signature, .. }) => signature.clone(),
            (Place::Payload | Place::Signature, Form::Bundle) => unreachable!("only legacy signatures have those"),
        }
    }

    /// Returns a copy with other bytes in a field; `None` if those bytes cannot be encoded there.
    pub(super) fn with(&self, field: &Field, bytes: Vec<u8>) -> Option<Self> {
        let mut changed = self.clone();
        match (&field.place, &mut changed.form) {
            (Place::Document(pointer, coding), _) => {
                let slot = changed.document.pointer_mut(pointer).unwrap();
                *slot = encode(&bytes, *coding, slot.is_number())?;
            }
            (Place::Artifact, _) => {
                let hex = encode(&bytes, Coding::Hex, false)?;
                changed.artifact = format!("sha256:{}", hex.as_str()?).parse().ok()?;
            }
            (Place::Key, _) => {
                let pem = DerPublicKey::new(bytes).to_pem();
                changed.entry.keys = vec![PublicKey::from_pem(pem.as_bytes()).ok()?];
            }
            (Place::Payload, Form::Legacy { payload, .. }) => *payload = bytes,
            (Place::Signature, Form::Legacy { signature, .. }) => *signature = bytes,
            (Place::Payload | Place::Signature, Form::Bundle) => unreachable!("only legacy signatures have those"),
        }
        Some(changed)
    }

    fn spans(&self, place: &Place) -> Vec<Range<usize>> {
        let bytes = self.get(place);
        match place {
            Place::Document(pointer, _) if pointer.ends_with("/checkpoint/envelope") => note(&bytes),
            Place::Document(pointer, _) if pointer.ends_with("/signedTimestamp") => timestamp(&bytes),
            Place::Document(..) | Place::Payload | Place::Signature | Place::Artifact | Place::Key => {
                std::iter::once(0..bytes.len()).collect()
            }
        }
    }
}

impl Field {
    pub(super) fn spans(&self) -> &[Range<usize>] {
        &self.spans
    }

    /// Returns the number of bits in a byte that can be flipped: text stays ASCII.
    pub(super) fn bits(&self) -> usize {
        if matches!(self.place, Place::Document(_, Coding::Text)) { 7 } else { 8 }
    }
}

/// Names of base64 fields, in bundles and in log annotations.
const BASE64: [&str; 13] = [
    "SignedEntryTimestamp",
    "body",
    "canonicalizedBody",
    "digest",
    "hashes",
    "keyId",
    "payload",
    "rawBytes",
    "rootHash",
    "sig",
    "signature",
    "signedEntryTimestamp",
    "signedTimestamp",
];

/// Returns the encoding of a field; `None` if the field is not signed.
fn coding(pointer: &str, is_v2: bool) -> Option<Coding> {
    let mut names = pointer.rsplit('/').filter(|name| name.parse::<usize>().is_err());
    let (name, parent) = (names.next().unwrap(), names.next().unwrap_or_default());
    match (parent, name) {
        // In version 2 these values come from the signed checkpoint.
        ("inclusionProof", "rootHash" | "treeSize" | "logIndex") if is_v2 => None,
        // The name of the hash is not case-sensitive; the hashed content is compared.
        ("messageDigest", "algorithm") | ("", "mediaType") | ("publicKey", "hint") | ("signatures", "keyid") => None,
        _ if BASE64.contains(&name) => Some(Coding::Base64),
        (_, "logIndex" | "treeSize" | "integratedTime") => Some(Coding::Number),
        (_, "envelope" | "payloadType" | "kind" | "version") => Some(Coding::Text),
        (_, "logID") => Some(Coding::Hex),
        _ => panic!("no rule for {pointer}"),
    }
}

/// Returns JSON pointers to all values in a document that are not objects or arrays.
fn leaves(document: &Value) -> Vec<String> {
    let below =
        |name: &str, value: &Value| leaves(value).into_iter().map(|rest| format!("/{name}{rest}")).collect::<Vec<_>>();
    match document {
        Value::Object(fields) => fields.iter().flat_map(|(name, value)| below(name, value)).collect(),
        Value::Array(items) => items.iter().enumerate().flat_map(|(at, value)| below(&at.to_string(), value)).collect(),
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![String::new()],
    }
}

fn der_of(pem: &[u8]) -> Vec<u8> {
    DerPublicKey::from_pem(std::str::from_utf8(pem).unwrap()).unwrap().as_bytes().to_vec()
}

fn decode(value: &Value, coding: Coding) -> Option<Vec<u8>> {
    match coding {
        Coding::Base64 => STANDARD.decode(value.as_str()?).ok(),
        Coding::Text => Some(value.as_str()?.as_bytes().to_vec()),
        Coding::Number => {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
            // Only as many bytes as a time or an index can have.
            Some(number.to_be_bytes()[3..].to_vec())
        }
        Coding::Hex => {
            let text = value.as_str()?;
            (0..text.len() / 2).map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()).collect()
        }
    }
}

fn encode(bytes: &[u8], coding: Coding, bare: bool) -> Option<Value> {
    Some(match coding {
        Coding::Base64 => json!(STANDARD.encode(bytes)),
        Coding::Text => json!(std::str::from_utf8(bytes).ok()?),
        Coding::Number => {
            let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            if bare { json!(number) } else { json!(number.to_string()) }
        }
        Coding::Hex => json!(hex(bytes)),
    })
}

fn hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    nibbles.map(|nibble| char::from_digit(nibble.into(), 16).unwrap()).collect()
}

/// Returns the note of a checkpoint and its first signature, without the key name in front. Witness signatures follow.
fn note(bytes: &[u8]) -> Vec<Range<usize>> {
    let text = std::str::from_utf8(bytes).unwrap();
    let body = text.find("\n\n").unwrap() + 2;
    let end = body + text[body..].find('\n').unwrap_or(text.len() - body);
    let signature = text[..end].rfind(' ').unwrap() + 1;
    vec![0..body, signature..end]
}

/// Returns the signed content of a timestamp, and its signature (RFC 3161 section 2.4.2, RFC 5652 section 5).
fn timestamp(der: &[u8]) -> Vec<Range<usize>> {
    let child = |of: &Range<usize>, at: usize| parts(der, of)[at].1.clone();
    let tagged = |of: &Range<usize>, wanted: u8| parts(der, of).into_iter().find(|(tag, _)| *tag == wanted).unwrap().1;
    let response = child(&(0..der.len()), 0);
    let signed_data = child(&child(&child(&response, 1), 1), 0);
    let content = child(&child(&child(&signed_data, 2), 1), 0);
    let signer = child(&parts(der, &signed_data).last().unwrap().1, 0);
    vec![content, tagged(&signer, 0xa0), tagged(&signer, 0x04)]
}

/// Returns the tags in a part of DER, with the range of each content.
fn parts(der: &[u8], within: &Range<usize>) -> Vec<(u8, Range<usize>)> {
    let (mut at, mut found) = (within.start, Vec::new());
    while at < within.end {
        let (tag, first) = (der[at], usize::from(der[at + 1]));
        let more = first.saturating_sub(0x80);
        let start = at + 2 + more;
        let length = if more == 0 {
            first
        } else {
            der[at + 2..start].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        };
        found.push((tag, start..start + length));
        at = start + length;
    }
    found
}

/// Creates a signature with a key, in no log, as `cosign sign --key` makes it.
fn keyed() -> Specimen {
    let (signatory, artifact) = (Signatory::new(), Digest::of(b"artifact"));
    let mut document = signatory.bundle(&artifact, SIGNATURE_PREDICATE);
    document["verificationMaterial"].as_object_mut().unwrap().remove("tlogEntries");
    let entry = entry(&[&signatory]);
    let key = Some(signatory.der());
    Specimen { name: "keyed".to_owned(), form: Form::Bundle, document, entry, key, artifact }
}

/// Creates a legacy signature, in a log under the given hash name, or in no log.
pub(super) fn legacy(logged: Option<&str>) -> Specimen {
    let (signatory, log, artifact) = (Signatory::new(), Signatory::new(), Digest::of(b"artifact"));
    let payload = json!({
        "critical": {
            "identity": {"docker-reference": "r.example/app"}, "image": {"docker-manifest-digest": artifact},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = payload.to_string().into_bytes();
    let signature = signatory.0.sign(&payload).unwrap().as_bytes().to_vec();
    let mut entry = entry(&[&signatory]);
    let mut document = Value::Null;
    if let Some(algorithm) = logged {
        let pem = signatory.0.public_key_der().unwrap().to_pem();
        document = log.promise(&json!({
            "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
                "data": {"hash": {"algorithm": algorithm, "value": Digest::of(&payload).hex()}},
                "signature": {
                    "content": STANDARD.encode(&signature), "publicKey": {"content": STANDARD.encode(pem)},
                },
            },
        }));
        entry.root = log.trusted();
        entry.log = TransparencyLog::Required;
    }
    let name = if logged.is_some() { "legacy, logged" } else { "legacy" };
    let (form, key) = (Form::Legacy { payload, signature }, Some(signatory.der()));
    Specimen { name: name.to_owned(), form, document, entry, key, artifact }
}

impl Signatory {
    fn der(&self) -> Vec<u8> {
        self.0.public_key_der().unwrap().as_bytes().to_vec()
    }
    /// Signs the inclusion promise of a body, as an annotation from a log of version 1.
    fn promise(&self, body: &Value) -> Value {
        let promised = json!({
            "body": STANDARD.encode(body.to_string()), "integratedTime": 1_767_225_600, "logID": self.key().fingerprint().hex(), "logIndex": 7,
        });
        // The names must be in alphabetical order, without white space (RFC 8785).
        let signature = self.0.sign(promised.to_string().as_bytes()).unwrap();
        json!({"Payload": promised, "SignedEntryTimestamp": STANDARD.encode(signature.as_bytes())})
    }

    /// Returns the trusted root in which this key is a log's.
    pub(super) fn trusted(&self) -> Root {
        published::root_of(&self.trusted_json())
    }

    pub(super) fn trusted_json(&self) -> Value {
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [{
                "baseUrl": "https://log.example", "hashAlgorithm": "SHA2_256",
                "logId": {"keyId": STANDARD.encode(self.key().fingerprint().as_bytes())},
                "publicKey": {
                    "rawBytes": STANDARD.encode(self.der()), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": {"start": "2025-01-01T00:00:00Z"},
                },
            }],
        })
    }
}
