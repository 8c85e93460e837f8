//! Status from what a pass found. Pure: what is written, and whether anything is, follows from here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::status::{ArtifactStatus, CandidateStatus, Fingerprints, OutputStatus};
use crate::api::{OCIArtifactStatus, Reason};
use crate::failure::{Class, Failure};
use crate::oci::Manifest;
use crate::pass::Outcome;
use crate::publish::Published;
use crate::registry::Pinned;
use crate::request::Request;

/// Most annotations copied to status, and their longest value in bytes: status stays small whatever an
/// artifact contains.
const MAX_ANNOTATIONS: usize = 16;
const MAX_ANNOTATION: usize = 256;
/// The annotations that are copied.
const ANNOTATIONS: &str = "org.opencontainers.image.";

/// What every report starts from.
pub(super) struct Before<'a> {
    /// The status as it is.
    pub(super) status: &'a OCIArtifactStatus,
    /// Generation of the spec that was acted upon.
    pub(super) generation: i64,
    /// Value of the annotation that asks for a pass.
    pub(super) requested_at: Option<&'a str>,
    /// The time, where something changes.
    pub(super) now: Timestamp,
}

impl Before<'_> {
    /// Everything is as the spec wants it.
    pub(super) fn succeeded(&self, request: &Request, outcome: &Outcome) -> OCIArtifactStatus {
        let artifact = match &outcome.manifest {
            Some(manifest) => Some(self.artifact(&outcome.pinned, manifest)),
            None => self.renamed(&outcome.pinned),
        };
        let message = format!("{} is published", short(&outcome.pinned));
        OCIArtifactStatus {
            artifact,
            candidate: None,
            outputs: outcome.published.iter().map(|output| self.output(output)).collect(),
            fingerprints: Some(Fingerprints { content: request.fingerprint.as_str().to_owned() }),
            conditions: self.conditions(true, Reason::Succeeded, &message, None),
            ..self.observed()
        }
    }

    /// The pass ended badly. What was published stays, and stays named.
    pub(super) fn failed(&self, failure: &Failure) -> OCIArtifactStatus {
        let kind = match failure.class {
            Class::Retry | Class::Wait => "Reconciling",
            Class::Stalled => "Stalled",
        };
        let candidate = failure.candidate.as_ref().map(|digest| CandidateStatus {
            digest: digest.to_string(),
            reason: failure.reason.to_string(),
            message: failure.message.clone(),
        });
        OCIArtifactStatus {
            candidate,
            conditions: self.conditions(false, failure.reason, &failure.message, Some(kind)),
            ..self.observed()
        }
    }

    /// A pass takes long: say so, and what is served meanwhile.
    pub(super) fn progressing(&self, message: &str) -> OCIArtifactStatus {
        OCIArtifactStatus {
            conditions: self.conditions(false, Reason::Progressing, message, Some("Reconciling")),
            last_handled_reconcile_at: self.status.last_handled_reconcile_at.clone(),
            ..self.observed()
        }
    }

    /// Nothing is done on purpose. What is served is served.
    pub(super) fn suspended(&self) -> OCIArtifactStatus {
        let (ready, message) = match &self.status.artifact {
            Some(artifact) => (true, format!("suspended; {} stays published", artifact.short_digest)),
            None => (false, "suspended before anything was published".to_owned()),
        };
        OCIArtifactStatus { conditions: self.conditions(ready, Reason::Suspended, &message, None), ..self.observed() }
    }

    fn observed(&self) -> OCIArtifactStatus {
        OCIArtifactStatus {
            observed_generation: self.generation,
            last_handled_reconcile_at: self.requested_at.map(str::to_owned),
            ..self.status.clone()
        }
    }

    /// `Ready` always, `abnormal` (Reconciling or Stalled) only while it is so.
    fn conditions(&self, ready: bool, reason: Reason, message: &str, abnormal: Option<&str>) -> Vec<Condition> {
        let condition = |kind: &str, status: bool| {
            let status = if status { "True" } else { "False" };
            let before = self.status.conditions.iter().find(|condition| condition.type_ == kind);
            let since =
                before.filter(|before| before.status == status).map(|before| before.last_transition_time.clone());
            Condition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: reason.to_string(),
                message: message.to_owned(),
                observed_generation: Some(self.generation),
                last_transition_time: since.unwrap_or(Time(self.now)),
            }
        };
        std::iter::once(condition("Ready", ready)).chain(abnormal.map(|kind| condition(kind, true))).collect()
    }

    fn artifact(&self, pinned: &Pinned, manifest: &Manifest) -> ArtifactStatus {
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

    /// The same content under another name: a tag was added to the digest, say.
    fn renamed(&self, pinned: &Pinned) -> Option<ArtifactStatus> {
        self.status.artifact.clone().map(|artifact| ArtifactStatus {
            reference: pinned.to_string(),
            tag: pinned.tag().map(str::to_owned),
            ..artifact
        })
    }

    fn output(&self, published: &Published) -> OutputStatus {
        // A probe cannot know what was left out when the output was made of the same in the same way.
        let made = self.status.fingerprints.as_ref().map(|made| made.content.as_str());
        let is_same = |output: &&OutputStatus| {
            output.name == published.output && output.digest == published.revision.digest.to_string()
        };
        let before = self.status.outputs.iter().find(is_same).filter(|_| made == Some(&published.revision.fingerprint));
        OutputStatus {
            name: published.output.clone(),
            kind: published.kind.to_owned(),
            location: published.location.clone(),
            digest: published.revision.digest.to_string(),
            files: whole(published.files),
            bytes: whole(published.bytes),
            skipped: whole(published.skipped).max(before.map_or(0, |output| output.skipped)),
            list_digest: published.list_digest.as_ref().map(ToString::to_string),
        }
    }
}

/// `tag at sha256:0123456789ab`, or the digest alone.
pub(super) fn short(pinned: &Pinned) -> String {
    let digest = pinned.digest().short();
    pinned.tag().map_or_else(|| digest.clone(), |tag| format!("{tag} at {digest}"))
}

fn annotations(manifest: &Manifest) -> BTreeMap<String, String> {
    manifest
        .annotations
        .iter()
        .filter(|(key, _)| key.starts_with(ANNOTATIONS) && key.len() <= MAX_ANNOTATION)
        .take(MAX_ANNOTATIONS)
        .map(|(key, value)| (cut(key), cut(value)))
        .collect()
}

fn cut(text: &str) -> String {
    let mut shown = crate::failure::printable(text);
    shown.truncate(shown.floor_char_boundary(MAX_ANNOTATION));
    shown
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
