//! Small promises of the API.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use supercargo_e2e::files::tree;
use supercargo_e2e::object::{LIMIT, condition, is_ready, text};
use supercargo_e2e::obstacle::{CONFIG_MAP_DELETIONS, Denial};
use supercargo_e2e::wait;
use tokio::time::Instant;

use super::{HEALED, Tag, both};
use crate::support::case::{Case, current_tree, spec, spec_with, tests};

tests!(
    no_outputs_fetch_no_layer,
    an_annotation_makes_manifest_and_layers_be_fetched_again,
    of_two_annotations_the_one_that_changed_is_handled,
    a_suspended_object_that_was_never_published_is_stalled,
    an_output_that_left_the_spec_is_listed_until_it_is_removed,
    a_tree_that_is_one_directory_gives_a_warning,
    a_consumer_that_writes_into_the_tree_is_answered_ever_more_slowly,
);

async fn no_outputs_fetch_no_layer(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &json!({"outputs": []}))).await?;
    case.space.ready_with("app", tag.last()?).await?;
    assert_eq!(tag.blobs()?, 0, "layers were fetched");
    ensure!(tag.manifests()? > 0, "nothing was resolved");
    Ok(())
}

async fn annotate(case: &Case, name: &str, value: &str) -> Result<()> {
    case.space.patch("app", &json!({"metadata": {"annotations": {name: value}}})).await?;
    Ok(())
}

async fn an_annotation_makes_manifest_and_layers_be_fetched_again(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&tag.image())).await?;
    case.space.ready_with("app", tag.last()?).await?;
    for value in ["1", "2"] {
        let (manifests, blobs) = (tag.manifests()?, tag.blobs()?);
        annotate(case, "supercargo.dev/forceAt", value).await?;
        let fetched = || Ok(tag.manifests()? > manifests && tag.blobs()? > blobs);
        wait::until_true(LIMIT, "manifest and layer to be fetched again", fetched).await?;
        case.space.ready_with("app", tag.last()?).await?;
        // Each value causes one download: later polls fetch no layer.
        case.space.poll("app").await?;
        case.space.poll("app").await?;
        assert_eq!(tag.blobs()?, blobs + 1, "layers fetched for forceAt={value}");
    }
    Ok(())
}

async fn of_two_annotations_the_one_that_changed_is_handled(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&tag.image())).await?;
    case.space.ready("app").await?;
    let (own, alias) = ("supercargo.dev/requestedAt", "reconcile.fluxcd.io/requestedAt");
    for (name, value) in [(own, "own-1"), (alias, "alias-1"), (own, "own-2"), (alias, "alias-2"), (alias, "alias-3")] {
        annotate(case, name, value).await?;
        let echoed = |object: &DynamicObject| text(object, "/status/lastHandledReconcileAt") == Some(value);
        case.space.wait("app", &format!("echo {value} of {name}"), echoed).await?;
    }
    Ok(())
}

/// kstatus has no other term for "no progress without a change by the user".
async fn a_suspended_object_that_was_never_published_is_stalled(case: &mut Case) -> Result<()> {
    case.start_operator().await?;
    let image = case.reference("app:1");
    case.space.apply("app", &spec_with(&image, &json!({"suspend": true}))).await?;
    let stalled = |object: &DynamicObject| {
        let is = |kind: &str, status: &str| condition(object, kind).is_some_and(|found| found.status == status);
        is("Stalled", "True") && condition(object, "Reconciling").is_none()
    };
    let object = case.space.wait("app", "be Stalled", stalled).await?;
    assert_eq!(condition(&object, "Ready").map(|ready| ready.reason).as_deref(), Some("Suspended"));
    Ok(())
}

fn output<'a>(object: &'a DynamicObject, name: &str) -> Option<&'a Value> {
    let outputs = object.data.pointer("/status/outputs")?.as_array()?;
    outputs.iter().find(|output| output.get("name").is_some_and(|found| found == name))
}

