//! `supercargo helm-push`: read by Helm, and compared with what Helm packages and pushes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use supercargo_e2e::chart;
use supercargo_e2e::files::{self, Tree, tree};
use supercargo_e2e::run::{Invocation, Output};

use crate::support::case::{Case, tests};
use crate::support::command::{answer, refused, run};

tests!(
    helm_shows_templates_and_installs_a_pushed_directory,
    the_chart_of_supercargo_is_the_same_from_the_registry,
    a_tag_is_the_version_with_a_plus,
    a_signed_archive_keeps_its_bytes_and_is_verified_by_helm,
    the_same_files_are_packaged_as_by_helm,
    charts_that_helm_refuses_are_refused_with_the_field,
);

const CHART: &str = "apiVersion: v2\nname: hello\nversion: 0.1.0\n";
const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  \
    chart: {{ .Chart.Name }}-{{ .Chart.Version }}\n  replicas: {{ .Values.replicas | quote }}\n";

fn hello() -> Tree {
    tree(&[("Chart.yaml", CHART), ("values.yaml", "replicas: 3\n"), ("templates/config.yaml", CONFIG_MAP)])
}

fn helm(case: &Case, arguments: &[&str]) -> Invocation {
    chart::helm(&case.lab.run, &case.lab.tools).args(arguments)
}

/// Runs `helm-push` with the cache of this test.
async fn helm_push(case: &Case, source: &Path, reference: &str, options: &[&str]) -> Result<Output> {
    let (source, cache) = (source.to_string_lossy(), case.directory.join("cache").to_string_lossy().into_owned());
    let arguments = ["helm-push", &source, reference, "--plain-http", "--cache-dir", &cache];
    run(case, &[&arguments, options].concat()).await
}

/// Pushes a chart, and returns the printed reference.
async fn pushed(case: &Case, source: &Path, reference: &str, options: &[&str]) -> Result<String> {
    let output = helm_push(case, source, reference, options).await?;
    ensure!(output.exit.success(), "{reference}: {}", output.stderr);
    Ok(output.stdout.trim().to_owned())
}

/// Runs `helm package`, and returns the archive.
async fn packaged(case: &Case, source: &Path, options: &[&str]) -> Result<PathBuf> {
    let into = case.directory.join("packages").to_string_lossy().into_owned();
    let package = helm(case, &["package", &source.to_string_lossy(), "--destination", &into]).args(options);
    let said = package.stdout().await?;
    Ok(said.rsplit(": ").next().context("Helm printed no path")?.trim().into())
}

async fn tags(case: &Case, repository: &str) -> Result<Vec<String>> {
    let tags = case.lab.clients.oras(&["repo", "tags", "--plain-http", repository]).stdout().await?;
    Ok(tags.lines().map(str::to_owned).collect())
}

