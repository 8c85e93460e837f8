//! The flows of vendir: the source `ociArtifact` of its issue 446, and the sources `image` and `helmChart` of its
//! reference, step by step. Steps of its lock file are not here.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::json;
use supercargo_e2e::archive::Archive;
use supercargo_e2e::files::{self, Tree, tree};
use supercargo_e2e::fixture::Fixture;
use supercargo_e2e::registry::{Auth, Options, PASSWORD, Transport, USERNAME};
use supercargo_e2e::signing::{Identity, KeyKind};

use crate::support::case::{Case, spec, spec_with, tests};
use crate::support::command::{answer, command, refused, run};
use crate::support::sync::{objects, root, sync};

tests!(
    vendir_oci_artifact_with_media_types_and_a_tag,
    vendir_oci_artifact_extracts_each_layer_into_the_path,
    vendir_oci_artifact_with_cosign_identity,
    vendir_oci_artifact_with_cosign_key,
    vendir_oci_artifact_uses_the_docker_configuration,
    vendir_image_tag_selection_by_semver,
    vendir_image_paths_and_new_root_path,
    vendir_image_secret_of_the_file_and_skipped_verification,
    vendir_helm_chart_of_an_oci_repository,
);

const FLUX: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";

/// Files in the form of `ghcr.io/home-operations/k8s-schemas`.
fn schemas() -> Tree {
    tree(&[
        ("apps/deployment_v1.json", "{\"type\": \"object\"}"),
        ("source.toolkit.fluxcd.io/ocirepository_v1.json", "{}"),
        ("index.html", "<html></html>"),
    ])
}

/// Pushes files with Flux's client, as the reference artifact is pushed.
async fn push(case: &mut Case, image: &str, content: &Tree) -> Result<String> {
    let source = case.source(content)?;
    case.lab.publisher.flux(&source, image).await
}

/// Returns the path of `vendor/<name>`, whose parent directory exists.
fn vendor(case: &Case, name: &str) -> Result<PathBuf> {
    let directory = case.directory.join("vendor");
    fs_err::create_dir_all(&directory)?;
    Ok(directory.join(name))
}

/// Runs `supercargo pull` into `vendor/<name>`, and returns its files.
async fn vendored(case: &Case, image: &str, name: &str, more: &[&str]) -> Result<Tree> {
    let path = vendor(case, name)?;
    answer(case, &[&["pull", image, "-o", &path.to_string_lossy(), "--plain-http"], more].concat()).await?;
    files::read(&path)
}

/// Runs `supercargo pull` into a directory that must not exist afterwards.
async fn refused_pull(case: &Case, image: &str, more: &[&str], code: i32, reason: &str) -> Result<()> {
    let path = vendor(case, "refused")?;
    let output = run(case, &[&["pull", image, "-o", &path.to_string_lossy(), "--plain-http"], more].concat()).await?;
    ensure!(!path.exists(), "{more:?}: something was written");
    refused(&output, code, reason)
}

async fn vendir_oci_artifact_with_media_types_and_a_tag(case: &mut Case) -> Result<()> {
    let image = case.reference("k8s-schemas");
    push(case, &format!("{image}:latest"), &schemas()).await?;
    for (name, image) in [("tagged", format!("{image}:latest")), ("untagged", image.clone())] {
        assert_eq!(vendored(case, &image, name, &["--layer-media-type", FLUX]).await?, schemas(), "{name}");
    }
    // Several media types, of which one has a layer.
    let types = ["--layer-media-type", "application/x.other", "--layer-media-type", FLUX];
    assert_eq!(vendored(case, &image, "several", &types).await?, schemas());
    refused_pull(case, &image, &["--layer-media-type", "application/x.other"], 5, "NoMatchingLayer").await?;

    let chosen = spec_with(&image, &json!({"layers": {"mediaTypes": [FLUX]}}));
    let output = sync(case, &objects(case, &[("k8s-schemas", chosen)])?).await?;
    ensure!(output.exit.success(), "{}{}", output.stdout, output.stderr);
    assert_eq!(files::read(&root(case).join("team/k8s-schemas/current"))?, schemas());
    Ok(())
}

async fn vendir_oci_artifact_extracts_each_layer_into_the_path(case: &mut Case) -> Result<()> {
    let archive = |path: &str, text: &str| Archive::default().file(path, text.as_bytes());
    let fixture = Fixture::artifact("application/x.schemas")
        .layer("application/vnd.oci.image.layer.v1.tar", &archive("a/one.json", "1")?.finish(), &[])
        .layer("application/vnd.oci.image.layer.v1.tar+gzip", &archive("a/two.json", "2")?.gzip()?, &[]);
    let image = case.reference("layers:latest");
    case.lab.publisher.fixture(&case.directory.join("fixture"), &image, &fixture).await?;
    let want = tree(&[("a/one.json", "1"), ("a/two.json", "2")]);
    assert_eq!(vendored(case, &image, "layers", &[]).await?, want);
    let gzip = ["--layer-media-type", "application/vnd.oci.image.layer.v1.tar+gzip"];
    assert_eq!(vendored(case, &image, "one", &gzip).await?, tree(&[("a/two.json", "2")]));
    Ok(())
}

