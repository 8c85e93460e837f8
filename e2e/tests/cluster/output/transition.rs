//! `lastTransitionTime` moves when the status of a condition changes, and at no other time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};
use supercargo_e2e::archive::noise;
use supercargo_e2e::files::{Entry, Tree};
use supercargo_e2e::gate::Gate;
use supercargo_e2e::wait;
use tokio::time::Instant;

use super::{Tag, content};
use crate::support::case::{Case, spec_with, tests};

tests!(the_transition_time_survives_a_slow_success, the_transition_time_survives_a_slow_refusal,);

/// Bytes of a layer, and bytes per second of its download: a pass of about eight seconds, which status reports after
/// five.
const SIZE: usize = 8 << 20;
const PACE: u64 = 1 << 20;

/// Pushes another large revision to the tag.
async fn push(case: &mut Case, tag: &mut Tag) -> Result<String> {
    let number = tag.digests.len() as u64;
    let mut tree: Tree = content(number);
    tree.insert("large".to_owned(), Entry::File { content: noise(SIZE, number), executable: false });
    tag.push(case, &tree).await
}

/// Returns status, reason and transition time of Ready.
fn ready(object: &DynamicObject) -> Option<[String; 3]> {
    let conditions = object.data.pointer("/status/conditions")?.as_array()?;
    let ready = conditions.iter().find(|condition| condition.get("type") == Some(&json!("Ready")))?;
    Some(
        ["status", "reason", "lastTransitionTime"]
            .map(|field| ready.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()),
    )
}

/// Records every state of Ready until the object is as wanted.
async fn history(objects: &Api<DynamicObject>, wanted: impl Fn(&DynamicObject) -> bool) -> Result<Vec<[String; 3]>> {
    let mut seen: Vec<[String; 3]> = Vec::new();
    wait::until(Duration::from_secs(60), "the slow pass to end", async || {
        let object = objects.get("app").await?;
        if let Some(now) = ready(&object).filter(|now| seen.last() != Some(now)) {
            seen.push(now);
        }
        Ok(wanted(&object).then_some(()))
    })
    .await?;
    ensure!(seen.iter().any(|[_, reason, _]| reason == "Progressing"), "the pass was not announced: {seen:?}");
    Ok(seen)
}

fn judge(seen: &[[String; 3]]) -> Result<()> {
    for pair in seen.windows(2) {
        let [[status, _, time], [next_status, _, next_time]] = pair else { continue };
        // RFC 3339 in UTC is ordered as text.
        ensure!(next_time >= time, "the time goes back: {seen:?}");
        ensure!(status != next_status || time == next_time, "the time moves without the status: {seen:?}");
    }
    Ok(())
}

/// Publishes an object, then runs a slow pass with another revision that ends with this reason.
async fn slow_pass(case: &mut Case, change: &Value, reason: &str) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    let gate = Gate::open(&tag.registry.address).await?;
    let image = format!("{}/{}", gate.address, tag.name);
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&image, &json!({}))).await?;
    let object = case.space.ready("app").await?;
    let before = ready(&object).context("no condition Ready")?;
    // Times have whole seconds: let one pass, so that a later time differs from this one.
    let later = Instant::now() + Duration::from_millis(1500);
    wait::until_true(Duration::from_secs(5), "a second to pass", || Ok(Instant::now() >= later)).await?;
    push(case, &mut tag).await?;
    gate.throttle(PACE);
    case.space.patch("app", &json!({"spec": change})).await?;
    let ended = |object: &DynamicObject| {
        ready(object).is_some_and(|[_, found, _]| found == reason)
            && object.data.pointer("/status/observedGeneration") == Some(&json!(2))
    };
    let mut seen = vec![before];
    seen.extend(history(&case.space.artifacts(), ended).await?);
    judge(&seen)
}

async fn the_transition_time_survives_a_slow_success(case: &mut Case) -> Result<()> {
    slow_pass(case, &json!({"timeout": "50s"}), "Succeeded").await
}

async fn the_transition_time_survives_a_slow_refusal(case: &mut Case) -> Result<()> {
    slow_pass(case, &json!({"files": {"subPath": "missing"}}), "SubPathNotFound").await
}
