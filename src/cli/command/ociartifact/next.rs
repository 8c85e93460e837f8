//! The next attempt of the operator at an object, as far as the object tells it. Pure.

use std::time::Duration;

use serde::Serialize;

use super::shown::{self, Condition};
use crate::api::spec::parse_duration;
use crate::api::status::HandledRequests;
use crate::api::stored::Stored;
use crate::api::{OCIArtifactSpec, REQUESTED_AT, REQUESTED_AT_FLUX, Reason};
use crate::cli::output::age::age;
use crate::controller::{longest_poll, longest_retry};
use crate::oci::Reference;

/// Kind of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Action {
    /// The object is being deleted.
    Delete,
    /// The operator has not seen the object, or not its current spec.
    Observe,
    /// A person must act; nothing is attempted until then.
    None,
    /// A requested pass has not ended.
    Requested,
    /// A failed pass is repeated after a pause that grows.
    Retry,
    /// The tag is resolved again after the interval.
    Poll,
    /// The outputs are looked at again after the interval; the digest is fixed.
    Look,
}

/// The next attempt.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Next {
    pub(super) action: Action,
    /// Longest time from the last attempt to the next one, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) within_seconds: Option<u64>,
    /// The same as a sentence.
    pub(super) text: String,
}

/// Returns the next attempt.
pub(super) fn next(stored: &Stored, conditions: &[Condition]) -> Next {
    let at_once = |action, text: &str| Next { action, within_seconds: None, text: text.to_owned() };
    if stored.metadata.deletion_timestamp.is_some() {
        return at_once(Action::Delete, "The object is being deleted.");
    }
    let Some(ready) = shown::condition(conditions, "Ready") else {
        let text = "The operator has not reported on the object yet. If this stays, check that it runs and watches the \
                    namespace.";
        return at_once(Action::Observe, text);
    };
    let generation = stored.metadata.generation.unwrap_or_default();
    if stored.status.observed_generation < generation {
        let text = format!(
            "The operator has not handled generation {generation} of the object yet; its status describes generation \
             {}. If this stays, check that the operator runs.",
            stored.status.observed_generation
        );
        return at_once(Action::Observe, &text);
    }
    let Ok(spec) = shown::spec(stored) else {
        return at_once(Action::None, "Nothing, until the spec is applied again in a form that the operator can read.");
    };
    if spec.suspend {
        return at_once(Action::None, "Nothing, until spec.suspend is false; run kubectl ociartifact resume.");
    }
    if is_requested(stored) {
        let text = "A requested pass has not ended. If this stays, check that the operator runs.";
        return at_once(Action::Requested, text);
    }
    scheduled(spec, ready, shown::condition(conditions, "Stalled").is_some_and(Condition::is_true))
}

fn scheduled(spec: &OCIArtifactSpec, ready: &Condition, is_stalled: bool) -> Next {
    let later = |action, within: Duration, text: String| Next { action, within_seconds: Some(within.as_secs()), text };
    if !ready.is_true() && !is_stalled {
        let longest = longest_retry();
        let limited =
            if ready.known() == Some(Reason::RateLimited) { ", or later if the registry says so" } else { "" };
        let text = format!(
            "The pass is repeated with pauses that grow to {}{limited}; at once after a change of the object, \
             or by kubectl ociartifact reconcile.",
            shown_for(longest)
        );
        return later(Action::Retry, longest, text);
    }
    let interval = longest_poll(parse_duration(&spec.interval).unwrap_or_default());
    let is_fixed = spec.image.parse::<Reference>().is_ok_and(|reference| reference.digest.is_some());
    let (action, what) = if is_fixed && !is_stalled {
        (Action::Look, "spec.image names a digest, so only the outputs are looked at again")
    } else if is_stalled {
        (Action::Poll, "The pass is repeated after spec.interval, but the same digest is refused again")
    } else {
        (Action::Poll, "The tag is resolved again after spec.interval")
    };
    let text = format!(
        "{what}, within {} of the last time; at once after a change of the object or of a policy, or by \
         kubectl ociartifact reconcile.",
        shown_for(interval)
    );
    later(action, interval, text)
}

