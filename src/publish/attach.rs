//! Referrers: manifests about another manifest, such as SBOMs, evidence and signatures.

use super::copy::{self, Copied};
use super::graph::{self, Node};
use super::referrers::lists;
use super::{Display, Place, PublishError, fallback, tags};
use crate::oci::descriptor::{Annotations, EMPTY};
use crate::oci::{Descriptor, Digest, Document, ManifestDraft};
use crate::registry::{BlobSource, Push, Registry, Stored};

/// A layer of a referrer, and its bytes.
pub struct Part {
    /// Descriptor of the layer.
    pub layer: Descriptor,
    /// Bytes of the layer.
    pub source: Box<dyn BlobSource>,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("layer", &self.layer).finish_non_exhaustive()
    }
}

/// Content of a referrer.
#[derive(Debug)]
pub struct Attachment {
    /// Type of the referrer, by which `discover` and policies select it.
    pub artifact_type: String,
    /// The layers.
    pub parts: Vec<Part>,
    /// Annotations of the manifest.
    pub annotations: Annotations,
}

/// A referrer that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The referrer.
    pub descriptor: Descriptor,
    /// The manifest that it refers to.
    pub subject: Descriptor,
    /// Tag of the referrer: the hex digits of its digest, so that registries that remove manifests without a tag keep
    /// it, and no two referrers share a tag.
    pub tag: String,
    /// What was copied.
    pub copied: Copied,
}

/// Writes a referrer of the manifest with the digest `subject`, and lists it: in the registry's own list, or in the
/// index under a tag that clients maintain.
pub async fn attach<D: Registry + Push>(
    to: Place<'_, D>,
    subject: &Digest,
    attachment: Attachment,
    display: &Display,
) -> Result<Attached, PublishError> {
    let subject = graph::fetch(to, subject).await?;
    let about = Descriptor::new(subject.document.media_type(), subject.digest.clone(), subject.bytes.len() as u64);
    let Attachment { artifact_type, parts, annotations } = attachment;
    let layers = parts.iter().map(|part| part.layer.clone()).collect();
    let draft = ManifestDraft {
        subject: Some(Box::new(about.clone())),
        annotations,
        ..ManifestDraft::artifact(artifact_type, layers)
    };
    let node = written(&draft, to)?;
    let config = Part { layer: Descriptor::empty(), source: Box::new(bytes::Bytes::from_static(EMPTY)) };
    let mut copied = Copied::default();
    for Part { layer, source } in std::iter::once(config).chain(parts) {
        copied.add(copy::put_blob(to, &layer, source, None, display).await?);
    }
    let stored = copy::document(to, &node).await?;
    copied.manifests += usize::from(stored.is_some());
    let tag = node.digest.hex();
    tags::set(to, &tag, &node).await?;
    list(to, &about.digest, &[(&node, stored)]).await?;
    Ok(Attached { descriptor: node.descriptor(), subject: about, tag, copied })
}

/// Returns the document of a draft.
fn written<D>(draft: &ManifestDraft, to: Place<'_, D>) -> Result<Node, PublishError> {
    let parsed = draft.to_bytes().and_then(|bytes| Ok((Document::parse(&bytes, None)?, bytes)));
    let (document, bytes) = parsed
        .map_err(|error| PublishError::Manifest { what: format!("the referrer for {}", to.repository), error })?;
    Ok(Node { digest: Digest::of(&bytes), bytes: bytes.into(), document })
}

/// Makes sure that referrers of a subject are listed. A registry that did so itself has reported the subject when the
/// referrer was written; otherwise its list shows it.
pub(super) async fn list<D: Registry + Push>(
    to: Place<'_, D>,
    subject: &Digest,
    nodes: &[(&Node, Option<Stored>)],
) -> Result<(), PublishError> {
    let is_reported =
        |stored: &Option<Stored>| stored.as_ref().is_some_and(|stored| stored.subject.as_ref() == Some(subject));
    if nodes.iter().all(|(_, stored)| is_reported(stored)) {
        return Ok(());
    }
    let listed = lists(to, subject).await?;
    let of_registry = listed.of_registry.unwrap_or_default();
    let missing = nodes
        .iter()
        .filter(|(node, stored)| !is_reported(stored) && !of_registry.iter().any(|entry| entry.digest == node.digest));
    let missing: Vec<Descriptor> = missing.map(|(node, _)| node.descriptor()).collect();
    // An entry that is there already is confirmed too: another client may be about to drop it.
    if missing.is_empty() { Ok(()) } else { fallback::add(to, subject, &missing).await }
}
