//! Search for the signatures of a digest, in this order: the registry's referrers list, the fallback tag that clients
//! maintain where a registry has no such list, and the legacy `.sig` tag.
//!
//! A referrers list may describe its entries wrongly: some registries write the config's media type in place of the
//! artifact type. So every entry that could be a signature is fetched and its own manifest decides.

use std::collections::HashSet;

use super::legacy;
use super::verdict::{Candidate, CandidateKind};
use crate::api::vocabulary::SignatureFormat;
use crate::oci::manifest::{MAX_MANIFEST_BYTES, ManifestError};
use crate::oci::{Descriptor, Digest, Document, Manifest, media_type, referrers};
use crate::registry::{self, Access, Pinned, Registry, RegistryError};

/// Maximum number of candidates per search.
pub(super) const MAX_CANDIDATES: usize = 64;
/// Maximum size of a candidate, and of the manifest that leads to it, in bytes.
const MAX_BYTES: u64 = 256 * 1024;
/// Common prefix of the bundle media type in all of its versions.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// Annotation that clients write next to a bundle: the predicate type of its statement.
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";

/// Place where signatures are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignaturePlace {
    /// The registry's own referrers list (distribution-spec, "Listing Referrers").
    Referrers,
    /// The fallback tag that clients maintain where there is no referrers list (distribution-spec, "Referrers Tag
    /// Schema").
    Tag,
    /// The `.sig` tag of cosign before version 3.
    Legacy,
}

impl SignaturePlace {
    pub(super) const ALL: [Self; 3] = [Self::Referrers, Self::Tag, Self::Legacy];

    pub(super) fn format(self) -> SignatureFormat {
        match self {
            Self::Referrers | Self::Tag => SignatureFormat::Bundle,
            Self::Legacy => SignatureFormat::Legacy,
        }
    }
}

/// Descriptor that may lead to a candidate.
#[derive(Debug)]
pub(super) enum Lead {
    /// Manifest that may contain a bundle.
    Manifest(Descriptor),
    /// Layer that holds a legacy payload.
    Payload(Descriptor),
}

/// A search for signatures of one digest.
pub(super) struct Search<'a, R> {
    registry: &'a R,
    access: &'a Access,
    pinned: &'a Pinned,
    seen: HashSet<Digest>,
    /// True if leads were dropped because of [`MAX_CANDIDATES`].
    pub(super) left_out: bool,
}

impl<'a, R: Registry> Search<'a, R> {
    pub(super) fn new(registry: &'a R, access: &'a Access, pinned: &'a Pinned) -> Self {
        Self { registry, access, pinned, seen: HashSet::new(), left_out: false }
    }

    /// Returns the leads at a place, those annotated with one of `types` first. Empty if the place does not exist.
    pub(super) async fn leads(&mut self, place: SignaturePlace, types: &[&str]) -> Result<Vec<Lead>, RegistryError> {
        let tag = referrers::tag(self.pinned.digest());
        let mut leads = match place {
            SignaturePlace::Referrers => {
                let (repository, digest) = (self.pinned.repository(), self.pinned.digest());
                let listed = self.registry.referrers(self.access, repository, digest).await?;
                bundles(listed.unwrap_or_default())
            }
            SignaturePlace::Tag => bundles(self.listed(&tag).await?),
            SignaturePlace::Legacy => payloads(self.layers(&format!("{tag}.sig")).await?),
        };
        leads.retain(|lead| self.seen.insert(lead.identity()));
        // The annotation is unsigned: it only decides the order.
        leads.sort_by_key(|lead| match lead {
            Lead::Manifest(entry) => match entry.annotations.get(PREDICATE) {
                Some(kind) => {
                    if types.contains(&kind.as_str()) {
                        0
                    } else {
                        2
                    }
                }
                None => 1,
            },
            Lead::Payload(_) => 0,
        });
        let room = (MAX_CANDIDATES + leads.len()).saturating_sub(self.seen.len());
        self.left_out |= leads.len() > room;
        leads.truncate(room);
        Ok(leads)
    }

