//! Signatures and other referrers: ours read by cosign and oras, and theirs by `verify`, `discover` and `promote`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::signing::{BUNDLE, Cosign, KeyKind, SigningKey, fallback_tag, legacy_tag};

use super::content;
use super::site::{Kind, Site, Sites};
use crate::support::case::{Case, tests};
use crate::support::command::{answer, digest};

tests!(cosign_and_oras_read_our_signatures_and_attachments, we_read_signatures_and_attachments_of_cosign_and_oras,);

/// Type of attached files.
const KIND: &str = "application/vnd.example.evidence";
const EVIDENCE: &str = "{\"tests\":\"passed\"}";

/// The registries, cosign, two keys, a packaged artifact, and a file to attach.
struct Setup {
    sites: Sites,
    cosign: Cosign,
    right: SigningKey,
    wrong: SigningKey,
    layout: String,
    evidence: String,
}

impl Setup {
    async fn new(case: &mut Case) -> Result<Self> {
        let [layout, evidence] =
            ["layout", "evidence.json"].map(|name| case.directory.join(name).to_string_lossy().into_owned());
        let source = case.source(&content())?.to_string_lossy().into_owned();
        answer(case, &["package", &source, "-o", &layout]).await?;
        fs_err::write(&evidence, EVIDENCE)?;
        let cosign = case.lab.cosign(&case.directory.join("cosign")).await?;
        let (right, wrong) =
            (cosign.key_pair("right", KeyKind::P256).await?, cosign.key_pair("wrong", KeyKind::P256).await?);
        Ok(Self { sites: Sites::open(case, &Kind::ALL).await?, cosign, right, wrong, layout, evidence })
    }

    /// Pushes the artifact; returns the reference with the digest and without a tag.
    async fn push(&self, case: &Case, site: &Site, name: &str, options: &[&str]) -> Result<String> {
        let repository = site.reference(&case.repository(name));
        let destination = format!("{repository}:1.0.0");
        let push = [&["push", &self.layout, &destination], options].concat();
        let pushed = self.sites.ours(case, site, &push).env("COSIGN_PASSWORD", "").stdout().await?;
        Ok(format!("{repository}@{}", digest(&pushed)?))
    }

    /// Checks that cosign accepts the right key only.
    async fn cosign_verifies(&self, site: &Site, image: &str) -> Result<()> {
        let cosign = self.sites.cosign(&self.cosign, site);
        let right = cosign.verify(image, &self.right.verify_args()).await?;
        ensure!(right.accepted, "cosign refuses the key that signed: {}", right.text);
        let wrong = cosign.verify(image, &self.wrong.verify_args()).await?;
        ensure!(!wrong.accepted, "cosign accepts another key: {}", wrong.text);
        Ok(())
    }

    /// Checks that `verify` accepts the right key only.
    async fn ours_verifies(&self, case: &Case, site: &Site, image: &str, options: &[&str]) -> Result<()> {
        for (key, expected) in [(&self.right, true), (&self.wrong, false)] {
            let public = key.public.to_string_lossy();
            let verify = [&["verify", image, "--key", &public, "--transparency-log", "ignored"], options].concat();
            let output = self.sites.ours(case, site, &verify).output().await?;
            ensure!(output.exit.success() == expected, "verify by {public}: {}", output.stderr);
            ensure!(expected || output.exit.code == Some(6), "another failure: {}", output.stderr);
        }
        Ok(())
    }

    /// Returns type and digest of each referrer that oras finds, sorted.
    async fn oras_discovers(&self, case: &Case, site: &Site, image: &str) -> Result<Vec<[String; 2]>> {
        let found = self.sites.oras(case, site, &["discover", "--format", "json", image]).stdout().await?;
        listed(&found)
    }

    /// Returns the same of `discover`.
    async fn ours_discovers(&self, case: &Case, site: &Site, image: &str) -> Result<Vec<[String; 2]>> {
        listed(&self.sites.ours(case, site, &["discover", image, "--format", "json"]).stdout().await?)
    }
}

fn listed(document: &str) -> Result<Vec<[String; 2]>> {
    let document: Value = serde_json::from_str(document)?;
    let listed = document["referrers"].as_array().context("no list")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut listed: Vec<_> = listed.iter().map(|one| [text(&one["artifactType"]), text(&one["digest"])]).collect();
    listed.sort();
    Ok(listed)
}

async fn cosign_and_oras_read_our_signatures_and_attachments(case: &mut Case) -> Result<()> {
    let setup = Setup::new(case).await?;
    let key = setup.right.private.to_string_lossy().into_owned();
    for site in &setup.sites.all {
        ours_at(case, &setup, site, &key).await.with_context(|| format!("{:?}", site.kind))?;
    }
    Ok(())
}

