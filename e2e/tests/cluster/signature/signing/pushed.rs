//! Signatures that `supercargo push --sign-key` makes: there before any tag is set, accepted by cosign, by `supercargo
//! verify` and by `supercargo sync`.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::files::{self, Tree, tree};
use supercargo_e2e::gate::Gate;
use supercargo_e2e::registry::{Product, Registry};
use supercargo_e2e::run::Output;
use supercargo_e2e::signing::{BUNDLE, KeyKind, SIMPLE_SIGNING, SigningKey, legacy_tag};

use super::{accepts, cosign, registry};
use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec_with, tests};
use crate::support::command::{answer, command, refused, run};
use crate::support::sync::{objects, root, sync};

tests!(
    a_packaged_and_pushed_artifact_is_signed_before_its_tags_and_accepted_by_each_verifier,
    an_index_of_the_cache_is_signed_as_a_whole,
    a_signature_that_fails_leaves_no_tag,
);

/// Packages files into a layout; returns its path and the digest.
async fn packaged(case: &mut Case, name: &str, content: &Tree) -> Result<(String, String)> {
    let (source, layout) = (case.source(content)?, case.directory.join(name));
    let layout = layout.to_string_lossy().into_owned();
    let printed = answer(case, &["package", &source.to_string_lossy(), "-o", &layout]).await?;
    let digest = printed.trim().rsplit_once('@').context("no digest")?.1.to_owned();
    Ok((layout, digest))
}

async fn push(case: &Case, source: &str, destination: &str, more: &[&str], password: &str) -> Result<Output> {
    let arguments = [&["push", source, destination, "--plain-http", "--format", "json"], more].concat();
    command(case, &arguments).env("COSIGN_PASSWORD", password).output().await
}

async fn pushed(case: &Case, source: &str, destination: &str, more: &[&str]) -> Result<Value> {
    let output = push(case, source, destination, more, "").await?;
    ensure!(output.exit.success(), "{}", output.stderr);
    Ok(serde_json::from_str(&output.stdout)?)
}

/// Checks that `supercargo sync` publishes the files only if the right key is required.
async fn check_sync(case: &Case, image: &str, content: &Tree, [right, wrong]: [&SigningKey; 2]) -> Result<()> {
    let by = |key: &SigningKey| {
        let cosign = json!({"keys": [{"inline": key.public_pem}], "transparencyLog": "Ignored"});
        spec_with(image, &json!({"verify": [{"name": "release", "cosign": cosign}]}))
    };
    let from = objects(case, &[("right", by(right)), ("wrong", by(wrong))])?;
    let output = sync(case, &from).await?;
    ensure!(!output.exit.success() && output.stdout.contains("IdentityMismatch"), "{}", output.stdout);
    let published = |name: &str| root(case).join("team").join(name).join("current");
    assert_eq!(files::read(&published("right"))?, *content);
    ensure!(!published("wrong").exists(), "files with a signature of another key were published");
    fs_err::remove_dir_all(root(case))?;
    Ok(())
}

/// Returns the manifests that were written, in order.
fn written(registry: &Registry, repository: &str) -> Result<Vec<String>> {
    let requests = registry.requests(repository)?;
    let puts = requests.into_iter().filter(|one| one.method == "PUT" && one.status == 201);
    Ok(puts.filter_map(|one| Some(one.path.split_once("/manifests/")?.1.to_owned())).collect())
}

