//! Status of objects whose spec does not parse.
//!
//! The rest of such an object's status still describes what consumers read, perhaps in fields that only another version
//! of the operator reads. Server-side apply removes fields that its manager leaves out, so the stored status is sent
//! back unchanged except for the conditions.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};

use super::context::Context;
use super::memory::Remembered;
use super::report::with_remedy;
use super::{event, subject, until_changed};
use crate::api::stored::Stored;
use crate::api::{self, OCIArtifact, Reason};
use crate::failure::causes;
use crate::metrics::Metrics;
use crate::oci::Digest;
use crate::request::ObjectId;

/// Pause after the API server refused the status of an unreadable object.
const AGAIN: Duration = Duration::from_secs(60);
/// Conditions of an object with an unreadable spec.
const CONDITIONS: [(&str, &str); 2] = [("Ready", "False"), ("Stalled", "True")];
/// Condition that would contradict them.
const CONTRADICTS: &str = "Reconciling";

/// Writes status and one Event. If the API server refuses the status, writes the Event alone, once for each message.
pub(super) async fn look_after<R>(stored: &Arc<Stored>, context: &Context<R>, message: &str) -> Action {
    let id = ObjectId::from(&**stored);
    tracing::warn!(namespace = %id.namespace, name = %id.name, %message, "the spec does not parse");
    let Err(error) = report(&context.client, &context.metrics, stored, message).await else {
        return until_changed();
    };
    let (uid, mark) = (stored.uid().unwrap_or_default(), Some(Digest::of(message.as_bytes())));
    if context.memory.get(&uid).inputs != mark {
        tracing::warn!(namespace = %id.namespace, name = %id.name, error = causes(&error), "the API server refused the status; an Event reports the error");
        publish_event(&context.client, &context.metrics, stored, message).await;
        context.memory.set(&uid, Remembered { inputs: mark, ..Remembered::default() });
    }
    Action::requeue(AGAIN)
}

/// Writes `Ready=False` and `Stalled=True` with the reason `InvalidSpec`, and one Event, unless status has them
/// already. `message` is the parse error; the remedy is added here.
async fn report(client: &Client, metrics: &Metrics, stored: &Stored, message: &str) -> Result<(), kube::Error> {
    let generation = stored.metadata.generation.unwrap_or_default();
    let text = with_remedy(message, Reason::InvalidSpec);
    // The readable part of status is enough to detect an unchanged state without a request.
    let known =
        json!({"observedGeneration": stored.status.observed_generation, "conditions": stored.status.conditions});
    let now = crate::pass::now();
    if patched(&known, generation, &text, now).is_none() {
        return Ok(());
    }
    let namespace = stored.namespace().unwrap_or_default();
    let objects: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &namespace, &ApiResource::erase::<OCIArtifact>(&()));
    let Some(object) = objects.get_opt(&stored.name_any()).await? else { return Ok(()) };
    if object.metadata.uid != stored.metadata.uid || object.metadata.generation != stored.metadata.generation {
        // The watch will deliver the newer object.
        return Ok(());
    }
    let raw = object.data.get("status").cloned().unwrap_or_default();
    let Some(status) = patched(&raw, generation, &text, now) else { return Ok(()) };
    let patch = json!({
        "apiVersion": OCIArtifact::api_version(&()),
        "kind": OCIArtifact::kind(&()),
        "metadata": {"uid": object.metadata.uid},
        "status": status,
    });
    metrics.api_write("status");
    let params = PatchParams::apply(api::MANAGER).force();
    let written = objects.patch_status(&stored.name_any(), &params, &Patch::Apply(&patch)).await;
    match written {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(error),
    }
    publish_event(client, metrics, stored, message).await;
    Ok(())
}

/// Publishes the Event alone, for an object whose status the API server refuses, because it does not match its own CRD.
async fn publish_event(client: &Client, metrics: &Metrics, stored: &Stored, message: &str) {
    subject::publish_event(client, metrics, &event::unreadable(message), stored.object_ref(&())).await;
}

