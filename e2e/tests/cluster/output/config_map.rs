//! ConfigMaps made from artifacts, and refusals before anything is written.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use supercargo_e2e::archive::noise;
use supercargo_e2e::files::{Entry, Tree, tree};
use supercargo_e2e::object::{condition, text};

use crate::support::case::{Case, spec_with, tests};

tests!(
    a_config_map_holds_one_key_per_file_and_names_its_source,
    a_config_map_follows_a_moved_tag_and_loses_old_keys,
    two_mebibytes_do_not_go_into_a_config_map,
    as_many_keys_as_are_not_refused_go_into_a_config_map,
    a_config_map_of_another_owner_is_left_unchanged,
    two_files_on_one_key_are_refused,
    no_outputs_publish_nothing_and_are_ready,
);

/// Returns an output `rules` to the ConfigMap `rules`.
fn config_map() -> Value {
    json!({"outputs": [{"name": "rules", "configMap": {"name": "rules"}}]})
}

async fn a_config_map_holds_one_key_per_file_and_names_its_source(case: &mut Case) -> Result<()> {
    let mut content = tree(&[("cpu.yaml", "groups: []\n"), ("team/disk.yaml", "groups: [1]\n")]);
    content.insert("logo.bin".to_owned(), Entry::File { content: vec![0xff, 0x00, 0xfe], executable: false });
    let source = case.source(&content)?;
    let image = case.reference("rules:1.0.0");
    let digest = case.lab.publisher.flux(&source, &image).await?;
    case.start_operator().await?;
    let object = case.space.apply("rules", &spec_with(&image, &config_map())).await?;
    let ready = case.space.ready_with("rules", &digest).await?;

    let found = case.space.config_maps().get("rules").await?;
    let data = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(found.data, Some(data(&[("cpu.yaml", "groups: []\n"), ("team__disk.yaml", "groups: [1]\n")])));
    let binary = BTreeMap::from([("logo.bin".to_owned(), ByteString(vec![0xff, 0x00, 0xfe]))]);
    assert_eq!(found.binary_data, Some(binary));

    let labels = found.metadata.labels.unwrap_or_default();
    assert_eq!(labels.get("app.kubernetes.io/managed-by").map(String::as_str), Some("supercargo"));
    assert_eq!(labels.get("supercargo.dev/ociartifact").map(String::as_str), Some("rules"));
    let annotations = found.metadata.annotations.unwrap_or_default();
    ensure!(annotations.values().any(|value| value.contains(&digest)), "no annotation names {digest}: {annotations:?}");
    let owners = found.metadata.owner_references.unwrap_or_default();
    let owner = owners.first().context("the ConfigMap has no owner")?;
    assert_eq!((Some(&owner.uid), owner.controller), (object.metadata.uid.as_ref(), Some(true)));

    // Nothing has to be cleaned up by hand, so no finalizer is needed.
    assert_eq!(ready.metadata.finalizers.unwrap_or_default(), Vec::<String>::new());
    assert_eq!(ready.data.pointer("/status/outputs/0/files"), Some(&json!(3)));
    Ok(())
}

async fn a_config_map_follows_a_moved_tag_and_loses_old_keys(case: &mut Case) -> Result<()> {
    let image = case.reference("rules:latest");
    let first = case.source(&tree(&[("old", "1"), ("both", "1")]))?;
    case.lab.publisher.flux(&first, &image).await?;
    case.start_operator().await?;
    case.space.apply("rules", &spec_with(&image, &config_map())).await?;
    case.space.ready("rules").await?;

    let second = case.source(&tree(&[("new", "2"), ("both", "2")]))?;
    let digest = case.lab.publisher.flux(&second, &image).await?;
    case.space.request_pass("rules").await?;
    case.space.ready_with("rules", &digest).await?;
    let data = case.space.config_maps().get("rules").await?.data.unwrap_or_default();
    let pairs: Vec<(&str, &str)> = data.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("both", "2"), ("new", "2")]);
    Ok(())
}

async fn two_mebibytes_do_not_go_into_a_config_map(case: &mut Case) -> Result<()> {
    let image = case.reference("rules:latest");
    let small = case.source(&tree(&[("rule", "small")]))?;
    let good = case.lab.publisher.flux(&small, &image).await?;
    case.start_operator().await?;
    case.space.apply("rules", &spec_with(&image, &config_map())).await?;
    case.space.ready_with("rules", &good).await?;

    let big: Tree = [("big".to_owned(), Entry::File { content: noise(2 << 20, 1), executable: false })].into();
    let big = case.source(&big)?;
    let refused = case.lab.publisher.flux(&big, &image).await?;
    case.space.request_pass("rules").await?;
    let object = case.space.refused("rules", "OutputTooLarge").await?;
    assert_eq!(text(&object, "/status/artifact/digest"), Some(good.as_str()));
    assert_eq!(text(&object, "/status/candidate/digest"), Some(refused.as_str()));
    assert_eq!(condition(&object, "Stalled").map(|stalled| stalled.status), Some("True".to_owned()));
    assert_eq!(rule(case).await?.as_deref(), Some("small"));

    let again = case.source(&tree(&[("rule", "small again")]))?;
    let good = case.lab.publisher.flux(&again, &image).await?;
    case.space.request_pass("rules").await?;
    let object = case.space.ready_with("rules", &good).await?;
    assert_eq!(text(&object, "/status/candidate/digest"), None);
    assert_eq!(rule(case).await?.as_deref(), Some("small again"));
    Ok(())
}

