//! The documented flows of NVIDIA AICR, step by step: its package `oci` (pkg.go.dev, `github.com/NVIDIA/aicr/pkg/oci`),
//! `aicr bundle --output oci://...`, "Artifact Verification" and "Publishing Recipe Evidence".

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::chart;
use supercargo_e2e::files::{self, Tree, tree};
use supercargo_e2e::gate::Gate;
use supercargo_e2e::registry::{Options, Transport};
use supercargo_e2e::signing::Identity;

use super::push::{REACHED, reach, start};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, refused, run};

tests!(
    aicr_package_oci_low_level_package_and_push_from_store,
    aicr_package_oci_high_level_package_and_push,
    aicr_package_oci_helm_chart_without_modifying_its_source,
    aicr_package_oci_push_referrer,
    aicr_package_oci_sub_dir_and_source_files,
    aicr_package_oci_push_is_repeated_after_a_broken_connection,
    aicr_bundle_output_oci_with_image_refs_and_insecure_tls,
    aicr_artifact_verification_of_a_bundle_directory,
    aicr_recipe_evidence_is_a_referrer_that_verifies,
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
    let package = [
        "package",
        &source,
        "--package-format",
        "aicr",
        "--ref",
        &target,
        "-o",
        &store,
        "--annotation",
        title,
        "--format",
        "json",
    ];
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
    answer(case, &["package", &source, "--package-format", "aicr", "--ref", &target, "--cache-dir", &cache]).await?;
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
    answer(case, &["package", &source, "--package-format", "aicr", "--ref", &target, "-o", &store]).await?;
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
    let without_type = run(case, &["attach", reference.trim(), &evidence, "--type", "", "--plain-http"]).await?;
    ensure!(without_type.exit.code == Some(2) && without_type.stderr.contains("--type"), "{}", without_type.stderr);
    Ok(())
}

/// `SubDir` and `SourceFiles` of `oci.PackageOptions`.
async fn aicr_package_oci_sub_dir_and_source_files(case: &mut Case) -> Result<()> {
    let source = case.source(&bundle())?.to_string_lossy().into_owned();
    let gpu_operator = ["001-gpu-operator/install.sh", "001-gpu-operator/values.yaml"];
    let rows: [(&[&str], &[&str]); 2] = [
        // The prefix stays.
        (&["--sub-dir", "001-gpu-operator"], &gpu_operator),
        (&["--include", "README.md", "--include", gpu_operator[1]], &[gpu_operator[1], "README.md"]),
    ];
    for (number, (options, want)) in rows.into_iter().enumerate() {
        let target = case.reference(&format!("nvidia/part:v1.0.{number}"));
        answer(case, &[&["package", &source, "--package-format", "aicr", "--ref", &target], options].concat()).await?;
        answer(case, &["push", &target, "--plain-http"]).await?;
        let into = case.directory.join("part");
        answer(case, &["pull", &target, "-o", &into.to_string_lossy(), "--force", "--plain-http"]).await?;
        let content = files::read(&into)?;
        assert_eq!(content.keys().collect::<Vec<_>>(), want, "{options:?}");
        ensure!(content.iter().all(|(path, entry)| bundle().get(path) == Some(entry)), "{content:?}");
    }
    // An empty selection is invalid.
    let none =
        ["package", &source, "--package-format", "aicr", "--ref", &case.reference("nvidia/none:1"), "--include", "x"];
    refused(&run(case, &none).await?, 5, "SubPathNotFound")
}

