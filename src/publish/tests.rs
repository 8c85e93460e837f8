//! Tests of publishing between registries in memory.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::sign::sign;
use super::*;
use crate::oci::{Descriptor, Digest, Document, Reference, Repository, media_type, referrers};
use crate::registry::{ManifestName, Push};
use crate::testing::shelf::Shelf;

mod race;
mod signatures;
mod signed_transfers;
mod transfers;

/// Registry with one repository, and the way to it.
struct Site {
    shelf: Arc<Shelf>,
    access: Access,
    repository: Repository,
}

fn repository(text: &str) -> Repository {
    text.parse::<Reference>().unwrap().repository
}

impl Site {
    fn new(shelf: Shelf, name: &str) -> Self {
        Self { shelf: Arc::new(shelf), access: Access::default(), repository: repository(name) }
    }

    fn place(&self) -> Place<'_, Shelf> {
        Place { registry: &self.shelf, access: &self.access, repository: &self.repository }
    }

    fn tag(&self, tag: &str) -> Option<Digest> {
        self.shelf.content(&self.repository).tags.get(tag).cloned()
    }

    async fn blob(&self, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of("application/octet-stream", bytes);
        let source = Bytes::copy_from_slice(bytes);
        self.shelf.upload_blob(&self.access, &self.repository, &descriptor, &source).await.unwrap();
        descriptor
    }

    async fn put(&self, tag: Option<&str>, document: &Value) -> Descriptor {
        let bytes = Bytes::from(document.to_string());
        let digest = Digest::of(&bytes);
        let media_type = document["mediaType"].as_str().unwrap();
        let name = tag.map_or(ManifestName::Digest(&digest), ManifestName::Tag);
        self.shelf.put_manifest(&self.access, &self.repository, name, media_type, bytes.clone()).await.unwrap();
        Descriptor::of(media_type, &bytes)
    }

    /// Publishes a manifest with two layers.
    async fn artifact(&self, tag: Option<&str>, content: &str) -> Descriptor {
        let config = self.blob(b"{}").await;
        let layers = [self.blob(content.as_bytes()).await, self.blob(b"shared").await];
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers,
        });
        self.put(tag, &manifest).await
    }

    async fn index(&self, tag: &str) -> Descriptor {
        let children = [self.artifact(None, "one").await, self.artifact(None, "two").await];
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": children});
        self.put(Some(tag), &index).await
    }

    /// Publishes a referrer, without a list of it.
    async fn referrer(&self, subject: &Descriptor, content: &str) -> Descriptor {
        let (config, layer) = (self.blob(b"{}").await, self.blob(content.as_bytes()).await);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": "application/vnd.test",
            "config": config, "layers": [layer], "subject": subject,
        });
        self.put(None, &manifest).await
    }

    /// Returns the digests in the list that clients maintain.
    fn listed(&self, subject: &Digest) -> Vec<Digest> {
        let content = self.shelf.content(&self.repository);
        let Some(list) = content.tags.get(&referrers::tag(subject)) else { return Vec::new() };
        let entries = referrers::parse(&content.manifests[list].1, None).unwrap();
        entries.into_iter().map(|entry| entry.digest).collect()
    }

    /// Returns true if everything that a tag leads to is there.
    fn is_whole(&self) -> bool {
        let content = self.shelf.content(&self.repository);
        let mut digests: Vec<Digest> = content.tags.values().cloned().collect();
        while let Some(digest) = digests.pop() {
            let Some((media_type, bytes)) = content.manifests.get(&digest) else { return false };
            match Document::parse(bytes, Some(media_type)).unwrap() {
                Document::Index(index) => digests.extend(index.manifests.into_iter().map(|child| child.digest)),
                Document::Manifest(manifest) => {
                    let mut blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
                    if !blobs.all(|blob| content.blobs.contains_key(&blob.digest)) {
                        return false;
                    }
                }
            }
        }
        true
    }
}

fn options(tags: &[&str]) -> Options {
    Options { tags: tags.iter().map(ToString::to_string).collect(), referrers: true, ..Options::default() }
}

fn attachment(content: &str) -> Attachment {
    let layer = Descriptor::of("text/plain", content.as_bytes());
    Attachment {
        artifact_type: "application/vnd.test".to_owned(),
        parts: vec![Part { layer, source: Box::new(Bytes::copy_from_slice(content.as_bytes())) }],
        annotations: [("k".to_owned(), "v".to_owned())].into(),
    }
}