async fn helm_shows_templates_and_installs_a_pushed_directory(case: &mut Case) -> Result<()> {
    let source = case.source(&hello())?;
    let base = format!("oci://{}", case.reference("charts"));
    let digests = case.directory.join("digest").to_string_lossy().into_owned();
    let reference = pushed(case, &source, &base, &["--digest-file", &digests]).await?;
    let name = case.reference("charts/hello");
    let digest = case.lab.publisher.resolve(&format!("{name}:0.1.0")).await?;
    assert_eq!(reference, format!("{name}:0.1.0@{digest}"));
    assert_eq!(fs_err::read_to_string(&digests)?, digest);
    assert_eq!(files::read(&source)?, hello(), "the source is unchanged");

    // Again: the same digest. As JSON, as `push` prints it.
    let again: Value =
        serde_json::from_str(&pushed(case, &source, &base, &["--format", "json", "--if-absent"]).await?)?;
    assert_eq!(again["digest"], digest);
    assert_eq!(again["tags"][0], "0.1.0");
    assert_eq!(again["uploadedBlobs"], 0);

    let pulled = case.lab.clients.helm_pull(&name, "0.1.0", &case.directory.join("pulled")).await?;
    let want: Tree = hello().into_iter().map(|(path, entry)| (format!("hello/{path}"), entry)).collect();
    assert_eq!(pulled, want);
    let chart = format!("oci://{name}");
    let shown = helm(case, &["show", "chart", &chart, "--plain-http", "--version", "0.1.0"]).stdout().await?;
    ensure!(shown.contains("name: hello") && shown.contains("version: 0.1.0"), "{shown}");
    // A range makes Helm list the tags.
    let template = ["template", "greeting", &chart, "--plain-http", "--version", ">=0.1.0", "--set", "replicas=5"];
    let rendered = helm(case, &template).stdout().await?;
    ensure!(rendered.contains("chart: hello-0.1.0") && rendered.contains("replicas: \"5\""), "{rendered}");

    let namespace = case.space.namespace.clone();
    let install = ["install", "greeting", &chart, "--plain-http", "--version", "0.1.0", "--namespace", &namespace];
    let kubeconfig = case.lab.control_plane.kubeconfig.to_string_lossy().into_owned();
    helm(case, &install).env("KUBECONFIG", kubeconfig).stdout().await?;
    let get = ["get", "configmap", "greeting", "--namespace", &namespace, "-o", "jsonpath={.data.chart}"];
    assert_eq!(case.lab.kubectl().args(get).stdout().await?, "hello-0.1.0");

    // Other content under the same version.
    fs_err::write(source.join("values.yaml"), "replicas: 4\n")?;
    for options in [&["--if-absent"][..], &[]] {
        refused(&helm_push(case, &source, &base, options).await?, 1, "TagExists")?;
    }
    assert_eq!(case.lab.publisher.resolve(&format!("{name}:0.1.0")).await?, digest);
    let forced = pushed(case, &source, &base, &["--force"]).await?;
    ensure!(!forced.ends_with(&digest), "{forced}");
    Ok(())
}

async fn the_chart_of_supercargo_is_the_same_from_the_registry(case: &mut Case) -> Result<()> {
    let source = chart::directory();
    let before = files::read(&source)?;
    let base = format!("oci://{}", case.reference("charts"));
    pushed(case, &source, &base, &[]).await?;
    let own = "own-release";
    let kubernetes = ["--kube-version", "1.36.0", "--include-crds"];
    let local = helm(case, &["template", own, &source.to_string_lossy()]).args(kubernetes).stdout().await?;
    let remote = format!("{base}/supercargo");
    let template = helm(case, &["template", own, &remote, "--plain-http", "--version", "0.1.0"]).args(kubernetes);
    assert_eq!(template.stdout().await?, local);

    // Installed beside the release of the lab, which has the CRDs.
    let namespace = case.space.namespace.clone();
    let kubeconfig = case.lab.control_plane.kubeconfig.to_string_lossy().into_owned();
    let release = ["--namespace", &namespace];
    let install = ["install", own, &remote, "--plain-http", "--version", "0.1.0", "--set", "crds.enabled=false"];
    helm(case, &install).args(release).env("KUBECONFIG", &kubeconfig).stdout().await?;
    let deployments = ["get", "deployments", "--namespace", &namespace, "-o", "jsonpath={.items[*].metadata.labels}"];
    let labels = case.lab.kubectl().args(deployments).stdout().await?;
    ensure!(labels.contains("supercargo-0.1.0"), "{labels}");
    // It has objects without a namespace.
    helm(case, &["uninstall", own]).args(release).env("KUBECONFIG", &kubeconfig).stdout().await?;
    assert_eq!(files::read(&source)?, before, "the source is unchanged");
    Ok(())
}

