//! `supercargo resolve`, and the options it shares with `supercargo pull`: selection of the artifact, and the
//! credentials for the registry.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::tree;
use supercargo_e2e::registry::{Auth, Options, PASSWORD, Registry, Transport, USERNAME};

use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, refused, run};
use crate::support::pull_directory::PullDirectory;

tests!(
    resolve_prints_what_another_client_resolves,
    resolve_names_the_manifest_for_a_platform,
    a_range_of_versions_chooses_the_tag,
    credentials_come_from_standard_input_or_a_docker_configuration,
    certificates_come_from_files,
);

async fn resolve_prints_what_another_client_resolves(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("a.txt", "one")]))?;
    let image = case.reference("app:1");
    case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let digest = case.lab.publisher.resolve(&image).await?;
    let asked = || case.lab.registry.requests(&case.repository("app"));
    let repository = case.reference("app");
    let pinned = format!("{image}@{digest}");
    let by_digest = format!("{repository}@{digest}");

    for (image, want, methods) in [
        (&image, &pinned, ["HEAD"]),
        // A tag beside a digest is only printed.
        (&format!("oci://{repository}:other@{digest}"), &format!("{repository}:other@{digest}"), ["GET"]),
        (&by_digest, &by_digest, ["GET"]),
    ] {
        let before = asked()?.len();
        assert_eq!(answer(case, &["resolve", image, "--plain-http"]).await?, format!("{want}\n"));
        let new: Vec<_> = asked()?.into_iter().skip(before).map(|request| request.method).collect();
        assert_eq!(new, methods, "{image}");
    }
    let text = answer(case, &["resolve", &image, "--plain-http", "--format", "json"]).await?;
    let want = json!({"reference": pinned, "repository": repository, "tag": "1", "digest": digest});
    assert_eq!(serde_json::from_str::<Value>(&text)?, want);

    let missing = format!("{repository}@sha256:{}", "0".repeat(64));
    refused(&run(case, &["resolve", &missing, "--plain-http"]).await?, 5, "ReferenceNotFound")
}

async fn resolve_names_the_manifest_for_a_platform(case: &mut Case) -> Result<()> {
    let mut children = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let source = case.source(&tree(&[("architecture", architecture)]))?;
        children.push(case.lab.publisher.oras(&source, &[&case.reference("app"), "."]).await?);
    }
    let image = case.reference("app:1");
    let entries = [format!("linux/amd64={}", children[0]), format!("linux/arm64={}", children[1])];
    let digest = case.lab.publisher.index(&image, &entries.each_ref().map(String::as_str)).await?;

    let resolve = ["resolve", &image, "--plain-http"];
    let text = answer(case, &[&resolve[..], &["--format", "json", "--platform", "linux/arm64"]].concat()).await?;
    let json: Value = serde_json::from_str(&text)?;
    assert_eq!((&json["digest"], &json["platformDigest"]), (&json!(digest), &json!(children[1])));
    // The index itself is pinned, with and without a platform.
    let pinned = format!("{image}@{digest}\n");
    assert_eq!(answer(case, &resolve).await?, pinned);
    assert_eq!(answer(case, &[&resolve[..], &["--platform", "linux/amd64"]].concat()).await?, pinned);
    let missing = run(case, &[&resolve[..], &["--platform", "windows/amd64"]].concat()).await?;
    refused(&missing, 5, "PlatformNotFound")?;

    let place = PullDirectory::new(case)?;
    let pull = ["pull", &image, "--plain-http", "-o", &place.out];
    refused(&run(case, &pull).await?, 5, "PlatformNotFound")?;
    assert_eq!(answer(case, &[&pull[..], &["--platform", "linux/arm64"]].concat()).await?, pinned);
    assert_eq!(place.content()?, tree(&[("architecture", "arm64")]));
    Ok(())
}

async fn a_range_of_versions_chooses_the_tag(case: &mut Case) -> Result<()> {
    let mut digests = Vec::new();
    for version in ["1.0.0", "1.10.0", "2.0.0-rc.1"] {
        let source = case.source(&tree(&[("version", version)]))?;
        let image = case.reference(&format!("app:{version}"));
        digests.push(case.lab.publisher.oras(&source, &[&image, "."]).await?);
    }
    let app = case.reference("app");
    let resolve = ["resolve", &app, "--plain-http", "--semver"];
    let rows: [(&[&str], &str, &str); 3] = [
        (&[">=1"], "1.10.0", &digests[1]),
        (&[">=1", "--semver-filter", "^1[.]0"], "1.0.0", &digests[0]),
        (&[">=1", "--semver-prereleases"], "2.0.0-rc.1", &digests[2]),
    ];
    for (more, tag, digest) in rows {
        assert_eq!(answer(case, &[&resolve[..], more].concat()).await?, format!("{app}:{tag}@{digest}\n"));
    }
    refused(&run(case, &[&resolve[..], &["^3"]].concat()).await?, 5, "NoMatchingTag")?;
    let output = run(case, &[&resolve[..], &["not a range"]].concat()).await?;
    refused(&output, 2, "InvalidSpec")?;
    ensure!(output.stderr.contains("--semver"), "{}", output.stderr);
    let two = run(case, &["resolve", &case.reference("app:1.0.0"), "--plain-http", "--semver", "^1"]).await?;
    refused(&two, 2, "InvalidSpec")?;

    let place = PullDirectory::new(case)?;
    let pinned = answer(case, &["pull", &app, "--plain-http", "--semver", "^1", "-o", &place.out]).await?;
    assert_eq!(pinned, format!("{app}:1.10.0@{}\n", digests[1]));
    assert_eq!(place.content()?, tree(&[("version", "1.10.0")]));
    Ok(())
}

