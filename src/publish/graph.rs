//! The documents of an artifact: an index, the manifests that it lists, and their blobs.

use std::collections::HashSet;

use bytes::Bytes;

use super::{Place, PublishError, named};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Document};
use crate::registry::retry::repeated;
use crate::registry::{self, Registry};

/// Maximum number of documents of an artifact.
const MAX_DOCUMENTS: usize = 512;
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
    let (mut levels, mut wanted, mut seen) = (Vec::new(), vec![root.clone()], HashSet::from([root.clone()]));
    while !wanted.is_empty() {
        if levels.len() > MAX_LEVELS {
            return Err(PublishError::TooDeep { what: what(), limit: MAX_LEVELS });
        }
        let mut level = Vec::new();
        for digest in wanted {
            level.push(fetch(place, &digest).await?);
        }
        let listed = level.iter().flat_map(|node: &Node| match &node.document {
            Document::Index(index) => index.manifests.as_slice(),
            Document::Manifest(_) => &[],
        });
        wanted = listed.map(|child| child.digest.clone()).filter(|child| seen.insert(child.clone())).collect();
        if seen.len() > MAX_DOCUMENTS {
            return Err(PublishError::TooManyManifests { what: what(), limit: MAX_DOCUMENTS });
        }
        levels.push(level);
    }
    Ok(levels.into_iter().rev().flatten().collect())
}
