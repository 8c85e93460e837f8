//! The documented flows of Kapitan's OCI dependencies ("Publishing generators", "External dependencies", "Sharing
//! generators"), step by step. Kapitan has no command to publish: its documents use the oras command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use supercargo_e2e::files::{self, Entry, Tree, tree};
use supercargo_e2e::registry::{Auth, Options, PASSWORD, Transport, USERNAME};
use supercargo_e2e::run::Output;

use crate::support::case::{Case, spec_with, tests};
use crate::support::command::{answer, command, refused, run};
use crate::support::sync::{objects, root, sync};

tests!(
    kapitan_publishing_generators_push_with_a_version_tag,
    kapitan_publishing_generators_push_for_registries_that_refuse_artifact_types,
    kapitan_publishing_generators_pin_the_printed_digest,
    kapitan_publishing_generators_subpath_of_a_push_from_the_parent_directory,
    kapitan_publishing_generators_media_type_chooses_the_layer,
    kapitan_external_dependencies_output_path_and_subpath,
    kapitan_external_dependencies_fetch_keeps_local_changes_and_force_fetch_overwrites,
    kapitan_external_dependencies_cache_serves_a_second_fetch,
    kapitan_external_dependencies_insecure_and_tls_verify,
    kapitan_sharing_generators_credentials_of_a_login_or_of_the_environment,
    kapitan_sharing_generators_source_is_a_bare_reference,
);

/// Config of the documented command: an empty file.
const CONFIG: &str = "/dev/null:application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The directory `my-generator` of the documents.
fn generator() -> Tree {
    let mut content = tree(&[("__init__.py", "def main(): pass\n"), ("lib/utils.py", "x = 1\n")]);
    content.insert("lib/render.sh".to_owned(), Entry::File { content: b"#!/bin/sh\n".to_vec(), executable: true });
    content
}

/// Writes the generator into `my-generator`, and returns its parent directory.
fn working_directory(case: &Case) -> Result<PathBuf> {
    let directory = case.directory.join("work");
    files::write(&directory.join("my-generator"), &generator())?;
    Ok(directory)
}

/// Runs `oras push` with the documented config in a directory, and returns the digest that it prints.
async fn oras_push(case: &Case, directory: &Path, image: &str, paths: &[&str]) -> Result<String> {
    let push = ["push", "--plain-http", "--no-tty", image, "--config", CONFIG];
    let printed = case.lab.clients.oras(&[&push[..], paths].concat()).directory(directory).stdout().await?;
    let digest = printed.lines().find_map(|line| line.strip_prefix("Digest: "));
    Ok(digest.with_context(|| format!("no digest in {printed}"))?.to_owned())
}

/// Runs `supercargo pull` into a directory below the case's, which is created with its parents.
async fn pull(case: &Case, image: &str, output_path: &str, more: &[&str]) -> Result<Output> {
    let output_path = case.directory.join(output_path);
    fs_err::create_dir_all(output_path.parent().context("no parent")?)?;
    run(case, &[&["pull", image, "-o", &output_path.to_string_lossy()], more].concat()).await
}

/// As [`pull`], without TLS, and returns the files.
async fn pulled(case: &Case, image: &str, output_path: &str, more: &[&str]) -> Result<Tree> {
    let output = pull(case, image, output_path, &[&["--plain-http"], more].concat()).await?;
    ensure!(output.exit.success(), "{image}: {}", output.stderr);
    files::read(&case.directory.join(output_path))
}

async fn kapitan_publishing_generators_push_with_a_version_tag(case: &mut Case) -> Result<()> {
    let work = working_directory(case)?;
    let theirs = case.reference("theirs:1.2.0");
    let digest = oras_push(case, &work.join("my-generator"), &theirs, &["."]).await?;
    assert_eq!(case.lab.publisher.resolve(&theirs).await?, digest);
    assert_eq!(pulled(case, &theirs, "components/theirs", &[]).await?, generator());

    // The same with one command of ours, from any directory; oras reads it.
    let ours = case.reference("ours:1.2.0");
    let push = command(case, &["push", "my-generator", &ours, "--plain-http"]).directory(&work);
    let printed = push.stdout().await?;
    assert_eq!(printed, format!("{ours}@{}\n", case.lab.publisher.resolve(&ours).await?));
    assert_eq!(pulled(case, &ours, "components/ours", &[]).await?, generator());
    let into = case.directory.join("oras");
    let output = case.lab.clients.oras_pull(&ours, &into, &[]).await?;
    ensure!(output.exit.success(), "{}", output.stderr);
    assert_eq!(files::read(&into)?, generator());
    // The title is that of the documented command, and the second push has the same digest.
    let manifest: Value = serde_json::from_str(&case.lab.publisher.manifest(&ours).await?)?;
    assert_eq!(manifest["layers"][0]["mediaType"], LAYER);
    assert_eq!(manifest["layers"][0]["annotations"]["org.opencontainers.image.title"], ".");
    let again = command(case, &["push", ".", &ours, "--plain-http"]).directory(&work.join("my-generator"));
    assert_eq!(again.stdout().await?, printed);
    Ok(())
}

