//! Names that are reused by another object, or while the earlier object is still being removed.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use supercargo_e2e::object::condition;
use supercargo_e2e::signing::handmade::Signer;
use supercargo_e2e::wait;

use super::{GONE, HEALED, Tag, agrees, config_map, rounds, value, within};
use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec, spec_with, tests};

tests!(
    a_new_object_never_serves_the_files_of_an_earlier_one,
    a_config_map_of_an_earlier_object_is_waited_for,
    the_directory_of_a_namespace_survives_its_last_object,
    deletion_races_leave_no_directory_without_an_object,
);

async fn a_new_object_never_serves_the_files_of_an_earlier_one(case: &mut Case) -> Result<()> {
    let unsigned = Artifact::push_text(case, &case.lab.registry, "unsigned:1", "unsigned").await?;
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&tag.image())).await?;
    case.space.ready("app").await?;
    case.take_operator()?.stop().await?;
    case.space.delete("app").await?;
    if case.space.artifacts().get_opt("app").await?.is_some() {
        // The documented way of earlier versions to delete an object without a running operator.
        case.space.patch("app", &json!({"metadata": {"finalizers": null}})).await?;
    }
    case.space.gone("app").await?;

    let key = Signer::generate()?.verifier_pem()?;
    let verify = json!({"verify": [
        {"name": "release", "cosign": {"keys": [{"inline": key}], "transparencyLog": "Ignored"}},
    ]});
    case.space.apply("app", &spec_with(&unsigned.image(), &verify)).await?;
    case.start_operator().await?;
    case.space.refused("app", "SignatureMissing").await?;
    let (current, trees) = (case.current("app"), case.object_directory("app").join("trees"));
    let absent = || {
        let trees = fs_err::read_dir(&trees).map_or(0, Iterator::count);
        Ok(fs_err::symlink_metadata(&current).is_err() && trees == 0)
    };
    wait::until_true(GONE, "the files of the earlier object to be removed", absent).await
}

async fn a_config_map_of_an_earlier_object_is_waited_for(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    let spec = spec_with(&tag.image(), &config_map());
    case.space.apply("app", &spec).await?;
    case.space.ready("app").await?;
    // Blocks the garbage collector.
    let hold = |finalizers: serde_json::Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    let maps = case.space.config_maps();
    maps.patch("rules", &PatchParams::default(), &hold(json!(["example.com/held"]))).await?;
    case.space.delete("app").await?;
    case.space.gone("app").await?;

    case.space.apply("app", &spec).await?;
    let told = |object: &kube::api::DynamicObject| condition(object, "Ready").is_some_and(|one| one.status == "False");
    let object = case.space.wait("app", "say that it waits", told).await?;
    ensure!(condition(&object, "Stalled").is_none(), "Stalled beside a ConfigMap that is about to go");
    ensure!(condition(&object, "Reconciling").is_some_and(|one| one.status == "True"), "not Reconciling");
    maps.patch("rules", &PatchParams::default(), &hold(json!(null))).await?;
    within(HEALED, "Ready after the ConfigMap has gone", case.space.ready_with("app", tag.last()?)).await?;
    agrees(case, &tag, "app", 0).await?;
    let owners = maps.get("rules").await?.metadata.owner_references.unwrap_or_default();
    let uid = case.space.get("app").await?.metadata.uid.unwrap_or_default();
    ensure!(owners.iter().any(|owner| owner.uid == uid), "the ConfigMap is of {owners:?}");
    ensure!(value(case, "rules", "rule").await?.is_some(), "the ConfigMap is empty");
    Ok(())
}

/// `PersistentVolume` objects point to the directory.
async fn the_directory_of_a_namespace_survives_its_last_object(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&tag.image())).await?;
    case.space.ready("app").await?;
    let namespace = case.volume.join(&case.space.namespace);
    let before = fs_err::metadata(&namespace)?.ino();
    case.space.delete("app").await?;
    case.space.gone("app").await?;
    let directory = case.object_directory("app");
    wait::until_true(GONE, "the files to be removed", || Ok(!directory.exists())).await?;
    ensure!(namespace.exists(), "the directory of the namespace was removed");
    case.space.apply("app", &spec(&tag.image())).await?;
    case.space.ready("app").await?;
    assert_eq!(fs_err::metadata(&namespace)?.ino(), before, "another directory");
    Ok(())
}

async fn deletion_races_leave_no_directory_without_an_object(case: &mut Case) -> Result<()> {
    let races = rounds("SUPERCARGO_RACES", 30)?;
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("stays", &spec(&tag.image())).await?;
    case.space.ready("stays").await?;
    let mut late = 0;
    for number in 0..races {
        let name = format!("app-{}", number % 3);
        if case.space.artifacts().get_opt(&name).await?.is_some() {
            within(GONE, &format!("{name} to go"), case.space.gone(&name)).await?;
        }
        case.space.apply(&name, &spec(&tag.image())).await?;
        // At another step of the pass each time: none, the first entry of the directory, the link, Ready.
        let (directory, current) = (case.object_directory(&name), case.current(&name));
        match number % 4 {
            0 => {}
            1 => wait::until_true(HEALED, "its directory", || Ok(directory.exists())).await?,
            2 => wait::until_true(HEALED, "its link", || Ok(current.exists())).await?,
            _ => drop(case.space.ready(&name).await?),
        }
        late += u64::from(current.exists());
        case.space.delete(&name).await?;
    }
    ensure!(late >= races / 4, "only {late} of {races} deletions came after something was published");
    let namespace = case.volume.join(&case.space.namespace);
    let names = || -> Result<Vec<String>> {
        let entries = fs_err::read_dir(&namespace)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    let mut left = Vec::new();
    let only_one = wait::until_lasting(Duration::from_secs(20), GONE, "the directories to be removed", async || {
        left = names()?;
        Ok(left == ["stays"])
    });
    let outcome = only_one.await;
    ensure!(outcome.is_ok(), "directories without an object: {left:?}");
    ensure!(case.published("stays")? == super::content(0), "the files of another object were touched");
    Ok(())
}
