//! `supercargo promote`, `attach` and `discover`: artifacts and what refers to them, from one real registry to another,
//! read by the reference clients.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use supercargo_e2e::files::tree;
use supercargo_e2e::gate::Gate;
use supercargo_e2e::lab::note;
use supercargo_e2e::registry::{Auth, Options, PASSWORD, Product, Registry, USERNAME};

use super::push::{REACHED, reach, start};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, command, refused, run};
use crate::support::revision;

tests!(
    promote_keeps_the_digest_and_writes_with_a_token_of_its_own,
    a_promoted_version_is_replaced_only_by_force,
    a_promotion_within_a_registry_mounts_its_blobs,
    a_promotion_that_is_killed_leaves_no_tag_and_uploads_only_the_rest_again,
    two_promotions_of_one_tag_leave_one_of_the_two_digests,
    an_interrupted_promotion_or_attachment_ends_with_the_code_of_the_signal,
    twenty_attachments_at_once_lose_nothing_without_the_referrers_api,
    attachments_are_listed_by_the_registry_and_promoted,
);

/// Number of kills, unless `SUPERCARGO_KILLS` sets another one.
const KILLS: u64 = 8;
/// Bytes per file of a large revision.
const PADDING: usize = 150_000;
/// Type of attached files.
const KIND: &str = "application/vnd.example.evidence";

/// Resolves a reference with oras.
async fn oras_resolve(case: &Case, reference: &str) -> Result<String> {
    let oras = case.lab.run.command(&case.lab.tools.oras).args(["resolve", "--plain-http", reference]);
    Ok(oras.stdout().await?.trim().to_owned())
}

/// Returns the digests that oras finds for a subject.
async fn oras_discover(case: &Case, reference: &str) -> Result<Vec<String>> {
    let arguments = ["discover", "--plain-http", "--format", "json", reference];
    let text = case.lab.run.command(&case.lab.tools.oras).args(arguments).stdout().await?;
    let document: Value = serde_json::from_str(&text).context("the output of oras discover")?;
    let listed = document["referrers"].as_array().or_else(|| document["manifests"].as_array());
    let digests = listed.into_iter().flatten().filter_map(|one| one["digest"].as_str());
    Ok(digests.map(str::to_owned).collect())
}

async fn push(case: &mut Case, registry: Option<&Registry>, name: &str, content: &str) -> Result<(String, String)> {
    let source = case.source(&tree(&[("file", content)]))?;
    let image = match registry {
        Some(registry) => registry.reference(name),
        None => case.reference(name),
    };
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    Ok((image, digest))
}

async fn promote_keeps_the_digest_and_writes_with_a_token_of_its_own(case: &mut Case) -> Result<()> {
    let (image, digest) = push(case, None, "app:1", "one").await?;
    let target = case.registry("tokens", &Options { auth: Auth::Token, ..Options::default() }).await?;
    let config = case.directory.join("docker.json");
    let auths = json!({"auths": {&target.address: {"username": USERNAME, "password": PASSWORD}}});
    fs_err::write(&config, auths.to_string())?;
    let (config, file) = (config.to_string_lossy(), case.directory.join("digest"));
    let destination = target.reference("team/app:1.0.0,latest");
    let file_name = file.to_string_lossy();
    // The token service has another port than the registry.
    let open = ["--plain-http", "--token-realm", "127.0.0.1"];
    let anonymous = [&["promote", &image, &destination], &open[..]].concat();
    let promote = [&anonymous[..], &["--docker-config", &config]].concat();
    let other = format!("sha256:{}", "0".repeat(64));
    refused(&run(case, &[&promote[..], &["--expect-digest", &other]].concat()).await?, 7, "DigestMismatch")?;
    ensure!(target.requests("team/app")?.is_empty(), "the destination was asked");

    let all = [&promote[..], &["--expect-digest", &digest, "--digest-file", &file_name, "--format", "json"]].concat();
    let shown: Value = serde_json::from_str(&answer(case, &all).await?)?;
    assert_eq!(shown["digest"], digest.as_str());
    assert_eq!(shown["tags"], json!(["1.0.0", "latest"]));
    assert_eq!(shown["reference"], format!("{}@{digest}", target.reference("team/app:1.0.0")));
    assert_eq!(fs_err::read_to_string(&file)?, digest);
    let requests = target.requests("team/app")?;
    let puts: Vec<_> = requests.iter().filter(|one| one.method == "PUT" && one.path.contains("/manifests/")).collect();
    ensure!(puts.len() == 3 && puts[0].path.contains("sha256"), "the tags come last: {puts:?}");
    for tag in ["1.0.0", "latest"] {
        let reference = target.reference(&format!("team/app:{tag}"));
        let verified =
            answer(case, &[&["resolve", &reference], &open[..], &["--docker-config", &config]].concat()).await?;
        assert_eq!(verified.trim(), format!("{reference}@{digest}"));
    }
    refused(&run(case, &anonymous).await?, 4, "Unauthorized")
}