async fn kapitan_publishing_generators_push_for_registries_that_refuse_artifact_types(case: &mut Case) -> Result<()> {
    let work = working_directory(case)?;
    let (theirs, ours) = (case.reference("theirs:1.2.0"), case.reference("ours:1.2.0"));
    oras_push(case, &work.join("my-generator"), &theirs, &["."]).await?;
    let push = ["push", "my-generator", &ours, "--compat", "image", "--plain-http"];
    command(case, &push).directory(&work).stdout().await?;
    let mut types = Vec::new();
    for image in [&theirs, &ours] {
        let manifest: Value = serde_json::from_str(&case.lab.publisher.manifest(image).await?)?;
        let config = &manifest["config"];
        types.push([&manifest["mediaType"], &manifest["artifactType"], &config["mediaType"]].map(Value::clone));
        // Their config has no bytes, which breaks clients that parse it.
        assert_eq!(config["size"].as_u64(), Some(if *image == theirs { 0 } else { 2 }), "{image}");
    }
    assert_eq!(types[0], types[1]);
    ensure!(types[1][1].is_null(), "{types:?}");
    assert_eq!(pulled(case, &ours, "components/generators", &[]).await?, generator());
    Ok(())
}

async fn kapitan_publishing_generators_pin_the_printed_digest(case: &mut Case) -> Result<()> {
    let work = working_directory(case)?;
    let (name, source) = (case.reference("generators"), work.join("my-generator"));
    let digest = oras_push(case, &source, &format!("{name}:1.2.0"), &["."]).await?;
    fs_err::write(source.join("lib/utils.py"), "x = 2\n")?;
    let moved = oras_push(case, &source, &format!("{name}:latest"), &["."]).await?;
    ensure!(moved != digest, "the content changed");
    let mut changed = generator();
    changed.insert("lib/utils.py".to_owned(), Entry::text("x = 2\n"));
    let rows = [
        (format!("{name}:latest"), &moved, &changed),
        (name.clone(), &moved, &changed),
        (format!("{name}:1.2.0"), &digest, &generator()),
        (format!("{name}@{digest}"), &digest, &generator()),
        (format!("{name}:latest@{digest}"), &digest, &generator()),
    ];
    for (source, digest, content) in rows {
        let into = case.directory.join("generators").to_string_lossy().into_owned();
        let printed = answer(case, &["pull", &source, "-o", &into, "--force", "--plain-http"]).await?;
        ensure!(printed.trim().ends_with(digest), "{source}: {printed}");
        assert_eq!(&files::read(Path::new(&into))?, content, "{source}");
    }
    Ok(())
}

async fn kapitan_publishing_generators_subpath_of_a_push_from_the_parent_directory(case: &mut Case) -> Result<()> {
    let work = working_directory(case)?;
    let image = case.reference("generators:1.2.0");
    oras_push(case, &work, &image, &["my-generator/"]).await?;
    let nested: Tree = generator().into_iter().map(|(path, entry)| (format!("my-generator/{path}"), entry)).collect();
    let output = pull(case, &image, "nested", &["--plain-http"]).await?;
    ensure!(output.exit.success(), "{}", output.stderr);
    assert_eq!(files::read(&case.directory.join("nested"))?, nested);
    // The directory is named, as in Kapitan's log, and so is the option that removes it.
    ensure!(output.stderr.contains("my-generator") && output.stderr.contains("--sub-path"), "{}", output.stderr);
    let output = pull(case, &image, "flat", &["--plain-http", "--sub-path", "my-generator"]).await?;
    ensure!(output.exit.success() && !output.stderr.contains("--sub-path"), "{}", output.stderr);
    assert_eq!(files::read(&case.directory.join("flat"))?, generator());
    // As a dependency of a target, several at once.
    let paths =
        [("nested", serde_json::json!({})), ("flat", serde_json::json!({"files": {"subPath": "my-generator"}}))];
    let paths = paths.map(|(name, more)| (name, spec_with(&image, &more)));
    let synced = sync(case, &objects(case, &paths)?).await?;
    ensure!(synced.exit.success(), "{}{}", synced.stdout, synced.stderr);
    assert_eq!(files::read(&root(case).join("team/flat/current"))?, generator());
    assert_eq!(files::read(&root(case).join("team/nested/current"))?, nested);
    Ok(())
}

