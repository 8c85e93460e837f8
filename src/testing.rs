//! A registry in memory with configurable answers, artifacts for it, and pseudo-random numbers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::oci::{Descriptor, Digest, Repository, media_type};
use crate::registry::{Access, Begun, BlobBody, RawManifest, Registry, RegistryError, Right, Sender};

pub(crate) mod fields;
pub(crate) mod shelf;
pub(crate) mod vandal;

/// Requests in order: `resolve`, `manifest`, `blob <short digest>`, `blob <short digest> from <byte>`, and
/// `right <short digest>`.
pub(crate) type Asked = Vec<String>;

#[derive(Default)]
struct State {
    tags: HashMap<String, Digest>,
    manifests: HashMap<Digest, Bytes>,
    blobs: HashMap<Digest, Bytes>,
    /// Referrers by subject; `None` for a registry without referrers lists.
    referrers: Option<HashMap<Digest, Vec<Descriptor>>>,
    asked: Asked,
    manners: Manners,
}

/// Behaviour of blob downloads.
#[derive(Clone, Default)]
pub(crate) struct Manners {
    /// Numbers of bytes after which transfers break, one for each transfer in order; later transfers do not break.
    pub(crate) breaks: Vec<usize>,
    /// True if a broken transfer just ends, without an error.
    pub(crate) ends_quietly: bool,
    /// True if ranges are ignored, so that every transfer starts at the first byte.
    pub(crate) ignores_ranges: bool,
    /// Answer to a client without credentials that requests the right to a blob.
    pub(crate) strangers: Strangers,
    /// Semaphore from which each transfer takes a permit before its first byte; `None` for no limit.
    pub(crate) hold: Option<Arc<Semaphore>>,
}

/// Answer to a client without credentials.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Strangers {
    /// Access is granted.
    #[default]
    Welcome,
    /// Access is denied.
    Refused,
    /// No definite answer.
    Unanswered,
}

