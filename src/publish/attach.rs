//! Referrers: manifests about another manifest, such as SBOMs, evidence and signatures.

use bytes::Bytes;

use super::copy::{self, Copied};
use super::graph::{self, Node};
use super::referrers::lists;
use super::{Display, Place, PublishError, fallback, tags};
use crate::oci::descriptor::{Annotations, EMPTY};
use crate::oci::{Descriptor, Digest, Document, ManifestDraft};
use crate::pack::{CREATED, EPOCH};
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

impl Part {
    /// Creates a layer of bytes.
    pub fn new(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { layer: Descriptor::of(media_type, &bytes), source: Box::new(bytes) }
    }
}

/// A referrer with one layer, such as an SBOM.
#[derive(Debug)]
pub struct Referrer {
    /// Type of the referrer, by which `discover` and policies select it.
    pub artifact_type: String,
    /// The layer.
    pub part: Part,
    /// Annotations of the manifest. Without a time of creation it is 1970-01-01, so that the same content is the same
    /// referrer.
    pub annotations: Annotations,
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

/// Writes a referrer with one layer of the manifest with the digest `subject`, and lists it, as [`attach`] does. A
/// missing type and an empty layer are errors.
///
/// ```
/// use std::sync::Arc;
///
/// use supercargo::layout::Layout;
/// use supercargo::oci::Reference;
/// use supercargo::pack::{self, Source};
/// use supercargo::publish::{self, Packaging, Part, Place, Referrer, Store};
/// use supercargo::registry::Access;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let (bundle, layout) = (dir.path().join("bundle"), dir.path().join("layout"));
/// # std::fs::create_dir(&bundle)?;
/// # std::fs::write(bundle.join("a.yaml"), "a: 1\n")?;
/// let packaging = Packaging::new(Store::Layout(Layout::create(&layout)?), pack::Options::default());
/// let subject = publish::package(&Source::open(&bundle)?, None, &packaging)?.manifest;
///
/// // A layout is written as a registry is; here it has the subject already.
/// let (registry, access) = (Arc::new(Layout::create(&layout)?), Access::default());
/// let repository = "ghcr.io/team/bundle".parse::<Reference>()?.repository;
/// let to = Place { registry: &registry, access: &access, repository: &repository };
/// let sbom = || Referrer {
///     artifact_type: "application/spdx+json".to_owned(),
///     part: Part::new("application/spdx+json", "{}"),
///     annotations: Default::default(),
/// };
/// let attached = publish::push_referrer(to, &subject.digest, sbom(), &None).await?;
/// assert_eq!(attached.subject.digest, subject.digest);
/// assert_eq!(attached.tag, attached.descriptor.digest.hex());
///
/// let empty = Referrer { part: Part::new("application/spdx+json", ""), ..sbom() };
/// assert!(publish::push_referrer(to, &subject.digest, empty, &None).await.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn push_referrer<D: Registry + Push>(
    to: Place<'_, D>,
    subject: &Digest,
    referrer: Referrer,
    display: &Display,
) -> Result<Attached, PublishError> {
    let Referrer { artifact_type, part, mut annotations } = referrer;
    if artifact_type.is_empty() {
        return Err(PublishError::Referrer("it has no type; expected one such as application/spdx+json"));
    }
    if part.layer.size == 0 {
        return Err(PublishError::Referrer("its content is empty"));
    }
    annotations.entry(CREATED.to_owned()).or_insert_with(|| EPOCH.to_owned());
    attach(to, subject, Attachment { artifact_type, parts: vec![part], annotations }, display).await
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
