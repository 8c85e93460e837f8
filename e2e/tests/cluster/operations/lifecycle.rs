//! Deletion, suspension, and stored objects that do not parse.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::tree;
use supercargo_e2e::object::{LIMIT, condition, text};
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::wait;

use crate::support::case::{Case, spec, spec_with, tests};
use crate::support::metrics::counter;

tests!(
    deleting_removes_the_files_and_the_config_map,
    deleting_needs_no_registry,
    deleting_needs_no_volume,
    a_suspended_object_is_not_looked_up_and_keeps_its_files,
    a_stored_object_that_cannot_be_read_disturbs_no_other,
    a_namespace_that_is_named_twice_is_served_once,
    the_probes_and_the_metrics_answer,
);

/// Publishes an object with both kinds of output from a registry of its own.
async fn with_both_outputs(case: &mut Case) -> Result<Registry> {
    let registry = case.registry("own", &Options::default()).await?;
    let image = registry.reference("app:1");
    let source = case.source(&tree(&[("file", "content")]))?;
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    let outputs = json!({"outputs": [
        {"name": "files", "volume": {"name": "default"}},
        {"name": "map", "configMap": {"name": "app"}},
    ]});
    case.space.apply("app", &spec_with(&image, &outputs)).await?;
    let object = case.space.ready("app").await?;
    ensure!(object.metadata.finalizers.is_none(), "a finalizer holds the object back");
    ensure!(case.current("app").join("file").exists(), "the volume has no files");
    ensure!(case.space.config_maps().get_opt("app").await?.is_some(), "there is no ConfigMap");
    Ok(registry)
}

async fn all_gone(case: &Case) -> Result<()> {
    case.space.gone("app").await?;
    let directory = case.object_directory("app");
    let what = format!("{} to be removed", directory.display());
    wait::until_true(LIMIT, &what, || Ok(!directory.exists())).await?;
    wait::until(LIMIT, "the garbage collector to take the ConfigMap", || async {
        Ok(case.space.config_maps().get_opt("app").await?.is_none().then_some(()))
    })
    .await
}

async fn deleting_removes_the_files_and_the_config_map(case: &mut Case) -> Result<()> {
    let _registry = with_both_outputs(case).await?;
    case.space.delete("app").await?;
    all_gone(case).await
}

async fn deleting_needs_no_registry(case: &mut Case) -> Result<()> {
    let mut registry = with_both_outputs(case).await?;
    registry.stop().await?;
    case.space.request_pass("app").await?;
    case.space.refused("app", "RegistryUnavailable").await?;
    case.space.delete("app").await?;
    all_gone(case).await
}

async fn deleting_needs_no_volume(case: &mut Case) -> Result<()> {
    let _registry = with_both_outputs(case).await?;
    fs_err::remove_dir_all(case.object_directory("app"))?;
    case.space.delete("app").await?;
    all_gone(case).await
}

async fn a_suspended_object_is_not_looked_up_and_keeps_its_files(case: &mut Case) -> Result<()> {
    let image = case.reference("app:latest");
    let content = tree(&[("file", "first")]);
    let source = case.source(&content)?;
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready("app").await?;

    case.space.patch("app", &json!({"spec": {"suspend": true}})).await?;
    case.space.wait("app", "say that it is suspended", says_suspended).await?;
    let before = case.lab.registry.requests(&case.repository("app"))?;
    let next = tree(&[("file", "second")]);
    let source = case.source(&next)?;
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let token = case.space.request_pass("app").await?;
    // Another object goes through a whole pass, so the operator has seen the earlier request.
    let other = case.reference("other:1");
    case.lab.publisher.oras(&source, &[&other, "."]).await?;
    case.space.apply("other", &spec(&other)).await?;
    case.space.ready("other").await?;
    let object = case.space.wait("app", "be suspended still", says_suspended).await?;
    ensure!(text(&object, "/status/lastHandledReconcileAt") != Some(&token), "the pass that was not made is answered");
    assert_eq!(case.lab.registry.requests(&case.repository("app"))?, before, "a suspended object was looked up");
    assert_eq!(case.published("app")?, content);

    case.space.patch("app", &json!({"spec": {"suspend": false}})).await?;
    case.space.ready_with("app", &digest).await?;
    assert_eq!(case.published("app")?, next);
    Ok(())
}

