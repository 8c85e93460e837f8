//! The local cache: a layout whose names are whole references, so that packaging and pulling fill it, and other
//! commands read it offline.
//!
//! ```text
//! name in index.json                    leads to
//!   ghcr.io/team/app:1.0                what the tag meant when it was pulled or packaged
//!   ghcr.io/team/app@sha256:<hex>       what was pulled by digest
//!   ghcr.io/team/app:sha256-<hex>.sig   signatures of cosign before version 3, and the like
//! ```
//!
//! Annotations of an entry record when it was added and which signer was verified. They are notes for `list`: whoever
//! can write to the directory can forge them, and no command relies on them.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use jiff::Timestamp;

use super::directory::Layout;
use super::{Entry, LayoutError, Pruned};
use crate::oci::{Descriptor, Digest, Reference, referrers};
use crate::storage::StorageError;

/// Annotation with the time at which an entry was added (RFC 3339).
const ADDED: &str = "dev.supercargo.cache.added";
/// Annotation with the signers that were verified before the entry was added.
const VERIFIED: &str = "dev.supercargo.cache.verified";

/// The cache of a user.
#[derive(Clone, Debug)]
pub struct Cache {
    layout: Layout,
}

/// An artifact in the cache.
#[derive(Clone, Debug)]
pub struct Cached {
    /// Reference under which it was packaged or pulled: with a tag, or with a digest.
    pub reference: Reference,
    /// Its manifest or index.
    pub manifest: Descriptor,
    /// The signers that were verified when it was added; a note, not a proof.
    pub verified: Option<String>,
    /// Time at which it was added.
    pub added: Option<Timestamp>,
}

/// Result of adding an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// The reference is new.
    New,
    /// The reference had another digest.
    Updated,
    /// The reference had this digest already.
    Unchanged,
}

impl Cache {
    /// Opens the cache in a directory for reading and writing, and creates it if it is missing.
    pub fn create(dir: &Path) -> Result<Self, LayoutError> {
        // Artifacts of private registries are for their user alone.
        let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        created.map_err(|error| StorageError::from_io(format!("create {}", dir.display()), &error))?;
        Ok(Self { layout: Layout::create(dir)? })
    }

    /// Opens the cache in a directory for reading; `None` if there is none.
    pub fn open(dir: &Path) -> Result<Option<Self>, LayoutError> {
        match Layout::open(dir) {
            Ok(layout) => Ok(Some(Self { layout })),
            Err(LayoutError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The layout, which is a registry of every repository in the cache.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the manifest of a reference; without a tag and a digest, of the tag `latest`. A digest is found only if
    /// the repository has it under some name.
    pub fn find(&self, reference: &Reference) -> Result<Option<Cached>, LayoutError> {
        let is_it = |cached: &Cached| {
            let own = &cached.reference;
            own.repository == reference.repository
                && match &reference.digest {
                    Some(digest) => cached.manifest.digest == *digest,
                    None => own.tag.as_deref() == Some(reference.tag.as_deref().unwrap_or("latest")),
                }
        };
        let found = self.artifacts()?.into_iter().find(is_it);
        let relation = if found.is_some() { "is" } else { "is not" };
        tracing::debug!("{reference} {relation} in the cache {}", self.layout.path().display());
        Ok(found)
    }

    /// Names a manifest, whose content the layout has already.
    pub fn add(
        &self,
        reference: &Reference,
        manifest: &Descriptor,
        verified: Option<&str>,
        now: Timestamp,
    ) -> Result<Added, LayoutError> {
        let before = self.find(reference)?;
        let added = now.to_string();
        let mut notes = vec![(ADDED, added.as_str())];
        notes.extend(verified.map(|signers| (VERIFIED, signers)));
        self.layout.name(manifest, &[&name_of(reference, &manifest.digest)], &notes)?;
        Ok(match before {
            None => Added::New,
            Some(before) if before.manifest.digest == manifest.digest => Added::Unchanged,
            Some(_) => Added::Updated,
        })
    }

    /// Removes the artifacts at the places that `rejected` returns, with their signatures, and content that no
    /// reference leads to; see [`Layout::prune`].
    pub fn prune(dir: &Path, rejected: impl FnOnce(&[Cached]) -> Vec<usize>) -> Result<Pruned, LayoutError> {
        Layout::prune(dir, |entries| {
            let named = |entry: &Entry| Some((entry.name.clone()?, artifact(entry.clone())?));
            let (names, artifacts): (Vec<String>, Vec<Cached>) = entries.iter().filter_map(named).unzip();
            rejected(&artifacts).into_iter().filter_map(|place| names.get(place).cloned()).collect()
        })
    }

    /// Returns the artifacts, sorted by repository, tag and digest, without tags that only lead to signatures and the
    /// like.
    pub fn artifacts(&self) -> Result<Vec<Cached>, LayoutError> {
        let mut all: Vec<Cached> = self.layout.entries()?.into_iter().filter_map(artifact).collect();
        all.sort_by(|a, b| key(a).cmp(&key(b)));
        Ok(all)
    }
}

/// Returns the name for a reference: a tag, or else a digest.
pub(super) fn name_of(reference: &Reference, digest: &Digest) -> String {
    let repository = &reference.repository;
    match (&reference.digest, reference.tag.as_deref()) {
        (Some(_), _) => format!("{repository}@{digest}"),
        (None, tag) => format!("{repository}:{}", tag.unwrap_or("latest")),
    }
}

fn key(cached: &Cached) -> (String, Option<&str>, &Digest) {
    (cached.reference.repository.to_string(), cached.reference.tag.as_deref(), &cached.manifest.digest)
}

/// Returns true if the tag only leads to a signature or the like: it is made of the digest of its subject, or of the
/// manifest's own.
pub(super) fn is_about_another(reference: &Reference, manifest: &Descriptor) -> bool {
    let is_about = |tag: &str| referrers::subject_of(tag).is_some() || tag == manifest.digest.hex();
    reference.tag.as_deref().is_some_and(is_about)
}

/// Returns the artifact of an entry; `None` for entries of other kinds.
pub(super) fn artifact(entry: Entry) -> Option<Cached> {
    let reference: Reference = entry.name?.parse().ok()?;
    let manifest = entry.descriptor;
    if is_about_another(&reference, &manifest) {
        return None;
    }
    let verified = manifest.annotations.get(VERIFIED).cloned();
    let added = manifest.annotations.get(ADDED).and_then(|text| text.parse().ok());
    Some(Cached { reference, manifest, verified, added })
}
