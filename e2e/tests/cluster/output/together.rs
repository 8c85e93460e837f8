//! A volume and a ConfigMap of one object, while the ConfigMap cannot be written.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use serde_json::json;
use supercargo_e2e::object::{Space, text};
use supercargo_e2e::obstacle::{CONFIG_MAP_WRITES, Denial, Quota, WRITES_TO_SECOND};
use supercargo_e2e::reader::{REVISION, Reader, Seen};
use supercargo_e2e::rights::Rights;

use super::{HEALED, Tag, agrees, both, candidate, end_operator_at, hold, rounds, value, within};
use crate::support::case::{Case, spec_with, tests};

tests!(
    outputs_stay_together_while_a_quota_refuses_the_config_map,
    outputs_stay_together_while_an_admission_policy_refuses_the_config_map,
    outputs_stay_together_while_another_manager_holds_a_key,
    outputs_stay_together_while_the_right_to_config_maps_is_missing,
    a_refusal_that_no_rehearsal_shows_reverts_what_was_switched,
    killed_while_a_refusal_is_reverted_outputs_come_together_again,
);

/// Longest time in which volume and ConfigMap may differ.
const TORN: Duration = Duration::from_secs(1);
/// Longest time in which status may name another revision than the outputs hold: a write to the API server takes time.
const BEHIND: Duration = Duration::from_secs(3);

async fn outputs_stay_together_while_a_quota_refuses_the_config_map(case: &mut Case) -> Result<()> {
    let (tag, reader) = published(case, None).await?;
    let quota = Quota::on_config_maps(&case.space).await?;
    // A quota counts new objects only.
    case.space.config_maps().delete("rules", &DeleteParams::default()).await?;
    finish(case, tag, reader, async |_| quota.remove().await).await
}

async fn outputs_stay_together_while_an_admission_policy_refuses_the_config_map(case: &mut Case) -> Result<()> {
    let (tag, reader) = published(case, None).await?;
    let denial = Denial::of(&case.space, CONFIG_MAP_WRITES).await?;
    finish(case, tag, reader, async |_| denial.remove().await).await
}

async fn outputs_stay_together_while_another_manager_holds_a_key(case: &mut Case) -> Result<()> {
    let (tag, reader) = published(case, None).await?;
    hold(&case.space, &json!({"rule": "of another"})).await?;
    finish(case, tag, reader, async |space| hold(space, &json!({})).await).await
}

async fn outputs_stay_together_while_the_right_to_config_maps_is_missing(case: &mut Case) -> Result<()> {
    let rights = Rights::create(&case.lab, &case.space).await?;
    let (tag, reader) = published(case, Some(&rights)).await?;
    rights.take("", "configmaps", &["create", "update", "patch"]).await?;
    finish(case, tag, reader, async |_| rights.give_back().await).await
}

/// Publishes revision 0 to a volume and two ConfigMaps.
async fn published_three(case: &mut Case) -> Result<(Tag, String)> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    let outputs = json!({"outputs": [
        {"name": "files", "volume": {"name": "default"}},
        {"name": "rules", "configMap": {"name": "rules"}},
        {"name": "second", "configMap": {"name": "second"}},
    ]});
    case.space.apply("app", &spec_with(&tag.image(), &outputs)).await?;
    let old = tag.last()?.to_owned();
    case.space.ready_with("app", &old).await?;
    Ok((tag, old))
}

/// The next process cannot revert the outputs that were switched before the kill, because the earlier content is stored
/// nowhere. Status must name the revision of each output, and no further output may be switched.
async fn killed_while_a_refusal_is_reverted_outputs_come_together_again(case: &mut Case) -> Result<()> {
    let (mut tag, _) = published_three(case).await?;
    let denial = Denial::of(&case.space, WRITES_TO_SECOND).await?;
    for round in 1..=2 {
        case.take_operator()?.stop().await?;
        let new = tag.next(case).await?;
        end_operator_at(case, "revert").await?;
        case.start_operator().await?;
        let object = candidate(case, "app", &new).await.with_context(|| format!("round {round}"))?;
        let current = fs_err::read_to_string(case.current("app").join(REVISION))?;
        ensure!(
            current == "0",
            "round {round}: current has revision {current} although the ConfigMap second was refused"
        );
        let held = [Some(current), value(case, "rules", REVISION).await?, value(case, "second", REVISION).await?];
        for (number, there) in held.into_iter().enumerate() {
            let said = text(&object, &format!("/status/outputs/{number}/digest")).map(|digest| tag.revision(digest));
            ensure!(said == there, "round {round}: status says {said:?} of output {number}, which holds {there:?}");
        }
    }
    denial.remove().await?;
    let last = tag.last()?.to_owned();
    let object = within(HEALED, "Ready without an annotation", case.space.ready_with("app", &last)).await?;
    ensure!(object.data.pointer("/status/switching").is_none(), "a journal is left: {}", object.data);
    for map in ["rules", "second"] {
        assert_eq!(value(case, map, REVISION).await?.as_deref(), Some("2"), "{map}");
    }
    assert_eq!(fs_err::read_to_string(case.current("app").join(REVISION))?, "2");
    Ok(())
}

