//! Processes one layer from bytes to a staged tree, with the functions that a pass uses.
//!
//! The bytes come from an in-memory registry, so that the library needs no additional public functions.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use serde_json::json;
use supercargo::api::vocabulary::LayerMode;
use supercargo::blob::{self, Source};
use supercargo::oci::{Descriptor, Digest, Document, Repository};
use supercargo::permits::Permits;
use supercargo::registry::{self, Access, Begun, BlobBody, Registry, RegistryError, Sender};
use supercargo::request::{FileFilter, FileSelection, Limits, Unpacking};
use supercargo::storage::Volume;
use supercargo::trust::{self, Requirement};
use supercargo::unpack::path::EntryPath;
use supercargo::unpack::staged::{Node, Staged};
use supercargo::unpack::{Stop, Unpacker};

/// Limits small enough to make a decompression bomb cheap.
fn limits() -> Limits {
    let all = Limits::default();
    Limits {
        layer_bytes: all.layer_bytes.set(1 << 20),
        extracted_bytes: all.extracted_bytes.set(1 << 20),
        entries: all.entries.set(200),
        depth: all.depth.set(16),
        ..all
    }
}

/// A registry with one blob.
struct Memory(Bytes);

impl Registry for Memory {
    async fn blob(
        &self,
        _: &Access,
        repository: &Repository,
        _: &Descriptor,
        _: Option<&Begun>,
    ) -> Result<BlobBody, RegistryError> {
        let (bytes, sender) = (Ok(self.0.clone()), Sender::registry(repository));
        Ok(BlobBody { from: 0, sender, stream: Box::pin(stream::once(async { bytes })) })
    }
}

/// Volume on which layers are unpacked repeatedly: in memory, if `/dev/shm` exists.
pub struct Place {
    volume: Volume,
    runtime: tokio::runtime::Runtime,
    /// Removed when dropped.
    _directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = tempfile::tempdir_in(parent).expect("a directory");
        let volume = Volume::open(directory.path()).expect("a volume");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { volume, runtime, _directory: directory }
    }

    /// Unpacks a layer and checks the result. A rejected layer is a valid result.
    pub fn unpack(&self, media_type: &str, mode: LayerMode, bytes: &[u8]) {
        if let Some(staged) = self.staged(media_type, mode, bytes) {
            check(&staged);
        }
        let left = |path: &Path| std::fs::read_dir(path).expect("a directory").count();
        assert_eq!(left(self.volume.path()), 1, "something is in the root");
        assert_eq!(left(&self.volume.path().join(".supercargo/staging")), 0, "something is left in staging");
    }

    fn staged(&self, media_type: &str, mode: LayerMode, bytes: &[u8]) -> Option<Staged> {
        let digest = Digest::of(bytes);
        let layer = json!({
            "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len(),
            "annotations": {"io.deis.oras.content.unpack": "true"},
        });
        let empty = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}").to_string(), "size": 2});
        let document = json!({"schemaVersion": 2, "config": empty, "layers": [layer]}).to_string();
        let media_type = Some("application/vnd.oci.image.manifest.v1+json");
        let Ok(Document::Manifest(manifest)) = Document::parse(document.as_bytes(), media_type) else {
            unreachable!("a manifest of ours")
        };
        let reference = format!("registry.example/fuzz@{}", Digest::of(document.as_bytes()));
        let reference = reference.parse().expect("a reference of ours");
        let (registry, access) = (Memory(Bytes::copy_from_slice(bytes)), Access::default());
        let scratch = Arc::new(self.volume.scratch().expect("a scratch directory"));
        let fetching = async {
            let seat = Permits::new(1).seat("fuzz");
            let pinned = registry::resolve(&registry, &access, &reference, None, &seat).await.ok()?;
            // There are no requirements, so no trusted root is used, and the time does not matter.
            let (nothing, now) = (Arc::new(Requirement::default()), jiff::Timestamp::UNIX_EPOCH);
            let approved = trust::approve(&registry, &access, pinned, *manifest, &nothing, &seat, now).await.ok()?;
            let source = Source {
                registry: &registry,
                access: &access,
                approved: &approved,
                scratch: &scratch,
                store: None,
                seat: &seat,
                limit: limits().layer_bytes,
            };
            let layer = approved.manifest().layers.first()?;
            let blob = blob::fetch(&source, layer, |_| {}).await.ok()?;
            Some((approved.manifest().clone(), blob))
        };
        let (manifest, blob) = self.runtime.block_on(fetching)?;
        let unpacking = Unpacking { mode, ..Unpacking::default() };
        let unpacker = Unpacker::new(scratch, manifest, false, unpacking, &limits(), Stop::new());
        let (tree, _) = unpacker.layer(0, &blob).ok()?;
        unpacker.finish(vec![tree], &FileSelection::default(), &FileFilter::default()).ok()
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// Checks the properties of every unpacked tree.
fn check(staged: &Staged) {
    let limits = limits();
    assert!(staged.bytes() <= limits.extracted_bytes.value(), "more bytes than allowed");
    assert!(staged.nodes().len() as u64 <= limits.entries.value(), "more entries than allowed");
    let mut folded = std::collections::HashSet::new();
    for path in staged.nodes().keys() {
        assert_eq!(EntryPath::parse(path.as_str().as_bytes()).as_ref(), Ok(path), "a name that is refused");
        assert!(path.depth() as u64 <= limits.depth.value(), "deeper than allowed");
        assert!(folded.insert(path.folded()), "two names that are equal on some filesystems");
        if let Some((parent, _)) = path.split().filter(|(parent, _)| !parent.is_root()) {
            assert_eq!(staged.nodes().get(&parent), Some(&Node::Directory), "the parent is not a directory");
        }
    }
}