/// Retries of `oci.PushFromStore`, whose tag is set last.
async fn aicr_package_oci_push_is_repeated_after_a_broken_connection(case: &mut Case) -> Result<()> {
    let source = case.source(&bundle())?.to_string_lossy().into_owned();
    let store = case.directory.join("oci-layout").to_string_lossy().into_owned();
    let packaged: Value =
        json(case, &["package", &source, "--package-format", "aicr", "-o", &store, "--format", "json"]).await?;
    let gate = Gate::open(&case.lab.registry.address).await?;
    let target = format!("{}/{}", gate.address, case.repository("nvidia/bundle:v1.0.0"));
    gate.hold_after(1500);
    let mut push =
        start(case, "retry", &["push", &store, &target, "--plain-http"], &case.directory.join("cache")).await?;
    reach(&gate, &push).await?;
    ensure!(gate.is_holding(), "the push ended within 1500 bytes");
    let resolve = ["resolve", &case.reference("nvidia/bundle:v1.0.0"), "--plain-http"];
    refused(&run(case, &resolve).await?, 5, "ReferenceNotFound")?;
    // The connection breaks in the middle of a request.
    let before = gate.connections();
    gate.release();
    let exit = push.process.wait(REACHED).await?.context("the push did not end")?;
    ensure!(exit.success() && gate.connections() > before, "{exit}, {before} connections");
    let digest = packaged["digest"].as_str().context("no digest")?;
    assert_eq!(case.lab.publisher.resolve(&case.reference("nvidia/bundle:v1.0.0")).await?, digest);
    Ok(())
}

/// `aicr bundle --output oci://... --image-refs .digest --insecure-tls`, then a look at the manifest of the digest.
async fn aicr_bundle_output_oci_with_image_refs_and_insecure_tls(case: &mut Case) -> Result<()> {
    let registry = case.registry("tls", &Options { transport: Transport::Tls, ..Options::default() }).await?;
    let (host, work) = (&registry.address, case.directory.join("work"));
    files::write(&work.join("bundle"), &bundle())?;
    let target = format!("oci://{host}/nvidia/aicr-bundle:v1.0.0,latest");
    let push = ["push", "bundle", &target, "--package-format", "aicr", "--digest-file", ".digest"];
    let refused_push = command(case, &push).directory(&work).output().await?;
    refused(&refused_push, 8, "TLSFailed")?;
    ensure!(!work.join(".digest").exists(), "a digest was written without a push");
    let printed = command(case, &[&push[..], &["--insecure-skip-verify"]].concat()).directory(&work).stdout().await?;
    let digest = fs_err::read_to_string(work.join(".digest"))?;
    assert_eq!(printed, format!("{host}/nvidia/aicr-bundle:v1.0.0@{digest}\n"));
    let publisher = case.lab.publisher.to(&registry);
    for tag in ["v1.0.0", "latest"] {
        assert_eq!(publisher.resolve(&format!("{host}/nvidia/aicr-bundle:{tag}")).await?, digest);
    }
    let manifest: Value =
        serde_json::from_str(&publisher.manifest(&format!("{host}/nvidia/aicr-bundle@{digest}")).await?)?;
    assert_eq!(manifest["artifactType"], ARTIFACT);
    assert_eq!(files::read(&work.join("bundle"))?, bundle());
    Ok(())
}

/// The identity of a workflow, and the options of `verify` and `verify-bundle` that accept it in the private Sigstore.
async fn signer(case: &Case) -> Result<(Identity, [Vec<String>; 2])> {
    let identity = Identity::workflow("acme/gpu", "evidence-publish.yaml", "refs/heads/main");
    let sigstore = case.lab.sigstore().await?;
    let (issuer, subject) = (sigstore.issuer(identity.issuer()), sigstore.subject(&identity));
    let root = sigstore.trusted_root.to_string_lossy().into_owned();
    let options = |issuer_option: &str, subject_option: &str| {
        let pairs = [
            (issuer_option, issuer.as_str()),
            (subject_option, subject.as_str()),
            ("--trusted-root", root.as_str()),
            ("--certificate-transparency", "ignored"),
        ];
        pairs.iter().flat_map(|(option, value)| [(*option).to_owned(), (*value).to_owned()]).collect::<Vec<_>>()
    };
    let verify = options("--issuer", "--subject");
    let verify_bundle = options("--certificate-oidc-issuer", "--certificate-identity");
    Ok((identity, [verify, verify_bundle]))
}