async fn a_refusal_that_no_rehearsal_shows_reverts_what_was_switched(case: &mut Case) -> Result<()> {
    let (mut tag, old) = published_three(case).await?;
    let (maps, artifacts) = (|| case.space.config_maps(), || case.space.artifacts());
    let reader = Reader::default()
        .volume("volume", &case.object_directory("app"))
        .config_map("rules", maps(), "rules")
        .config_map("second", maps(), "second")
        .field("files", artifacts(), "app", "/status/outputs/0/digest");
    let denial = Denial::of(&case.space, WRITES_TO_SECOND).await?;
    let new = tag.next(case).await?;
    case.space.request_pass("app").await?;
    let object = candidate(case, "app", &new).await?;
    for number in 0..3 {
        let digest =
            object.data.pointer(&format!("/status/outputs/{number}/digest")).and_then(|digest| digest.as_str());
        assert_eq!(digest, Some(old.as_str()), "output {number}");
    }
    assert!(object.data.pointer("/status/switching").is_none(), "a journal is left: {}", object.data);
    denial.remove().await?;
    within(HEALED, "Ready without an annotation", case.space.ready_with("app", &new)).await?;
    let seen = reader.stop().await?.named(|value| tag.revision(value));
    for map in ["rules", "second"] {
        let torn = seen.max_torn("volume", map)?;
        ensure!(torn <= TORN, "volume and {map} differ for {torn:?}");
    }
    ensure!(seen.most_switches("volume")?.0 <= 1, "the volume was switched although a ConfigMap was refused");
    Ok(())
}

/// Publishes an object with both outputs, and starts a reader of the outputs and status.
async fn published(case: &mut Case, rights: Option<&Rights>) -> Result<(Tag, Reader)> {
    let tag = Tag::start(case).await?;
    let mut settings = case.settings()?;
    if let Some(rights) = rights {
        settings.kubeconfig.clone_from(&rights.kubeconfig);
    }
    case.start_operator_as(&settings).await?;
    case.space.apply("app", &spec_with(&tag.image(), &both())).await?;
    case.space.ready_with("app", tag.last()?).await?;
    let artifacts = || case.space.artifacts();
    let reader = Reader::default()
        .volume("volume", &case.object_directory("app"))
        .config_map("configMap", case.space.config_maps(), "rules")
        .field("artifact", artifacts(), "app", "/status/artifact/digest")
        .field("files", artifacts(), "app", "/status/outputs/0/digest")
        .field("rules", artifacts(), "app", "/status/outputs/1/digest");
    Ok((tag, reader))
}

/// Moves the tag while the obstacle is there, and again when it is gone; then judges the recorded states.
async fn finish(
    case: &mut Case,
    mut tag: Tag,
    reader: Reader,
    remove: impl AsyncFnOnce(&Space) -> Result<()>,
) -> Result<()> {
    let moves = rounds("SUPERCARGO_MOVES", 6)?;
    for _ in 0..moves {
        let digest = tag.next(case).await?;
        case.space.request_pass("app").await?;
        let object = candidate(case, "app", &digest).await?;
        ensure!(!supercargo_e2e::object::is_ready(&object), "Ready beside a candidate: {}", object.data);
    }
    let space = case.space.clone();
    remove(&space).await?;
    let healed = within(HEALED, "Ready without an annotation", case.space.ready_with("app", tag.last()?)).await;
    let seen = reader.stop().await?.named(|value| tag.revision(value));
    judge(&seen)?;
    healed?;
    agrees(case, &tag, "app", moves).await
}

fn judge(seen: &Seen) -> Result<()> {
    let torn = seen.max_torn("volume", "configMap")?;
    let (switches, revision) = seen.most_switches("volume")?;
    let story = format!("{switches} targets of current for revision {revision}");
    ensure!(torn <= TORN, "volume and ConfigMap differ for {torn:?}; {story}");
    ensure!(switches <= 1, "{story}");
    for (one, other) in [("volume", "artifact"), ("volume", "files"), ("configMap", "rules")] {
        let behind = seen.max_torn(one, other).with_context(|| one.to_owned())?;
        ensure!(behind <= BEHIND, "status ({other}) and {one} differ for {behind:?}");
    }
    Ok(())
}