async fn ours_at(case: &Case, setup: &Setup, site: &Site, key: &str) -> Result<()> {
    let (sites, legacy) = (&setup.sites, ["--sign-key", key, "--sign-legacy"]);
    let rows: [(&str, &[&str], &[&str]); 4] = [
        // Name, options of push, options of sign.
        ("pushed", &["--sign-key", key], &[]),
        ("pushed-legacy", &legacy, &[]),
        ("signed", &[], &["--key", key]),
        ("signed-legacy", &[], &["--key", key, "--legacy"]),
    ];
    for (name, push, sign) in rows {
        let image = setup.push(case, site, name, push).await?;
        if !sign.is_empty() {
            let sign = [&["sign", &image], sign].concat();
            sites.ours(case, site, &sign).env("COSIGN_PASSWORD", "").stdout().await?;
        }
        setup.cosign_verifies(site, &image).await.context(name)?;
        setup.ours_verifies(case, site, &image, &[]).await.context(name)?;
    }
    let image = setup.push(case, site, "attached", &[]).await?;
    let attach = ["attach", &image, &setup.evidence, "--type", KIND];
    let attached = digest(&sites.ours(case, site, &attach).stdout().await?)?.to_owned();
    let found = setup.oras_discovers(case, site, &image).await?;
    assert_eq!(found.iter().map(|[_, digest]| digest).collect::<Vec<_>>(), [&attached], "oras discover");
    let into = case.directory.join(format!("attached-{:?}", site.kind));
    let repository = image.split('@').next().unwrap_or_default();
    sites.oras_pull(case, site, &format!("{repository}@{attached}"), &into).await?;
    assert_eq!(fs_err::read_to_string(into.join("evidence.json"))?, EVIDENCE, "the attached file");
    Ok(())
}

async fn we_read_signatures_and_attachments_of_cosign_and_oras(case: &mut Case) -> Result<()> {
    let setup = Setup::new(case).await?;
    for (number, site) in setup.sites.all.iter().enumerate() {
        let next = setup.sites.next(number);
        theirs_at(case, &setup, [site, next]).await.with_context(|| format!("{:?}", site.kind))?;
    }
    Ok(())
}

async fn theirs_at(case: &Case, setup: &Setup, [site, next]: [&Site; 2]) -> Result<()> {
    let (sites, cosign) = (&setup.sites, setup.sites.cosign(&setup.cosign, site));
    let [bundle, legacy, attested, attached] = ["bundle", "legacy", "attested", "attached"];
    let push = async |name: &str| setup.push(case, site, &format!("by-{name}"), &[]).await;
    let images = [push(bundle).await?, push(legacy).await?, push(attested).await?, push(attached).await?];
    cosign.sign(&images[0], &setup.right).await?;
    cosign.sign_legacy(&images[1], &setup.right).await?;
    cosign.attest(&images[2], &setup.right, KIND_OF_PREDICATE, &json!({"tests": "passed"})).await?;
    let attach = ["attach", "--no-tty", "--artifact-type", KIND, &images[3], "evidence.json:application/json"];
    sites.oras(case, site, &attach).directory(Path::new(&case.directory)).stdout().await?;

    for (name, image) in [bundle, legacy, attested, attached].into_iter().zip(&images) {
        let there = next.reference(&case.repository(&format!("promoted-{name}")));
        sites.promote(case, [site, next], &[image, &format!("{there}:1.0.0")]).stdout().await?;
        let promoted = image.replace(image.split('@').next().unwrap_or_default(), &there);
        for (site, image) in [(site, image), (next, &promoted)] {
            let place = format!("{name} at {:?}", site.kind);
            theirs_is_read(case, setup, site, (name, image)).await.context(place)?;
        }
    }
    Ok(())
}

/// Type of the statement of an attestation.
const KIND_OF_PREDICATE: &str = "https://example.com/tests/v1";

async fn theirs_is_read(case: &Case, setup: &Setup, site: &Site, (name, image): (&str, &str)) -> Result<()> {
    let (repository, digest) = image.split_once('@').context("no digest")?;
    let theirs = setup.oras_discovers(case, site, image).await?;
    let ours = setup.ours_discovers(case, site, image).await?;
    match name {
        "bundle" => {
            setup.ours_verifies(case, site, image, &[]).await?;
            setup.cosign_verifies(site, image).await?;
        }
        "legacy" => {
            setup.ours_verifies(case, site, image, &[]).await?;
            setup.cosign_verifies(site, image).await?;
            setup.sites.resolve(case, site, &format!("{repository}:{}", legacy_tag(digest))).await?;
            return Ok(());
        }
        "attested" => setup.ours_verifies(case, site, image, &["--predicate-type", KIND_OF_PREDICATE]).await?,
        _ => {}
    }
    let kind = if name == "attached" { KIND } else { BUNDLE };
    ensure!(ours.len() == 1 && ours[0][0] == kind, "discover: {ours:?}");
    // go-containerregistry lists the type of the config.
    let digests = |all: &[[String; 2]]| all.iter().map(|[_, digest]| digest.clone()).collect::<Vec<_>>();
    assert_eq!(digests(&ours), digests(&theirs), "discover and oras discover");
    let has_tag = setup.sites.resolve(case, site, &format!("{repository}:{}", fallback_tag(digest))).await.is_ok();
    let has_api = matches!(site.kind, Kind::Referrers | Kind::Quirky);
    ensure!(has_tag || has_api, "no list of referrers under a tag");
    Ok(())
}