/// Returns the stored status with the conditions of an unreadable spec; `None` if it has them already.
fn patched(raw: &Value, generation: i64, message: &str, now: Timestamp) -> Option<Value> {
    let mut status = raw.as_object().cloned().unwrap_or_default();
    let before = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |condition: &Value, field: &str| condition.get(field).and_then(Value::as_str).map(str::to_owned);
    let is = |condition: &Value, kind: &str| text(condition, "type").as_deref() == Some(kind);
    let wanted = CONDITIONS.map(|(kind, value)| {
        let same = before.iter().find(|one| is(one, kind) && text(one, "status").as_deref() == Some(value));
        let since = same.and_then(|one| text(one, "lastTransitionTime")).unwrap_or_else(|| now.to_string());
        json!({
            "type": kind, "status": value, "reason": Reason::InvalidSpec.as_str(), "message": message,
            "observedGeneration": generation, "lastTransitionTime": since,
        })
    });
    let is_other = |one: &&Value| !is(one, CONTRADICTS) && !CONDITIONS.iter().any(|(kind, _)| is(one, kind));
    let others = before.iter().filter(is_other).cloned();
    let is_there = wanted.iter().all(|condition| before.contains(condition))
        && !before.iter().any(|one| is(one, CONTRADICTS))
        && status.get("observedGeneration").and_then(Value::as_i64) == Some(generation);
    if is_there {
        return None;
    }
    let conditions: Vec<Value> = wanted.iter().cloned().chain(others).collect();
    status.insert("conditions".to_owned(), conditions.into());
    status.insert("observedGeneration".to_owned(), generation.into());
    Some(Value::Object(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn condition(kind: &str, status: &str) -> Value {
        json!({
            "type": kind, "status": status, "reason": "Succeeded", "message": "m", "observedGeneration": 1,
            "lastTransitionTime": "1970-01-01T00:00:05Z",
        })
    }

    #[test]
    fn conditions_change_and_everything_else_is_sent_back() {
        let raw = json!({
            "observedGeneration": 1, "artifact": {"digest": "d", "ofANewerVersion": 1}, "outputs": [{"name": "a"}],
            "newer": [1], "conditions": [condition("Ready", "True"), condition("Verified", "True"), condition("Reconciling", "True")],
        });
        let status = patched(&raw, 2, "spec.x: wrong", at(9)).unwrap();
        for field in ["artifact", "outputs", "newer"] {
            assert_eq!(status[field], raw[field], "{field}");
        }
        assert_eq!(status["observedGeneration"], 2);
        let conditions = status["conditions"].as_array().unwrap();
        let summary: Vec<_> =
            conditions.iter().map(|one| (one["type"].as_str().unwrap(), one["status"].as_str().unwrap())).collect();
        assert_eq!(summary, [("Ready", "False"), ("Stalled", "True"), ("Verified", "True")]);
        assert_eq!(conditions[0]["reason"], "InvalidSpec");
        assert_eq!(conditions[0]["observedGeneration"], 2);
        assert_eq!(conditions[0]["lastTransitionTime"], "1970-01-01T00:00:09Z");
        assert_eq!(conditions[2], raw["conditions"][1], "a condition of something else stays");
    }

    #[test]
    fn nothing_is_written_twice_and_a_status_that_stays_keeps_its_time() {
        for raw in [json!(null), json!({}), json!({"conditions": "x", "observedGeneration": -1}), json!("x")] {
            let first = patched(&raw, 1, "wrong", at(1)).unwrap();
            assert_eq!(patched(&first, 1, "wrong", at(2)), None);
            let other = patched(&first, 2, "wrong in another way", at(3)).unwrap();
            assert_eq!(other["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:01Z");
            assert_eq!(other["conditions"][0]["message"], "wrong in another way");
        }
    }

    #[test]
    fn the_watched_part_of_status_shows_that_nothing_changes() {
        let first = patched(&json!({"artifact": 1}), 1, "wrong", at(1)).unwrap();
        let stored: Stored =
            serde_json::from_value(json!({"metadata": {"generation": 1}, "spec": 1, "status": first})).unwrap();
        let known =
            json!({"observedGeneration": stored.status.observed_generation, "conditions": stored.status.conditions});
        assert_eq!(patched(&known, 1, "wrong", at(2)), None);
    }
}