/// Returns a longest time in the form of ages, rounded up to its unit.
fn shown_for(time: Duration) -> String {
    let seconds = time.as_secs();
    let unit = match seconds {
        0..120 => 1,
        120..7200 => 60,
        7200..172_800 => 3600,
        _ => 86_400,
    };
    age(i64::try_from(seconds.div_ceil(unit).saturating_mul(unit)).unwrap_or(i64::MAX))
}

/// Returns true if an annotation requests a pass that the operator has not handled. A forced fetch stays pending until
/// it succeeds, and is retried like any pass.
fn is_requested(stored: &Stored) -> bool {
    let HandledRequests { requested_at, flux_requested_at, force_at: _ } =
        stored.status.handled_requests.clone().unwrap_or_default();
    let wanted = |name: &str| stored.metadata.annotations.as_ref().and_then(|all| all.get(name));
    let all = [(REQUESTED_AT, requested_at), (REQUESTED_AT_FLUX, flux_requested_at)];
    all.iter().any(|(name, handled)| wanted(name).is_some_and(|wanted| Some(wanted) != handled.as_ref()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(metadata: &Value, spec: Value, observed: i64, ready: Option<(&str, &str)>, is_stalled: bool) -> Action {
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({"type": kind, "status": status, "reason": reason, "message": "m",
                "lastTransitionTime": "2026-01-02T03:04:05Z"})
        };
        let mut conditions: Vec<Value> =
            ready.into_iter().map(|(status, reason)| condition("Ready", status, reason)).collect();
        if is_stalled {
            conditions.push(condition("Stalled", "True", "UnsafeArchive"));
        }
        let mut object = json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
            "metadata": {"name": "o", "namespace": "n", "generation": 2},
            "spec": {"image": "ghcr.io/a/b:1"},
            "status": {"observedGeneration": observed, "conditions": conditions,
                "handledRequests": {"requestedAt": "1"}},
        });
        let merge = |into: &mut Value, more: Value| {
            let more = more.as_object().unwrap().clone();
            into.as_object_mut().unwrap().extend(more);
        };
        merge(&mut object["metadata"], metadata.clone());
        merge(&mut object["spec"], spec);
        let stored: Stored = serde_json::from_value(object).unwrap();
        let found = next(&stored, &shown::conditions(&stored.status));
        assert!(found.text.ends_with('.'), "{}", found.text);
        found.action
    }

    #[test]
    fn a_longest_time_is_never_shown_shorter() {
        let shown = [119, 132, 600, 7201, 90_001, 172_801].map(|seconds| shown_for(Duration::from_secs(seconds)));
        assert_eq!(shown, ["119s", "3m", "10m", "3h", "26h", "3d"]);
    }

    #[test]
    fn the_next_attempt_depends_on_spec_status_and_requests() {
        let (none, ready, failed) = (json!({}), Some(("True", "Succeeded")), Some(("False", "RegistryUnavailable")));
        let digest = format!("ghcr.io/a/b:1@sha256:{}", "0".repeat(64));
        let requested = |value: &str| json!({"annotations": {REQUESTED_AT: value}});
        let rows = [
            ("ready", of(&none, json!({}), 2, ready, false), Action::Poll),
            ("ready, a digest", of(&none, json!({"image": digest}), 2, ready, false), Action::Look),
            ("failed", of(&none, json!({}), 2, failed, false), Action::Retry),
            ("failed, a digest", of(&none, json!({"image": digest}), 2, failed, false), Action::Retry),
            ("stalled", of(&none, json!({}), 2, Some(("False", "UnsafeArchive")), true), Action::Poll),
            ("new", of(&none, json!({}), -1, None, false), Action::Observe),
            ("changed", of(&none, json!({}), 1, ready, false), Action::Observe),
            ("suspended", of(&requested("2"), json!({"suspend": true}), 2, ready, false), Action::None),
            ("unreadable", of(&none, json!({"layers": 1}), 2, ready, false), Action::None),
            ("requested", of(&requested("2"), json!({}), 2, ready, false), Action::Requested),
            ("handled", of(&requested("1"), json!({}), 2, ready, false), Action::Poll),
            (
                "deleted",
                of(&json!({"deletionTimestamp": "2026-01-02T03:04:05Z"}), json!({}), 2, ready, false),
                Action::Delete,
            ),
        ];
        for (label, found, want) in rows {
            assert_eq!(found, want, "{label}");
        }
    }
}
