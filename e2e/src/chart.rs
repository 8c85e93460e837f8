//! Installs the chart with Helm, and writes a kubeconfig for the chart's ServiceAccount.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::control_plane::ControlPlane;
use crate::kubeconfig::Access;
use crate::run::{Invocation, Run};
use crate::tools::Tools;
use crate::wait;

/// Namespace of the release, and its name, which is also the name of the ServiceAccount.
pub const NAMESPACE: &str = "supercargo-system";
pub const RELEASE: &str = "supercargo";

/// Returns the chart's directory.
pub fn directory() -> PathBuf {
    workspace().join("charts/supercargo")
}

/// Returns the root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Returns the memory limit of the operator's container in bytes, from the chart's default values.
pub fn memory_limit() -> Result<u64> {
    let values = fs_err::read_to_string(directory().join("values.yaml"))?;
    let values: serde_json::Value = serde_saphyr::from_str(&values).context("the chart's values are no YAML")?;
    let limit = values.pointer("/resources/limits/memory").and_then(serde_json::Value::as_str);
    let mebibytes = limit.and_then(|limit| limit.strip_suffix("Mi")).context("the chart has no memory limit in Mi")?;
    Ok(mebibytes.parse::<u64>()? << 20)
}

/// Returns a Helm command with its caches inside the run directory.
pub fn helm(run: &Run, tools: &Tools) -> Invocation {
    let home = run.directory().join("helm");
    ["CACHE", "CONFIG", "DATA"].iter().fold(run.command(&tools.helm), |command, kind| {
        command.env(&format!("HELM_{kind}_HOME"), home.join(kind.to_lowercase()).to_string_lossy())
    })
}

/// Returns a kubectl command with administrator rights.
pub fn kubectl(run: &Run, tools: &Tools, control_plane: &ControlPlane) -> Invocation {
    let cache = run.directory().join("kubectl-cache");
    let command = run.command(&tools.kubectl).env("KUBECONFIG", control_plane.kubeconfig.to_string_lossy());
    command.arg(format!("--cache-dir={}", cache.display()))
}

/// Installs the chart and returns Helm's output. No `--wait`: no node will ever run the Deployment's pods.
pub async fn install(run: &Run, tools: &Tools, control_plane: &ControlPlane) -> Result<String> {
    let chart = directory();
    let command = helm(run, tools).env("KUBECONFIG", control_plane.kubeconfig.to_string_lossy());
    let command = command.args(["install", RELEASE]).arg(chart.to_string_lossy());
    let command = command.args(["--namespace", NAMESPACE, "--create-namespace"]);
    let said = command.stdout().await.context("installing the chart")?;
    // The API server needs some time to serve a new kind, and more to publish its schema.
    wait::until(Duration::from_secs(30), "the new kind to be served", || async {
        let explained = kubectl(run, tools, control_plane).args(["explain", "ociartifact"]).output().await?;
        Ok(explained.exit.success().then_some(()))
    })
    .await?;
    Ok(said)
}

/// Writes a kubeconfig whose only credential is a token of the chart's ServiceAccount, as in the operator's pod.
pub async fn operator_kubeconfig(
    run: &Run,
    tools: &Tools,
    control_plane: &ControlPlane,
    name: &str,
) -> Result<PathBuf> {
    let path = run.subdirectory(name)?.join("operator.kubeconfig");
    service_account(run, tools, control_plane, NAMESPACE, RELEASE).await?.write(&path)?;
    Ok(path)
}

/// Returns access with a token of a ServiceAccount, as its pods have it.
pub async fn service_account(
    run: &Run,
    tools: &Tools,
    control_plane: &ControlPlane,
    namespace: &str,
    name: &str,
) -> Result<Access> {
    let command = kubectl(run, tools, control_plane).args(["create", "token", name, "--duration=24h"]);
    let token = command.args(["--namespace", namespace]).stdout().await?.trim().to_owned();
    Ok(Access { token, namespace: namespace.to_owned(), ..control_plane.admin.clone() })
}