async fn kapitan_publishing_generators_media_type_chooses_the_layer(case: &mut Case) -> Result<()> {
    let work = working_directory(case)?;
    fs_err::write(work.join("schema.json"), "{}")?;
    let image = case.reference("generators:1.2.0");
    let paths = ["my-generator:application/vnd.kapitan.generator", "schema.json:application/schema+json"];
    oras_push(case, &work, &image, &paths).await?;
    let generator_only = ["--layer-media-type", "application/vnd.kapitan.generator", "--sub-path", "my-generator"];
    assert_eq!(pulled(case, &image, "generator", &generator_only).await?, generator());
    let schema_only = ["--layer-media-type", "application/schema+json"];
    assert_eq!(pulled(case, &image, "schema", &schema_only).await?, tree(&[("schema.json", "{}")]));
    let requested = case.lab.registry.requests(&case.repository("generators"))?;
    assert_eq!(
        requested.iter().filter(|request| request.path.contains("/blobs/") && request.method == "GET").count(),
        2
    );
    let wrong = pull(case, &image, "none", &["--plain-http", "--layer-media-type", "application/vnd.other"]).await?;
    refused(&wrong, 5, "NoMatchingLayer")?;

    // Both layers, pushed by us with the types of the documents.
    let ours = case.reference("ours:1.2.0");
    let layers = ["--layer", paths[0], "--layer", paths[1]];
    let package = [&["package", ".", "--ref", &ours], &layers[..]].concat();
    command(case, &package).directory(&work).stdout().await?;
    answer(case, &["push", &ours, "--plain-http"]).await?;
    assert_eq!(pulled(case, &ours, "ours", &generator_only).await?, generator());
    // The documented tip names the type that a directory has in any case.
    let tip = case.reference("tip:1.2.0");
    oras_push(case, &work.join("my-generator"), &tip, &[&format!(".:{LAYER}")]).await?;
    assert_eq!(pulled(case, &tip, "tip", &["--layer-media-type", LAYER]).await?, generator());
    Ok(())
}

async fn kapitan_external_dependencies_output_path_and_subpath(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[
        ("generators/kubectl/__init__.py", "def main(): pass\n"),
        ("generators/helm/__init__.py", "def main(): pass\n"),
    ]))?;
    let image = case.reference("generators:1.2.0");
    oras_push(case, &source, &image, &["."]).await?;
    let content = pulled(case, &image, "components/generators", &["--sub-path", "generators/kubectl"]).await?;
    assert_eq!(content, tree(&[("__init__.py", "def main(): pass\n")]));
    for (sub_path, code, reason) in [("generators/jsonnet", 5, "SubPathNotFound"), ("../..", 2, "InvalidSpec")] {
        let output = pull(case, &image, "components/none", &["--plain-http", "--sub-path", sub_path]).await?;
        refused(&output, code, reason).context(sub_path)?;
        ensure!(!case.directory.join("components/none").exists(), "{sub_path}: something was written");
    }
    Ok(())
}

async fn kapitan_external_dependencies_fetch_keeps_local_changes_and_force_fetch_overwrites(
    case: &mut Case,
) -> Result<()> {
    let work = working_directory(case)?;
    let image = case.reference("generators:1.2.0");
    oras_push(case, &work.join("my-generator"), &image, &["."]).await?;
    pulled(case, &image, "components/generators", &[]).await?;
    let directory = case.directory.join("components/generators");
    fs_err::write(directory.join("lib/utils.py"), "mine\n")?;
    let changed = files::read(&directory)?;
    refused(&pull(case, &image, "components/generators", &["--plain-http"]).await?, 1, "OutputConflict")?;
    assert_eq!(files::read(&directory)?, changed);
    // Kapitan keys its cache by the text of the reference, and would not see that the tag has moved.
    fs_err::write(work.join("my-generator/new.py"), "")?;
    oras_push(case, &work.join("my-generator"), &image, &["."]).await?;
    let mut content = generator();
    content.insert("new.py".to_owned(), Entry::text(""));
    assert_eq!(pulled(case, &image, "components/generators", &["--force"]).await?, content);
    Ok(())
}

