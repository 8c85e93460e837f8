//! Deletion: an object goes at once, independent of obstacles; its files go when they can be removed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use supercargo_e2e::chart;
use supercargo_e2e::control_plane::ControlPlane;
use supercargo_e2e::object::Space;
use supercargo_e2e::operator::Operator;
use supercargo_e2e::rights::Rights;
use supercargo_e2e::wait;

use super::{GONE, HEALED, Tag, both, within};
use crate::support::case::{Case, spec, spec_with, tests};
use crate::support::privileges::may_mount;

tests!(
    an_object_never_has_a_finalizer_and_loses_that_of_an_earlier_version,
    an_object_that_cannot_be_read_is_deleted_at_once,
    a_deletion_needs_no_policies,
    a_deletion_needs_no_writable_volume,
    a_deletion_needs_no_volume_at_all,
    a_deletion_needs_no_operator,
    a_deletion_during_an_outage_of_the_registry_is_done_at_once,
    a_namespace_is_deleted_with_the_rights_of_the_operator_in_it,
);

/// Finalizer of earlier versions.
const FINALIZER: &str = "supercargo.dev/volume";

async fn published(case: &mut Case) -> Result<Tag> {
    let tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &both())).await?;
    case.space.ready_with("app", tag.last()?).await?;
    Ok(tag)
}

async fn deleted_at_once(case: &Case) -> Result<()> {
    case.space.delete("app").await?;
    within(GONE, "the deleted object to go", case.space.gone("app")).await
}

async fn files_gone(directory: &Path) -> Result<()> {
    wait::until_true(GONE, &format!("{} to be removed", directory.display()), || Ok(!directory.exists())).await
}

fn finalizers(object: &kube::api::DynamicObject) -> &[String] {
    object.metadata.finalizers.as_deref().unwrap_or_default()
}

async fn an_object_never_has_a_finalizer_and_loses_that_of_an_earlier_version(case: &mut Case) -> Result<()> {
    let tag = Tag::start(case).await?;
    case.space.apply("old", &spec(&tag.image())).await?;
    let theirs = "example.com/of-another";
    case.space.patch("old", &json!({"metadata": {"finalizers": [FINALIZER, theirs]}})).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&tag.image(), &both())).await?;
    let object = case.space.ready("app").await?;
    ensure!(finalizers(&object).is_empty(), "finalizers: {:?}", finalizers(&object));
    let object = case.space.wait("old", "lose its finalizer", |object| finalizers(object) == [theirs]).await?;
    ensure!(object.metadata.deletion_timestamp.is_none(), "it was deleted");
    case.space.patch("old", &json!({"metadata": {"finalizers": null}})).await?;
    Ok(())
}

/// The stored spec does not parse, as another version of the CRD might have left it.
async fn an_object_that_cannot_be_read_is_deleted_at_once(case: &mut Case) -> Result<()> {
    let _tag = published(case).await?;
    let key = format!("/registry/supercargo.dev/ociartifacts/{}/app", case.space.namespace);
    let mut stored = case.lab.control_plane.stored(&key).await?;
    // A value that another version of CRD and operator could have stored.
    stored["spec"]["layers"]["mode"] = json!("OfAnotherVersion");
    case.lab.control_plane.store(&key, &stored).await?;
    let told = |object: &kube::api::DynamicObject| {
        supercargo_e2e::object::condition(object, "Ready").is_some_and(|ready| ready.status == "False")
    };
    case.space.wait("app", "have a status although it cannot be read", told).await?;
    deleted_at_once(case).await?;
    files_gone(&case.object_directory("app")).await
}

