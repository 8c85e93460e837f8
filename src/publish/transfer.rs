//! An artifact from one place to another, with the same digest, everything that refers to it, and its tags.

use std::collections::HashSet;

use super::copy::{self, Copied};
use super::graph::{self, Node};
use super::referrers::lists;
use super::sign::{self, Signature, Signing};
use super::{Display, Overwrite, Place, PublishError, attach, found, named, tags};
use crate::oci::{Digest, Document, referrers};
use crate::registry::{MAX_REFERRERS, Push, Registry, Stored};
use crate::trust;

/// Maximum number of steps from an artifact to a referrer, such as the signature of an SBOM.
const MAX_STEPS: usize = 3;
/// Suffixes of the tags under which clients before OCI 1.1 store signatures, attestations and SBOMs.
const LEGACY: [&str; 3] = ["sig", "att", "sbom"];

/// Options of a transfer.
#[derive(Clone, Default)]
pub struct Options {
    /// Tags of the artifact at the destination.
    pub tags: Vec<String>,
    /// Rule for tags that exist.
    pub overwrite: Overwrite,
    /// True to copy referrers and the tags of signatures, attestations and SBOMs too.
    pub referrers: bool,
    /// Signature of the artifact at the destination.
    pub signing: Option<Signing>,
    /// Display of uploads.
    pub display: Display,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("tags", &self.tags).field("overwrite", &self.overwrite).finish_non_exhaustive()
    }
}

/// Result of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Digest of the artifact, at both places.
    pub digest: Digest,
    /// Media type of its manifest or index.
    pub media_type: String,
    /// Size of its manifest or index, in bytes.
    pub size: u64,
    /// Number of referrers at the destination.
    pub referrers: usize,
    /// Tags of signatures, attestations and SBOMs at the destination.
    pub legacy_tags: Vec<String>,
    /// Tags of the artifact that were set; others referred to it already.
    pub tags: Vec<String>,
    /// Signature, if one was to be made.
    pub signature: Option<Signature>,
    /// What was copied.
    pub copied: Copied,
}

/// Copies the artifact of a digest. Its tags are set last, once everything else is confirmed at the destination.
pub async fn transfer<S: Registry, D: Registry + Push>(
    from: Place<'_, S>,
    to: Place<'_, D>,
    digest: &Digest,
    options: &Options,
) -> Result<Transferred, PublishError> {
    tags::check(to, &options.tags, digest, options.overwrite).await?;
    let nodes = graph::walk(from, digest).await?;
    let mut copied = copy::nodes(from, to, &nodes, &options.display).await?;
    let (mut count, mut legacy_tags) = (0, Vec::new());
    if options.referrers {
        let (seen, none) = (HashSet::new(), Copied::default());
        let mut work = Referrers { from, to, options, which: Which::All, seen, copied: none };
        for node in &nodes {
            work.copy(&node.digest).await?;
            legacy_tags.append(&mut work.copy_legacy(&node.digest).await?);
        }
        count = work.seen.len();
        copied.add(work.copied);
    }
    let Some(root) = nodes.last() else {
        return Err(PublishError::TooManyManifests { what: named(from.repository, digest), limit: 0 });
    };
    let signature = match &options.signing {
        Some(signing) => Some(sign::sign_once(to, digest, signing).await?),
        None => None,
    };
    // Again, because the copy may have taken long.
    let missing = tags::check(to, &options.tags, digest, options.overwrite).await?;
    for tag in &missing {
        tags::set(to, tag, root).await?;
    }
    Ok(Transferred {
        digest: digest.clone(),
        media_type: root.document.media_type().to_owned(),
        size: root.bytes.len() as u64,
        referrers: count,
        legacy_tags,
        tags: missing.into_iter().cloned().collect(),
        signature,
        copied,
    })
}

/// Copies the signatures and attestations of a digest, without the artifact itself, and returns their number.
pub async fn copy_signatures<S: Registry, D: Registry + Push>(
    from: Place<'_, S>,
    to: Place<'_, D>,
    digest: &Digest,
) -> Result<usize, PublishError> {
    let options = Options { overwrite: Overwrite::Always, ..Options::default() };
    let (seen, copied) = (HashSet::new(), Copied::default());
    let mut work = Referrers { from, to, options: &options, which: Which::Signatures, seen, copied };
    work.copy_of(digest).await?;
    let tags = work.copy_legacy(digest).await?;
    Ok(work.seen.len() + tags.len())
}

/// The referrers to copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// Sigstore bundles, and the tag `.sig`: all that a verification reads.
    Signatures,
}

impl Which {
    fn includes(self, node: &Node) -> bool {
        match (self, &node.document) {
            (Self::All, _) => true,
            (Self::Signatures, Document::Manifest(manifest)) => trust::is_bundle(manifest),
            (Self::Signatures, Document::Index(_)) => false,
        }
    }

    fn legacy(self) -> &'static [&'static str] {
        match self {
            Self::All => &LEGACY,
            Self::Signatures => &["sig"],
        }
    }
}

/// Copy of everything that refers to an artifact.
struct Referrers<'a, S, D> {
    from: Place<'a, S>,
    to: Place<'a, D>,
    options: &'a Options,
    which: Which,
    /// Referrers that were copied.
    seen: HashSet<Digest>,
    copied: Copied,
}