/// `aicr verify ./my-bundle --trust-root FILE --require-creator WHO`: the attestation is about `checksums.txt`.
async fn aicr_artifact_verification_of_a_bundle_directory(case: &mut Case) -> Result<()> {
    let (identity, [_, options]) = signer(case).await?;
    let work = case.directory.join("my-bundle");
    files::write(&work, &bundle())?;
    let checksums = work.join("checksums.txt");
    fs_err::write(&checksums, "0000  README.md\n")?;
    fs_err::create_dir(work.join("attestation"))?;
    let attestation = work.join("attestation/bundle-attestation.sigstore.json");
    let cosign = case.lab.cosign(&case.directory.join("cosign")).await?;
    let predicate = ("https://slsa.dev/provenance/v1", json!({}));
    cosign.attest_blob_keyless(&checksums, &attestation, case.lab.sigstore().await?, &identity, predicate).await?;
    let verify = ["verify-bundle", "--bundle", "attestation/bundle-attestation.sigstore.json", "checksums.txt"];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let verify = command(case, &[&verify[..], &options].concat()).directory(&work);
    ensure!(verify.stdout().await?.starts_with("sha256:"), "no digest");
    let other = ["--certificate-identity", "https://github.com/acme/other/.github/workflows/x.yaml@refs/heads/main"];
    let changed: Vec<&str> =
        options.iter().map(|text| if text.contains("acme/gpu") { other[1] } else { text }).collect();
    let verify = ["verify-bundle", "--bundle", "attestation/bundle-attestation.sigstore.json", "checksums.txt"];
    let wrong = command(case, &[&verify[..], &changed].concat()).directory(&work).output().await?;
    refused(&wrong, 6, "IdentityMismatch")?;
    fs_err::write(&checksums, "1111  README.md\n")?;
    let wrong = command(case, &[&verify[..], &options].concat()).directory(&work).output().await?;
    refused(&wrong, 6, "SignatureInvalid")
}

/// Evidence that is pushed unsigned, and whose Sigstore bundle is attached later by another machine.
async fn aicr_recipe_evidence_is_a_referrer_that_verifies(case: &mut Case) -> Result<()> {
    const PREDICATE: &str = "https://aicr.nvidia.com/recipe-evidence/v1";
    let (identity, [options, _]) = signer(case).await?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let source =
        case.source(&tree(&[("recipe.yaml", "{}"), ("statement.intoto.json", "{}"), ("manifest.json", "{}")]))?;
    let name = case.reference("aicr-evidence");
    let push = ["push", &source.to_string_lossy(), &format!("{name}:h100"), "--package-format", "aicr", "--plain-http"];
    let pushed = answer(case, &push).await?;
    let image = format!("{name}@{}", pushed.trim().rsplit_once('@').context("no digest")?.1);
    let verify = [&["verify", &image, "--plain-http", "--predicate-type", PREDICATE], &options[..]].concat();
    refused(&run(case, &verify).await?, 6, "SignatureMissing")?;

    let manifest = case.directory.join("manifest");
    fs_err::write(&manifest, case.lab.publisher.manifest(&image).await?.trim_end())?;
    let evidence = case.directory.join("attestation.intoto.jsonl");
    let cosign = case.lab.cosign(&case.directory.join("cosign")).await?;
    let predicate = (PREDICATE, json!({}));
    cosign.attest_blob_keyless(&manifest, &evidence, case.lab.sigstore().await?, &identity, predicate).await?;
    answer(case, &["attach", &image, &evidence.to_string_lossy(), "--type", BUNDLE, "--plain-http"]).await?;
    let verified = answer(case, &verify).await?;
    ensure!(verified.contains(image.rsplit('@').next().unwrap_or("none")), "{verified}");
    // It is no signature of the image, only this statement about it.
    let as_signature = [&["verify", &image, "--plain-http"], &options[..]].concat();
    ensure!(!run(case, &as_signature).await?.exit.success(), "evidence passed for a signature");
    // It travels with a copy.
    let copy = case.reference("mirror/aicr-evidence");
    answer(case, &["promote", &image, &format!("{copy}:h100"), "--plain-http"]).await?;
    let copied = [&["verify", &format!("{copy}:h100"), "--plain-http", "--predicate-type", PREDICATE], &options[..]];
    answer(case, &copied.concat()).await?;
    Ok(())
}
