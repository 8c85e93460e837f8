//! Filling by `pull`, and reading without a registry.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::{self, tree};
use supercargo_e2e::registry::Options;
use supercargo_e2e::signing::{KeyKind, SigningKey};

use super::{pull, push, unpackaged};
use crate::support::case::{Case, spec, tests};
use crate::support::command::{answer, refused, run};
use crate::support::sync::{objects, root, sync};

tests!(
    pull_list_and_unpackage_work_without_the_registry,
    package_needs_a_reference_and_a_cache_outside_of_its_source,
    an_existing_directory_and_an_unknown_reference_are_refused,
    pull_into_the_cache_takes_only_whole_artifacts,
    signatures_are_verified_again_from_the_cache_and_behind_an_air_gap,
    list_has_what_sync_published,
    prune_removes_what_no_reference_leads_to,
);

async fn pull_list_and_unpackage_work_without_the_registry(case: &mut Case) -> Result<()> {
    let mut registry = case.registry("own", &Options::default()).await?;
    let (image, content) = (registry.reference("team/app:1"), tree(&[("a.txt", "one"), ("deep/b.txt", "two")]));
    let publisher = case.lab.publisher.to(&registry);
    let source = case.source(&content)?;
    let digest = publisher.oras(&source, &[&image, "."]).await?;
    // The default place: HOME is the directory of the test.
    let arguments = ["pull", &image, "--plain-http"];
    for change in ["added to", "unchanged in"] {
        let output = run(case, &arguments).await?;
        ensure!(output.exit.success() && output.stderr.starts_with(change), "{change}: {}", output.stderr);
        assert_eq!(output.stdout, format!("{image}@{digest}\n"));
    }
    let moved = publisher.oras(&case.source(&tree(&[("a.txt", "other")]))?, &[&image, "."]).await?;
    let output = run(case, &arguments).await?;
    ensure!(output.stderr.starts_with("updated in"), "{}", output.stderr);
    // A pin keeps what the tag no longer refers to.
    let pin = format!("{}@{digest}", image.trim_end_matches(":1"));
    answer(case, &["pull", &pin, "--plain-http"]).await?;
    registry.stop().await?;

    let listed: Value = serde_json::from_str(&answer(case, &["list", "--format", "json"]).await?)?;
    let name = image.trim_end_matches(":1");
    let rows: Vec<_> = listed["artifacts"]
        .as_array()
        .context("no list")?
        .iter()
        .map(|row| [&row["name"], &row["tag"], &row["digest"]])
        .collect();
    assert_eq!(
        rows,
        [[&Value::from(name), &Value::Null, &digest.into()], [&name.into(), &"1".into(), &moved.clone().into()]]
    );
    let text = answer(case, &["list"]).await?;
    ensure!(text.starts_with("NAME ") && text.lines().count() == 3, "{text}");
    let cache = case.directory.join(".cache/supercargo/artifacts");
    assert_eq!(unpackaged(case, &cache, &image).await?, tree(&[("a.txt", "other")]));
    assert_eq!(unpackaged(case, &cache, &format!("oci://{pin}")).await?, content);
    let copy = case.reference("promoted:2");
    answer(case, &["promote", &image, &copy, "--from-cache", "--to-plain-http"]).await?;
    assert_eq!(case.lab.publisher.resolve(&copy).await?, moved);
    Ok(())
}

async fn package_needs_a_reference_and_a_cache_outside_of_its_source(case: &mut Case) -> Result<()> {
    let source = case.source(&tree(&[("a", "1")]))?.to_string_lossy().into_owned();
    let cache = case.directory.join("cache").to_string_lossy().into_owned();
    // The cache is by reference. Only a catalog of kubara has one of its own.
    let unnamed = run(case, &["package", &source, "--cache-dir", &cache]).await?;
    refused(&unnamed, 2, "InvalidSpec")?;
    ensure!(unnamed.stderr.contains("--ref"), "{}", unnamed.stderr);
    let inside = format!("{source}/cache");
    let image = case.reference("app:1");
    refused(&run(case, &["package", &source, "--ref", &image, "--cache-dir", &inside]).await?, 2, "InvalidSpec")?;
    ensure!(!Path::new(&inside).exists(), "the source was changed");
    Ok(())
}

