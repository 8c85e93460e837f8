//! Combinations: a fault between two commits, a forged marker, names that change while a pass fails.

use anyhow::{Context, Result, ensure};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use supercargo_e2e::object::{condition, text};
use supercargo_e2e::reader::REVISION;
use supercargo_e2e::wait;

use super::{HEALED, Tag, both, config_map, end_operator_at, value, within};
use crate::support::case::{Case, spec, spec_with, tests};

tests!(
    a_forged_marker_removes_no_files_of_other_objects,
    a_renamed_config_map_is_not_forgotten_by_a_failed_pass,
    a_crash_leaves_no_immutable_config_map_behind,
    earlier_names_beyond_the_bound_are_removed,
    a_shorter_name_does_not_keep_the_old_config_map,
    a_failed_pass_after_a_crash_forgets_nothing_that_was_begun,
    suspending_after_a_crash_hides_no_torn_revision,
    a_lost_immutable_config_map_does_not_hide_its_earlier_ones,
);

fn map(name: &str, immutable: bool) -> Value {
    json!({"outputs": [{"name": "rules", "configMap": {"name": name, "immutable": immutable}}]})
}

/// Returns the ConfigMaps whose name starts with `rules`.
async fn maps(case: &Case) -> Result<Vec<String>> {
    let all = case.space.config_maps().list(&ListParams::default()).await?;
    Ok(all.items.into_iter().filter_map(|map| map.metadata.name).filter(|name| name.starts_with("rules")).collect())
}

async fn known(case: &Case) -> Result<Vec<String>> {
    let object = case.space.get("app").await?;
    let mut names = Vec::new();
    for output in object.data.pointer("/status/outputs").and_then(Value::as_array).into_iter().flatten() {
        names.extend(output.get("location").and_then(Value::as_str).map(str::to_owned));
        for one in output.get("earlier").and_then(Value::as_array).into_iter().flatten() {
            names.extend(one.get("location").and_then(Value::as_str).map(str::to_owned));
        }
    }
    Ok(names)
}

/// Waits until status names every ConfigMap of the object.
async fn all_known(case: &Case) -> Result<()> {
    let mut last = Vec::new();
    let done = wait::until(HEALED, "no ConfigMap that status does not name", async || {
        let known = known(case).await?;
        last = maps(case).await?.into_iter().filter(|name| !known.contains(name)).collect();
        Ok(last.is_empty().then_some(()))
    })
    .await;
    done.with_context(|| format!("status does not name {last:?}"))
}

async fn a_forged_marker_removes_no_files_of_other_objects(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    case.start_operator().await?;
    for name in ["victim", "app"] {
        case.space.apply(name, &spec(&tag.image())).await?;
        case.space.ready_with(name, tag.last()?).await?;
    }
    // The work after the publication is done, too.
    case.space.poll("app").await?;
    let outside = case.directory.join("outside-of-every-volume");
    fs_err::write(&outside, "alive")?;
    // A forgery by a writer of the object's own directory only.
    let marker = case.object_directory("app").join(".artifact.json");
    let mut text: Value = serde_json::from_str(&fs_err::read_to_string(&marker)?)?;
    let forged = |name: &str| json!({"name": name, "shown": false});
    text["trees"]
        .as_array_mut()
        .context("no trees")?
        .extend([forged("../../victim/current"), forged(&outside.display().to_string())]);
    fs_err::write(&marker, text.to_string())?;
    let new = tag.next(case).await?;
    case.space.request_pass("app").await?;
    case.space.ready_with("app", &new).await?;
    ensure!(
        case.object_directory("victim").join("current").symlink_metadata().is_ok() && outside.exists(),
        "removed: victim's current {}, file outside {}",
        case.object_directory("victim").join("current").symlink_metadata().is_err(),
        !outside.exists()
    );
    Ok(())
}

async fn a_renamed_config_map_is_not_forgotten_by_a_failed_pass(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &config_map())).await?;
    case.space.ready_with("app", tag.last()?).await?;
    let wrong = tag.registry.reference("team/app:typo");
    case.space.apply("app", &spec_with(&wrong, &map("rules2", false))).await?;
    case.space.refused("app", "ReferenceNotFound").await?;
    case.space.apply("app", &spec_with(&tag.image(), &map("rules2", false))).await?;
    within(HEALED, "Ready again", case.space.ready_with("app", tag.last()?)).await?;
    all_known(case).await
}

async fn a_crash_leaves_no_immutable_config_map_behind(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &map("rules", true))).await?;
    case.space.ready_with("app", tag.last()?).await?;
    case.take_operator()?.stop().await?;
    tag.next(case).await?;
    end_operator_at(case, "record").await?;
    let last = tag.next(case).await?;
    case.start_operator().await?;
    case.space.ready_with("app", &last).await?;
    all_known(case).await
}