async fn a_tag_is_the_version_with_a_plus(case: &mut Case) -> Result<()> {
    let source = case.source(&hello())?;
    let name = case.reference("charts/hello");
    let reference = pushed(case, &source, &format!("{name}:1.2.3-rc.1_build.5"), &[]).await?;
    ensure!(reference.starts_with(&format!("{name}:1.2.3-rc.1_build.5@sha256:")), "{reference}");
    // An archive, with its own version and with that of a tag.
    let with_plus = tree(&[("Chart.yaml", "apiVersion: v2\nname: hello\nversion: 1.0.0+git.1\n")]);
    let plus = case.source(&with_plus)?;
    let archive = packaged(case, &plus, &[]).await?;
    pushed(case, &archive, &format!("oci://{}", case.reference("charts")), &[]).await?;
    pushed(case, &archive, &format!("oci://{name}:2.0.0"), &[]).await?;
    assert_eq!(tags(case, &name).await?, ["1.0.0_git.1", "1.2.3-rc.1_build.5", "2.0.0"]);
    let chart = format!("oci://{name}");
    for version in ["1.2.3-rc.1+build.5", "1.0.0+git.1", "2.0.0"] {
        let show = ["show", "chart", &chart, "--plain-http", "--version", version];
        let shown = helm(case, &show).stdout().await?;
        let parsed: Value = serde_saphyr::from_str(&shown)?;
        assert_eq!(parsed["version"], version, "{shown}");
    }
    assert_eq!(files::read(&source)?, hello(), "the source is unchanged");
    // The archive without another version is the file itself.
    let pulled = case.lab.clients.helm_package(&name, "1.0.0+git.1").await?;
    ensure!(pulled == fs_err::read(&archive)?, "the archive was packed again");
    Ok(())
}

async fn a_signed_archive_keeps_its_bytes_and_is_verified_by_helm(case: &mut Case) -> Result<()> {
    // Paths of gpg's sockets have to be short.
    let home = tempfile::Builder::new().prefix("gpg-").tempdir()?;
    let gpg = |arguments: &[&str]| {
        let gpg =
            case.lab.run.command(Path::new("gpg")).args(["--batch", "--pinentry-mode", "loopback", "--passphrase="]);
        gpg.args(arguments).env("GNUPGHOME", home.path().to_string_lossy())
    };
    gpg(&["--quick-generate-key", "Publisher <publisher@example.com>", "rsa2048", "sign", "never"]).stdout().await?;
    let [secret, public] =
        ["secret.gpg", "public.gpg"].map(|name| home.path().join(name).to_string_lossy().into_owned());
    gpg(&["--output", &secret, "--export-secret-keys"]).stdout().await?;
    gpg(&["--output", &public, "--export"]).stdout().await?;
    let stopped = case.lab.run.command(Path::new("gpgconf")).args(["--kill", "gpg-agent"]);
    stopped.env("GNUPGHOME", home.path().to_string_lossy()).stdout().await?;

    let source = case.source(&hello())?;
    let archive = packaged(case, &source, &["--sign", "--key", "Publisher", "--keyring", &secret]).await?;
    let base = format!("oci://{}", case.reference("charts"));
    let reference = pushed(case, &archive, &base, &[]).await?;
    let into = case.directory.join("verified");
    fs_err::create_dir_all(&into)?;
    let chart = format!("{base}/hello");
    let pull =
        ["pull", &chart, "--plain-http", "--version", "0.1.0", "--verify", "--keyring", &public, "--destination"];
    helm(case, &pull).arg(into.to_string_lossy()).stdout().await?;
    for name in ["hello-0.1.0.tgz", "hello-0.1.0.tgz.prov"] {
        let own = archive.with_file_name(name);
        ensure!(fs_err::read(into.join(name))? == fs_err::read(own)?, "{name} differs");
    }
    // Consumers that take the first layer need the chart there.
    let manifest: Value =
        serde_json::from_str(&case.lab.publisher.manifest(reference.split('@').next().unwrap_or_default()).await?)?;
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.cncf.helm.chart.content.v1.tar+gzip");
    assert_eq!(manifest["layers"][1]["mediaType"], "application/vnd.cncf.helm.chart.provenance.v1.prov");

    let other = helm_push(case, &archive, &format!("{base}/hello:2.0.0"), &[]).await?;
    refused(&other, 4, "FileInvalid")?;
    ensure!(other.stderr.contains("provenance"), "{}", other.stderr);
    assert_eq!(tags(case, &case.reference("charts/hello")).await?, ["0.1.0"]);
    Ok(())
}

