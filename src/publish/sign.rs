//! Signatures of an artifact, where cosign looks for them: a referrer with a bundle, or a layer under the tag `.sig`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::copy::{self, Copied};
use super::graph::{self, Node};
use super::referrers::lists;
use super::{Attachment, Part, Place, PublishError, attach, found, named, tags};
use crate::backoff::Backoff;
use crate::oci::descriptor::Annotations;
use crate::oci::draft::FieldOrder;
use crate::oci::{Descriptor, Digest, Document, ManifestDraft, media_type};
use crate::registry::retry::{repeated, spread};
use crate::registry::{self, Push, Registry, RegistryError};
use crate::sign::{self, LegacyContent, PrivateKey};

/// Annotation with the time at which a referrer was made.
const CREATED: &str = "org.opencontainers.image.created";
/// Media type of the config of a legacy signature.
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Time for which a legacy signature must stay: as for the list of referrers, another client may write the same tag.
const QUIET: Duration = Duration::from_secs(2);
/// Mean pause between two looks at the tag.
const LOOK: Duration = Duration::from_millis(500);
/// Mean pauses after a write, longer while others write too.
const AGAIN: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// Maximum number of writes of the tag.
const MAX_WRITES: u32 = 60;
/// Maximum size of a bundle that is compared with ours, in bytes; ours have about one kilobyte.
const MAX_BUNDLE_BYTES: u64 = 16 * 1024;
/// Maximum number of bundles that are compared with ours.
const MAX_COMPARED: usize = 64;

/// Format of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A Sigstore bundle, as a referrer: cosign 3.
    Bundle,
    /// A payload under the tag `sha256-<hex>.sig`: cosign 1 and 2.
    Legacy,
}

/// Signature that a transfer makes before it sets tags.
#[derive(Clone, Debug)]
pub struct Signing {
    /// The key.
    pub key: Arc<PrivateKey>,
    /// Format of the signature.
    pub format: Format,
    /// Time in RFC 3339, which nothing proves.
    pub created: String,
}

/// A signature that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Digest of the manifest that has the signature.
    pub digest: Digest,
    /// Its format.
    pub format: Format,
    /// Digest of the key's `SubjectPublicKeyInfo`.
    pub key: Digest,
    /// What was copied.
    pub copied: Copied,
}

/// Signs the artifact with this digest. `created` is the time in RFC 3339, which nothing proves.
pub(super) async fn sign<D: Registry + Push>(
    to: Place<'_, D>,
    artifact: &Digest,
    key: &PrivateKey,
    format: Format,
    created: &str,
) -> Result<Signature, PublishError> {
    match format {
        Format::Bundle => sign_by_bundle(to, artifact, key, created).await,
        Format::Legacy => sign_by_tag(to, artifact, key).await,
    }
}

/// Signs the artifact, unless it has a signature of the same key in the same format: a repeated command adds nothing.
pub async fn sign_once<D: Registry + Push>(
    to: Place<'_, D>,
    artifact: &Digest,
    signing: &Signing,
) -> Result<Signature, PublishError> {
    let Signing { key, format, created } = signing;
    // That of the legacy format is looked for in any case.
    if *format == Format::Bundle
        && let Some(digest) = bundle_by(to, artifact, key).await?
    {
        return Ok(Signature { digest, format: *format, key: key.fingerprint(), copied: Copied::default() });
    }
    sign(to, artifact, key, *format, created).await
}

/// Returns the digest of a listed referrer with a bundle of the key. One that cannot be read is no obstacle to another
/// signature.
async fn bundle_by<R: Registry>(
    to: Place<'_, R>,
    artifact: &Digest,
    key: &PrivateKey,
) -> Result<Option<Digest>, PublishError> {
    let Place { registry, access, repository } = to;
    for entry in lists(to, artifact).await?.all().iter().take(MAX_COMPARED) {
        let checked = || registry::checked(&**registry, access, repository, &entry.digest, MAX_BUNDLE_BYTES);
        let Ok(Some(raw)) = found(repeated(checked).await) else { continue };
        let Ok(Document::Manifest(manifest)) = Document::parse(&raw.bytes, raw.content_type.as_deref()) else {
            continue;
        };
        let is_about = manifest.subject.as_ref().is_some_and(|subject| subject.digest == *artifact);
        let [layer] = manifest.layers.as_slice() else { continue };
        if !is_about || manifest.artifact_type != sign::BUNDLE || layer.media_type != sign::BUNDLE {
            continue;
        }
        let bundle = registry::small_blob(&**registry, access, repository, layer, MAX_BUNDLE_BYTES).await;
        if bundle.is_ok_and(|bundle| sign::is_bundle_by(key, artifact, &bundle)) {
            return Ok(Some(entry.digest.clone()));
        }
    }
    Ok(None)
}

async fn sign_by_bundle<D: Registry + Push>(
    to: Place<'_, D>,
    artifact: &Digest,
    key: &PrivateKey,
    created: &str,
) -> Result<Signature, PublishError> {
    let content = sign::bundle(key, artifact)?;
    let mut annotations: Annotations = content.annotations.map(|(key, value)| (key.into(), value.into())).into();
    annotations.insert(CREATED.to_owned(), created.to_owned());
    let part =
        Part { layer: Descriptor::of(sign::BUNDLE, &content.bundle), source: Box::new(Bytes::from(content.bundle)) };
    let attachment = Attachment { artifact_type: sign::BUNDLE.to_owned(), parts: vec![part], annotations };
    let attached = attach(to, artifact, attachment, &None).await?;
    let (digest, copied) = (attached.descriptor.digest, attached.copied);
    Ok(Signature { digest, format: Format::Bundle, key: key.fingerprint(), copied })
}

