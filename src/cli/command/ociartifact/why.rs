//! `kubectl ociartifact why`: the state of one object, its remedy, and the next attempt.

use std::fmt::Write;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use super::cluster::{Cluster, ClusterArguments, list, object_name};
use super::next::{self, Next};
use super::outcome::warn;
use super::shown::{self, Condition, Head};
use crate::api::Reason;
use crate::api::status::CandidateStatus;
use crate::api::stored::Stored;
use crate::cli::output::age;
use crate::cli::output::complaint::Complaint;
use crate::failure::printable;
use crate::pass;
use crate::request::ObjectId;

/// Number of Events that are shown.
const MOST_EVENTS: usize = 10;

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: kubectl ociartifact why rules -n team-a")]
#[command(after_long_help = HELP)]
pub(super) struct Arguments {
    /// Name of the object.
    #[arg(value_name = "NAME", value_parser = object_name)]
    name: String,
    #[command(flatten)]
    cluster: ClusterArguments,
}

const HELP: &str = "\
Prints the conditions with their reasons, the remedy, the published and the refused revision, the
last 10 Events, and the next attempt of the operator. The exit code is 0 if the object exists,
whatever its state; for the state as an exit code use kubectl wait, or reconcile --wait.

Rights: get ociartifacts.supercargo.dev; list events. Without the latter, a warning replaces the
Events.

Examples:
  kubectl ociartifact why rules -n team-a
  kubectl ociartifact why rules --format json | jq -r .remedy";

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    head: Head,
    conditions: Vec<Condition>,
    /// Remedy of the first condition that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<Published>,
    /// Revision that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<CandidateStatus>,
    next: Next,
    /// Last Events, the newest last.
    events: Vec<News>,
    /// Parts that are unknown, such as Events that may not be listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Published {
    reference: String,
    digest: String,
    /// Revision as text for people.
    #[serde(skip)]
    text: String,
    /// Time of the publication.
    since: String,
}

/// An Event.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct News {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    reason: String,
    note: String,
}

pub(super) async fn run(arguments: &Arguments) -> Result<String, Complaint> {
    let found = arguments.cluster.within("reading the object and its Events", async {
        let cluster = arguments.cluster.cluster().await?;
        let stored = cluster.artifact(&arguments.name).await?;
        let events = match events(&cluster, &ObjectId::from(&stored)).await {
            Err(complaint) if complaint.reason() == Reason::Forbidden => Err(complaint.message().to_owned()),
            events => Ok(events?),
        };
        Ok((stored, events))
    });
    let (stored, events) = found.await?;
    let report = report(&stored, events);
    let format = arguments.cluster.format.format;
    warn(format, &report.warnings);
    format.show(|| shown(&report, pass::now()), &report)
}

/// Returns the last Events about an object, the newest last.
async fn events(cluster: &Cluster, object: &ObjectId) -> Result<Vec<News>, Complaint> {
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), &object.namespace);
    let selector = format!("involvedObject.kind=OCIArtifact,involvedObject.name={}", object.name);
    let params = ListParams::default().fields(&selector);
    let keep = |event: Event| {
        // Not those of an earlier object of this name.
        let is_own = event.involved_object.uid.is_none_or(|uid| uid == object.uid);
        let time = event.event_time.map(|time| time.0).or(event.last_timestamp.map(|time| time.0));
        is_own.then(|| News {
            time: time.map(|time| time.to_string()),
            kind: event.type_.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            note: event.message.unwrap_or_default(),
        })
    };
    let mut all = list(&api, "events", Some(&object.namespace), params, keep).await?.items;
    all.sort();
    let first = all.len().saturating_sub(MOST_EVENTS);
    Ok(all.split_off(first))
}