/// Writes a docker configuration with this entry for the registry.
fn docker_config(directory: &Path, registry: &Registry, entry: &Value, more: &Value) -> Result<()> {
    fs_err::create_dir_all(directory)?;
    let mut config = json!({"auths": {&registry.address: entry}});
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    Ok(fs_err::write(directory.join("config.json"), config.to_string())?)
}

async fn credentials_come_from_standard_input_or_a_docker_configuration(case: &mut Case) -> Result<()> {
    let registry = case.registry("private", &Options { auth: Auth::Password, ..Options::default() }).await?;
    let image = registry.reference("team/app:1");
    let source = case.source(&tree(&[("file", "content")]))?;
    let digest = case.lab.publisher.with_credentials().oras(&source, &[&image, "."]).await?;
    let pinned = format!("{image}@{digest}\n");
    let resolve = ["resolve", &image, "--plain-http"];
    refused(&run(case, &resolve).await?, 4, "Unauthorized")?;

    let with_password = [&resolve[..], &["--username", USERNAME, "--password-stdin"]].concat();
    let answered = command(case, &with_password).input(format!("{PASSWORD}\n")).output().await?;
    assert_eq!((answered.stdout, answered.stderr), (pinned.clone(), String::new()));
    let wrong = command(case, &with_password).input("not-this-one\n").output().await?;
    refused(&wrong, 4, "Unauthorized")?;
    ensure!(!wrong.stderr.contains("not-this-one"), "the password is in {}", wrong.stderr);
    refused(&command(case, &with_password).output().await?, 4, "FileInvalid")?;

    let login = json!({"username": USERNAME, "password": PASSWORD});
    let (docker, none) = (case.directory.join(".docker"), json!({}));
    docker_config(&docker, &registry, &login, &none)?;
    assert_eq!(answer(case, &resolve).await?, pinned, "~/.docker/config.json");
    let place = PullDirectory::new(case)?;
    assert_eq!(answer(case, &["pull", &image, "--plain-http", "-o", &place.out]).await?, pinned);

    docker_config(&docker, &registry, &none, &json!({"credsStore": "absent-from-path"}))?;
    let output = run(case, &resolve).await?;
    refused(&output, 4, "Unauthorized")?;
    for word in ["docker-credential-absent-from-path", "--docker-config", "--password-stdin"] {
        ensure!(output.stderr.contains(word), "no {word} in {}", output.stderr);
    }
    let as_for_kapitan = command(case, &resolve).env("OCI_USERNAME", USERNAME).env("OCI_PASSWORD", PASSWORD);
    assert_eq!(as_for_kapitan.stdout().await?, pinned, "OCI_USERNAME and OCI_PASSWORD");
    let elsewhere = case.directory.join("elsewhere");
    docker_config(&elsewhere, &registry, &login, &none)?;
    let (directory, file) = (elsewhere.to_string_lossy(), elsewhere.join("config.json"));
    let file = file.to_string_lossy();
    assert_eq!(command(case, &resolve).env("DOCKER_CONFIG", directory.clone()).stdout().await?, pinned);
    assert_eq!(command(case, &resolve).env("REGISTRY_AUTH_FILE", file.clone()).stdout().await?, pinned);
    assert_eq!(answer(case, &[&resolve[..], &["--docker-config", &file]].concat()).await?, pinned);

    fs_err::write(docker.join("config.json"), format!("{{\"auths\": {PASSWORD}"))?;
    let broken = run(case, &resolve).await?;
    refused(&broken, 4, "FileInvalid")?;
    ensure!(!broken.stderr.contains(PASSWORD), "the configuration is quoted in {}", broken.stderr);
    Ok(())
}

async fn certificates_come_from_files(case: &mut Case) -> Result<()> {
    let options = Options { transport: Transport::MutualTls, ..Options::default() };
    let registry = case.registry("mutual", &options).await?;
    let image = registry.reference("team/app:1");
    let source = case.source(&tree(&[("file", "content")]))?;
    let digest = case.lab.publisher.to(&registry).oras(&source, &[&image, "."]).await?;
    let tls = registry.tls()?;
    let identity = tls.identity.as_ref().context("no client certificate")?;
    let [authority, certificate, key] =
        [&tls.authority, &identity.certificate, &identity.key].map(|path| path.to_string_lossy());
    let shown = ["resolve", &image, "--client-certificate", &certificate, "--client-key", &key];

    let pinned = format!("{image}@{digest}\n");
    assert_eq!(answer(case, &[&shown[..], &["--ca-file", &authority]].concat()).await?, pinned);
    assert_eq!(answer(case, &[&shown[..], &["--insecure-skip-verify"]].concat()).await?, pinned);
    let unknown = run(case, &shown).await?;
    refused(&unknown, 8, "TLSFailed")?;
    ensure!(unknown.stderr.contains("--ca-file"), "{}", unknown.stderr);

    let not_a_pair =
        ["resolve", &image, "--ca-file", &authority, "--client-certificate", &authority, "--client-key", &key];
    let output = run(case, &not_a_pair).await?;
    refused(&output, 4, "FileInvalid")?;
    ensure!(output.stderr.contains("--client-certificate"), "{}", output.stderr);
    Ok(())
}