/// Fake registry. Clones share the content.
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
        drop(state);
        self.push_document(tag, &manifest)
    }

    /// Pushes a manifest or index unchanged and points `tag` at it.
    pub(crate) fn push_document(&self, tag: &str, document: &Value) -> Digest {
        let mut state = self.0.lock().unwrap();
        let bytes = Bytes::from(document.to_string());
        let digest = Digest::of(&bytes);
        state.manifests.insert(digest.clone(), bytes);
        state.tags.insert(tag.to_owned(), digest.clone());
        digest
    }

    /// Pushes files with their titles.
    pub(crate) fn push_files(&self, tag: &str, files: &[(&str, &str)]) -> Digest {
        let layers: Vec<_> = files
            .iter()
            .map(|(title, text)| ("text/plain", json!({"org.opencontainers.image.title": title}), text.as_bytes()))
            .collect();
        self.push(tag, &layers)
    }

    /// Pushes a manifest with one layer that refers to `subject`, and lists it as a referrer.
    pub(crate) fn refer(&self, subject: &Digest, media_type: &str, layer: &[u8]) -> Digest {
        let mut state = self.0.lock().unwrap();
        state.blobs.insert(Digest::of(layer), Bytes::copy_from_slice(layer));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": media_type,
            "config": {"mediaType": media_type::OCI_EMPTY, "digest": Digest::of(b"{}"), "size": 2},
            "layers": [{"mediaType": media_type, "digest": Digest::of(layer), "size": layer.len()}],
            "subject": {"mediaType": media_type::OCI_MANIFEST, "digest": subject, "size": 1},
        });
        let bytes = Bytes::from(manifest.to_string());
        let digest = Digest::of(&bytes);
        let entry = json!({
            "mediaType": media_type::OCI_MANIFEST, "artifactType": media_type, "digest": digest, "size": bytes.len(),
        });
        state.manifests.insert(digest.clone(), bytes);
        let referrers = state.referrers.get_or_insert_default();
        referrers.entry(subject.clone()).or_default().push(serde_json::from_value(entry).unwrap());
        digest
    }

    /// Drops the referrers lists, as in a registry without them.
    pub(crate) fn forget_referrers(&self) {
        self.0.lock().unwrap().referrers = None;
    }

    /// Serves other bytes under the digest of `bytes` from now on.
    pub(crate) fn tamper(&self, bytes: &[u8], with: &[u8]) {
        self.0.lock().unwrap().blobs.insert(Digest::of(bytes), Bytes::copy_from_slice(with));
    }

    /// Serves another manifest under this digest from now on.
    pub(crate) fn tamper_manifest(&self, digest: &Digest, with: &[u8]) {
        self.0.lock().unwrap().manifests.insert(digest.clone(), Bytes::copy_from_slice(with));
    }

    /// Changes the behaviour of blob downloads from now on.
    pub(crate) fn behave(&self, manners: Manners) {
        self.0.lock().unwrap().manners = manners;
    }

    /// Returns the requests since the last call.
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

    async fn tags(&self, _: &Access, _: &Repository) -> Result<Vec<String>, RegistryError> {
        let mut state = self.0.lock().unwrap();
        state.asked.push("tags".to_owned());
        Ok(state.tags.keys().cloned().collect())
    }

    async fn referrers(
        &self,
        _: &Access,
        _: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let mut state = self.0.lock().unwrap();
        state.asked.push("referrers".to_owned());
        Ok(state.referrers.as_ref().map(|all| all.get(digest).cloned().unwrap_or_default()))
    }

    async fn raw_manifest(
        &self,
        _: &Access,
        repository: &Repository,
        digest: &Digest,
        _: u64,
    ) -> Result<RawManifest, RegistryError> {
        let bytes = self.answer("manifest".to_owned(), "manifest", |state| state.manifests.get(digest))?;
        Ok(RawManifest { bytes, sender: Sender::registry(repository), content_type: None, room: None })
    }

    async fn blob(
        &self,
        _: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
        begun: Option<&Begun>,
    ) -> Result<BlobBody, RegistryError> {
        let from = begun.map_or(0, |begun| begun.bytes);
        let range = if from > 0 { format!(" from {from}") } else { String::new() };
        let asked = format!("blob {}{range}", descriptor.digest.short());
        let bytes = self.answer(asked, "blob", |state| state.blobs.get(&descriptor.digest))?;
        let (manners, breaks) = {
            let mut state = self.0.lock().unwrap();
            let breaks = (!state.manners.breaks.is_empty()).then(|| state.manners.breaks.remove(0));
            (state.manners.clone(), breaks)
        };
        let from = if manners.ignores_ranges { 0 } else { from };
        let rest = bytes.slice(usize::try_from(from).unwrap().min(bytes.len())..);
        let sent = breaks.map_or(rest.len(), |after| after.min(rest.len()));
        // Small pieces, so that limits and hashes are reached in the middle of a body.
        let mut pieces: Vec<_> = rest[..sent].chunks(3).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        if breaks.is_some() && !manners.ends_quietly {
            let (host, problem) = ("r.example".to_owned(), "the connection was lost".to_owned());
            pieces.push(Err(RegistryError::Unavailable { host, problem }));
        }
        let state = (pieces.into_iter(), manners.hold, None);
        let stream = stream::unfold(state, |(mut pieces, hold, permit)| async move {
            let permit = match (permit, &hold) {
                (None, Some(hold)) => Arc::clone(hold).acquire_owned().await.ok(),
                (permit, _) => permit,
            };
            // Like a network, this lets other tasks run between two pieces.
            tokio::task::yield_now().await;
            pieces.next().map(|piece| (piece, (pieces, hold, permit)))
        });
        Ok(BlobBody { from, sender: Sender::registry(repository), stream: Box::pin(stream) })
    }

    async fn may_read_blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<Right, RegistryError> {
        let asked = format!("right {}", descriptor.digest.short());
        self.answer(asked, "blob", |state| state.blobs.get(&descriptor.digest))?;
        let is_known = !access.keychain.matching(repository).is_empty();
        match self.0.lock().unwrap().manners.strangers {
            _ if is_known => Ok(Right::Granted),
            Strangers::Welcome => Ok(Right::Granted),
            Strangers::Unanswered => Ok(Right::Unknown),
            Strangers::Refused => Err(RegistryError::Unauthorized {
                host: repository.host().to_owned(),
                repository: repository.path().to_owned(),
                has_credentials: false,
            }),
        }
    }
}

/// Pseudo-random numbers from a seed, the same in each run (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    /// Creates a generator. Seed 0 is replaced by 1.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}