async fn an_existing_directory_and_an_unknown_reference_are_refused(case: &mut Case) -> Result<()> {
    let (image, digest) = push(case, "app:1", &tree(&[("a", "1")])).await?;
    let cache = case.directory.join("cache");
    let (dir, out) = (cache.to_string_lossy().into_owned(), case.directory.join("out"));
    let unpackage = async |case: &Case, image: &str| {
        run(case, &["unpackage", image, &out.to_string_lossy(), "--cache-dir", &dir]).await
    };
    refused(&unpackage(case, &image).await?, 5, "ReferenceNotFound")?;
    ensure!(!cache.exists(), "reading creates no cache");
    pull(case, &cache, &image).await?;
    let other = format!("{}@{digest}", case.reference("other"));
    refused(&unpackage(case, &other).await?, 5, "ReferenceNotFound")?;
    fs_err::create_dir(&out)?;
    refused(&unpackage(case, &image).await?, 1, "OutputConflict")?;
    ensure!(fs_err::read_dir(&out)?.count() == 0, "something was written");
    // Damage is found by the digest, and nothing is left.
    fs_err::remove_dir(&out)?;
    let manifest: Value = serde_json::from_slice(&fs_err::read(blob(&cache, &digest))?)?;
    let layer = manifest["layers"][0]["digest"].as_str().context("no layer")?;
    let mut bytes = fs_err::read(blob(&cache, layer))?;
    let last = bytes.last_mut().context("an empty layer")?;
    *last ^= 1;
    fs_err::write(blob(&cache, layer), bytes)?;
    refused(&unpackage(case, &image).await?, 7, "DigestMismatch")?;
    ensure!(!out.exists(), "a part was unpacked");
    Ok(())
}

async fn pull_into_the_cache_takes_only_whole_artifacts(case: &mut Case) -> Result<()> {
    let (image, _) = push(case, "app:1", &tree(&[("a", "1")])).await?;
    let cache = case.directory.join("cache");
    let rows: [&[&str]; 6] = [
        &["--sub-path", "a"],
        &["--include", "a"],
        &["--layer-title", "a"],
        &["--layer-mode", "file"],
        &["--platform", "linux/amd64"],
        &["--artifact-type", "a/other"],
    ];
    for options in rows {
        let fixed = ["pull", &image, "--plain-http", "--cache-dir", &cache.to_string_lossy()];
        let output = run(case, &[&fixed[..], options].concat()).await?;
        let (code, reason) =
            if options[0] == "--artifact-type" { (7, "UnexpectedArtifactType") } else { (2, "InvalidSpec") };
        refused(&output, code, reason)?;
        ensure!(output.stderr.contains(options[0]), "{}", output.stderr);
    }
    let limited = ["pull", &image, "--plain-http", "--cache-dir", &cache.to_string_lossy(), "--max-layer-bytes", "1"];
    refused(&run(case, &limited).await?, 7, "LimitExceeded")?;
    assert_eq!(
        answer(case, &["list", "--format", "json", "--cache-dir", &cache.to_string_lossy()]).await?,
        "{\"artifacts\":[]}\n"
    );
    Ok(())
}

