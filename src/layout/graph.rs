//! Documents and blobs that a manifest lists, and all that is reachable from entries of the index.

use std::collections::HashSet;

use super::directory::Layout;
use super::{Entry, LayoutError};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Document, Reference, media_type, referrers};

/// Returns the blobs and manifests that a document lists, without its subject.
pub(super) fn listed(document: &Document) -> impl Iterator<Item = &Descriptor> {
    let (config, rest) = match document {
        Document::Manifest(manifest) => (Some(&manifest.config), manifest.layers.iter()),
        Document::Index(index) => (None, index.manifests.iter()),
    };
    config.into_iter().chain(rest)
}

/// Returns the digest of the artifact that an entry is about: the subject of its manifest, or the digest in a tag such
/// as `sha256-<hex>.sig`.
fn about(layout: &Layout, entry: &Entry) -> Option<Digest> {
    let tag = |name: &str| match name.parse::<Reference>() {
        Ok(reference) => reference.tag,
        Err(_) => Some(name.to_owned()),
    };
    let tagged = entry.name.as_deref().and_then(tag).and_then(|tag| referrers::subject_of(&tag));
    tagged.or_else(|| match layout.parsed(&entry.descriptor)? {
        Document::Manifest(manifest) => manifest.subject.map(|subject| subject.digest),
        Document::Index(_) => None,
    })
}

impl Layout {
    /// Returns a blob or manifest that the document lists and the layout does not have. Content that the document
    /// carries inline need not be there.
    pub(super) fn missing(&self, document: &Document) -> Result<Option<Digest>, LayoutError> {
        for one in listed(document).filter(|one| one.data.is_none()) {
            if self.open_blob(&one.digest)?.is_none_or(|(_, size)| size != one.size) {
                return Ok(Some(one.digest.clone()));
            }
        }
        Ok(None)
    }

    /// Returns the digests of all that the entries lead to. An entry that is about another artifact, such as a
    /// signature, is followed only if that artifact is reached.
    pub(super) fn reachable<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) -> HashSet<Digest> {
        let (mut reached, mut waiting) = (HashSet::new(), Vec::new());
        for entry in entries {
            match about(self, entry) {
                Some(subject) => waiting.push((subject, entry)),
                None => self.reach(&entry.descriptor, &mut reached),
            }
        }
        // Signatures can be signed: until no further entry is reached.
        loop {
            let (next, rest): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(subject, _)| reached.contains(subject));
            if next.is_empty() {
                return reached;
            }
            for (_, entry) in next {
                self.reach(&entry.descriptor, &mut reached);
            }
            waiting = rest;
        }
    }

    /// Fails if a manifest of the entries, or one that it lists at any depth, is there and cannot be read.
    pub(super) fn check_documents<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> Result<(), LayoutError> {
        let mut next: Vec<_> = entries.map(|entry| entry.descriptor.clone()).collect();
        let mut seen = HashSet::new();
        while let Some(descriptor) = next.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            let Some(bytes) = self.read_blob(&descriptor.digest, MAX_MANIFEST_BYTES)? else { continue };
            if let Document::Index(index) = Document::parse(&bytes, Some(&descriptor.media_type))? {
                next.extend(index.manifests);
            }
        }
        Ok(())
    }

    /// Returns true if the manifest refers to another one.
    pub(super) fn has_subject(&self, manifest: &Descriptor) -> bool {
        matches!(self.parsed(manifest), Some(Document::Manifest(manifest)) if manifest.subject.is_some())
    }

    /// Adds a manifest and all that it lists, at any depth.
    pub(super) fn reach(&self, manifest: &Descriptor, reached: &mut HashSet<Digest>) {
        let mut next = vec![manifest.clone()];
        while let Some(descriptor) = next.pop() {
            if reached.insert(descriptor.digest.clone())
                && let Some(document) = self.parsed(&descriptor)
            {
                next.extend(listed(&document).cloned());
            }
        }
    }

    /// Returns the document of a descriptor; `None` if it is none, is missing or is damaged.
    fn parsed(&self, descriptor: &Descriptor) -> Option<Document> {
        if !media_type::is_document(&descriptor.media_type) {
            return None;
        }
        let bytes = self.read_blob(&descriptor.digest, MAX_MANIFEST_BYTES).ok().flatten()?;
        Document::parse(&bytes, Some(&descriptor.media_type)).ok()
    }
}