    /// Fetches the candidate of a lead. `None` if there is no such content, or if it is not a signature.
    pub(super) async fn follow(&self, lead: &Lead) -> Result<Option<Candidate>, RegistryError> {
        let (layer, kind) = match lead {
            Lead::Payload(layer) => (layer.clone(), CandidateKind::Legacy(layer.annotations.clone())),
            Lead::Manifest(entry) => {
                let document =
                    registry::document(self.registry, self.access, self.pinned.repository(), &entry.digest, MAX_BYTES);
                let Some((Document::Manifest(manifest), _)) = found(document.await)? else { return Ok(None) };
                match bundle_of(*manifest, self.pinned.digest()) {
                    Some(layer) => (layer, CandidateKind::Bundle),
                    None => return Ok(None),
                }
            }
        };
        let blob = registry::small_blob(self.registry, self.access, self.pinned.repository(), &layer, MAX_BYTES).await;
        Ok(found(blob)?.map(|bytes| Candidate { digest: layer.digest, bytes, kind }))
    }

    /// Returns the entries of the referrers list under a tag. Empty if the tag names something else.
    async fn listed(&self, tag: &str) -> Result<Vec<Descriptor>, RegistryError> {
        let Some(digest) = self.tagged(tag).await? else { return Ok(Vec::new()) };
        let list = registry::referrers_in(self.registry, self.access, self.pinned.repository(), &digest).await;
        match found(list) {
            Err(RegistryError::Manifest(ManifestError::Type(_))) | Ok(None) => Ok(Vec::new()),
            Ok(Some(list)) => Ok(list),
            Err(error) => Err(error),
        }
    }

    /// Returns the layers of the manifest under a tag. Empty if the tag names something else.
    async fn layers(&self, tag: &str) -> Result<Vec<Descriptor>, RegistryError> {
        let Some(digest) = self.tagged(tag).await? else { return Ok(Vec::new()) };
        let repository = self.pinned.repository();
        let document = registry::document(self.registry, self.access, repository, &digest, MAX_MANIFEST_BYTES).await;
        Ok(match found(document)? {
            Some((Document::Manifest(manifest), _)) => manifest.layers,
            Some((Document::Index(_), _)) | None => Vec::new(),
        })
    }

    /// Resolves a tag to its current digest.
    async fn tagged(&self, tag: &str) -> Result<Option<Digest>, RegistryError> {
        found(self.registry.tag_digest(self.access, self.pinned.repository(), tag).await)
    }
}

impl Lead {
    /// Returns the key for deduplicating leads. Several signers may sign one payload, each in a layer of its own, so
    /// the annotations are part of the key.
    fn identity(&self) -> Digest {
        match self {
            Self::Manifest(entry) => entry.digest.clone(),
            Self::Payload(layer) => Digest::of(format!("{} {:?}", layer.digest, layer.annotations).as_bytes()),
        }
    }
}

/// Maps "not found" to `None`: missing content is not a candidate. Any other error must not pass for that.
fn found<T>(result: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match result {
        Err(RegistryError::NotFound(_)) => Ok(None),
        result => result.map(Some),
    }
}

/// Keeps the entries that are or may be bundles: their artifact type is a bundle's, or the placeholder that registries
/// write for a type they do not understand.
fn bundles(entries: Vec<Descriptor>) -> Vec<Lead> {
    let may_be = |entry: &Descriptor| match entry.artifact_type.as_deref() {
        None | Some("" | media_type::OCI_EMPTY) => entry.media_type == media_type::OCI_MANIFEST,
        Some(kind) => kind.starts_with(BUNDLE),
    };
    entries.into_iter().filter(may_be).map(Lead::Manifest).collect()
}

fn payloads(layers: Vec<Descriptor>) -> Vec<Lead> {
    layers.into_iter().filter(|layer| layer.media_type == legacy::PAYLOAD).map(Lead::Payload).collect()
}

/// Returns true for a manifest with a Sigstore bundle, such as a signature.
pub fn is_bundle(manifest: &Manifest) -> bool {
    manifest.layers.iter().any(is_bundle_layer)
}

fn is_bundle_layer(layer: &Descriptor) -> bool {
    layer.media_type.starts_with(BUNDLE)
}

/// Returns the bundle layer of a manifest whose subject is the digest.
fn bundle_of(manifest: Manifest, subject: &Digest) -> Option<Descriptor> {
    let is_about = manifest.subject.as_ref().is_some_and(|of| of.digest == *subject);
    manifest.layers.into_iter().find(is_bundle_layer).filter(|_| is_about)
}
