//! A pass that is given up while it publishes slowly: `current`, ConfigMap and status agree ten seconds later.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::wait;

use super::slow::Slow;
use super::{GONE, Tag, agrees, both, within};
use crate::support::case::{Case, spec_with, tests};

tests!(
    a_timeout_during_a_slow_switch_leaves_outputs_and_status_in_agreement,
    a_timeout_at_any_step_of_publishing_leaves_outputs_and_status_in_agreement,
    a_spec_changed_during_slow_publishing_is_what_stays_published,
    an_object_deleted_during_slow_publishing_leaves_nothing,
);

/// Longest time from the delayed call to agreement, and the time that the agreement has to last.
const SETTLED: Duration = Duration::from_secs(10);
const LASTING: Duration = Duration::from_secs(5);
/// Delays longer than [`timeout`], both for the call that switches to a revision and for the call that makes its link.
const SWITCH: &str = "renameat@current=delay:3000,renameat2@current=delay:3000";

/// Returns both outputs, and a timeout shorter than the delays.
fn timeout() -> Value {
    let mut spec = both();
    spec["timeout"] = json!("2s");
    spec
}

/// Waits until outputs and status agree on one of these revisions for [`LASTING`].
async fn settled(case: &Case, tag: &Tag, revisions: &[u64]) -> Result<()> {
    let what = format!("outputs and status to agree on one of {revisions:?}");
    let mut last = String::new();
    let outcome = wait::until_lasting(SETTLED + LASTING, LASTING, &what, async || {
        for revision in revisions {
            match agrees(case, tag, "app", *revision).await {
                Ok(()) => return Ok(true),
                Err(error) => last = format!("{error:#}"),
            }
        }
        Ok(false)
    });
    outcome.await.with_context(|| format!("last seen: {last}"))
}

async fn published(case: &mut Case, rules: &str, spec: &Value) -> Result<(Tag, Slow)> {
    let tag = Tag::start(case).await?;
    let slow = Slow::start(case, rules).await?;
    case.space.apply("app", &spec_with(&tag.image(), spec)).await?;
    case.space.ready_with("app", tag.last()?).await?;
    ensure!(slow.delayed() == 0, "calls waited before they were to");
    Ok((tag, slow))
}

async fn a_timeout_during_a_slow_switch_leaves_outputs_and_status_in_agreement(case: &mut Case) -> Result<()> {
    let (mut tag, slow) = published(case, SWITCH, &timeout()).await?;
    let digest = tag.next(case).await?;
    slow.on()?;
    case.space.request_pass("app").await?;
    slow.wait_delayed(0).await?;
    settled(case, &tag, &[0, 1]).await?;
    slow.off()?;
    case.space.ready_with("app", &digest).await?;
    agrees(case, &tag, "app", 1).await
}

/// Each rule delays another step; the delays may also end a pass by its timeout before the switch.
async fn a_timeout_at_any_step_of_publishing_leaves_outputs_and_status_in_agreement(case: &mut Case) -> Result<()> {
    const RULES: [&str; 5] = [
        "symlinkat=delay:2500",
        "renameat=delay:2500,renameat2=delay:2500",
        "renameat@.artifact.json=delay:2500,renameat2@.artifact.json=delay:2500",
        "mkdirat=delay:2500",
        "fsync=delay:2500,fdatasync=delay:2500,syncfs=delay:2500",
    ];
    for rule in RULES {
        let (mut tag, slow) = published(case, rule, &timeout()).await?;
        let digest = tag.next(case).await?;
        slow.on()?;
        case.space.request_pass("app").await?;
        slow.wait_delayed(0).await.with_context(|| rule.to_owned())?;
        settled(case, &tag, &[0, 1]).await.with_context(|| rule.to_owned())?;
        slow.off()?;
        case.space.ready_with("app", &digest).await?;
        agrees(case, &tag, "app", 1).await?;
        remove(case).await?;
    }
    Ok(())
}

/// Ends a round: the operator of the next round has other rules.
async fn remove(case: &mut Case) -> Result<()> {
    case.space.delete("app").await?;
    case.space.gone("app").await?;
    case.take_operator()?.stop().await?;
    fs_err::remove_dir_all(case.directory.join("delays"))?;
    Ok(())
}

async fn a_spec_changed_during_slow_publishing_is_what_stays_published(case: &mut Case) -> Result<()> {
    // The earlier revision must never be published after the later one, at any step it has reached when the spec
    // changes.
    for (round, rule) in [(0, "renameat=delay:3000,renameat2=delay:3000"), (1, "symlinkat=delay:3000"), (2, SWITCH)] {
        let (mut tag, slow) = published(case, rule, &both()).await?;
        tag.next(case).await?;
        slow.on()?;
        case.space.request_pass("app").await?;
        slow.wait_delayed(0).await?;
        slow.off()?;
        let digest = tag.next(case).await?;
        let pinned = format!("{}@{digest}", tag.image());
        case.space.patch("app", &json!({"spec": {"image": pinned}})).await?;
        case.space.ready_with("app", &digest).await?;
        settled(case, &tag, &[2]).await.with_context(|| format!("round {round}: {rule}"))?;
        remove(case).await?;
    }
    Ok(())
}

async fn an_object_deleted_during_slow_publishing_leaves_nothing(case: &mut Case) -> Result<()> {
    const RULES: [&str; 3] = ["mkdirat@new=delay:3000", "renameat=delay:3000,renameat2=delay:3000", SWITCH];
    for (round, rule) in RULES.into_iter().enumerate() {
        let (tag, slow) = published(case, rule, &both()).await?;
        slow.on()?;
        let map = json!({"outputs": [
            {"name": "files", "volume": {"name": "default"}}, {"name": "map", "configMap": {"name": "new"}},
        ]});
        case.space.apply("new", &spec_with(&tag.image(), &map)).await?;
        slow.wait_delayed(0).await?;
        slow.off()?;
        case.space.delete("new").await?;
        within(GONE, "the deleted object to go", case.space.gone("new")).await?;
        let directory = case.object_directory("new");
        let what = format!("round {round} ({rule}): the files and the ConfigMap to be gone");
        wait::until_lasting(SETTLED + LASTING, LASTING, &what, async || {
            let map = case.space.config_maps().get_opt("new").await?;
            Ok(!directory.exists() && map.is_none())
        })
        .await?;
        remove(case).await?;
    }
    Ok(())
}
