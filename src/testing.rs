//! A registry in memory whose answers a test decides, and artifacts to put into it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::oci::{Descriptor, Digest, Repository, media_type};
use crate::registry::{Access, BlobBody, RawManifest, Registry, RegistryError, Right};

/// What was asked for, in order: `resolve`, `manifest`, `blob <short digest>`.
pub(crate) type Asked = Vec<String>;

#[derive(Default)]
struct State {
    tags: HashMap<String, Digest>,
    manifests: HashMap<Digest, Bytes>,
    blobs: HashMap<Digest, Bytes>,
    asked: Asked,
}

/// Cloning shares the content.
#[derive(Clone, Default)]
pub(crate) struct FakeRegistry(Arc<Mutex<State>>);

impl FakeRegistry {
    /// Pushes raw layers of (media type, annotations, bytes) and points `tag` at them.
    pub(crate) fn push(&self, tag: &str, layers: &[(&str, Value, &[u8])]) -> Digest {
        let mut state = self.0.lock().unwrap();
        let layers: Vec<Value> = layers
            .iter()
            .map(|(media_type, annotations, bytes)| {
                let digest = Digest::of(bytes);
                state.blobs.insert(digest.clone(), Bytes::copy_from_slice(bytes));
                json!({"mediaType": media_type, "digest": digest, "size": bytes.len(), "annotations": annotations})
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": "application/vnd.test",
            "config": {"mediaType": media_type::OCI_EMPTY, "digest": Digest::of(b"{}"), "size": 2},
            "layers": layers,
        });
        let bytes = Bytes::from(manifest.to_string());
        let digest = Digest::of(&bytes);
        state.manifests.insert(digest.clone(), bytes);
        state.tags.insert(tag.to_owned(), digest.clone());
        digest
    }

    /// Pushes files by title.
    pub(crate) fn push_files(&self, tag: &str, files: &[(&str, &str)]) -> Digest {
        let layers: Vec<_> = files
            .iter()
            .map(|(title, text)| ("text/plain", json!({"org.opencontainers.image.title": title}), text.as_bytes()))
            .collect();
        self.push(tag, &layers)
    }

    /// Serves other bytes under the digest of `bytes` from now on.
    pub(crate) fn tamper(&self, bytes: &[u8], with: &[u8]) {
        self.0.lock().unwrap().blobs.insert(Digest::of(bytes), Bytes::copy_from_slice(with));
    }

    /// Serves another manifest under that digest from now on.
    pub(crate) fn tamper_manifest(&self, digest: &Digest, with: &[u8]) {
        self.0.lock().unwrap().manifests.insert(digest.clone(), Bytes::copy_from_slice(with));
    }

    /// What was asked for since the last call.
    pub(crate) fn asked(&self) -> Asked {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }

    fn answer<T: Clone>(
        &self,
        asked: String,
        what: &str,
        find: impl FnOnce(&State) -> Option<&T>,
    ) -> Result<T, RegistryError> {
        let mut state = self.0.lock().unwrap();
        state.asked.push(asked);
        find(&state).cloned().ok_or_else(|| RegistryError::NotFound(what.to_owned()))
    }
}

impl Registry for FakeRegistry {
    async fn tag_digest(&self, _: &Access, _: &Repository, tag: &str) -> Result<Digest, RegistryError> {
        self.answer("resolve".to_owned(), tag, |state| state.tags.get(tag))
    }

    async fn raw_manifest(
        &self,
        _: &Access,
        _: &Repository,
        digest: &Digest,
        _: u64,
    ) -> Result<RawManifest, RegistryError> {
        let bytes = self.answer("manifest".to_owned(), "manifest", |state| state.manifests.get(digest))?;
        Ok(RawManifest { bytes, content_type: None })
    }

    async fn blob(
        &self,
        _: &Access,
        _: &Repository,
        descriptor: &Descriptor,
        from: u64,
    ) -> Result<BlobBody, RegistryError> {
        let asked = format!("blob {}", descriptor.digest.short());
        let bytes = self.answer(asked, "blob", |state| state.blobs.get(&descriptor.digest))?;
        let rest = bytes.slice(usize::try_from(from).unwrap().min(bytes.len())..);
        // Small pieces, so that limits and hashes are met in the middle of a body.
        let pieces: Vec<_> = rest.chunks(3).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(BlobBody { from, stream: Box::pin(futures::stream::iter(pieces)) })
    }

    async fn may_read_blob(&self, _: &Access, _: &Repository, _: &Descriptor) -> Result<Right, RegistryError> {
        Ok(Right::Granted)
    }
}