async fn vendir_oci_artifact_with_cosign_identity(case: &mut Case) -> Result<()> {
    let cosign = case.lab.cosign(&case.directory.join("cosign")).await?;
    let image = case.reference("k8s-schemas");
    let digest = push(case, &format!("{image}:latest"), &schemas()).await?;
    let sigstore = case.lab.sigstore().await?;
    let identity = Identity::workflow("home-operations/k8s-schemas", "publish.yaml", "refs/heads/main");
    let (issuer, subject) = (sigstore.issuer(identity.issuer()), sigstore.subject(&identity));
    let other = sigstore.issuer(Identity::email("dev@example.test").issuer());
    let trusted_root = sigstore.trusted_root.to_string_lossy().into_owned();
    // The private Sigstore of the tests has no log of certificates.
    let here = ["--layer-media-type", FLUX, "--trusted-root", &trusted_root, "--certificate-transparency", "ignored"];
    // `certificateOidcIssuer` alone, as in the issue.
    let issuer_only = [&["--issuer", &issuer, "--subject-regexp", ".*"], &here[..]].concat();
    refused_pull(case, &image, &issuer_only, 6, "SignatureMissing").await?;
    // `cosign sign --yes REPOSITORY@DIGEST` in a workflow.
    cosign.sign_keyless(&format!("{image}@{digest}"), sigstore, &identity).await?;
    assert_eq!(vendored(case, &image, "issuer", &issuer_only).await?, schemas());
    let whole = [&["--issuer", &issuer, "--subject", &subject], &here[..]].concat();
    assert_eq!(vendored(case, &image, "subject", &whole).await?, schemas());
    let repository = r"https://github\.com/home-operations/k8s-schemas/.*";
    let pattern = [&["--issuer", &issuer, "--subject-regexp", repository], &here[..]].concat();
    assert_eq!(vendored(case, &image, "pattern", &pattern).await?, schemas());
    for (issuer, pattern) in [(&other, ".*"), (&issuer, r"https://github\.com/acme/.*")] {
        let wrong = [&["--issuer", issuer, "--subject-regexp", pattern], &here[..]].concat();
        refused_pull(case, &image, &wrong, 6, "IdentityMismatch").await?;
    }
    refused_pull(case, &image, &[&["--issuer", &issuer], &here[..]].concat(), 2, "InvalidSpec").await
}

async fn vendir_oci_artifact_with_cosign_key(case: &mut Case) -> Result<()> {
    let cosign = case.lab.cosign(&case.directory.join("cosign")).await?;
    let image = case.reference("k8s-schemas");
    let digest = push(case, &format!("{image}:latest"), &schemas()).await?;
    let [key, other] =
        [cosign.key_pair("release", KeyKind::P256).await?, cosign.key_pair("other", KeyKind::P256).await?];
    cosign.sign(&format!("{image}@{digest}"), &key).await?;
    let [key, other] = [key, other].map(|key| key.public.to_string_lossy().into_owned());
    let no_log = ["--transparency-log", "ignored"];
    assert_eq!(vendored(case, &image, "signed", &[&["--key", &key], &no_log[..]].concat()).await?, schemas());
    refused_pull(case, &image, &[&["--key", &other], &no_log[..]].concat(), 6, "IdentityMismatch").await
}

async fn vendir_oci_artifact_uses_the_docker_configuration(case: &mut Case) -> Result<()> {
    let registry = case.registry("private", &Options { auth: Auth::Password, ..Options::default() }).await?;
    let image = registry.reference("home-operations/k8s-schemas:latest");
    let source = case.source(&schemas())?;
    case.lab.publisher.to(&registry).flux(&source, &image).await?;
    refused_pull(case, &image, &[], 4, "Unauthorized").await?;
    let login = ["login", &registry.address, "--plain-http", "--username", USERNAME, "--password-stdin"];
    let docker = case.directory.join(".docker").to_string_lossy().into_owned();
    case.lab.clients.oras(&login).env("DOCKER_CONFIG", docker).input(PASSWORD).stdout().await?;
    assert_eq!(vendored(case, &image, "k8s-schemas", &[]).await?, schemas());
    let output = sync(case, &objects(case, &[("k8s-schemas", spec(&image))])?).await?;
    ensure!(output.exit.success(), "{}{}", output.stdout, output.stderr);
    assert_eq!(files::read(&root(case).join("team/k8s-schemas/current"))?, schemas());
    Ok(())
}