async fn kapitan_external_dependencies_cache_serves_a_second_fetch(case: &mut Case) -> Result<()> {
    let work = working_directory(case)?;
    let mut registry = case.registry("own", &Options::default()).await?;
    let image = registry.reference("kapicorp/generators:1.2.0");
    oras_push(case, &work.join("my-generator"), &image, &["."]).await?;
    let cache = case.directory.join(".dependency_cache").to_string_lossy().into_owned();
    answer(case, &["pull", &image, "--plain-http", "--cache-dir", &cache]).await?;
    registry.stop().await?;
    // Two targets with one source share the fetch.
    for target in ["one", "two"] {
        let into = case.directory.join(target);
        answer(case, &["unpackage", &image, &into.to_string_lossy(), "--cache-dir", &cache]).await?;
        assert_eq!(files::read(&into)?, generator());
    }
    Ok(())
}

async fn kapitan_external_dependencies_insecure_and_tls_verify(case: &mut Case) -> Result<()> {
    let work = working_directory(case)?;
    let source = work.join("my-generator");
    let plain = case.registry("plain", &Options::default()).await?;
    let tls = case.registry("tls", &Options { transport: Transport::Tls, ..Options::default() }).await?;
    let authority = tls.tls()?.authority.to_string_lossy().into_owned();
    let [plain_image, tls_image] = [&plain, &tls].map(|registry| registry.reference("generators:1.2.0"));
    for (registry, image) in [(&plain, &plain_image), (&tls, &tls_image)] {
        case.lab.publisher.to(registry).kapitan(&source, image).await?;
    }
    // `insecure: true`, and `tls_verify` as a path and as false. Neither stands for the other.
    let rows: [(&str, &[&str], bool); 7] = [
        (&plain_image, &["--plain-http"], true),
        (&plain_image, &[], false),
        (&plain_image, &["--insecure-skip-verify"], false),
        (&tls_image, &["--ca-file", &authority], true),
        (&tls_image, &["--insecure-skip-verify"], true),
        (&tls_image, &[], false),
        (&tls_image, &["--plain-http"], false),
    ];
    for (number, (image, options, succeeds)) in rows.into_iter().enumerate() {
        let name = format!("generators-{number}");
        let output = pull(case, image, &name, options).await?;
        ensure!(output.exit.success() == succeeds, "{image} {options:?}: {}", output.stderr);
        if succeeds {
            assert_eq!(files::read(&case.directory.join(&name))?, generator());
        } else {
            ensure!(!case.directory.join(&name).exists(), "{image} {options:?}: something was written");
        }
    }
    Ok(())
}

async fn kapitan_sharing_generators_credentials_of_a_login_or_of_the_environment(case: &mut Case) -> Result<()> {
    let work = working_directory(case)?;
    let registry = case.registry("private", &Options { auth: Auth::Password, ..Options::default() }).await?;
    let image = registry.reference("generators:1.2.0");
    case.lab.publisher.to(&registry).kapitan(&work.join("my-generator"), &image).await?;
    refused(&pull(case, &image, "none", &["--plain-http"]).await?, 4, "Unauthorized")?;
    let fetch = |name: &str| {
        let into = case.directory.join(name).to_string_lossy().into_owned();
        command(case, &["pull", &image, "-o", &into, "--plain-http"])
    };
    // Both variables are needed.
    let half = fetch("half").env("OCI_USERNAME", USERNAME).output().await?;
    refused(&half, 4, "Unauthorized")?;
    fetch("environment").env("OCI_USERNAME", USERNAME).env("OCI_PASSWORD", PASSWORD).stdout().await?;
    assert_eq!(files::read(&case.directory.join("environment"))?, generator());
    // The login of another client, in the file that docker and oras share.
    let docker = case.directory.join(".docker").to_string_lossy().into_owned();
    let login = ["login", &registry.address, "--plain-http", "--username", USERNAME, "--password-stdin"];
    case.lab.clients.oras(&login).env("DOCKER_CONFIG", docker).input(PASSWORD).stdout().await?;
    fetch("login").stdout().await?;
    assert_eq!(files::read(&case.directory.join("login"))?, generator());
    Ok(())
}

async fn kapitan_sharing_generators_source_is_a_bare_reference(case: &mut Case) -> Result<()> {
    let work = working_directory(case)?;
    let image = case.reference("generators:1.2.0");
    oras_push(case, &work.join("my-generator"), &image, &["."]).await?;
    assert_eq!(pulled(case, &image, "bare", &[]).await?, generator());
    // Kapitan refuses this scheme too; it is the one that other clients write.
    assert_eq!(pulled(case, &format!("oci://{image}"), "oci", &[]).await?, generator());
    for scheme in ["https://", "http://"] {
        let output = pull(case, &format!("{scheme}{image}"), "none", &["--plain-http"]).await?;
        refused(&output, 2, "InvalidSpec")?;
        ensure!(output.stderr.contains(scheme), "{}", output.stderr);
    }
    Ok(())
}