async fn a_deletion_needs_no_policies(case: &mut Case) -> Result<()> {
    let lab = &case.lab;
    let name = format!("{}-no-policies", case.space.namespace);
    let control_plane = ControlPlane::start(&lab.run, &lab.tools, &name).await?;
    let crd = chart::workspace().join("crds/ociartifacts.supercargo.dev.yaml");
    let kubectl = chart::kubectl(&lab.run, &lab.tools, &control_plane);
    kubectl.args(["apply", "--server-side", "--filename", &crd.to_string_lossy()]).stdout().await?;
    let space = Space::create(&control_plane.client, "team").await?;
    wait::until(GONE, "the kind to be served", async || Ok(space.artifacts().list(&ListParams::default()).await.ok()))
        .await?;
    let mut settings = case.settings()?;
    settings.kubeconfig.clone_from(&control_plane.kubeconfig);
    settings.namespaces = vec!["team".to_owned()];
    // The operator may be unready: the CRD of policies is missing.
    let operator = Operator::spawn(&lab.run, &settings).await?;

    space.apply("app", &spec("registry.example.com/app:1")).await?;
    space.patch("app", &json!({"metadata": {"finalizers": [FINALIZER]}})).await?;
    space.delete("app").await?;
    let gone = within(GONE, "the deleted object to go", space.gone("app")).await;
    operator.kill().await?;
    gone
}

/// The object's directory is on a read-only mount below the volume's root, from which no file can be removed.
async fn a_deletion_needs_no_writable_volume(case: &mut Case) -> Result<()> {
    ensure!(may_mount(), "mounting takes root");
    let tag = Tag::start(case).await?;
    let mut settings = case.settings()?;
    settings.binary = with_its_own_mounts(case)?;
    case.start_operator_as(&settings).await?;
    case.space.apply("app", &spec(&tag.image())).await?;
    case.space.ready_with("app", tag.last()?).await?;
    let namespace = case.volume.join(&case.space.namespace);
    let namespace = namespace.to_string_lossy();
    mounted(case, &["mount", "--bind", &namespace, &namespace]).await?;
    mounted(case, &["mount", "-o", "remount,bind,ro", &namespace]).await?;

    case.space.delete("app").await?;
    let gone = within(GONE, "the deleted object to go", case.space.gone("app")).await;
    mounted(case, &["umount", "--lazy", &namespace]).await?;
    gone?;
    files_gone(&case.object_directory("app")).await
}