/// Compares the files of `helm package` with those of `helm-push`, for rules that Helm evaluates in its own way.
async fn the_same_files_are_packaged_as_by_helm(case: &mut Case) -> Result<()> {
    let mut content = hello();
    content.extend(tree(&[
        ("templates/.hidden.yaml", ""),
        ("templates/old.bak", ""),
        ("notes/a.md", ""),
        ("notes/deep/a.md", ""),
        ("tmp/x", ""),
        ("deep/tmp/y", ""),
        ("{a,b}.txt", ""),
        ("a.txt", ""),
        ("keep.txt", ""),
        ("charts/lib/Chart.yaml", "apiVersion: v2\nname: lib\nversion: 0.2.0\ntype: library\n"),
        ("charts/lib/templates/_lib.tpl", ""),
    ]));
    for (number, rules) in [
        "",
        "# all of these\n*.bak\n/notes/*.md\ntmp/\n",
        "notes/\n!notes\n",
        "{a,b}.txt\n[^c-z].txt\n",
        " charts/lib/templates/ \ntemplates/*.bak\n",
    ]
    .iter()
    .enumerate()
    {
        let version = format!("0.1.{number}");
        content.extend(tree(&[(".helmignore", rules), ("Chart.yaml", &CHART.replace("0.1.0", &version))]));
        let source = case.source(&content)?;
        let archive = packaged(case, &source, &[]).await;
        let name = case.reference("charts/hello");
        let ours = helm_push(case, &source, &format!("{name}:{version}"), &[]).await?;
        let Ok(archive) = archive else {
            // The rule with ! leaves out Chart.yaml too.
            refused(&ours, 4, "FileInvalid")?;
            ensure!(rules.contains('!'), "Helm refuses {rules:?}");
            continue;
        };
        ensure!(ours.exit.success(), "{rules:?}: {}", ours.stderr);
        let list = case.lab.run.command(Path::new("tar")).args(["--list", "--file"]).arg(archive.to_string_lossy());
        let theirs: BTreeSet<String> = list.stdout().await?.lines().map(str::to_owned).collect();
        let pulled =
            case.lab.clients.helm_pull(&name, &version, &case.directory.join(format!("ours-{number}"))).await?;
        assert_eq!(pulled.into_keys().collect::<BTreeSet<_>>(), theirs, "{rules:?}");
    }
    Ok(())
}

async fn charts_that_helm_refuses_are_refused_with_the_field(case: &mut Case) -> Result<()> {
    let base = format!("oci://{}", case.reference("refused"));
    let rows = [
        ("dependencies: [{name: lib, version: 0.1.0, repository: \"https://charts.example.com\"}]", "lib"),
        ("type: operator", "type"),
        ("dependencies: [{name: lib, alias: a.b}]", "alias"),
    ];
    for (more, noun) in rows {
        let mut content = hello();
        content.extend(tree(&[("Chart.yaml", &format!("{CHART}{more}\n"))]));
        let source = case.source(&content)?;
        ensure!(packaged(case, &source, &[]).await.is_err(), "Helm packages {more}");
        let ours = helm_push(case, &source, &base, &[]).await?;
        refused(&ours, 4, "FileInvalid")?;
        ensure!(ours.stderr.contains(noun), "{noun}: {}", ours.stderr);
    }
    let source = case.source(&hello())?;
    for (reference, noun) in [(":0.1.0", "hello"), ("/hello:latest", "latest"), ("/hello:v1.0.0", "v1.0.0")] {
        let ours = helm_push(case, &source, &format!("{base}{reference}"), &[]).await?;
        refused(&ours, 2, "InvalidSpec")?;
        ensure!(ours.stderr.contains(noun), "{noun}: {}", ours.stderr);
    }
    let missing = answer(case, &["helm-push", &case.directory.join("none.tgz").to_string_lossy(), &base]).await;
    ensure!(missing.is_err_and(|error| error.to_string().contains("none.tgz")), "a missing file was pushed");
    Ok(())
}