fn says_suspended(object: &kube::api::DynamicObject) -> bool {
    condition(object, "Ready").is_some_and(|ready| ready.reason == "Suspended")
}

/// The object is written directly into etcd, past every admission rule, as an older version of the CRD might have left
/// it.
async fn a_stored_object_that_cannot_be_read_disturbs_no_other(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    let source = case.source(&tree(&[("file", "content")]))?;
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.space.apply("broken", &spec_with(&image, &json!({"suspend": true}))).await?;
    let key = format!("/registry/supercargo.dev/ociartifacts/{}/broken", case.space.namespace);
    let mut stored = case.lab.control_plane.stored(&key).await?;
    *stored.pointer_mut("/spec/image").context("no image")? = json!({"not": "a string"});
    stored["spec"]["outputs"] = json!(17);
    case.lab.control_plane.store(&key, &stored).await?;
    let read = case.space.get("broken").await?;
    ensure!(read.data.pointer("/spec/image").is_some_and(Value::is_object), "the API server mends it: {}", read.data);

    // The object exists when the operator lists, and changes again while the operator watches.
    case.start_operator().await?;
    case.space.apply("before", &spec(&image)).await?;
    case.space.ready("before").await?;
    stored["spec"]["outputs"] = json!("seventeen");
    case.lab.control_plane.store(&key, &stored).await?;
    case.space.apply("after", &spec(&image)).await?;
    case.space.ready("after").await?;
    case.space.poll("before").await?;
    case.operator()?.service.check_running()?;

    // Once corrected, the object is reconciled like any other.
    let outputs = json!([{"name": "files", "volume": {"name": "default"}}]);
    let mend = json!({"spec": {"image": image, "suspend": false, "outputs": outputs}});
    case.space.patch("broken", &mend).await?;
    case.space.ready("broken").await?;
    Ok(())
}

async fn a_namespace_that_is_named_twice_is_served_once(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    let source = case.source(&tree(&[("file", "content")]))?;
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let mut settings = case.settings()?;
    settings.namespaces.push(case.space.namespace.clone());
    case.start_operator_as(&settings).await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready("app").await?;
    let passes =
        async || Ok::<_, anyhow::Error>(counter(&case.operator()?.metrics().await?, "supercargo_passes_total"));
    let before = passes().await?;
    case.space.request_pass("app").await?;
    case.space.ready("app").await?;
    // Another object, as a clock: a second controller of the namespace would have made its pass by now.
    case.space.apply("clock", &spec(&image)).await?;
    case.space.ready("clock").await?;
    let made = passes().await? - before;
    ensure!(made == 2, "{made} passes instead of one for each object");
    Ok(())
}

async fn the_probes_and_the_metrics_answer(case: &mut Case) -> Result<()> {
    case.start_operator().await?;
    let operator = case.operator()?;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(supercargo_e2e::http::get(&operator.address, path).await?.status, 200, "{path}");
    }
    let metrics = operator.metrics().await?;
    ensure!(metrics.contains("# HELP supercargo_"), "no metric of supercargo: {metrics}");
    assert_eq!(supercargo_e2e::http::get(&operator.address, "/secrets").await?.status, 404);

    let started = std::time::Instant::now();
    let exit = case.take_operator()?.stop().await?;
    ensure!(exit.success(), "the operator answered SIGTERM with {exit}");
    ensure!(started.elapsed() < Duration::from_secs(10), "an idle operator took {:?} to stop", started.elapsed());
    Ok(())
}
