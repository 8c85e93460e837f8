//! Keys of a ConfigMap that are not from the artifact: removed, reported once, and not fought over.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use supercargo_e2e::wait;
use tokio::time::Instant;

use super::{HEALED, Tag, config_map, value};
use crate::support::case::{Case, spec_with, tests};

tests!(a_foreign_key_is_removed_and_reported_once, a_foreign_key_that_comes_back_is_removed_ever_more_slowly,);

const KEY: &str = "evil.yaml";
/// Time in which requests and Events are counted.
const WATCHED: Duration = Duration::from_secs(20);

async fn published(case: &mut Case) -> Result<Tag> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    let spec = spec_with(&tag.image(), &config_map());
    case.space.apply("app", &spec_with_interval(spec)).await?;
    case.space.ready_with("app", tag.last()?).await?;
    Ok(tag)
}

/// Sets a short interval, so that a pass at a poll would be noticed.
fn spec_with_interval(mut spec: serde_json::Value) -> serde_json::Value {
    spec["interval"] = json!("10s");
    spec
}

async fn add(case: &Case) -> Result<()> {
    let patch = json!({"data": {KEY: "by another"}});
    case.space.config_maps().patch("rules", &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

async fn is_there(case: &Case) -> Result<bool> {
    Ok(value(case, "rules", KEY).await?.is_some())
}

/// Returns the number of Events that name the key.
async fn told(case: &Case) -> Result<usize> {
    Ok(case.space.events("app").await?.iter().filter(|(.., note)| note.contains(KEY)).count())
}

async fn a_foreign_key_is_removed_and_reported_once(case: &mut Case) -> Result<()> {
    let tag = published(case).await?;
    let before = tag.manifests()?;
    add(case).await?;
    let removed =
        wait::until(HEALED, "the foreign key to be removed", async || Ok((!is_there(case).await?).then_some(())));
    removed.await?;
    wait::until(HEALED, "an Event that names the key", async || Ok((told(case).await? == 1).then_some(()))).await?;
    wait::holds(WATCHED, async || {
        let fetched = tag.manifests()? - before;
        ensure!(fetched <= 1, "the manifest was fetched {fetched} times");
        ensure!(told(case).await? == 1, "told {} times", told(case).await?);
        ensure!(!is_there(case).await?, "the foreign key is back");
        Ok(())
    })
    .await?;
    case.space.ready_with("app", tag.last()?).await?;
    assert_eq!(value(case, "rules", "rule").await?.as_deref(), Some("rule of 0"));
    Ok(())
}

async fn a_foreign_key_that_comes_back_is_removed_ever_more_slowly(case: &mut Case) -> Result<()> {
    const REMOVALS: usize = 5;
    let tag = published(case).await?;
    let before = tag.manifests()?;
    let mut pauses = Vec::new();
    for round in 0..REMOVALS {
        add(case).await?;
        let added = Instant::now();
        let limit = Duration::from_secs(40);
        let what = format!("removal {round} of the foreign key; so far after {pauses:?}");
        wait::until(limit, &what, async || Ok((!is_there(case).await?).then_some(()))).await?;
        pauses.push(added.elapsed());
    }
    // A key that is added again during a pass is removed by the same pass.
    let waits: Vec<_> = pauses.iter().filter(|pause| **pause > Duration::from_secs(2)).collect();
    ensure!(waits.len() >= REMOVALS / 2 && waits.is_sorted(), "the pauses do not grow: {pauses:?}");
    ensure!(told(case).await? <= 2, "{} Events for {REMOVALS} removals", told(case).await?);
    let fetched = tag.manifests()? - before;
    ensure!(fetched <= 2, "the manifest was fetched {fetched} times");
    Ok(())
}