/// The limit for the stored object is an estimate: the API server and etcd must accept a ConfigMap just inside it.
async fn as_many_keys_as_are_not_refused_go_into_a_config_map(case: &mut Case) -> Result<()> {
    let image = case.reference("rules:latest");
    // Each file counts 2 * 100 + 23 + 24 bytes: 1 309 100 of 1 310 720.
    let files = |number: usize| -> Tree {
        let file = || Entry::File { content: vec![b'x'; 23], executable: false };
        (0..number).map(|number| (format!("{number:0100}"), file())).collect()
    };
    let most = case.source(&files(5300))?;
    let good = case.lab.publisher.flux(&most, &image).await?;
    case.start_operator().await?;
    case.space.apply("rules", &spec_with(&image, &config_map())).await?;
    let object = case.space.ready_with("rules", &good).await?;
    assert_eq!(object.data.pointer("/status/outputs/0/files"), Some(&json!(5300)));

    let more = case.source(&files(5310))?;
    case.lab.publisher.flux(&more, &image).await?;
    case.space.request_pass("rules").await?;
    let object = case.space.refused("rules", "OutputTooLarge").await?;
    let message = condition(&object, "Ready").context("no Ready")?.message;
    ensure!(message.contains("1280 KiB"), "{message}");
    Ok(())
}

async fn rule(case: &Case) -> Result<Option<String>> {
    Ok(case.space.config_maps().get("rules").await?.data.unwrap_or_default().get("rule").cloned())
}

async fn a_config_map_of_another_owner_is_left_unchanged(case: &mut Case) -> Result<()> {
    let foreign = serde_json::from_value(json!({"metadata": {"name": "rules"}, "data": {"rule": "mine"}}))?;
    let foreign = case.space.config_maps().create(&PostParams::default(), &foreign).await?;
    let image = case.reference("rules:1");
    let source = case.source(&tree(&[("rule", "from the artifact")]))?;
    case.lab.publisher.flux(&source, &image).await?;
    case.start_operator().await?;
    case.space.apply("rules", &spec_with(&image, &config_map())).await?;

    case.space.refused("rules", "OutputConflict").await?;
    let found = case.space.config_maps().get("rules").await?;
    assert_eq!(found.metadata.resource_version, foreign.metadata.resource_version);

    case.space.config_maps().delete("rules", &DeleteParams::default()).await?;
    case.space.request_pass("rules").await?;
    case.space.ready("rules").await?;
    assert_eq!(rule(case).await?.as_deref(), Some("from the artifact"));

    // A user who removes the owner reference of the object's own ConfigMap causes a conflict too, and the ConfigMap
    // stays unchanged.
    let away = json!({"metadata": {"ownerReferences": null}});
    case.space.config_maps().patch("rules", &PatchParams::default(), &Patch::Merge(away)).await?;
    case.space.request_pass("rules").await?;
    case.space.refused("rules", "OutputConflict").await?;
    Ok(())
}

async fn two_files_on_one_key_are_refused(case: &mut Case) -> Result<()> {
    let image = case.reference("rules:1");
    let source = case.source(&tree(&[("a/b", "1"), ("a__b", "2")]))?;
    case.lab.publisher.flux(&source, &image).await?;
    case.start_operator().await?;
    case.space.apply("rules", &spec_with(&image, &config_map())).await?;
    case.space.refused("rules", "OutputConflict").await?;
    ensure!(case.space.config_maps().get_opt("rules").await?.is_none(), "something was written");

    let dots = json!({"outputs": [{"name": "rules", "configMap": {"name": "rules", "separator": "."}}]});
    case.space.apply("rules", &spec_with(&image, &dots)).await?;
    case.space.ready("rules").await?;
    let data = case.space.config_maps().get("rules").await?.data.unwrap_or_default();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["a.b", "a__b"]);
    Ok(())
}

async fn no_outputs_publish_nothing_and_are_ready(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    let source = case.source(&tree(&[("file", "content")]))?;
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&image, &json!({"outputs": []}))).await?;
    case.space.ready_with("app", &digest).await?;
    ensure!(!case.object_directory("app").exists(), "a volume was written to");
    Ok(())
}