async fn a_promoted_version_is_replaced_only_by_force(case: &mut Case) -> Result<()> {
    let (one, first) = push(case, None, "app:one", "one").await?;
    let (two, second) = push(case, None, "app:two", "two").await?;
    let destination = case.reference("released:1.0.0");
    answer(case, &["promote", &one, &destination, "--plain-http"]).await?;
    answer(case, &["promote", &one, &destination, "--plain-http", "--if-absent"]).await?;
    let replace = ["promote", &two, &destination, "--plain-http"];
    let output = run(case, &replace).await?;
    refused(&output, 1, "TagExists")?;
    ensure!(output.stderr.contains(&first) && output.stderr.contains("--force"), "{}", output.stderr);
    assert_eq!(oras_resolve(case, &destination).await?, first);
    answer(case, &[&replace[..], &["--force"]].concat()).await?;
    assert_eq!(oras_resolve(case, &destination).await?, second);
    let latest = case.reference("released:latest");
    answer(case, &["promote", &one, &latest, "--plain-http"]).await?;
    refused(&run(case, &["promote", &two, &latest, "--plain-http", "--if-absent"]).await?, 1, "TagExists")?;
    answer(case, &["promote", &two, &latest, "--plain-http"]).await?;
    assert_eq!(oras_resolve(case, &latest).await?, second);
    Ok(())
}

async fn a_promotion_within_a_registry_mounts_its_blobs(case: &mut Case) -> Result<()> {
    let (image, digest) = push(case, None, "app:1", "one").await?;
    let destination = case.reference("other/app:1");
    let text = answer(case, &["promote", &image, &destination, "--plain-http", "--format", "json"]).await?;
    let shown: Value = serde_json::from_str(&text)?;
    ensure!(shown["uploadedBlobs"] == 0 && shown["mountedBlobs"] == 2, "{shown}");
    assert_eq!(oras_resolve(case, &destination).await?, digest);
    Ok(())
}