/// Adds a layer to the manifest under the tag `.sig`. A signature of the same key that is there already is enough.
///
/// As for a list of referrers, another client may write the tag at the same time and drop what it has not read: every
/// layer that was seen is added again, and the command ends once nothing has been missing for [`QUIET`].
async fn sign_by_tag<D: Registry + Push>(
    to: Place<'_, D>,
    artifact: &Digest,
    key: &PrivateKey,
) -> Result<Signature, PublishError> {
    // Fails if the repository does not have the artifact.
    graph::fetch(to, artifact).await?;
    let content = sign::legacy(key, to.repository, artifact)?;
    let (tag, by) = (sign::legacy_tag(artifact), key.fingerprint());
    if let (Some(digest), draft) = read(to, &tag).await?
        && draft.layers.iter().any(|layer| is_by(key, layer, &content))
    {
        return Ok(Signature { digest, format: Format::Legacy, key: by, copied: Copied::default() });
    }
    let payload = Descriptor::of(sign::SIMPLE_SIGNING, &content.payload);
    let mut copied = copy::put_blob(to, &payload, Box::new(Bytes::from(content.payload)), None, &None).await?;
    let mut seen = vec![payload.with_annotation(sign::SIGNATURE_ANNOTATION, content.signature)];
    let (mut writes, mut complete_since) = (0, None);
    while writes < MAX_WRITES {
        let (current, mut draft) = read(to, &tag).await?;
        let missing: Vec<_> = seen.iter().filter(|layer| !draft.layers.contains(layer)).cloned().collect();
        seen.extend(draft.layers.iter().filter(|layer| !seen.contains(layer)).cloned().collect::<Vec<_>>());
        if let (Some(digest), true) = (&current, missing.is_empty()) {
            if complete_since.get_or_insert_with(Instant::now).elapsed() >= QUIET {
                return Ok(Signature { digest: digest.clone(), format: Format::Legacy, key: by, copied });
            }
            spread(LOOK).await;
            continue;
        }
        complete_since = None;
        draft.layers.extend(missing);
        let node = put(to, draft, &mut copied, || named(to.repository, artifact)).await?;
        if tags::current(to, &tag).await? == current {
            set(to, &tag, &node).await?;
        }
        writes += 1;
        spread(AGAIN.pause(writes)).await;
    }
    Err(PublishError::Contended { reference: format!("{}:{tag}", to.repository), tries: writes as usize })
}

/// Writes a manifest with these layers, and its config, without a tag.
async fn put<D: Registry + Push>(
    to: Place<'_, D>,
    mut draft: ManifestDraft,
    copied: &mut Copied,
    what: impl Fn() -> String,
) -> Result<Node, PublishError> {
    let payloads: Vec<_> = draft.layers.iter().map(|layer| layer.digest.clone()).collect();
    let config = LegacyContent::config(&payloads)?;
    draft.config = Descriptor::of(CONFIG, &config);
    let node = node_of(&draft, what)?;
    copied.add(copy::put_blob(to, &draft.config, Box::new(Bytes::from(config)), None, &None).await?);
    copied.manifests += usize::from(copy::document(to, &node).await?.is_some());
    Ok(node)
}

/// Sets the tag. That another client has set it since is found by the next look.
async fn set<D: Registry + Push>(to: Place<'_, D>, tag: &str, node: &Node) -> Result<(), PublishError> {
    match tags::set(to, tag, node).await {
        Err(PublishError::TagMoved { .. }) => Ok(()),
        set => set,
    }
}

/// Reads the manifest under the tag; an empty one if there is none.
async fn read<R: Registry>(to: Place<'_, R>, tag: &str) -> Result<(Option<Digest>, ManifestDraft), PublishError> {
    let none = || ManifestDraft { artifact_type: None, ..ManifestDraft::artifact("", Vec::new()) };
    let Some(digest) = tags::current(to, tag).await? else { return Ok((None, none())) };
    match graph::fetch(to, &digest).await {
        Ok(node) => Ok((Some(digest), draft_of(&node, || format!("{}:{tag}", to.repository))?)),
        // A registry may collect a manifest as garbage as soon as its tag moves on.
        Err(PublishError::Registry(RegistryError::NotFound(_))) => Ok((None, none())),
        Err(error) => Err(error),
    }
}

/// True for a layer with a signature of the key for the same payload.
fn is_by(key: &PrivateKey, layer: &Descriptor, content: &LegacyContent) -> bool {
    let signature = layer.annotations.get(sign::SIGNATURE_ANNOTATION);
    layer.digest == Digest::of(&content.payload) && signature.is_some_and(|text| key.has_signed(&content.payload, text))
}

/// Returns a draft with the layers and annotations of the manifest under the tag.
fn draft_of(node: &Node, reference: impl Fn() -> String) -> Result<ManifestDraft, PublishError> {
    match &node.document {
        Document::Manifest(manifest) if media_type::is_image_config(&manifest.config.media_type) => Ok(ManifestDraft {
            artifact_type: None,
            config: manifest.config.clone(),
            layers: manifest.layers.clone(),
            subject: manifest.subject.clone(),
            annotations: manifest.annotations.clone(),
            order: FieldOrder::ImageSpec,
        }),
        Document::Manifest(_) | Document::Index(_) => Err(PublishError::NotSignatures { reference: reference() }),
    }
}

fn node_of(draft: &ManifestDraft, what: impl Fn() -> String) -> Result<Node, PublishError> {
    let parsed = draft.to_bytes().and_then(|bytes| Ok((Document::parse(&bytes, None)?, bytes)));
    let (document, bytes) = parsed.map_err(|error| PublishError::Manifest { what: what(), error })?;
    Ok(Node { digest: Digest::of(&bytes), bytes: bytes.into(), document })
}
