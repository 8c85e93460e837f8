//! Artifacts pushed by the producers' own clients, through the operator.

use anyhow::{Result, ensure};
use serde_json::json;
use supercargo_e2e::archive::Archive;
use supercargo_e2e::files::{Tree, tree};
use supercargo_e2e::object::text;

use super::{executable, link};
use crate::support::case::{Case, spec, spec_with, tests};

tests!(
    a_kapitan_artifact_is_unpacked_at_the_root_with_links_and_modes,
    a_flux_artifact_is_unpacked_at_the_root,
    a_helm_chart_is_unpacked_below_its_name,
    a_kubara_catalog_is_unpacked_below_its_name_and_pushed_twice_is_one_digest,
    oras_files_keep_their_titles_and_directories_their_prefix,
    plain_and_gzip_archives_without_titles_are_unpacked_at_the_root,
    a_sub_path_publishes_only_what_is_below_it,
);

/// Publishes an artifact that was pushed before and returns its files.
async fn publish(case: &mut Case, name: &str, image: &str) -> Result<Tree> {
    case.start_operator().await?;
    case.space.apply(name, &spec(image)).await?;
    case.space.ready(name).await?;
    case.published(name)
}

async fn a_kapitan_artifact_is_unpacked_at_the_root_with_links_and_modes(case: &mut Case) -> Result<()> {
    let mut content = tree(&[("components/nginx.jsonnet", "{}"), ("lib/kube.libjsonnet", "{ a: 1 }")]);
    content.insert("bin/render.sh".to_owned(), executable("#!/bin/sh\n"));
    content.insert("lib/latest".to_owned(), link("kube.libjsonnet"));
    let source = case.source(&content)?;
    let image = case.reference("generators:1.2.0");
    case.lab.publisher.kapitan(&source, &image).await?;

    assert_eq!(publish(case, "generators", &image).await?, content);
    let object = case.space.get("generators").await?;
    let config = "application/vnd.oci.image.config.v1+json";
    assert_eq!(text(&object, "/status/artifact/artifactType"), Some(config));
    Ok(())
}

async fn a_flux_artifact_is_unpacked_at_the_root(case: &mut Case) -> Result<()> {
    let mut content = tree(&[("kustomization.yaml", "resources: [app.yaml]\n"), ("base/app.yaml", "kind: List\n")]);
    content.insert("hook.sh".to_owned(), executable("#!/bin/sh\n"));
    let mut pushed = content.clone();
    pushed.insert("link.yaml".to_owned(), link("base/app.yaml"));
    let source = case.source(&pushed)?;
    let image = case.reference("manifests:main");
    case.lab.publisher.flux(&source, &image).await?;

    // Flux itself leaves symbolic links out on packing.
    assert_eq!(publish(case, "manifests", &image).await?, content);
    let object = case.space.get("manifests").await?;
    assert_eq!(text(&object, "/status/artifact/artifactType"), Some("application/vnd.cncf.flux.config.v1+json"));
    let source = text(&object, "/status/artifact/annotations/org.opencontainers.image.source");
    assert_eq!(source, Some("https://git.example.com/team/app.git"));
    Ok(())
}

async fn a_helm_chart_is_unpacked_below_its_name(case: &mut Case) -> Result<()> {
    let content = tree(&[
        ("Chart.yaml", "apiVersion: v2\nname: hello\nversion: 0.1.0+build.5\n"),
        ("values.yaml", "replicas: 1\n"),
        ("templates/config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: hello}\n"),
    ]);
    let source = case.source(&content)?;
    let digest = case.lab.publisher.helm(&source, &case.reference("charts")).await?;
    // A tag cannot contain a plus sign; Helm writes an underscore.
    let image = case.reference("charts/hello:0.1.0_build.5");

    let published = publish(case, "hello", &image).await?;
    case.space.ready_with("hello", &digest).await?;
    let paths: Vec<&str> = published.keys().map(String::as_str).collect();
    assert_eq!(paths, ["hello/Chart.yaml", "hello/templates/config.yaml", "hello/values.yaml"]);
    assert_eq!(published["hello/values.yaml"], content["values.yaml"]);
    assert_eq!(published["hello/templates/config.yaml"], content["templates/config.yaml"]);
    Ok(())
}