async fn a_promotion_that_is_killed_leaves_no_tag_and_uploads_only_the_rest_again(case: &mut Case) -> Result<()> {
    let source = case.source(&revision::tree(1, PADDING))?;
    let image = case.reference("app:1");
    let digest = case.lab.publisher.oras(&source, &[&image, "."]).await?;
    let kills = std::env::var("SUPERCARGO_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let target = case.registry("killed", &Options::default()).await?;
    let gate = Gate::open(&target.address).await?;
    let home = [("HOME".to_owned(), case.directory.to_string_lossy().into_owned())];
    // Two bytes of traffic for each byte of the artifact would be too many; requests have some kilobytes of headers.
    let most = 7 << 20;
    let mut whole = 0;
    for number in 0..kills {
        let repository = format!("team/app{number}");
        let through = format!("{}/{repository}:1", gate.address);
        let direct = target.reference(&format!("{repository}:1"));
        let arguments = ["promote", &image, &through, "--plain-http"].map(str::to_owned);
        gate.throttle(8 << 20);
        let before = gate.passed();
        let log = format!("{}-promote-{number}", case.space.namespace);
        let mut promote = case.lab.run.service(&log, &case.lab.operator_binary, &arguments, &home).await?;
        // The end of the process is reached if the number is larger than its traffic.
        let _ = gate.wait_passed(before + number * most / kills, Duration::from_secs(10)).await;
        promote.process.kill().await?;
        let tag =
            run(case, &["pull", &direct, "--plain-http", "-o", &format!("{}/out{number}", case.directory.display())])
                .await?;
        if tag.exit.success() {
            whole += 1;
        } else {
            refused(&tag, 5, "ReferenceNotFound")?;
        }
        gate.throttle(0);
        let uploads = |registry: &Registry| -> Result<usize> {
            let requests = registry.requests(&repository)?;
            Ok(requests
                .iter()
                .filter(|one| one.method == "PUT" && one.path.contains("/blobs/") && one.status == 201)
                .count())
        };
        let there = uploads(&target)?;
        let text = answer(case, &["promote", &image, &through, "--plain-http", "--format", "json"]).await?;
        let shown: Value = serde_json::from_str(&text)?;
        let uploaded = shown["uploadedBlobs"].as_u64().context("no number of uploads")?;
        ensure!(there as u64 + uploaded == 2, "{there} blobs were there, and {uploaded} were uploaded");
        assert_eq!(oras_resolve(case, &direct).await?, digest);
    }
    note(&format!("{kills} promotions were killed; {whole} of them had set the tag"));
    Ok(())
}

async fn two_promotions_of_one_tag_leave_one_of_the_two_digests(case: &mut Case) -> Result<()> {
    let mut digests = Vec::new();
    let mut images = Vec::new();
    for name in ["one", "two"] {
        let (image, digest) = push(case, None, &format!("app:{name}"), name).await?;
        images.push(image);
        digests.push(digest);
    }
    for number in 0..5 {
        let destination = case.reference(&format!("race{number}:latest"));
        let promote = |image: &str| command(case, &["promote", image, &destination, "--plain-http"]).output();
        let (one, two) = tokio::try_join!(promote(&images[0]), promote(&images[1]))?;
        let found = oras_resolve(case, &destination).await?;
        ensure!(digests.contains(&found), "{found} is neither of {digests:?}");
        for (output, digest) in [one, two].iter().zip(&digests) {
            // The one that lost reports it, unless it was done before the other began.
            ensure!(output.exit.success() || *digest != found, "{digest} won and failed: {}", output.stderr);
        }
    }
    Ok(())
}

async fn an_interrupted_promotion_or_attachment_ends_with_the_code_of_the_signal(case: &mut Case) -> Result<()> {
    let (image, _) = push(case, None, "app:1", "one").await?;
    let gate = Gate::open(&case.lab.registry.address).await?;
    let file = case.directory.join("evidence.json");
    fs_err::write(&file, "{}")?;
    let [to, subject] = ["other:1", "app:1"].map(|name| format!("{}/{}", gate.address, case.repository(name)));
    let file = file.to_string_lossy().into_owned();
    let cache = case.directory.join("cache");
    for (name, arguments) in [
        ("promote", vec!["promote", &image, &to, "--plain-http"]),
        ("attach", vec!["attach", &subject, &file, "--type", KIND, "--plain-http"]),
    ] {
        gate.hold_after(400);
        let mut process = start(case, name, &arguments, &cache).await?;
        reach(&gate, &process).await?;
        process.process.terminate()?;
        let exit = process.process.wait(REACHED).await?.context("the command did not end")?;
        assert_eq!(exit.code, Some(143), "{name}");
        gate.release();
    }
    refused(&run(case, &["resolve", &case.reference("other:1"), "--plain-http"]).await?, 5, "ReferenceNotFound")?;
    assert_eq!(oras_discover(case, &image).await?, Vec::<String>::new());
    Ok(())
}

/// Attaches files at once, each by a process, and returns their digests.
async fn attach(case: &Case, image: &str, number: usize) -> Result<Vec<String>> {
    let attachments = (0..number).map(|number| {
        let file = case.directory.join(format!("evidence-{number}.json"));
        async move {
            fs_err::write(&file, format!("{{\"number\":{number}}}"))?;
            let name = file.to_string_lossy();
            let attached = answer(case, &["attach", image, &name, "--type", KIND, "--plain-http"]).await?;
            attached.trim().rsplit_once('@').map(|(_, digest)| digest.to_owned()).context("no digest")
        }
    });
    try_join_all(attachments).await
}

async fn twenty_attachments_at_once_lose_nothing_without_the_referrers_api(case: &mut Case) -> Result<()> {
    let (image, _) = push(case, None, "app:1", "one").await?;
    let attached = attach(case, &image, 20).await?;
    let listed = oras_discover(case, &image).await?;
    for digest in &attached {
        ensure!(listed.contains(digest), "{digest} is lost: {listed:?}");
    }
    assert_eq!(listed.len(), 20);
    let text = answer(case, &["discover", &image, "--plain-http", "--format", "json"]).await?;
    let shown: Value = serde_json::from_str(&text)?;
    let ours: Vec<_> = shown["referrers"].as_array().into_iter().flatten().collect();
    ensure!(ours.len() == 20 && ours.iter().all(|one| one["artifactType"] == KIND), "{shown}");
    Ok(())
}

async fn attachments_are_listed_by_the_registry_and_promoted(case: &mut Case) -> Result<()> {
    let products = [Product::Referrers, Product::PagedReferrers, Product::QuirkyReferrers, Product::Distribution];
    let (image, _) = push(case, None, "app:1", "one").await?;
    let attached = attach(case, &image, 2).await?;
    for product in products {
        let target =
            case.registry(&format!("{product:?}").to_lowercase(), &Options { product, ..Options::default() }).await?;
        let destination = target.reference("team/app:1");
        let text = answer(case, &["promote", &image, &destination, "--plain-http", "--format", "json"]).await?;
        ensure!(serde_json::from_str::<Value>(&text)?["referrers"] == 2, "{product:?}: {text}");
        let found = oras_discover(case, &destination).await?;
        for digest in &attached {
            ensure!(found.contains(digest), "{product:?}: {digest} is not in {found:?}");
        }
        let tree = answer(case, &["discover", &destination, "--plain-http"]).await?;
        assert_eq!(tree.lines().count(), 3, "{product:?}: {tree}");
    }
    Ok(())
}
