//! The chart and the kustomize base, as Helm and the API server read them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::chart::{self, helm};

use crate::support::case::{Case, tests};
use crate::support::command::answer;

tests!(
    every_values_file_passes_lint,
    the_rendered_chart_is_accepted_by_the_api_server,
    values_that_mean_nothing_are_refused,
    each_limit_is_a_value_that_arrives_as_its_flag,
    the_trusted_root_is_refreshed_from_where_the_values_say,
    the_kustomize_base_is_accepted_and_gives_the_same_rights,
);

/// Kubernetes version for which Helm lints and renders; our build of Helm has none of its own.
const KUBERNETES: &str = "--kube-version=1.36.3";

/// Returns the values files of the chart, and `None` for the defaults.
fn values() -> Result<Vec<Option<String>>> {
    let mut files = vec![None];
    for entry in fs_err::read_dir(chart::directory().join("ci"))? {
        files.push(Some(entry?.path().to_string_lossy().into_owned()));
    }
    ensure!(files.len() > 5, "the chart's ci directory has its values files");
    Ok(files)
}

fn with_values(values: Option<&String>) -> Vec<String> {
    values.map(|file| format!("--values={file}")).into_iter().collect()
}

async fn every_values_file_passes_lint(case: &mut Case) -> Result<()> {
    for file in values()? {
        let lint = helm(&case.lab.run, &case.lab.tools).args(["lint", "--strict", KUBERNETES]);
        let lint = lint.args(with_values(file.as_ref())).arg(chart::directory().to_string_lossy());
        lint.stdout().await.with_context(|| format!("{file:?}"))?;
    }
    Ok(())
}

async fn the_rendered_chart_is_accepted_by_the_api_server(case: &mut Case) -> Result<()> {
    for namespace in ["team-a", "team-b"] {
        case.lab.kubectl().args(["create", "namespace", namespace]).output().await?;
    }
    for file in values()? {
        // Another release name, so that no resource collides with an installed one.
        let render = helm(&case.lab.run, &case.lab.tools).args(["template", "other", "--namespace", chart::NAMESPACE]);
        let render = render.arg(KUBERNETES).args(with_values(file.as_ref()));
        let text = render.arg(chart::directory().to_string_lossy()).stdout().await?;
        // The kind belongs to another operator, which is not installed here.
        let known: Vec<&str> =
            text.split("\n---\n").filter(|document| !document.contains("kind: ServiceMonitor")).collect();
        ensure!(known.len() > 3, "{file:?} renders {} documents", known.len());
        let said = apply(case, &known.join("\n---\n")).await.with_context(|| format!("{file:?}"))?;
        ensure!(said.contains("deployment.apps/other-supercargo"), "{file:?}: no Deployment in {said}");
    }
    Ok(())
}

async fn apply(case: &Case, manifests: &str) -> Result<String> {
    let command = case.lab.kubectl().args(["apply", "--dry-run=server", "--validate=strict", "--filename=-"]);
    command.input(manifests).stdout().await
}

async fn values_that_mean_nothing_are_refused(case: &mut Case) -> Result<()> {
    for value in [
        "storage.type=tape",
        "replicas=2",
        "image.tagg=1",
        "crds.enabled=maybe",
        "log.level=loud",
        "limits.files=1",
        "limits.entries=0",
        "limits.entries=1k",
        "limits.layerBytes=1K",
        "limits.layerBytes=1.5Gi",
        "limits.depth=257",
        "limits.unpackTime=10",
        "policies.otherwise=warn",
        "policies.onRevoked=delete",
        "trust.refreshInterval=24",
        "trust.tufMirror=tuf.example.com",
        "trust.tufMirror=https://user@tuf.example.com",
        "trust.tufRoot=/etc/root.json",
        "trust.refresh=24h",
    ] {
        let render = helm(&case.lab.run, &case.lab.tools).args(["template", "other", KUBERNETES, "--set", value]);
        let output = render.arg(chart::directory().to_string_lossy()).output().await?;
        ensure!(!output.exit.success(), "--set {value} was accepted");
    }
    Ok(())
}

async fn each_limit_is_a_value_that_arrives_as_its_flag(case: &mut Case) -> Result<()> {
    // The chart must offer every limit that the program offers.
    let help = answer(case, &["controller", "--help"]).await?;
    let mut known: Vec<String> = help.lines().filter_map(|line| flag(line.trim())).collect();
    known.sort();
    ensure!(known.len() > 10, "{help}");
    let plain = limits(case, &[]).await?;
    ensure!(plain.is_empty(), "without values the defaults are the program's, not {plain:?}");
    let file = chart::directory().join("ci/everything-values.yaml").to_string_lossy().into_owned();
    let everything = limits(case, &[format!("--values={file}")]).await?;
    assert_eq!(everything.iter().filter_map(|argument| flag(argument)).collect::<Vec<_>>(), known);
    for argument in ["--max-layer-bytes=2147483648", "--max-entries=1000000", "--max-unpack-time=1m30s"] {
        ensure!(everything.iter().any(|found| found == argument), "no {argument} in {everything:?}");
    }
    let set = limits(case, &["--set=limits.layerBytes=9007199254740991,limits.ratio=50".to_owned()]).await?;
    assert_eq!(set, ["--max-layer-bytes=9007199254740991", "--max-ratio=50"]);

    // The program accepts the flags that the chart writes.
    let (layer, out) = (case.directory.join("layer"), case.directory.join("out"));
    fs_err::write(&layer, "a file")?;
    let (layer, out) = (layer.to_string_lossy(), out.to_string_lossy());
    let is_of_one = |argument: &&str| !argument.starts_with("--max-namespace-bytes=");
    let arguments: Vec<&str> = everything.iter().map(String::as_str).filter(is_of_one).collect();
    answer(case, &[&["unpack", &layer, "-o", &out, "--media-type", "text/plain"], &arguments[..]].concat()).await?;
    Ok(())
}

