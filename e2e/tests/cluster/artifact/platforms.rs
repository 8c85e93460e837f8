//! Choice of the published manifest from an index; status reports why if no choice is possible.

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use supercargo_e2e::files::tree;
use supercargo_e2e::object::{artifact_digest, condition, text};

use crate::support::case::{Case, spec, spec_with, tests};

tests!(
    the_manifest_of_the_platform_is_published,
    without_a_platform_the_choice_is_told,
    an_attestation_is_no_choice,
    an_index_in_an_index_is_followed,
);

/// Pushes an artifact without a tag, whose only file holds `content`, and returns its digest.
async fn child(case: &mut Case, content: &str) -> Result<String> {
    let source = case.source(&tree(&[("for", content)]))?;
    case.lab.publisher.oras(&source, &[&case.reference("app"), "for"]).await
}

/// Returns an index entry for an attestation of another manifest, as buildkit writes it.
async fn attestation(case: &Case, about: &str) -> Result<String> {
    fs_err::write(case.directory.join("attestation.json"), "{}")?;
    let layer =
        "attestation.json:application/vnd.in-toto+json,in-toto.io/predicate-type=https://slsa.dev/provenance/v1";
    let digest = case.lab.publisher.raw(&case.directory, &["--layer", layer, &case.reference("app")]).await?;
    let kind = "vnd.docker.reference.type=attestation-manifest";
    Ok(format!("unknown/unknown={digest},{kind},vnd.docker.reference.digest={about}"))
}

async fn index(case: &Case, tag: &str, entries: &[String]) -> Result<String> {
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    case.lab.publisher.index(&case.reference(&format!("app:{tag}")), &entries).await
}

fn for_platform(image: &str, platform: &str) -> Value {
    spec_with(image, &json!({"platform": platform}))
}

/// Checks that the object is Ready with the index, and that the child is published.
fn check(case: &Case, object: &DynamicObject, [index, child, content]: [&str; 3]) -> Result<()> {
    assert_eq!(artifact_digest(object), Some(index), "the digest is that of what the tag names");
    assert_eq!(text(object, "/status/artifact/platformDigest"), Some(child));
    assert_eq!(case.published("app")?, tree(&[("for", content)]));
    Ok(())
}

async fn the_manifest_of_the_platform_is_published(case: &mut Case) -> Result<()> {
    const PLATFORMS: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7"];
    let mut children = Vec::new();
    for platform in PLATFORMS {
        children.push(child(case, platform).await?);
    }
    let mut entries: Vec<String> =
        PLATFORMS.iter().zip(&children).map(|(platform, child)| format!("{platform}={child}")).collect();
    entries.push(attestation(case, &children[0]).await?);
    let whole = index(case, "1", &entries).await?;
    case.start_operator().await?;
    // The same object: the digest of the index stays, the chosen child changes.
    for (platform, child) in PLATFORMS.iter().zip(&children) {
        case.space.apply("app", &for_platform(&case.reference("app:1"), platform)).await?;
        let object = case.space.ready_with("app", &whole).await?;
        check(case, &object, [&whole, child, platform]).with_context(|| format!("wanted {platform}"))?;
    }
    Ok(())
}

async fn without_a_platform_the_choice_is_told(case: &mut Case) -> Result<()> {
    let (amd, arm) = (child(case, "amd").await?, child(case, "arm").await?);
    let attested = attestation(case, &amd).await?;
    let whole = index(case, "1", &[format!("linux/amd64={amd}"), format!("linux/arm/v7={arm}"), attested]).await?;
    let image = case.reference("app:1");
    case.start_operator().await?;
    for spec in [spec(&image), for_platform(&image, "windows/amd64")] {
        case.space.apply("app", &spec).await?;
        let object = case.space.refused("app", "PlatformNotFound").await?;
        let message = condition(&object, "Ready").context("no Ready condition")?.message;
        ensure!(message.contains("linux/amd64, linux/arm/v7"), "the message does not list them: {message}");
        ensure!(
            !message.contains("unknown") && !message.contains("sha256:"),
            "the message lists what is no choice: {message}"
        );
        ensure!(!case.current("app").exists(), "something was published");
    }

    case.space.apply("app", &for_platform(&image, "linux/arm/v7")).await?;
    let object = case.space.ready_with("app", &whole).await?;
    check(case, &object, [&whole, &arm, "arm"])
}

async fn an_attestation_is_no_choice(case: &mut Case) -> Result<()> {
    let only = child(case, "everybody").await?;
    let attested = attestation(case, &only).await?;
    let whole = index(case, "1", &[format!("linux/amd64={only}"), attested]).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&case.reference("app:1"))).await?;
    let object = case.space.ready_with("app", &whole).await?;
    check(case, &object, [&whole, &only, "everybody"])
}

async fn an_index_in_an_index_is_followed(case: &mut Case) -> Result<()> {
    let (amd, arm) = (child(case, "amd").await?, child(case, "arm").await?);
    let inner = index(case, "inner", &[format!("linux/amd64={amd}"), format!("linux/arm64={arm}")]).await?;
    let outer = index(case, "outer", &[inner]).await?;
    case.start_operator().await?;
    case.space.apply("app", &for_platform(&case.reference("app:outer"), "linux/arm64")).await?;
    let object = case.space.ready_with("app", &outer).await?;
    check(case, &object, [&outer, &arm, "arm"])
}
