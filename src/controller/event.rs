//! Events: one for each relevant transition, none for steady states.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};

use super::report::with_remedy;
use crate::api::{MANAGER, OCIArtifactStatus, Reason};
use crate::oci::Digest;

/// Maximum length of a note in the API server, in bytes.
const MAX_NOTE: usize = 1024;

/// Reasons of Events that are not the reason of a failure. They are API, as [`Reason`] is: alerts and filters use them.
const PUBLISHED: &str = "Published";
const RECOVERED: &str = "Recovered";
const DAMAGED: &str = "Damaged";
const REPAIRED: &str = "Repaired";
const WITHDRAWN: &str = "Withdrawn";
const LAYERS_SKIPPED: &str = "LayersSkipped";
const SINGLE_DIRECTORY: &str = "SingleDirectory";
const VOLUME_NOT_MOUNTABLE: &str = "VolumeNotMountable";

/// Content of an Event.
#[derive(Debug)]
pub(super) struct News {
    /// `Normal` or `Warning`.
    pub(super) kind: &'static str,
    pub(super) reason: String,
    pub(super) note: String,
}

/// Returns the Event for a change of status, if there is one.
pub(super) fn of_change(before: &OCIArtifactStatus, after: &OCIArtifactStatus) -> Option<News> {
    let (was, is) = (ready(before), ready(after)?);
    if is.status == "True" {
        let old = before.artifact.as_ref();
        let new = after.artifact.as_ref()?;
        let revision = named(new.tag.as_deref(), &new.digest);
        return match old {
            None => Some(normal(PUBLISHED, format!("published {revision}"))),
            Some(old) if old.digest != new.digest => {
                Some(normal(PUBLISHED, format!("published {revision}, replacing {}", short(&old.digest))))
            }
            Some(_) if was.is_some_and(|was| was.status != "True" && was.reason != Reason::Progressing.as_str()) => {
                Some(normal(RECOVERED, format!("recovered; {revision} is published")))
            }
            Some(_) => None,
        };
    }
    if let (Some(old), None, Some(refused)) = (&before.artifact, &after.artifact, &after.candidate) {
        let message = match Reason::parse(&refused.reason) {
            Some(reason) => with_remedy(&refused.message, reason),
            None => refused.message.clone(),
        };
        let note = format!("{} withdrawn, {}: {message}", short(&old.digest), refused.reason);
        return Some(warning(WITHDRAWN, note));
    }
    let candidate = |status: &OCIArtifactStatus| status.candidate.as_ref().map(|candidate| candidate.digest.clone());
    let same = was.is_some_and(|was| was.reason == is.reason) && candidate(before) == candidate(after);
    if same || is.reason == Reason::Progressing.as_str() || is.reason == Reason::Suspended.as_str() {
        return None;
    }
    let note = match candidate(after) {
        Some(digest) => format!("{} not published: {}", short(&digest), is.message),
        None => is.message.clone(),
    };
    Some(warning(&is.reason, note))
}

/// Returns the Event for an object whose spec does not parse.
pub(super) fn unreadable(message: &str) -> News {
    warning(Reason::InvalidSpec.as_str(), with_remedy(message, Reason::InvalidSpec))
}

/// Returns the Event for published content that another writer changed.
pub(super) fn damaged(damage: &str) -> News {
    warning(DAMAGED, format!("{damage}; the operator restores the published content"))
}

/// Returns the Event for damaged content that was published again.
pub(super) fn repaired(digest: &str) -> News {
    normal(REPAIRED, format!("repaired; {} was published again", short(digest)))
}

/// Returns the Event for metadata layers that were not fetched.
pub(super) fn layers_skipped(layers: &[String]) -> News {
    normal(LAYERS_SKIPPED, format!("skipped metadata layers (signatures, attestations): {}", layers.join(", ")))
}

/// Returns the Event for files that are all in one directory, deeper than consumers may expect.
pub(super) fn single_directory(name: &str) -> News {
    let note = format!(
        "the artifact is one directory, {name:?}, so consumers find its files below {name:?}, not at the top. Set \
         spec.files.subPath to {name:?} to publish the content of the directory"
    );
    warning(SINGLE_DIRECTORY, note)
}

/// Returns the Event for a volume output that no other pod can read.
pub(super) fn volume_not_mountable(output: &str, volume: &str) -> News {
    let note = format!(
        "output {output:?} is on volume {volume:?}, an emptyDir of the operator's pod, which no other pod can mount. \
         Use a configMap output, or have an administrator set another storage.type in the chart"
    );
    warning(VOLUME_NOT_MOUNTABLE, note)
}

fn normal(reason: &str, note: String) -> News {
    News { kind: "Normal", reason: reason.to_owned(), note }
}

fn warning(reason: &str, note: String) -> News {
    News { kind: "Warning", reason: reason.to_owned(), note }
}

/// Writes an Event about `object`.
///
/// Not by kube's recorder: it aggregates Events of one reason and keeps the first note, so the
/// second of two tag moves would be lost.
pub(super) async fn publish(
    client: &Client,
    object: ObjectReference,
    news: &News,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let namespace = object.namespace.clone().unwrap_or_default();
    let mut note = crate::failure::printable(&news.note);
    note.truncate(note.floor_char_boundary(MAX_NOTE));
    let event = Event {
        metadata: ObjectMeta {
            generate_name: object.name.as_ref().map(|name| format!("{name}-")),
            ..Default::default()
        },
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(now)),
        note: Some(note),
        reason: Some(news.reason.clone()),
        regarding: Some(object),
        reporting_controller: Some(MANAGER.to_owned()),
        // In a pod this is the pod's name.
        reporting_instance: Some(std::env::var("HOSTNAME").unwrap_or_else(|_| MANAGER.to_owned())),
        type_: Some(news.kind.to_owned()),
        ..Event::default()
    };
    Api::namespaced(client.clone(), &namespace).create(&PostParams::default(), &event).await.map(drop)
}

fn ready(status: &OCIArtifactStatus) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    status.conditions.iter().find(|condition| condition.type_ == "Ready")
}

fn named(tag: Option<&str>, digest: &str) -> String {
    tag.map_or_else(|| short(digest), |tag| format!("{} (tag {tag})", short(digest)))
}

fn short(digest: &str) -> String {
    digest.parse::<Digest>().map_or_else(|_| digest.to_owned(), |digest| digest.short())
}