async fn vendir_image_tag_selection_by_semver(case: &mut Case) -> Result<()> {
    let image = case.reference("rules");
    for tag in ["0.4.0", "0.5.0", "1.0.0-rc.1", "latest"] {
        push(case, &format!("{image}:{tag}"), &tree(&[("version", tag)])).await?;
    }
    let newest = ["--semver", ">0.4.0"];
    assert_eq!(vendored(case, &image, "release", &newest).await?, tree(&[("version", "0.5.0")]));
    // `prereleases: {identifiers: [rc]}`
    let candidates = [&newest[..], &["--semver-prereleases", "--semver-filter", r"^\d+\.\d+\.\d+(-rc\..*)?$"]].concat();
    assert_eq!(vendored(case, &image, "candidate", &candidates).await?, tree(&[("version", "1.0.0-rc.1")]));
    refused_pull(case, &format!("{image}:0.4.0"), &newest, 2, "InvalidSpec").await
}

async fn vendir_image_paths_and_new_root_path(case: &mut Case) -> Result<()> {
    let image = case.reference("rules:1.4.0");
    let content = tree(&[
        ("install/base/rules.yaml", "a: 1\n"),
        ("install/base/test/rules.yaml", "b: 2\n"),
        ("install/notes.md", "notes\n"),
        ("LICENSE", "Apache-2.0\n"),
    ]);
    push(case, &image, &content).await?;
    let paths = ["--include", "**/*.yaml", "--include", "LICENSE", "--exclude", "**/test/**"];
    let want = tree(&[("install/base/rules.yaml", "a: 1\n"), ("LICENSE", "Apache-2.0\n")]);
    assert_eq!(vendored(case, &image, "paths", &paths).await?, want);
    let new_root = ["--sub-path", "install/base", "--exclude", "test"];
    assert_eq!(vendored(case, &image, "root", &new_root).await?, tree(&[("rules.yaml", "a: 1\n")]));
    Ok(())
}

async fn vendir_image_secret_of_the_file_and_skipped_verification(case: &mut Case) -> Result<()> {
    let options = Options { auth: Auth::Password, transport: Transport::Tls, ..Options::default() };
    let registry = case.registry("private", &options).await?;
    let image = registry.reference("team/rules:1.4.0");
    let source = case.source(&schemas())?;
    case.lab.publisher.to(&registry).flux(&source, &image).await?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": {
            "name": "login", "namespace": "team", "annotations": {"supercargo.dev/registry": registry.address},
        },
        "stringData": {"username": USERNAME, "password": PASSWORD},
    });
    // `dangerousSkipTLSVerify` and `secretRef`.
    let registry_spec = json!({"insecureSkipVerify": true, "pullSecrets": [{"name": "login"}]});
    let object = json!({"image": image, "registry": registry_spec, "outputs": [{"name": "files", "volume": {}}]});
    let from = objects(case, &[("rules", object)])?;
    refused_sync(case, &from, "SecretNotFound").await?;
    fs_err::write(from.join("secret.yaml"), secret.to_string())?;
    let output = sync(case, &from).await?;
    ensure!(output.exit.success(), "{}{}", output.stdout, output.stderr);
    assert_eq!(files::read(&root(case).join("team/rules/current"))?, schemas());
    // The same for one directory.
    let path = vendor(case, "rules")?.to_string_lossy().into_owned();
    let login = ["--username", USERNAME, "--password-stdin", "--insecure-skip-verify"];
    let pull = [&["pull", &image, "-o", &path], &login[..]].concat();
    command(case, &pull).input(PASSWORD).stdout().await?;
    assert_eq!(files::read(Path::new(&path))?, schemas());
    Ok(())
}

async fn refused_sync(case: &Case, from: &Path, reason: &str) -> Result<()> {
    let output = sync(case, from).await?;
    ensure!(!output.exit.success() && output.stdout.contains(reason), "{}{}", output.stdout, output.stderr);
    Ok(())
}

async fn vendir_helm_chart_of_an_oci_repository(case: &mut Case) -> Result<()> {
    let content = tree(&[
        ("Chart.yaml", "apiVersion: v2\nname: redis\nversion: 1.2.1\n"),
        ("templates/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: redis}\n"),
    ]);
    let source = case.source(&content)?;
    case.lab.publisher.helm(&source, &case.reference("charts")).await?;
    // vendir removes the directory of the chart, and so does the sub path.
    let chart = format!("oci://{}:1.2.1", case.reference("charts/redis"));
    assert_eq!(vendored(case, &chart, "redis", &["--sub-path", "redis"]).await?, content);
    Ok(())
}