async fn a_kubara_catalog_is_unpacked_below_its_name_and_pushed_twice_is_one_digest(case: &mut Case) -> Result<()> {
    let content = tree(&[("Catalog.yaml", "kind: Catalog\n"), ("services/dns/service.yaml", "name: dns\n")]);
    let source = case.source(&content)?;
    let base = case.lab.registry.reference(&case.space.namespace);
    let first = case.lab.publisher.kubara(&source, &base, "platform", "1.4.0").await?;
    let second = case.lab.publisher.kubara(&source, &base, "platform", "1.4.0").await?;
    ensure!(first == second, "the same catalog was pushed as {first} and {second}");

    let below: Tree = content.into_iter().map(|(path, entry)| (format!("platform/{path}"), entry)).collect();
    assert_eq!(publish(case, "platform", &case.reference("platform:1.4.0")).await?, below);
    let object = case.space.ready_with("platform", &first).await?;
    assert_eq!(text(&object, "/status/artifact/artifactType"), Some("application/vnd.kubara.catalog.v1"));
    Ok(())
}

async fn oras_files_keep_their_titles_and_directories_their_prefix(case: &mut Case) -> Result<()> {
    let content = tree(&[("policy/allow.rego", "package a"), ("data/x/y.json", "{}"), ("data/z.json", "[]")]);
    let source = case.source(&content)?;
    let image = case.reference("mixed:1");
    let layers = ["policy/allow.rego:application/vnd.cncf.openpolicyagent.policy.layer.v1+rego", "data"];
    case.lab.publisher.oras(&source, &[&image, layers[0], layers[1]]).await?;

    assert_eq!(publish(case, "mixed", &image).await?, content);
    Ok(())
}

async fn plain_and_gzip_archives_without_titles_are_unpacked_at_the_root(case: &mut Case) -> Result<()> {
    let plain = Archive::default().file("plain.txt", b"plain")?.finish();
    let zipped = Archive::default().file("./dir/zipped.txt", b"zipped")?.gzip()?;
    fs_err::write(case.directory.join("plain.tar"), plain)?;
    fs_err::write(case.directory.join("zipped.tgz"), zipped)?;
    let image = case.reference("archives:1");
    let layers = [
        "plain.tar:application/vnd.oci.image.layer.v1.tar",
        // The type does not mention gzip; the bytes are gzip.
        "zipped.tgz:application/vnd.oci.image.layer.v1.tar",
    ];
    let arguments = ["--artifact-type", "application/x.test", "--layer", layers[0], "--layer", layers[1], &image];
    case.lab.publisher.raw(&case.directory, &arguments).await?;

    let expected = tree(&[("plain.txt", "plain"), ("dir/zipped.txt", "zipped")]);
    assert_eq!(publish(case, "archives", &image).await?, expected);
    Ok(())
}

async fn a_sub_path_publishes_only_what_is_below_it(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("schemas/v1/a.json", "{}"), ("schemas/b.json", "[]"), ("README.md", "no")]))?;
    let image = case.reference("schemas:1");
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    case.start_operator().await?;
    let files = |sub_path: &str| json!({"files": {"subPath": sub_path}});
    case.space.apply("schemas", &spec_with(&image, &files("schemas"))).await?;
    case.space.ready("schemas").await?;
    let whole = tree(&[("v1/a.json", "{}"), ("b.json", "[]")]);
    assert_eq!(case.published("schemas")?, whole);

    case.space.apply("schemas", &spec_with(&image, &files("schemes"))).await?;
    case.space.refused("schemas", "SubPathNotFound").await?;
    assert_eq!(case.published("schemas")?, whole);
    case.space.apply("schemas", &spec_with(&image, &files("schemas/v1"))).await?;
    case.space.ready("schemas").await?;
    assert_eq!(case.published("schemas")?, tree(&[("a.json", "{}")]));
    Ok(())
}
