//! Signatures taken apart: which bytes of one somebody has signed, or are bound to what somebody has signed.
//!
//! The rule is [`coding`]: a field that it does not know fails the tests. Within a field only those bytes count that are
//! signed: of a checkpoint the note and the log's own signature, of a timestamp what the authority has signed and its
//! signature, but not the certificates beside it.

use std::ops::Range;

use sigstore_verify::types::DerPublicKey;

use super::published::{self, Published, fixture};
use super::*;
use crate::trust::verdict::{self, Kind};

/// A valid signature, and what it satisfies.
#[derive(Clone)]
pub(super) struct Specimen {
    pub(super) name: String,
    form: Form,
    /// The bundle, or the annotation of a legacy signature that has the word of a log; `null` where there is none.
    document: Value,
    entry: Entry,
    /// What is in the key of the entry, if it has one (`SubjectPublicKeyInfo`).
    key: Option<Vec<u8>>,
    artifact: Digest,
}

#[derive(Clone)]
enum Form {
    Bundle,
    Legacy { payload: Vec<u8>, signature: Vec<u8> },
}

/// How bytes stand in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Base64,
    Hex,
    Text,
    Number,
}

/// Where bytes are.
#[derive(Clone, Debug)]
enum Place {
    /// A JSON pointer into the document.
    Document(String, Coding),
    Payload,
    Signature,
    /// The digest of the artifact that is asked for.
    Artifact,
    /// The key that is accepted.
    Key,
}

/// Bytes that are signed.
#[derive(Clone, Debug)]
pub(super) struct Field {
    place: Place,
    spans: Vec<Range<usize>>,
}

impl Specimen {
    /// One of each kind: what others published, and by hand what they do not publish.
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

    /// With another text in place of the document.
    pub(super) fn verdict_of(&self, text: &[u8]) -> Result<Verified, Rejection> {
        let (bytes, kind) = match &self.form {
            Form::Bundle => (text, Kind::Bundle),
            Form::Legacy { payload, signature } => {
                let mut annotations = json!({"dev.cosignproject.cosign/signature": STANDARD.encode(signature)});
                if !self.document.is_null() {
                    // What is no text is in no manifest.
                    let text = std::str::from_utf8(text).map_err(|error| Rejection::Invalid(error.to_string()))?;
                    annotations["dev.sigstore.cosign/bundle"] = json!(text);
                }
                (payload.as_slice(), Kind::Legacy(serde_json::from_value(annotations).unwrap()))
            }
        };
        let candidate = Candidate { digest: self.artifact.clone(), bytes: bytes.to_vec().into(), kind };
        verdict::judge(&candidate, &self.entry, &self.artifact)
    }

    /// What is signed, all of it.
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

    /// What is signed in a document, by its pointers.
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

    /// The same with other bytes; `None` where that is nothing that could be asked.
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
                changed.entry.keys = vec![Key::from_pem(pem.as_bytes()).ok()?];
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

    /// Bits of a byte that can be flipped: text stays text.
    pub(super) fn bits(&self) -> usize {
        if matches!(self.place, Place::Document(_, Coding::Text)) { 7 } else { 8 }
    }
}

/// Names of fields that are bytes, in bundles and in the word of a log.
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

/// How what is signed stands in a field; `None` where nobody has signed it.
fn coding(pointer: &str, is_v2: bool) -> Option<Coding> {
    let mut names = pointer.rsplit('/').filter(|name| name.parse::<usize>().is_err());
    let (name, parent) = (names.next().unwrap(), names.next().unwrap_or_default());
    match (parent, name) {
        // Beside a checkpoint of version 2, which says all of that itself.
        ("inclusionProof", "rootHash" | "treeSize" | "logIndex") if is_v2 => None,
        // The name of a hash is read in any case; what it is of is compared.
        ("messageDigest", "algorithm") | ("", "mediaType") | ("publicKey", "hint") | ("signatures", "keyid") => None,
        _ if BASE64.contains(&name) => Some(Coding::Base64),
        (_, "logIndex" | "treeSize" | "integratedTime") => Some(Coding::Number),
        (_, "envelope" | "payloadType" | "kind" | "version") => Some(Coding::Text),
        (_, "logID") => Some(Coding::Hex),
        _ => panic!("nobody says whether {pointer} is signed"),
    }
}

/// Pointers to everything in a document that has no parts.
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
            // No more than could be a time or an index.
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

/// The note of a checkpoint, and the first signature under it, without the name before that. Witnesses sign below.
fn note(bytes: &[u8]) -> Vec<Range<usize>> {
    let text = std::str::from_utf8(bytes).unwrap();
    let body = text.find("\n\n").unwrap() + 2;
    let end = body + text[body..].find('\n').unwrap_or(text.len() - body);
    let signature = text[..end].rfind(' ').unwrap() + 1;
    vec![0..body, signature..end]
}

/// What the authority has signed in a timestamp, and its signature (RFC 3161 section 2.4.2, RFC 5652 section 5).
fn timestamp(der: &[u8]) -> Vec<Range<usize>> {
    let child = |of: &Range<usize>, at: usize| parts(der, of)[at].1.clone();
    let tagged = |of: &Range<usize>, wanted: u8| parts(der, of).into_iter().find(|(tag, _)| *tag == wanted).unwrap().1;
    let response = child(&(0..der.len()), 0);
    let signed_data = child(&child(&child(&response, 1), 1), 0);
    let content = child(&child(&child(&signed_data, 2), 1), 0);
    let signer = child(&parts(der, &signed_data).last().unwrap().1, 0);
    vec![content, tagged(&signer, 0xa0), tagged(&signer, 0x04)]
}

/// The tags in a part of DER, and where the content of each is.
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

/// A signature with a key, in no log, as `cosign sign --key` makes one.
fn keyed() -> Specimen {
    let (signatory, artifact) = (Signatory::new(), Digest::of(b"artifact"));
    let mut document = signatory.bundle(&artifact, SIGNATURE_PREDICATE);
    document["verificationMaterial"].as_object_mut().unwrap().remove("tlogEntries");
    let entry = entry(&[&signatory]);
    let key = Some(signatory.der());
    Specimen { name: "keyed".to_owned(), form: Form::Bundle, document, entry, key, artifact }
}

/// The same before there were bundles; with the word of a log, by a hash of that name, or without.
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
    /// Its word, as of a log of version 1, that it has a body, as it stands in an annotation.
    fn promise(&self, body: &Value) -> Value {
        let promised = json!({
            "body": STANDARD.encode(body.to_string()), "integratedTime": 1_767_225_600, "logID": self.key().fingerprint().hex(), "logIndex": 7,
        });
        // The names are in the order of the alphabet, and nothing is between (RFC 8785).
        let signature = self.0.sign(promised.to_string().as_bytes()).unwrap();
        json!({"Payload": promised, "SignedEntryTimestamp": STANDARD.encode(signature.as_bytes())})
    }

    /// The root of those who trust it as a log.
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
