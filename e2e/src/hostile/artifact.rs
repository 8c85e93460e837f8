//! Content of a registry: a manifest and its blobs, good or edited.

use std::collections::BTreeMap;

use anyhow::Result;
use aws_lc_rs::digest::{SHA256, digest as hash};
use serde_json::{Value, json};

use super::ask::{Ask, Item};
use super::reply::Reply;
use crate::archive::Archive;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Name of the only file in the only layer of an artifact.
pub const FILE: &str = "file";

/// Manifest, byte for byte, and its blobs.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Content-Type of the manifest.
    pub media_type: String,
    pub manifest: Vec<u8>,
    /// Content of the only file.
    pub content: String,
    /// Blobs by digest.
    pub blobs: BTreeMap<String, Vec<u8>>,
}

impl Artifact {
    /// Makes an artifact that every reader accepts. Tests pass different content to get different layers, because the
    /// operator caches layers across objects.
    pub fn good(content: &str) -> Result<Self> {
        let layer = Archive::default().file(FILE, content.as_bytes())?.finish();
        let config = b"{}".to_vec();
        let document = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/x.test",
            "config": descriptor("application/vnd.oci.empty.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        let blobs = [config, layer].map(|bytes| (digest(&bytes), bytes));
        Ok(Self {
            media_type: MANIFEST.to_owned(),
            manifest: document.to_string().into_bytes(),
            content: content.to_owned(),
            blobs: BTreeMap::from(blobs),
        })
    }

    /// Returns a copy with another value at a JSON pointer, which may be a new key.
    #[must_use]
    pub fn with(&self, pointer: &str, value: Value) -> Self {
        let mut document = self.document();
        if let Some((parent, key)) = pointer.rsplit_once('/') {
            if let Some(slot) = document.pointer_mut(pointer) {
                *slot = value;
            } else if let Some(parent) = document.pointer_mut(parent).and_then(Value::as_object_mut) {
                parent.insert(key.to_owned(), value);
            }
        }
        self.of(document.to_string())
    }

    /// Returns a copy with text at a JSON pointer that no JSON value can hold, such as a number that is too large.
    #[must_use]
    pub fn with_text(&self, pointer: &str, text: &str) -> Self {
        const MARK: &str = "put-the-text-here";
        self.with(pointer, json!(MARK)).replaced(&format!("\"{MARK}\""), text)
    }

    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        let mut document = self.document();
        document.as_object_mut().map(|fields| fields.remove(key));
        self.of(document.to_string())
    }

    /// Returns a copy with the first occurrence of `from` in the manifest replaced by `to`.
    #[must_use]
    pub fn replaced(&self, from: &str, to: &str) -> Self {
        self.of(String::from_utf8_lossy(&self.manifest).replacen(from, to, 1))
    }

    /// Returns a copy with these bytes as the manifest.
    #[must_use]
    pub fn of(&self, manifest: impl Into<Vec<u8>>) -> Self {
        Self { manifest: manifest.into(), ..self.clone() }
    }

    /// Returns a copy with another Content-Type.
    #[must_use]
    pub fn called(&self, media_type: &str) -> Self {
        Self { media_type: media_type.to_owned(), ..self.clone() }
    }

    /// Returns the digest of the manifest.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// Returns digest and bytes of the layer of a good artifact.
    pub fn layer(&self) -> (&str, &[u8]) {
        let found = self.blobs.iter().max_by_key(|(_, bytes)| bytes.len());
        found.map(|(digest, bytes)| (digest.as_str(), bytes.as_slice())).unwrap_or_default()
    }

    /// Answers a request as a well-behaved registry does.
    pub fn answer(&self, ask: &Ask) -> Reply {
        let own = self.digest();
        let found = match ask.item() {
            Item::Tag(_) => Some((self.media_type.as_str(), &self.manifest)),
            Item::Manifest(wanted) if wanted == own => Some((self.media_type.as_str(), &self.manifest)),
            // A child of an index; its own `mediaType` names its type.
            Item::Manifest(wanted) => self.blobs.get(wanted).map(|child| ("application/json", child)),
            Item::Blob(wanted) => self.blobs.get(wanted).map(|bytes| ("application/octet-stream", bytes)),
            Item::Tags => return Reply::of("200 OK", &[], br#"{"name":"x","tags":["1.0.0"]}"#),
            Item::Token | Item::Other => None,
        };
        let Some((media_type, body)) = found else { return Reply::of("404 Not Found", &[], b"") };
        let headers = [("Content-Type", media_type), ("Docker-Content-Digest", &*digest(body))];
        Reply::of("200 OK", &headers, body)
    }

    /// Parses the manifest; returns `null` if it was replaced by bytes that are not JSON, which cannot be edited.
    fn document(&self) -> Value {
        serde_json::from_slice(&self.manifest).unwrap_or_default()
    }
}

/// Makes a descriptor of bytes.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// Returns `sha256:<hex>` of bytes.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    hash(&SHA256, bytes).as_ref().iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
