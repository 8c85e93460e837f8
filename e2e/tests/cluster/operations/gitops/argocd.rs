//! `config/argocd`: health and actions, run by Argo CD's interpreter over objects of a real cluster.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::tree;
use supercargo_e2e::object::current_condition;
use supercargo_e2e::tools;

use super::{copy, render};
use crate::support::case::{Case, spec, spec_with, tests};

tests!(argo_cd_shows_the_health_of_every_state, argo_cds_actions_refresh_suspend_and_resume,);

/// Scripts as the ConfigMap `argocd-cm` holds them after the component was applied.
struct Scripts {
    /// The interpreter.
    lua: PathBuf,
    health: String,
    actions: Value,
}

impl Scripts {
    async fn get(case: &Case) -> Result<Self> {
        let directory = case.directory.join("argocd");
        copy("argocd", &directory.join("supercargo"))?;
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}, "data": {"url": "https://argo"},
        });
        fs_err::write(directory.join("argocd-cm.yaml"), map.to_string())?;
        fs_err::write(directory.join("kustomization.yaml"), "resources: [argocd-cm.yaml]\ncomponents: [supercargo]\n")?;
        let objects = render(case, &directory).await?;
        ensure!(objects.len() == 1, "{objects:?}");
        assert_eq!(objects[0]["metadata"]["name"], "argocd-cm");
        assert_eq!(objects[0]["data"]["url"], "https://argo", "values of the administrator stay");
        let entry = |what: &str| {
            let key = format!("resource.customizations.{what}.supercargo.dev_OCIArtifact");
            objects[0]["data"][&key].as_str().map(str::to_owned).context(key)
        };
        let lua = tools::lua(&case.lab.run).await?;
        Ok(Self { lua, health: entry("health")?, actions: serde_saphyr::from_str(&entry("actions")?)? })
    }

    fn action(&self, name: &str) -> Result<&str> {
        let definitions = self.actions["definitions"].as_array().context("no definitions")?;
        let action = definitions.iter().find(|action| action["name"] == name).context(name.to_owned())?;
        action["action.lua"].as_str().context(name.to_owned())
    }

    /// Runs a script over an object as it is in the cluster now.
    async fn run(&self, case: &Case, script: &str, name: &str) -> Result<Value> {
        let get = case.lab.kubectl().args(["get", "ociart", name, "--output=json"]);
        let object = get.args(["--namespace", &case.space.namespace]).stdout().await?;
        self.run_over(case, script, object).await
    }

    /// Runs a script over an object.
    async fn run_over(&self, case: &Case, script: &str, object: String) -> Result<Value> {
        let file = case.directory.join("script.lua");
        fs_err::write(&file, script)?;
        let result = case.lab.run.command(&self.lua).arg(file.to_string_lossy()).input(object).stdout().await?;
        Ok(serde_json::from_str(&result)?)
    }
}

async fn argo_cd_shows_the_health_of_every_state(case: &mut Case) -> Result<()> {
    let scripts = Scripts::get(case).await?;
    let image = case.reference("app:1.0.0");
    let source = case.source(&tree(&[("file", "content")]))?;
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.space.apply("good", &spec(&image)).await?;
    check(case, &scripts, "good", "Progressing", "generation").await?;

    case.start_operator().await?;
    case.space.ready("good").await?;
    check(case, &scripts, "good", "Healthy", "Succeeded").await?;
    case.space.apply("missing", &spec(&case.reference("app:missing"))).await?;
    case.space.refused("missing", "ReferenceNotFound").await?;
    check(case, &scripts, "missing", "Progressing", "ReferenceNotFound").await?;
    let mut withdrawn = serde_json::to_value(case.space.get("missing").await?)?;
    withdrawn["status"]["candidate"] = json!({"withdrawn": true});
    let health = scripts.run_over(case, &scripts.health, withdrawn.to_string()).await?;
    ensure!(health["status"] == "Degraded", "of withdrawn content: {health}");
    case.space.apply("broken", &spec_with(&image, &json!({"files": {"subPath": "nowhere"}}))).await?;
    let is_stalled = |object: &_| current_condition(object, "Stalled").is_some_and(|stalled| stalled.status == "True");
    case.space.wait("broken", "be stalled", is_stalled).await?;
    check(case, &scripts, "broken", "Degraded", "SubPathNotFound").await?;
    case.space.patch("good", &json!({"spec": {"suspend": true}})).await?;
    check(case, &scripts, "good", "Suspended", "spec.suspend").await
}

async fn check(case: &Case, scripts: &Scripts, name: &str, status: &str, mentions: &str) -> Result<()> {
    let health = scripts.run(case, &scripts.health, name).await?;
    ensure!(health["status"] == status, "{name}: {health}, not {status}");
    ensure!(health["message"].as_str().is_some_and(|message| message.contains(mentions)), "{name}: {health}");
    Ok(())
}

async fn argo_cds_actions_refresh_suspend_and_resume(case: &mut Case) -> Result<()> {
    let scripts = Scripts::get(case).await?;
    let discovery = scripts.actions["discovery.lua"].as_str().context("no discovery.lua")?;
    let image = case.reference("app:1.0.0");
    let source = case.source(&tree(&[("file", "content")]))?;
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready("app").await?;

    let enabled = |name: &str| {
        json!({"refresh": {"disabled": name == "resume"}, "suspend": {"disabled": name == "resume"},
        "resume": {"disabled": name != "resume"}})
    };
    assert_eq!(scripts.run(case, discovery, "app").await?, enabled("suspend"));
    let asked = scripts.run(case, scripts.action("refresh")?, "app").await?;
    let annotation = asked["metadata"]["annotations"]["supercargo.dev/requestedAt"].clone();
    ensure!(annotation.is_string(), "{asked}");
    case.space.patch("app", &json!({"metadata": {"annotations": asked["metadata"]["annotations"]}})).await?;
    let handled =
        |object: &_| supercargo_e2e::object::text(object, "/status/lastHandledReconcileAt") == annotation.as_str();
    case.space.wait("app", "have handled the request", handled).await?;

    for (action, wanted, other) in [("suspend", true, "resume"), ("resume", false, "suspend")] {
        let changed = scripts.run(case, scripts.action(action)?, "app").await?;
        assert_eq!(changed["spec"]["suspend"], wanted, "{action}");
        case.space.patch("app", &json!({"spec": {"suspend": changed["spec"]["suspend"]}})).await?;
        assert_eq!(scripts.run(case, discovery, "app").await?, enabled(other), "after {action}");
    }
    Ok(())
}