async fn signatures_are_verified_again_from_the_cache_and_behind_an_air_gap(case: &mut Case) -> Result<()> {
    let cosign = case.lab.cosign(&case.directory.join("cosign")).await?;
    let key = cosign.key_pair("release", KeyKind::P256).await?;
    let other = cosign.key_pair("other", KeyKind::P256).await?;
    let content = tree(&[("a", "1")]);
    let (bundle, digest) = push(case, "bundle:1", &content).await?;
    let (legacy, legacy_digest) = push(case, "legacy:1", &content).await?;
    cosign.sign(&format!("{}@{digest}", case.reference("bundle")), &key).await?;
    cosign.sign_legacy(&format!("{}@{legacy_digest}", case.reference("legacy")), &key).await?;
    let (cache, far) = (case.directory.join("cache"), case.directory.join("far"));
    let verified = |key: &SigningKey| {
        [
            "--key".to_owned(),
            key.public.to_string_lossy().into_owned(),
            "--transparency-log".to_owned(),
            "ignored".to_owned(),
        ]
    };
    for image in [&bundle, &legacy] {
        let dir = cache.to_string_lossy().into_owned();
        let pull = ["pull", image, "--plain-http", "--cache-dir", &dir].map(str::to_owned);
        let arguments = |key: &SigningKey| [&pull[..], &verified(key)].concat();
        refused(&run(case, &texts(&arguments(&other))).await?, 6, "IdentityMismatch")?;
        answer(case, &texts(&arguments(&key))).await?;
    }
    let list = answer(case, &["list", "--cache-dir", &cache.to_string_lossy()]).await?;
    ensure!(list.matches("key sha256:").count() == 2 && list.lines().count() == 3, "{list}");
    let archive = case.directory.join("both.tar").to_string_lossy().into_owned();
    answer(case, &["export", &bundle, &legacy, "-o", &archive, "--cache-dir", &cache.to_string_lossy()]).await?;
    answer(case, &["import", &archive, "--cache-dir", &far.to_string_lossy()]).await?;
    for (image, place) in [(&bundle, &cache), (&legacy, &cache), (&bundle, &far), (&legacy, &far)] {
        for (key, accepted) in [(&key, true), (&other, false)] {
            let (out, dir) = (case.directory.join("out"), place.to_string_lossy().into_owned());
            let out_text = out.to_string_lossy().into_owned();
            let unpackage = ["unpackage", image, &out_text, "--cache-dir", &dir].map(str::to_owned);
            let all = [&unpackage[..], &verified(key)].concat();
            let output = run(case, &texts(&all)).await?;
            if accepted {
                ensure!(output.exit.success(), "{image}: {}", output.stderr);
                assert_eq!(files::read(&out)?, content);
                fs_err::remove_dir_all(&out)?;
            } else {
                refused(&output, 6, "IdentityMismatch")?;
            }
        }
    }
    // What is imported was not verified here.
    let list = answer(case, &["list", "--cache-dir", &far.to_string_lossy()]).await?;
    ensure!(list.lines().count() == 3 && !list.contains("key sha256:"), "{list}");
    Ok(())
}

async fn list_has_what_sync_published(case: &mut Case) -> Result<()> {
    let (image, digest) = push(case, "app:1", &tree(&[("a", "1")])).await?;
    let output = sync(case, &objects(case, &[("app", spec(&image))])?).await?;
    ensure!(output.exit.success(), "{}", output.stderr);
    let root = root(case).to_string_lossy().into_owned();
    let listed: Value = serde_json::from_str(&answer(case, &["list", "--root", &root, "--format", "json"]).await?)?;
    let row = &listed["artifacts"][0];
    assert_eq!([&row["name"], &row["tag"], &row["digest"]], ["team/app", "1", &digest]);
    ensure!(row["since"].is_string() && listed["artifacts"].as_array().is_some_and(|rows| rows.len() == 1), "{listed}");
    Ok(())
}

async fn prune_removes_what_no_reference_leads_to(case: &mut Case) -> Result<()> {
    let cache = case.directory.join("cache");
    let dir = cache.to_string_lossy().into_owned();
    let (image, first) = push(case, "app:1", &tree(&[("a", "1")])).await?;
    pull(case, &cache, &image).await?;
    let (_, second) = push(case, "app:1", &tree(&[("a", "2")])).await?;
    pull(case, &cache, &image).await?;
    ensure!(blob(&cache, &first).exists(), "only prune removes content");
    let pruned: Value =
        serde_json::from_str(&answer(case, &["cache", "prune", "--format", "json", "--cache-dir", &dir]).await?)?;
    ensure!(pruned["references"] == json!([]) && pruned["blobs"] == 2, "{pruned}");
    ensure!(!blob(&cache, &first).exists() && blob(&cache, &second).exists(), "the wrong content was removed");
    let (other, _) = push(case, "app:2", &tree(&[("a", "3")])).await?;
    pull(case, &cache, &other).await?;
    let removed = answer(case, &["cache", "prune", "--keep", "1", "--cache-dir", &dir]).await?;
    assert_eq!(removed, format!("{image}@{second}\n"));
    let list = answer(case, &["list", "--format", "json", "--cache-dir", &dir]).await?;
    ensure!(list.contains("\"tag\":\"2\"") && !list.contains("\"tag\":\"1\""), "{list}");
    answer(case, &["cache", "prune", "--older-than", "0s", "--cache-dir", &dir]).await?;
    assert_eq!(fs_err::read_dir(cache.join("blobs/sha256"))?.count(), 0);
    Ok(())
}

fn blob(cache: &Path, digest: &str) -> std::path::PathBuf {
    cache.join("blobs").join(digest.replace(':', "/"))
}

fn texts(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}
