//! `status.artifact`: the revision that consumers read.

use std::collections::BTreeMap;

use super::Report;
use super::text::{MAX_CUT, cut, whole};
use crate::api::status::ArtifactStatus;
use crate::oci::Manifest;
use crate::registry::Pinned;

/// Maximum number of annotations copied to status, so that status stays small.
const MAX_ANNOTATIONS: usize = 16;
/// Prefix of the annotations that are copied.
pub(super) const ANNOTATIONS: &str = "org.opencontainers.image.";

impl Report<'_> {
    pub(super) fn artifact(&self, pinned: &Pinned, manifest: &Manifest) -> ArtifactStatus {
        let same = self.status.artifact.as_ref().filter(|before| before.digest == pinned.digest().to_string());
        ArtifactStatus {
            reference: pinned.to_string(),
            digest: pinned.digest().to_string(),
            short_digest: pinned.digest().short(),
            platform_digest: manifest.platform_digest.as_ref().map(ToString::to_string),
            tag: pinned.tag().map(str::to_owned),
            artifact_type: cut(&manifest.artifact_type),
            media_type: manifest.media_type.clone(),
            size: whole(manifest.size()),
            annotations: annotations(manifest),
            last_update_time: same.map_or_else(|| self.now.to_string(), |before| before.last_update_time.clone()),
        }
    }

    /// Returns the served artifact under another name, for example after a tag was added to the digest.
    pub(super) fn renamed(&self, pinned: &Pinned) -> Option<ArtifactStatus> {
        self.status.artifact.clone().map(|artifact| ArtifactStatus {
            reference: pinned.to_string(),
            tag: pinned.tag().map(str::to_owned),
            ..artifact
        })
    }
}

fn annotations(manifest: &Manifest) -> BTreeMap<String, String> {
    manifest
        .annotations
        .iter()
        .filter(|(key, _)| key.starts_with(ANNOTATIONS) && key.len() <= MAX_CUT)
        .take(MAX_ANNOTATIONS)
        .map(|(key, value)| (cut(key), cut(value)))
        .collect()
}