async fn a_packaged_and_pushed_artifact_is_signed_before_its_tags_and_accepted_by_each_verifier(
    case: &mut Case,
) -> Result<()> {
    let cosign = cosign(case).await?;
    let (right, wrong) =
        (cosign.key_pair("right", KeyKind::P256).await?, cosign.key_pair("wrong", KeyKind::P256).await?);
    let key = right.private.to_string_lossy().into_owned();
    let rows = [(Product::Distribution, false), (Product::Distribution, true), (Product::Referrers, false)];
    for (number, (product, is_legacy)) in rows.into_iter().enumerate() {
        let registry = case
            .registry(&format!("r{number}"), &supercargo_e2e::registry::Options { product, ..Default::default() })
            .await?;
        let content = tree(&[("a.txt", "one"), ("b/c.txt", &number.to_string())]);
        let (layout, digest) = packaged(case, &format!("layout-{number}"), &content).await?;
        let repository = case.repository("app");
        let destination = registry.reference(&format!("{repository}:1.0.0,latest"));
        let more = [&["--sign-key", &key][..], if is_legacy { &["--sign-legacy"] } else { &[] }].concat();
        let shown = pushed(case, &layout, &destination, &more).await?;
        let format = if is_legacy { "Legacy" } else { "Bundle" };
        assert_eq!((shown["digest"].as_str(), shown["signatureFormat"].as_str()), (Some(&*digest), Some(format)));
        let signature = shown["signature"].as_str().context("no signature")?;
        ensure!(shown["keyFingerprint"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{shown}");

        let puts = written(&registry, &repository)?;
        let at = |name: &str| puts.iter().position(|put| put == name).with_context(|| format!("{name} in {puts:?}"));
        let signed = if is_legacy { at(&legacy_tag(&digest))? } else { at(signature)? };
        ensure!(at(&digest)? < signed && signed < at("1.0.0")? && at("latest")? + 1 == puts.len(), "{puts:?}");

        let artifact = Artifact::of(case, &registry, "app", digest.clone(), Vec::new());
        ensure!(accepts(&cosign, &artifact, &right).await?, "{product:?}, {format}: cosign, the key that signed");
        ensure!(!accepts(&cosign, &artifact, &wrong).await?, "{product:?}, {format}: cosign, another key");
        let image = registry.reference(&format!("{repository}:1.0.0"));
        for (key, expected) in [(&right, true), (&wrong, false)] {
            let public = key.public.to_string_lossy();
            let verify = ["verify", &image, "--plain-http", "--key", &public, "--transparency-log", "ignored"];
            assert_eq!(run(case, &verify).await?.exit.success(), expected, "{product:?}, {format}: verify");
        }
        check_sync(case, &image, &content, [&right, &wrong]).await?;

        let again = pushed(case, &layout, &destination, &[&more[..], &["--if-absent"]].concat()).await?;
        assert_eq!(again["signature"], signature, "the same signature");
        assert_eq!(written(&registry, &repository)?, puts, "the second time nothing is written");
    }
    Ok(())
}

async fn an_index_of_the_cache_is_signed_as_a_whole(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let key = cosign.key_pair("right", KeyKind::P256).await?;
    let source = &case.lab.registry;
    let one = Artifact::push_text(case, source, "app:one", "one").await?;
    let two = Artifact::push_text(case, source, "app:two", "two").await?;
    let index = Artifact::index(case, source, "app:1", &[("linux/amd64", &one), ("linux/arm64", &two)]).await?;
    let (image, cache) = (case.reference("app:1"), case.directory.join("cache").to_string_lossy().into_owned());
    answer(case, &["pull", &image, "--plain-http", "--cache-dir", &cache]).await?;
    let target = registry(case, Product::Referrers).await?;
    let destination = target.reference(&format!("{}:1", case.repository("app")));
    let private = key.private.to_string_lossy();
    let shown = pushed(case, &image, &destination, &["--cache-dir", &cache, "--sign-key", &private]).await?;
    assert_eq!(shown["digest"], index.digest.as_str());
    let there = |digest: &str| Artifact::of(case, &target, "app", digest.to_owned(), Vec::new());
    ensure!(accepts(&cosign, &there(&index.digest), &key).await?, "the index");
    ensure!(!accepts(&cosign, &there(&one.digest), &key).await?, "a manifest of the index");
    Ok(())
}

async fn a_signature_that_fails_leaves_no_tag(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let generate =
        cosign.command(&["generate-key-pair", "--output-key-prefix", "mine"]).env("COSIGN_PASSWORD", "hunter2");
    generate.stdout().await?;
    let key = case.directory.join("cosign/mine.key").to_string_lossy().into_owned();
    let registry = registry(case, Product::Distribution).await?;
    let gate = Gate::open(&registry.address).await?;
    let (layout, digest) = packaged(case, "layout", &tree(&[("a.txt", "one")])).await?;
    for (name, is_legacy, text) in [("bundle", false, BUNDLE), ("legacy", true, SIMPLE_SIGNING)] {
        let repository = case.repository(name);
        let (through, direct) = (format!("{}/{repository}:1,2", gate.address), registry.reference(&repository));
        let more = [&["--sign-key", &key][..], if is_legacy { &["--sign-legacy"] } else { &[] }].concat();
        let wrong = push(case, &layout, &through, &more, "wrong").await?;
        refused(&wrong, 4, "FileInvalid")?;
        ensure!(wrong.stderr.contains("COSIGN_PASSWORD"), "{}", wrong.stderr);
        ensure!(registry.requests(&repository)?.is_empty(), "the registry was asked before the key was read");

        gate.refuse(text);
        let output = push(case, &layout, &through, &more, "hunter2").await?;
        refused(&output, 7, "PublishRefused")?;
        gate.refuse("");
        ensure!(written(&registry, &repository)?.contains(&digest), "the manifest was to be written before");
        for tag in ["1", "2"] {
            let resolved = run(case, &["resolve", &format!("{direct}:{tag}"), "--plain-http"]).await?;
            refused(&resolved, 5, "ReferenceNotFound")?;
        }
        let repeated = push(case, &layout, &through, &more, "hunter2").await?;
        ensure!(repeated.exit.success(), "{}", repeated.stderr);
        let resolved = answer(case, &["resolve", &format!("{direct}:2"), "--plain-http"]).await?;
        ensure!(resolved.trim().ends_with(&digest), "{resolved}");
    }
    Ok(())
}
