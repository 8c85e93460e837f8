//! An object as read: its owner, its revision, and damage to its content. Pure.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use super::hmac_key::ContentKey;
use super::kind::Kind;
use super::managers;
use super::wanted::Place;
use crate::api::{self, OCIArtifact};
use crate::output::damage::{Damage, Difference, Held, MAX_DIFFERENCES, Probed, What};
use crate::output::error::OutputError;
use crate::output::published::Published;
use crate::plan::Revision;
use crate::request::ObjectId;
use crate::request::OutputKind;

/// Returns the state of an object that was read.
pub(in crate::output) fn probed<K: Kind>(
    found: Option<&K>,
    place: Place<'_>,
    key: &ContentKey,
    is_in_cluster: bool,
) -> Result<Probed, OutputError> {
    let Some(found) = found else { return Ok(Held::Nothing.into()) };
    if is_in_cluster {
        check_owner(found, place.object)?;
    }
    let version = is_in_cluster.then(|| format!("{}/{}", found.uid().unwrap_or_default(), version_of(found)));
    let held = match published_in(found, place.output) {
        None => Held::Nothing,
        Some(published) if found.annotations().get(api::ANNOTATION_CONTENT) == Some(&found.mark(key)) => {
            Held::Whole(published)
        }
        // The digest was made by an earlier process with another key, so the content cannot be compared.
        Some(published)
            if K::KIND == OutputKind::Secret && !key.made(found.annotations().get(api::ANNOTATION_CONTENT)) =>
        {
            Held::Unknown(published)
        }
        Some(published) => {
            let is_additive = added_keys(found, key).is_some();
            Held::Damaged(Damage { is_additive, ..damage(found, place.output) }, published)
        }
    };
    Ok(Probed { held, version })
}

/// Returns the keys set by other managers, according to `managedFields`.
pub(super) fn damage<K: Kind>(found: &K, output: &str) -> Damage {
    let foreign = managers::foreign_keys(found.managed_fields()).into_iter().take(MAX_DIFFERENCES);
    let mut differences: Vec<_> =
        foreign.map(|(key, manager)| Difference::new(key.as_bytes(), What::SetBy(manager))).collect();
    if differences.is_empty() {
        differences.push(Difference::new(b"", What::Content));
    }
    Damage { output: output.to_owned(), location: K::location(found.name_any()), differences, is_additive: false }
}

/// Returns the keys of other managers, if the remaining content is the published one.
pub(super) fn added_keys<K: Kind>(found: &K, key: &ContentKey) -> Option<BTreeSet<String>> {
    let foreign: BTreeSet<_> = managers::foreign_keys(found.managed_fields()).into_iter().map(|(key, _)| key).collect();
    let own: Vec<_> = found.entries().into_iter().filter(|(key, _)| !foreign.contains(*key)).collect();
    let is_whole = found.annotations().get(api::ANNOTATION_CONTENT) == Some(&K::mark_of(&own, key));
    (is_whole && !foreign.is_empty()).then_some(foreign)
}

fn version_of<K: Kind>(found: &K) -> String {
    found.resource_version().unwrap_or_default()
}

/// Returns the revision in the annotations, without comparing the content.
pub(super) fn published_in<K: Kind>(found: &K, output: &str) -> Option<Published> {
    let annotations = found.annotations();
    let entries = found.entries();
    Some(Published {
        output: output.to_owned(),
        location: K::location(found.name_any()),
        revision: Revision {
            digest: annotations.get(api::ANNOTATION_DIGEST)?.parse().ok()?,
            fingerprint: annotations.get(api::ANNOTATION_FINGERPRINT)?.clone().into(),
        },
        list_digest: None,
        files: entries.len() as u64,
        bytes: entries.iter().map(|(_, value)| value.len() as u64).sum(),
        skipped: 0,
    })
}

pub(super) fn check_owner<K: Kind>(found: &K, object: &ObjectId) -> Result<(), OutputError> {
    if is_ours(found, object) {
        return Ok(());
    }
    let (kind, name) = (K::KIND, found.name_any());
    let earlier = controllers(found).find(|owner| {
        owner.kind == OCIArtifact::kind(&()) && owner.name == object.name && owner.api_version.starts_with(api::GROUP)
    });
    if let Some(earlier) = earlier {
        return Err(OutputError::Earlier { what: format!("{kind} {name}"), uid: earlier.uid.clone() });
    }
    Err(OutputError::Obstacle(format!(
        "{kind} {name} exists and is not owned by this object. Delete it, or choose another name"
    )))
}

/// Refuses an object that no write can change as wanted.
pub(super) fn check_form<K: Kind>(existing: &K, wanted: &K) -> Result<(), OutputError> {
    let (kind, name) = (K::KIND, existing.name_any());
    if existing.is_immutable() && (!wanted.is_immutable() || existing.entries() != wanted.entries()) {
        return Err(OutputError::Obstacle(format!(
            "{kind} {name} is immutable and holds other content. Delete it, or choose another name"
        )));
    }
    if existing.secret_type() != wanted.secret_type() {
        return Err(OutputError::Obstacle(format!(
            "{kind} {name} has type {:?}, which cannot be changed. Delete it, or choose another name",
            existing.secret_type().unwrap_or_default()
        )));
    }
    Ok(())
}

fn controllers<K: Kind>(found: &K) -> impl Iterator<Item = &OwnerReference> {
    found.owner_references().iter().filter(|owner| owner.controller == Some(true))
}

pub(super) fn is_ours<K: Kind>(found: &K, object: &ObjectId) -> bool {
    controllers(found).any(|owner| owner.uid == object.uid)
}
