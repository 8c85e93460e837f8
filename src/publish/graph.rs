//! The documents of an artifact: an index, the manifests that it lists, and their blobs.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::{Place, PublishError, named};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Document};
use crate::registry::retry::repeated;
use crate::registry::{self, Registry, RegistryError};

/// Maximum number of documents of an artifact.
const MAX_DOCUMENTS: usize = 512;
/// Maximum size of all documents of an artifact, in bytes.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Maximum number of levels of indexes above a manifest.
const MAX_LEVELS: usize = 4;

/// A manifest or an index, whose digest has been checked.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
    pub(super) document: Document,
}

impl Node {
    /// Returns the descriptor of the document, as a list of referrers has it (distribution-spec, "Listing Referrers").
    pub(super) fn descriptor(&self) -> Descriptor {
        let mut descriptor = Descriptor::new(self.document.media_type(), self.digest.clone(), self.bytes.len() as u64);
        if let Document::Manifest(manifest) = &self.document {
            descriptor.artifact_type = Some(manifest.artifact_type.clone());
            descriptor.annotations.clone_from(&manifest.annotations);
        }
        descriptor
    }

    /// Returns the digest of the subject of a manifest.
    pub(super) fn subject(&self) -> Option<&Digest> {
        match &self.document {
            Document::Manifest(manifest) => manifest.subject.as_ref().map(|subject| &subject.digest),
            Document::Index(_) => None,
        }
    }

    /// Returns the entries of an index.
    fn children(&self) -> &[Descriptor] {
        match &self.document {
            Document::Index(index) => &index.manifests,
            Document::Manifest(_) => &[],
        }
    }

    /// Returns the config and the layers.
    fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let manifest = if let Document::Manifest(manifest) = &self.document { Some(manifest) } else { None };
        manifest.into_iter().flat_map(|manifest| std::iter::once(&manifest.config).chain(&manifest.layers))
    }
}

/// Returns the different blobs of documents.
pub(super) fn blobs(nodes: &[Node]) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    let all = nodes.iter().flat_map(Node::blobs);
    all.filter(|blob| seen.insert(blob.digest.clone())).cloned().collect()
}

/// Fetches a document by its digest.
pub(super) async fn fetch<R: Registry>(place: Place<'_, R>, digest: &Digest) -> Result<Node, PublishError> {
    let Place { registry, access, repository } = place;
    let raw = repeated(|| registry::checked(&**registry, access, repository, digest, MAX_MANIFEST_BYTES)).await?;
    let parsed = Document::parse(&raw.bytes, raw.content_type.as_deref());
    let document = parsed.map_err(|error| PublishError::Manifest { what: named(repository, digest), error })?;
    Ok(Node { digest: digest.clone(), bytes: raw.bytes, document })
}

/// Fetches a document and everything that it lists; children come before their parents, the root is the last.
pub(super) async fn walk<R: Registry>(place: Place<'_, R>, root: &Digest) -> Result<Vec<Node>, PublishError> {
    let what = || named(place.repository, root);
    let (mut nodes, mut bytes) = (Vec::new(), 0_usize);
    let (mut wanted, mut seen) = (vec![root.clone()], HashSet::from([root.clone()]));
    for level in 0.. {
        if wanted.is_empty() {
            break;
        }
        if level > MAX_LEVELS {
            return Err(PublishError::TooDeep { what: what(), limit: MAX_LEVELS });
        }
        let mut next = Vec::new();
        for digest in wanted {
            let node = fetch(place, &digest).await?;
            bytes = bytes.saturating_add(node.bytes.len());
            next.extend(
                node.children().iter().map(|child| child.digest.clone()).filter(|one| seen.insert(one.clone())),
            );
            nodes.push(node);
            if seen.len() > MAX_DOCUMENTS {
                return Err(PublishError::TooManyManifests { what: what(), limit: MAX_DOCUMENTS });
            }
            if bytes > MAX_BYTES {
                let what = format!("the manifests of {}", what());
                return Err(RegistryError::TooLarge { what, limit: MAX_BYTES as u64 }.into());
            }
        }
        wanted = next;
    }
    let heights = heights(&nodes);
    nodes.sort_by_key(|node| heights.get(&node.digest).copied().unwrap_or_default());
    Ok(nodes)
}

/// Returns the number of levels below each document. An index may list a manifest that another of its entries lists
/// too, so the level at which a document was found is no order in which it can be written.
fn heights(nodes: &[Node]) -> HashMap<Digest, usize> {
    let mut heights: HashMap<Digest, usize> = HashMap::new();
    for _ in 0..=MAX_LEVELS {
        for node in nodes {
            let below = node.children().iter().filter_map(|child| heights.get(&child.digest)).max();
            let height = below.map_or(usize::from(!node.children().is_empty()), |below| below + 1);
            heights.insert(node.digest.clone(), height);
        }
    }
    heights
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oci::media_type::{OCI_INDEX, OCI_MANIFEST};

    fn node(document: &serde_json::Value) -> Node {
        let bytes = Bytes::from(document.to_string());
        Node { digest: Digest::of(&bytes), document: Document::parse(&bytes, None).unwrap(), bytes }
    }

    #[test]
    fn a_manifest_is_below_every_index_that_lists_it() {
        let config = Descriptor::of("a/b", b"");
        let leaf = node(&json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}));
        let index = |entries: &[&Node]| {
            let entries: Vec<_> = entries.iter().map(|one| one.descriptor()).collect();
            node(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
        };
        let inner = index(&[&leaf]);
        // The leaf is found beside the inner index.
        let root = index(&[&inner, &leaf]);
        let nodes = [root, inner, leaf];
        let heights = heights(&nodes);
        assert_eq!(nodes.each_ref().map(|node| heights[&node.digest]), [2, 1, 0]);
    }
}