/// Returns the flag's name: `--max-layers` of `--max-layers=1` and `--max-layers <LAYERS>`.
fn flag(text: &str) -> Option<String> {
    text.starts_with("--max-").then(|| text.split(['=', ' ']).next().unwrap_or_default().to_owned())
}

/// Returns the limit arguments that the chart gives the operator, sorted.
async fn limits(case: &Case, values: &[String]) -> Result<Vec<String>> {
    let mut limits = arguments(&deployment(case, values).await?)?;
    limits.retain(|text| text.starts_with("--max-"));
    limits.sort();
    Ok(limits)
}

async fn deployment(case: &Case, values: &[String]) -> Result<Value> {
    let render = helm(&case.lab.run, &case.lab.tools).args(["template", "other", KUBERNETES]).args(values);
    let render = render.args(["--show-only", "templates/deployment.yaml"]).arg(chart::directory().to_string_lossy());
    Ok(serde_saphyr::from_str(&render.stdout().await?)?)
}

/// Returns the arguments of the operator's container.
fn arguments(deployment: &Value) -> Result<Vec<String>> {
    let arguments = deployment.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array);
    let arguments = arguments.context("no arguments")?.iter().filter_map(Value::as_str);
    Ok(arguments.map(str::to_owned).collect())
}

async fn the_trusted_root_is_refreshed_from_where_the_values_say(case: &mut Case) -> Result<()> {
    let of = |deployment: &Value| -> Result<Vec<String>> {
        let mut arguments = arguments(deployment)?;
        arguments.retain(|text| text.contains("trusted-root") || text.contains("tuf-"));
        Ok(arguments)
    };
    let plain = deployment(case, &[]).await?;
    assert_eq!(of(&plain)?, ["--refresh-trusted-root=0s"]);
    ensure!(!plain.to_string().contains("tuf-root"), "without a root of one's own nothing is mounted");
    let file = chart::directory().join("ci/everything-values.yaml").to_string_lossy().into_owned();
    let everything = deployment(case, &[format!("--values={file}")]).await?;
    let (root, mirror) = ("/etc/supercargo/tuf-root", "https://tuf.example.com:8443/sigstore");
    let want = [
        "--refresh-trusted-root=24h".to_owned(),
        format!("--tuf-mirror={mirror}"),
        format!("--tuf-root={root}/root.json"),
    ];
    assert_eq!(of(&everything)?, want);
    let listed = |pointer: &str, wanted: Value| {
        let list = everything.pointer(pointer).and_then(Value::as_array);
        list.is_some_and(|list| list.contains(&wanted))
    };
    let mount = json!({"name": "tuf-root", "mountPath": root, "readOnly": true});
    ensure!(listed("/spec/template/spec/containers/0/volumeMounts", mount), "{everything}");
    ensure!(listed("/spec/template/spec/volumes", json!({"name": "tuf-root", "configMap": {"name": "tuf-root"}})));

    // The program accepts the flags that the chart writes; only the file of `--tuf-root` is missing here.
    let arguments: Vec<&str> = want.iter().map(String::as_str).collect();
    let kubeconfig = case.lab.operator_kubeconfig.to_string_lossy().into_owned();
    let work = case.directory.join("work").to_string_lossy().into_owned();
    let command = case.lab.run.command(&case.lab.operator_binary).args(["controller", "--work-dir", &work]);
    let output = command.args(&arguments).env("KUBECONFIG", kubeconfig).output().await?;
    ensure!(output.exit.code == Some(4) && output.stderr.contains("--tuf-root"), "{}: {}", output.exit, output.stderr);
    Ok(())
}

async fn the_kustomize_base_is_accepted_and_gives_the_same_rights(case: &mut Case) -> Result<()> {
    let base = chart::workspace().join("config/default");
    let kustomized = case.lab.kubectl().arg("kustomize").arg(base.to_string_lossy()).stdout().await?;
    apply(case, &kustomized).await?;
    let render = helm(&case.lab.run, &case.lab.tools).args(["template", "supercargo", KUBERNETES]);
    let render = render.args(["--show-only", "templates/rbac.yaml"]).arg(chart::directory().to_string_lossy());
    let rendered = render.stdout().await?;
    let (chart, base) = (rights(&rendered)?, rights(&kustomized)?);
    ensure!(!chart.is_empty() && chart == base, "chart: {chart:#?}\nkustomize: {base:#?}");
    Ok(())
}

/// Returns the rules of the operator's own `ClusterRoles`, one line per rule. The chart keeps the rules for policies,
/// which may be off, and those for cluster-scoped resources, which every mode needs, in `ClusterRoles` of their own.
fn rights(manifests: &str) -> Result<Vec<String>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifests)?;
    let is_own = |document: &&Value| {
        let name = document["metadata"]["name"].as_str();
        document["kind"] == "ClusterRole"
            && matches!(name, Some("supercargo" | "supercargo-policies" | "supercargo-api-server"))
    };
    let rules = documents.iter().filter(is_own).filter_map(|role| role["rules"].as_array()).flatten();
    let mut lines: Vec<String> = rules.map(ToString::to_string).collect();
    lines.sort();
    Ok(lines)
}