async fn an_output_that_left_the_spec_is_listed_until_it_is_removed(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &both())).await?;
    case.space.ready("app").await?;
    let denial = Denial::of(&case.space, CONFIG_MAP_DELETIONS).await?;
    let files = json!({"outputs": [{"name": "files", "volume": {"name": "default"}}]});
    case.space.apply("app", &spec_with(&tag.image(), &files)).await?;
    let leaving = |object: &DynamicObject| {
        object.data.pointer("/status/observedGeneration") == Some(&json!(2))
            && output(object, "rules").is_some_and(|rules| rules.get("leaving") == Some(&json!(true)))
    };
    case.space.wait("app", "list the output as leaving", leaving).await?;
    ensure!(case.space.config_maps().get_opt("rules").await?.is_some(), "the ConfigMap went in spite of the denial");
    // A restart does not forget the output either.
    case.take_operator()?.stop().await?;
    case.start_operator().await?;
    case.space.poll("app").await?;
    ensure!(leaving(&case.space.get("app").await?), "the output is not listed any more");
    denial.remove().await?;
    let removed = wait::until(HEALED, "the ConfigMap and its entry to be removed", async || {
        let gone = case.space.config_maps().get_opt("rules").await?.is_none();
        let object = case.space.get("app").await?;
        Ok((gone && output(&object, "rules").is_none() && is_ready(&object)).then_some(()))
    });
    removed.await
}

async fn a_tree_that_is_one_directory_gives_a_warning(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    tag.push(case, &tree(&[("site/a", "1"), ("site/b/c", "2")])).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&tag.image())).await?;
    let inside = json!({"files": {"subPath": "site"}});
    case.space.apply("inside", &spec_with(&tag.image(), &inside)).await?;
    case.space.ready("app").await?;
    case.space.ready("inside").await?;
    let told = async |name: &str| {
        let events = case.space.events(name).await?;
        let is_it = |(kind, reason, _): &&(String, String, String)| kind == "Warning" && reason == "SingleDirectory";
        anyhow::Ok(events.iter().filter(is_it).map(|(.., note)| note.clone()).collect::<Vec<_>>())
    };
    let notes = wait::until(LIMIT, "a Warning with the reason SingleDirectory", async || {
        let notes = told("app").await?;
        Ok((!notes.is_empty()).then_some(notes))
    })
    .await?;
    ensure!(notes.len() == 1 && notes[0].contains("site"), "the directory is not named once: {notes:?}");
    ensure!(told("inside").await?.is_empty(), "told in spite of subPath");
    Ok(())
}

async fn a_consumer_that_writes_into_the_tree_is_answered_ever_more_slowly(case: &mut Case) -> Result<()> {
    const REPAIRS: usize = 4;
    /// More than the interval and its jitter.
    const GROWN: Duration = Duration::from_secs(15);
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &json!({"interval": "10s"}))).await?;
    case.space.ready("app").await?;
    let directory = case.object_directory("app");
    let mut pauses = Vec::new();
    for repair in 0..REPAIRS {
        let before = current_tree(&directory)?;
        fs_err::write(case.current("app").join(format!("cache-{repair}")), "by a consumer")?;
        let written = Instant::now();
        let what = format!("repair {repair}, after {pauses:?}");
        let repaired = || Ok(current_tree(&directory)? != before);
        wait::until_true(Duration::from_secs(70), &what, repaired).await?;
        pauses.push(written.elapsed());
    }
    let last = pauses.last().context("no repair")?;
    ensure!(*last >= GROWN, "the pauses do not grow: {pauses:?}");
    let events = case.space.events("app").await?;
    let about = |reason: &str| events.iter().filter(|(_, found, _)| found == reason).count();
    let damaged = about("Damaged");
    ensure!((1..=2).contains(&damaged), "{damaged} Events tell of {REPAIRS} repairs: {events:?}");
    Ok(())
}