async fn earlier_names_beyond_the_bound_are_removed(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    let mut settings = case.settings()?;
    settings.extra.extend(["--keep-revisions", "100"].map(str::to_owned));
    case.start_operator_as(&settings).await?;
    case.space.apply("app", &spec_with(&tag.image(), &map("rules", true))).await?;
    case.space.ready_with("app", tag.last()?).await?;
    for _ in 0..35 {
        let new = tag.next(case).await?;
        case.space.request_pass("app").await?;
        case.space.ready_with("app", &new).await?;
    }
    all_known(case).await?;
    case.space.apply("app", &spec_with(&tag.image(), &json!({"outputs": []}))).await?;
    case.space.ready("app").await?;
    let mut left = Vec::new();
    let gone = wait::until(HEALED, "all ConfigMaps to be removed", async || {
        left = maps(case).await?;
        Ok(left.is_empty().then_some(()))
    })
    .await;
    gone.with_context(|| format!("{left:?} are left; status names {:?}", left.len()))
}

async fn a_shorter_name_does_not_keep_the_old_config_map(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &map("rules-old", false))).await?;
    case.space.ready_with("app", tag.last()?).await?;
    case.space.apply("app", &spec_with(&tag.image(), &map("rules", false))).await?;
    case.space.ready_with("app", tag.last()?).await?;
    wait::until(HEALED, "the ConfigMap rules-old to be removed", async || {
        Ok((maps(case).await? == ["rules"]).then_some(()))
    })
    .await
}

async fn a_failed_pass_after_a_crash_forgets_nothing_that_was_begun(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    case.start_operator().await?;
    let outputs = json!({"outputs": [
        {"name": "a", "configMap": {"name": "rules", "immutable": true}},
        {"name": "b", "configMap": {"name": "rules.b", "immutable": true}},
    ]});
    case.space.apply("app", &spec_with(&tag.image(), &outputs)).await?;
    case.space.ready_with("app", tag.last()?).await?;
    case.take_operator()?.stop().await?;
    tag.next(case).await?;
    end_operator_at(case, "switch-between").await?;
    let last = tag.next(case).await?;
    tag.registry.stop().await?;
    case.start_operator().await?;
    case.space.refused("app", "RegistryUnavailable").await?;
    tag.registry.resume().await?;
    case.space.request_pass("app").await?;
    case.space.ready_with("app", &last).await?;
    all_known(case).await
}

async fn suspending_after_a_crash_hides_no_torn_revision(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &both())).await?;
    case.space.ready_with("app", tag.last()?).await?;
    case.take_operator()?.stop().await?;
    tag.next(case).await?;
    end_operator_at(case, "switch-between").await?;
    case.space.patch("app", &json!({"spec": {"suspend": true}})).await?;
    case.start_operator().await?;
    let suspended =
        |object: &kube::api::DynamicObject| condition(object, "Ready").is_some_and(|ready| ready.reason == "Suspended");
    let object = case.space.wait("app", "be suspended", suspended).await?;
    let ready = condition(&object, "Ready").context("no condition")?;
    let said = |number: usize| text(&object, &format!("/status/outputs/{number}/digest")).map(|one| tag.revision(one));
    let there = fs_err::read_to_string(case.current("app").join(REVISION))?;
    let in_map = value(case, "rules", REVISION).await?;
    let journal = object.data.pointer("/status/switching").is_some();
    let is_told = said(0).as_ref() == Some(&there) && said(1) == in_map;
    // If the outputs were not looked at, the journal shows that they may differ.
    ensure!(
        is_told || (ready.status == "False" && journal),
        "Ready={} {:?}; status says {:?} and {:?}; the volume has {there}, the ConfigMap {in_map:?}; journal kept: {journal}",
        ready.status,
        ready.message,
        said(0),
        said(1)
    );
    Ok(())
}

async fn a_lost_immutable_config_map_does_not_hide_its_earlier_ones(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &map("rules", true))).await?;
    case.space.ready_with("app", tag.last()?).await?;
    let new = tag.next(case).await?;
    case.space.request_pass("app").await?;
    let object = case.space.ready_with("app", &new).await?;
    let current = text(&object, "/status/outputs/0/location").context("no location")?.to_owned();
    tag.registry.stop().await?;
    case.space.config_maps().delete(&current, &DeleteParams::default()).await?;
    case.space.refused("app", "RegistryUnavailable").await?;
    all_known(case).await
}