impl<S: Registry, D: Registry + Push> Referrers<'_, S, D> {
    /// Copies the referrers of a digest, and theirs, and lists them at the destination.
    async fn copy(&mut self, subject: &Digest) -> Result<(), PublishError> {
        let mut subjects = vec![subject.clone()];
        for _ in 0..MAX_STEPS {
            let mut next = Vec::new();
            for subject in &subjects {
                next.append(&mut self.copy_of(subject).await?);
            }
            subjects = next;
        }
        Ok(())
    }

    /// Copies the referrers of one digest, and returns their digests.
    async fn copy_of(&mut self, subject: &Digest) -> Result<Vec<Digest>, PublishError> {
        let mut listed: Vec<(Node, Option<Stored>)> = Vec::new();
        let entries = lists(self.from, subject).await?.all();
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let there = lists(self.to, subject).await?.of_registry;
        for entry in entries {
            // A list may name a manifest that is gone, or one that refers to something else.
            let Some(nodes) = gone(graph::walk(self.from, &entry.digest).await)? else { continue };
            let Some((node, children)) =
                nodes.split_last().filter(|(node, _)| node.subject() == Some(subject) && self.which.includes(node))
            else {
                continue;
            };
            if !self.seen.insert(node.digest.clone()) {
                continue;
            }
            if self.seen.len() > MAX_REFERRERS {
                let what = format!("the referrers of {}", named(self.from.repository, subject));
                return Err(PublishError::TooManyManifests { what, limit: MAX_REFERRERS });
            }
            self.copied.add(copy::nodes(self.from, self.to, children, &self.options.display).await?);
            self.copied.add(copy::blobs(self.from, self.to, std::slice::from_ref(node), &self.options.display).await?);
            // A cache can have the manifest as a referrer in another repository.
            let is_unlisted =
                there.as_ref().is_some_and(|there| !there.iter().any(|listed| listed.digest == node.digest));
            let stored = if is_unlisted {
                Some(copy::rewritten(self.to, node).await?)
            } else {
                copy::document(self.to, node).await?
            };
            self.copied.manifests += usize::from(stored.is_some());
            self.copy_own_tag(node).await?;
            listed.push((node.clone(), stored));
        }
        let nodes: Vec<_> = listed.iter().map(|(node, stored)| (node, stored.clone())).collect();
        attach::list(self.to, subject, &nodes).await?;
        Ok(listed.into_iter().map(|(node, _)| node.digest).collect())
    }

    /// Copies the tag that keeps a referrer from being removed, where the source has one.
    async fn copy_own_tag(&self, node: &Node) -> Result<(), PublishError> {
        let tag = node.digest.hex();
        let has_tag = tags::current(self.from, &tag).await?.as_ref() == Some(&node.digest);
        if has_tag && tags::current(self.to, &tag).await?.as_ref() != Some(&node.digest) {
            tags::set(self.to, &tag, node).await?;
        }
        Ok(())
    }

    /// Copies what clients before OCI 1.1 store under tags, and returns these tags.
    async fn copy_legacy(&mut self, digest: &Digest) -> Result<Vec<String>, PublishError> {
        let mut copied = Vec::new();
        for suffix in self.which.legacy() {
            let tag = format!("{}.{suffix}", referrers::tag(digest));
            let Some(wanted) = tags::current(self.from, &tag).await? else { continue };
            let there = tags::current(self.to, &tag).await?;
            if there.as_ref() != Some(&wanted) {
                let nodes = graph::walk(self.from, &wanted).await?;
                let Some(root) = nodes.last() else { continue };
                if let Some(there) = there
                    && self.supersedes(&tag, &there, root).await?
                {
                    copied.push(tag);
                    continue;
                }
                self.copied.add(copy::nodes(self.from, self.to, &nodes, &self.options.display).await?);
                tags::set(self.to, &tag, root).await?;
            }
            copied.push(tag);
        }
        Ok(copied)
    }

    /// Returns true if a manifest at the destination stays, because it has every layer of the one to copy; false if it
    /// may be replaced. Fails if both have layers of their own: each layer is a signature, and none may be lost.
    async fn supersedes(&self, tag: &str, there: &Digest, by: &Node) -> Result<bool, PublishError> {
        let conflict = || PublishError::LegacyConflict { reference: format!("{}:{tag}", self.to.repository) };
        let old = graph::fetch(self.to, there).await?;
        let (Document::Manifest(old), Document::Manifest(new)) = (&old.document, &by.document) else {
            return Err(conflict());
        };
        let (is_forced, is_signing) = (self.options.overwrite == Overwrite::Always, self.options.signing.is_some());
        if new.layers.iter().all(|layer| old.layers.contains(layer)) && (is_signing || !is_forced) {
            return Ok(true);
        }
        let is_kept = old.layers.iter().all(|layer| new.layers.contains(layer));
        if is_kept || is_forced { Ok(false) } else { Err(conflict()) }
    }
}

/// Maps content that is gone to `None`.
fn gone<T>(result: Result<T, PublishError>) -> Result<Option<T>, PublishError> {
    match result {
        Err(PublishError::Registry(error)) => Ok(found(Err(error))?),
        result => result.map(Some),
    }
}
