//! Everything that refers to an artifact, as a tree.

use std::collections::HashSet;

use super::graph;
use super::referrers::lists;
use super::{Place, PublishError, found, tags};
use crate::oci::{Descriptor, Digest, referrers};
use crate::registry::{MAX_REFERRERS, Registry};

/// Maximum depth of the tree.
const MAX_DEPTH: usize = 4;
/// Suffixes of the tags under which clients before OCI 1.1 store signatures, attestations and SBOMs.
const LEGACY: [&str; 3] = ["sig", "att", "sbom"];

/// A referrer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its descriptor, with the artifact type and annotations of its own manifest.
    pub descriptor: Descriptor,
    /// The tag under which it is stored, if clients before OCI 1.1 have stored it: it has no subject then.
    pub legacy_tag: Option<String>,
    /// Its own referrers.
    pub referrers: Vec<Found>,
}

/// Returns the referrers of a digest, in the order of the registry's lists. Lists describe their entries wrongly now and
/// then, so each manifest is fetched; those that are gone or refer to something else are left out.
pub async fn discover<R: Registry>(place: Place<'_, R>, digest: &Digest) -> Result<Vec<Found>, PublishError> {
    let mut seen = HashSet::new();
    let mut all = of(place, digest, &mut seen, MAX_DEPTH).await?;
    for suffix in LEGACY {
        let tag = format!("{}.{suffix}", referrers::tag(digest));
        let Some(target) = tags::current(place, &tag).await? else { continue };
        let node = graph::fetch(place, &target).await?;
        all.push(Found { descriptor: node.descriptor(), legacy_tag: Some(tag), referrers: Vec::new() });
    }
    Ok(all)
}

async fn of<R: Registry>(
    place: Place<'_, R>,
    digest: &Digest,
    seen: &mut HashSet<Digest>,
    depth: usize,
) -> Result<Vec<Found>, PublishError> {
    let mut all = Vec::new();
    for entry in lists(place, digest).await?.all() {
        if !seen.insert(entry.digest.clone()) || seen.len() > MAX_REFERRERS {
            continue;
        }
        let node = match graph::fetch(place, &entry.digest).await {
            Err(PublishError::Registry(error)) => found(Err(error))?,
            node => Some(node?),
        };
        let Some(node) = node.filter(|node| node.subject() == Some(digest)) else { continue };
        let deeper = if depth > 1 { Box::pin(of(place, &node.digest, seen, depth - 1)).await? } else { Vec::new() };
        all.push(Found { descriptor: node.descriptor(), legacy_tag: None, referrers: deeper });
    }
    Ok(all)
}
