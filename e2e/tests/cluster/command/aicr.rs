//! The documented flows of NVIDIA AICR's package `oci` (pkg.go.dev, `github.com/NVIDIA/aicr/pkg/oci`), step by step.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use supercargo_e2e::chart;
use supercargo_e2e::files::{self, Tree, tree};

use crate::support::case::{Case, tests};
use crate::support::command::{answer, refused, run};

tests!(
    aicr_package_oci_low_level_package_and_push_from_store,
    aicr_package_oci_high_level_package_and_push,
    aicr_package_oci_helm_chart_without_modifying_its_source,
    aicr_package_oci_push_referrer,
);

const ARTIFACT: &str = "application/vnd.nvidia.aicr.artifact";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

fn bundle() -> Tree {
    tree(&[
        ("README.md", "deploy\n"),
        ("001-gpu-operator/values.yaml", "driver: {version: 570.133.20}\n"),
        ("001-gpu-operator/install.sh", "helm upgrade --install\n"),
        ("checksums.txt", "\n"),
    ])
}

async fn json(case: &Case, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&answer(case, arguments).await?)?)
}

/// `oci.Package`, then `oci.PushFromStore` of its `StorePath`.
async fn aicr_package_oci_low_level_package_and_push_from_store(case: &mut Case) -> Result<()> {
    let source = case.source(&bundle())?.to_string_lossy().into_owned();
    let store = case.directory.join("oci-layout").to_string_lossy().into_owned();
    let target = format!("oci://{}", case.reference("nvidia/bundle:v1.0.0"));
    let title = "org.opencontainers.image.title=AICR Bundle";
    let package =
        ["package", &source, "--format", "aicr", "--ref", &target, "-o", &store, "--annotation", title, "--json"];
    let result = json(case, &package).await?;
    // PackageResult: Digest, MediaType, Size, Reference, StorePath.
    assert_eq!(result["layout"], store);
    assert_eq!(result["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let digest = result["digest"].as_str().context("no digest")?;
    assert_eq!(result["reference"], format!("{}@{digest}", case.reference("nvidia/bundle:v1.0.0")));
    // Version 0.11.1 wrote the manifest into the source, as a file "AICR Bundle".
    assert_eq!(files::read(Path::new(&source))?, bundle());
    assert_eq!(json(case, &package).await?["digest"], digest, "the second packaging");

    let pushed = json(case, &["push", &store, &target, "--plain-http", "--format", "json"]).await?;
    for field in ["digest", "mediaType", "size"] {
        assert_eq!(pushed[field], result[field], "{field}");
    }
    let manifest: Value =
        serde_json::from_str(&case.lab.publisher.manifest(&case.reference("nvidia/bundle:v1.0.0")).await?)?;
    assert_eq!(manifest["artifactType"], ARTIFACT);
    assert_eq!(manifest["layers"][0]["annotations"]["org.opencontainers.image.title"], ".");
    let into = case.directory.join("pulled");
    let pulled = case.lab.clients.oras_pull(&case.reference("nvidia/bundle:v1.0.0"), &into, &[]).await?;
    ensure!(pulled.exit.success(), "{}", pulled.stderr);
    assert_eq!(files::read(&into)?, bundle());
    Ok(())
}

/// `oci.ParseOutputTarget`, then `oci.PackageAndPush`, and `--image-refs FILE` of AICR's command line.
async fn aicr_package_oci_high_level_package_and_push(case: &mut Case) -> Result<()> {
    let source = case.source(&bundle())?.to_string_lossy().into_owned();
    let cache = case.directory.join("cache").to_string_lossy().into_owned();
    let target = format!("oci://{}", case.reference("nvidia/bundle:v1.0.0"));
    let digests = case.directory.join("digest").to_string_lossy().into_owned();
    answer(case, &["package", &source, "--format", "aicr", "--ref", &target, "--cache-dir", &cache]).await?;
    let push = ["push", &target, &target, "--plain-http", "--cache-dir", &cache, "--digest-file", &digests];
    let reference = answer(case, &push).await?;
    let digest = case.lab.publisher.resolve(&case.reference("nvidia/bundle:v1.0.0")).await?;
    assert_eq!(fs_err::read_to_string(&digests)?, digest);
    ensure!(reference.trim().ends_with(&digest), "{reference}");
    // The consumer stages the files of exactly this digest.
    let into = case.directory.join("staged").to_string_lossy().into_owned();
    let pull = ["pull", reference.trim(), "-o", &into, "--plain-http", "--artifact-type", ARTIFACT];
    answer(case, &pull).await?;
    assert_eq!(files::read(Path::new(&into))?, bundle());
    Ok(())
}

/// `oci.PackageAndPushHelmChart` of a chart, for the tag `1.2.3_build.5` of the example.
async fn aicr_package_oci_helm_chart_without_modifying_its_source(case: &mut Case) -> Result<()> {
    let content = tree(&[
        ("Chart.yaml", "apiVersion: v2\nname: my-chart\nversion: 0.1.0\n"),
        ("values.yaml", "a: 1\n"),
        ("templates/app.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n"),
    ]);
    let source = case.source(&content)?.to_string_lossy().into_owned();
    let cache = case.directory.join("cache").to_string_lossy().into_owned();
    let name = case.reference("nvidia/my-chart");
    let target = format!("oci://{name}:1.2.3_build.5");
    let helm_push = ["helm-push", &source, &target, "--plain-http", "--cache-dir", &cache, "--format", "json"];
    let result = json(case, &helm_push).await?;
    assert_eq!(result["tags"][0], "1.2.3_build.5");
    assert_eq!(files::read(Path::new(&source))?, content);
    let chart = format!("oci://{name}");
    let show = ["show", "chart", &chart, "--plain-http", "--version", "1.2.3+build.5"];
    let shown = chart::helm(&case.lab.run, &case.lab.tools).args(show).stdout().await?;
    ensure!(shown.contains("version: 1.2.3+build.5"), "{shown}");
    // The name of the repository has to be that of the chart.
    let other = format!("oci://{}:1.2.3_build.5", case.reference("nvidia/other"));
    let refusal = run(case, &["helm-push", &source, &other, "--plain-http", "--cache-dir", &cache]).await?;
    refused(&refusal, 2, "InvalidSpec")?;
    ensure!(refusal.stderr.contains("my-chart"), "{}", refusal.stderr);
    Ok(())
}

/// `oci.PushReferrer` with the result of a push as its subject.
async fn aicr_package_oci_push_referrer(case: &mut Case) -> Result<()> {
    let source = case.source(&bundle())?.to_string_lossy().into_owned();
    let store = case.directory.join("oci-layout").to_string_lossy().into_owned();
    let target = case.reference("nvidia/bundle:v1.0.0");
    answer(case, &["package", &source, "--format", "aicr", "--ref", &target, "-o", &store]).await?;
    let reference = answer(case, &["push", &store, &target, "--plain-http"]).await?;
    let evidence = case.directory.join("evidence.json");
    fs_err::write(&evidence, "{}")?;
    let evidence = evidence.to_string_lossy().into_owned();
    let attach = ["attach", reference.trim(), &evidence, "--type", BUNDLE, "--plain-http", "--format", "json"];
    let attached = json(case, &attach).await?;
    let digest = attached["digest"].as_str().context("no digest")?;
    // The tag of a referrer is its own digest.
    assert_eq!(attached["tag"].as_str(), digest.strip_prefix("sha256:"));
    ensure!(reference.trim().ends_with(attached["subject"]["digest"].as_str().unwrap_or("none")), "{attached}");
    assert_eq!(json(case, &attach).await?["digest"], digest, "the same content is the same referrer");
    let found = answer(case, &["discover", reference.trim(), "--plain-http", "--format", "json"]).await?;
    ensure!(found.contains(digest) && found.contains(BUNDLE), "{found}");
    // AICR refuses empty content, and a referrer without a type.
    fs_err::write(&evidence, "")?;
    refused(&run(case, &attach).await?, 2, "InvalidSpec")?;
    refused(&run(case, &["attach", reference.trim(), &evidence, "--type", "", "--plain-http"]).await?, 2, "InvalidSpec")
}