/// Writes a script that becomes the operator in a mount namespace of its own.
fn with_its_own_mounts(case: &Case) -> Result<PathBuf> {
    let script = case.directory.join("operator-with-its-own-mounts");
    let text = format!("#!/bin/sh\nexec unshare --mount '{}' \"$@\"\n", case.lab.operator_binary.display());
    fs_err::write(&script, text)?;
    fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

/// Runs a command in the operator's mount namespace.
async fn mounted(case: &Case, command: &[&str]) -> Result<()> {
    let enter = case.lab.run.command(Path::new("nsenter"));
    let enter = enter.args(["--target", &case.operator()?.pid().to_string(), "--mount"]);
    enter.args(command).stdout().await?;
    Ok(())
}

/// The share is unmounted, so that the volume's path leads to another directory.
async fn a_deletion_needs_no_volume_at_all(case: &mut Case) -> Result<()> {
    ensure!(may_mount(), "mounting takes root");
    let tag = Tag::start(case).await?;
    let (volume, share) = (case.volume.clone(), case.directory.join("share"));
    fs_err::create_dir(&share)?;
    let mut settings = case.settings()?;
    settings.binary = with_a_mounted_volume(case, &share)?;
    case.start_operator_as(&settings).await?;
    for name in ["app", "other"] {
        case.space.apply(name, &spec(&tag.image())).await?;
        case.space.ready_with(name, tag.last()?).await?;
    }
    let files = |name: &str| share.join(&case.space.namespace).join(name);

    let volume = volume.to_string_lossy();
    mounted(case, &["umount", "--lazy", &volume]).await?;
    away(case).await?;
    deleted_at_once(case).await?;
    ensure!(files("app").exists(), "files that cannot be reached are gone");
    mounted(case, &["mount", "--bind", &share.to_string_lossy(), &volume]).await?;
    files_gone(&files("app")).await?;
    ensure!(fs_err::read_dir(&*volume)?.next().is_none(), "something was made below the mount");

    case.space.ready("other").await?;
    mounted(case, &["umount", "--lazy", &volume]).await?;
    away(case).await?;
    let namespaces: Api<Namespace> = Api::all(case.space.client.clone());
    namespaces.delete(&case.space.namespace, &DeleteParams::default()).await?;
    // The namespace controller leaves the content alone for some seconds.
    let gone = async || Ok(namespaces.get_opt(&case.space.namespace).await?.is_none().then_some(()));
    wait::until(GONE + HEALED, "the namespace to go", gone).await?;
    mounted(case, &["mount", "--bind", &share.to_string_lossy(), &volume]).await?;
    files_gone(&files("other")).await
}

/// Waits until the operator has looked at the volume and reports it as unusable.
async fn away(case: &Case) -> Result<()> {
    let line = "supercargo_volume_usable{volume=\"default\"} 0";
    wait::until(HEALED, "the volume to be away", async || {
        case.space.request_pass("other").await?;
        Ok(case.operator()?.metrics().await?.contains(line).then_some(()))
    })
    .await
}

/// Writes a script that mounts a directory on the volume and becomes the operator.
fn with_a_mounted_volume(case: &Case, share: &Path) -> Result<PathBuf> {
    let (binary, volume) = (case.lab.operator_binary.display(), case.volume.display());
    let inner = format!("mount --bind '{}' '{volume}' && exec '{binary}' \"$@\"", share.display());
    let text = format!("#!/bin/sh\nexec unshare --mount sh -c \"$(cat <<'END'\n{inner}\nEND\n)\" operator \"$@\"\n");
    let script = case.directory.join("operator-with-a-mounted-volume");
    fs_err::write(&script, text)?;
    fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

async fn a_deletion_needs_no_operator(case: &mut Case) -> Result<()> {
    let _tag = published(case).await?;
    let directory = case.object_directory("app");
    case.take_operator()?.stop().await?;
    deleted_at_once(case).await?;
    ensure!(directory.exists(), "files were removed by nobody");
    case.start_operator().await?;
    files_gone(&directory).await
}

async fn a_deletion_during_an_outage_of_the_registry_is_done_at_once(case: &mut Case) -> Result<()> {
    let mut tag = published(case).await?;
    tag.registry.stop().await?;
    case.space.request_pass("app").await?;
    let object = case.space.refused("app", "RegistryUnavailable").await?;
    ensure!(finalizers(&object).is_empty(), "finalizers: {:?}", finalizers(&object));
    deleted_at_once(case).await?;
    files_gone(&case.object_directory("app")).await
}

/// The Role of the operator is in the namespace, and is deleted in no fixed order with the objects.
async fn a_namespace_is_deleted_with_the_rights_of_the_operator_in_it(case: &mut Case) -> Result<()> {
    const OBJECTS: usize = 5;
    let rights = Rights::create(&case.lab, &case.space).await?;
    let tag = Tag::start(case).await?;
    let mut settings = case.settings()?;
    settings.kubeconfig.clone_from(&rights.kubeconfig);
    case.start_operator_as(&settings).await?;
    let names: Vec<String> = (0..OBJECTS).map(|number| format!("app-{number}")).collect();
    for name in &names {
        case.space.apply(name, &spec(&tag.image())).await?;
    }
    for name in &names {
        case.space.ready(name).await?;
    }
    let namespaces: Api<Namespace> = Api::all(case.space.client.clone());
    namespaces.delete(&case.space.namespace, &DeleteParams::default()).await?;
    let objects = async || case.space.artifacts().list(&ListParams::default()).await;
    // The namespace controller leaves the content alone for this time (its namespaceDeletionGracePeriod).
    let limit = GONE + Duration::from_secs(5);
    wait::until(limit, "the objects to go", async || Ok(objects().await?.items.is_empty().then_some(()))).await?;
    // The namespace controller looks again after some seconds.
    let gone = async || Ok(namespaces.get_opt(&case.space.namespace).await?.is_none().then_some(()));
    wait::until(GONE + HEALED, "the namespace to go", gone).await?;
    let left = || Ok(names.iter().all(|name| !case.object_directory(name).exists()));
    wait::until_true(Duration::from_secs(10), "the files to be removed", left).await
}