fn report(stored: &Stored, events: Result<Vec<News>, String>) -> Report {
    let conditions = shown::conditions(&stored.status);
    let (events, warnings) = match events {
        Ok(events) => (events, Vec::new()),
        Err(problem) => (Vec::new(), vec![problem]),
    };
    let published = stored.status.artifact.as_ref().map(|artifact| Published {
        reference: artifact.reference.clone(),
        digest: artifact.digest.clone(),
        text: shown::revision(artifact),
        since: artifact.last_update_time.clone(),
    });
    Report {
        head: stored.into(),
        remedy: conditions.iter().find_map(|condition| condition.remedy),
        published,
        refused: stored.status.candidate.clone(),
        next: next::next(stored, &conditions),
        conditions,
        events,
        warnings,
    }
}

/// Returns the report as text, with the age of each time.
fn shown(report: &Report, now: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:12}{}", format!("{label}:"), printable(value));
    };
    let Head { namespace, name, image, problem } = &report.head;
    line("Object", &format!("{namespace}/{name}"));
    for (label, value) in [("Image", image), ("Problem", problem)] {
        if let Some(value) = value {
            line(label, value);
        }
    }
    let mut before = None;
    for Condition { kind, status, reason, message, since, .. } in &report.conditions {
        // Stalled and Reconciling repeat the message of Ready.
        let message = Some(message).filter(|message| before.replace(*message) != Some(*message));
        let message = message.map(|message| format!(": {message}")).unwrap_or_default();
        line(kind, &format!("{status}, {reason}, for {}{message}", age::since(since, now)));
    }
    report.remedy.iter().for_each(|remedy| line("Remedy", remedy));
    match &report.published {
        Some(Published { text, since, .. }) => line("Published", &format!("{text}, {} ago", age::since(since, now))),
        None => line("Published", "nothing"),
    }
    if let Some(CandidateStatus { digest, reason, message, withdrawn }) = &report.refused {
        let withdrawn = if *withdrawn { ", withdrawn from consumers" } else { "" };
        line("Refused", &format!("{}{withdrawn}: {reason}: {message}", shown::short(digest)));
    }
    line("Next", &report.next.text);
    for News { time, kind, reason, note } in &report.events {
        let age = time.as_deref().map_or_else(|| "-".to_owned(), |time| format!("{} ago", age::since(time, now)));
        line("Event", &format!("{age}, {kind} {reason}: {note}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_time_is_an_age_in_text_and_rfc_3339_in_json() {
        let condition = json!({"type": "Ready", "status": "True", "reason": "Succeeded", "message": "m",
            "lastTransitionTime": "2026-01-02T00:00:00Z"});
        let stored = serde_json::from_value(json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
            "metadata": {"name": "o", "namespace": "n", "generation": 1},
            "spec": {"image": "ghcr.io/a/b:1", "interval": "10m"},
            "status": {"observedGeneration": 1, "conditions": [condition], "artifact": {
                "reference": "ghcr.io/a/b:1@sha256:0", "digest": "sha256:0", "shortDigest": "sha256:0",
                "artifactType": "a/b", "mediaType": "a/b", "size": 1, "lastUpdateTime": "2026-01-01T00:00:00Z"}},
        }));
        let news = |time: Option<&str>| News {
            time: time.map(str::to_owned),
            kind: "Normal".to_owned(),
            reason: "Succeeded".to_owned(),
            note: "n".to_owned(),
        };
        let report = report(&stored.unwrap(), Ok(vec![news(None), news(Some("2026-01-02T00:00:30.123456Z"))]));
        let text = shown(&report, "2026-01-02T00:01:30Z".parse().unwrap());
        for line in
            ["True, Succeeded, for 90s: m", "sha256:0, 24h ago", "-, Normal", "60s ago, Normal", "within 11m of"]
        {
            assert!(text.contains(line), "no {line} in:\n{text}");
        }
        assert!(!text.contains("2026-"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        let times = ["/conditions/0/since", "/published/since", "/events/1/time"];
        let times = times.map(|path| json.pointer(path).and_then(|time| time.as_str()?.parse::<Timestamp>().ok()));
        assert!(times.iter().all(Option::is_some), "{json}");
    }
}
