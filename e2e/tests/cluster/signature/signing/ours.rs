//! Signatures that `supercargo sign` makes: accepted by cosign and by `supercargo verify`, in cosign's places.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::registry::Product;
use supercargo_e2e::run::Output;
use supercargo_e2e::signing::{BUNDLE, KeyKind, SIGN_PREDICATE, SIMPLE_SIGNING, SigningKey, fallback_tag, legacy_tag};

use super::{accepts, cosign, registry};
use crate::support::artifact::Artifact;
use crate::support::case::{Case, tests};
use crate::support::command::{command, refused, run};

tests!(
    cosign_and_verify_accept_each_kind_of_key_and_no_other_key,
    a_bundle_lies_where_cosign_puts_it,
    legacy_signatures_of_several_signers_stay_together,
    a_key_of_cosign_needs_its_password,
    a_generated_key_is_read_by_cosign_and_replaces_nothing,
);

async fn sign(case: &Case, artifact: &Artifact, key: &str, more: &[&str]) -> Result<Output> {
    let image = artifact.image();
    let arguments = [&["sign", &image, "--plain-http", "--key", key], more].concat();
    command(case, &arguments).env("COSIGN_PASSWORD", "").output().await
}

async fn signed(case: &Case, artifact: &Artifact, key: &str, more: &[&str]) -> Result<()> {
    let output = sign(case, artifact, key, more).await?;
    ensure!(output.exit.success(), "{}", output.stderr);
    ensure!(output.stdout == format!("{}\n", artifact.image()), "{}", output.stdout);
    Ok(())
}

/// Returns true if `supercargo verify` accepts the artifact with this key.
async fn verifies(case: &Case, artifact: &Artifact, key: &SigningKey) -> Result<bool> {
    let (image, key) = (artifact.image(), key.public.display().to_string());
    let arguments = ["verify", &image, "--plain-http", "--key", &key, "--transparency-log", "ignored"];
    Ok(run(case, &arguments).await?.exit.success())
}

async fn cosign_and_verify_accept_each_kind_of_key_and_no_other_key(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    for kind in KeyKind::ALL {
        let name = kind.name();
        let right = cosign.key_pair(&format!("{name}-right"), kind).await?;
        let wrong = cosign.key_pair(&format!("{name}-wrong"), kind).await?;
        let plain = case.directory.join(format!("{name}.pem"));
        fs_err::write(&plain, &right.pkcs8_pem)?;
        for (file, form) in [(&right.private, "encrypted"), (&plain, "plain")] {
            for more in [&[][..], &["--legacy"]] {
                let label = format!("{name}-{form}{}", more.concat().replace("--", "-"));
                let artifact = Artifact::push(case, &case.lab.registry, &label).await?;
                signed(case, &artifact, &file.to_string_lossy(), more).await?;
                for (key, expected) in [(&right, true), (&wrong, false)] {
                    assert_eq!(accepts(&cosign, &artifact, key).await?, expected, "cosign, {label}");
                    assert_eq!(verifies(case, &artifact, key).await?, expected, "verify, {label}");
                }
            }
        }
    }
    Ok(())
}

async fn a_bundle_lies_where_cosign_puts_it(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let [key, other] = [cosign.key_pair("right", KeyKind::P256).await?, cosign.key_pair("other", KeyKind::P256).await?];
    let file = key.private.to_string_lossy().into_owned();
    for product in [Product::Distribution, Product::Referrers, Product::QuirkyReferrers] {
        let registry = registry(case, product).await?;
        let artifact = Artifact::push(case, &registry, "app").await?;
        cosign.sign(&artifact.image(), &other).await?;
        let theirs = listed(case, &artifact, product).await?;
        signed(case, &artifact, &file, &[]).await?;
        // A signature that was made here is not made a second time.
        signed(case, &artifact, &file, &[]).await?;
        let all = listed(case, &artifact, product).await?;
        assert_eq!((theirs.len(), all.len()), (1, 2), "{product:?}: cosign's stays in the list");
        let ours = all.iter().find(|entry| entry["digest"] != theirs[0]["digest"]).context("no second entry")?;
        assert_eq!(ours["mediaType"], theirs[0]["mediaType"], "{product:?}");

        let manifest = async |entry: &Value| {
            artifact.manifest(case, &format!("@{}", entry["digest"].as_str().unwrap_or_default())).await
        };
        let (ours, theirs) = (manifest(ours).await?, manifest(&theirs[0]).await?);
        for pointer in
            ["/mediaType", "/artifactType", "/config/mediaType", "/config/digest", "/layers/0/mediaType", "/subject"]
        {
            assert_eq!(ours.pointer(pointer), theirs.pointer(pointer), "{product:?} {pointer}");
        }
        let keys =
            |manifest: &Value| manifest["annotations"].as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
        assert_eq!((ours["artifactType"].as_str(), keys(&ours)), (Some(BUNDLE), keys(&theirs)), "{product:?}");
        assert_eq!(ours["annotations"]["dev.sigstore.bundle.predicateType"], SIGN_PREDICATE, "{product:?}");
        assert!(accepts(&cosign, &artifact, &key).await?, "{product:?}");
        assert!(verifies(case, &artifact, &key).await?, "{product:?}");
    }
    Ok(())
}

async fn listed(case: &Case, artifact: &Artifact, product: Product) -> Result<Vec<Value>> {
    if product != Product::Distribution {
        return artifact.referrers().await?.context("no list of referrers");
    }
    let index = artifact.manifest(case, &format!(":{}", fallback_tag(&artifact.digest))).await?;
    index["manifests"].as_array().cloned().context("no list under the tag")
}

async fn legacy_signatures_of_several_signers_stay_together(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let artifact = Artifact::push(case, &case.lab.registry, "app").await?;
    let theirs = cosign.key_pair("theirs", KeyKind::P256).await?;
    cosign.sign_legacy(&artifact.image(), &theirs).await?;
    let ours = [cosign.key_pair("one", KeyKind::P384).await?, cosign.key_pair("two", KeyKind::Rsa2048).await?];
    let files = ours.each_ref().map(|key| key.private.to_string_lossy().into_owned());
    // Both at once: the tag has no protection of its own.
    let [one, two] = [&files[0], &files[1]].map(|file| signed(case, &artifact, file, &["--legacy"]));
    tokio::try_join!(one, two)?;
    // A second signature by a key that has signed adds nothing.
    signed(case, &artifact, &files[0], &["--legacy"]).await?;

    let manifest = artifact.manifest(case, &format!(":{}", legacy_tag(&artifact.digest))).await?;
    let layers = manifest["layers"].as_array().context("no layers")?;
    assert_eq!(layers.len(), 3, "{manifest}");
    assert!(layers.iter().all(|layer| layer["mediaType"] == SIMPLE_SIGNING), "{manifest}");
    for key in ours.iter().chain([&theirs]) {
        assert!(accepts(&cosign, &artifact, key).await?, "{}", key.public.display());
        assert!(verifies(case, &artifact, key).await?, "{}", key.public.display());
    }
    let tags = artifact.tags().await?;
    assert_eq!(tags, json!(["1", legacy_tag(&artifact.digest)]));
    Ok(())
}

async fn a_key_of_cosign_needs_its_password(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let artifact = Artifact::push(case, &case.lab.registry, "app").await?;
    let generate =
        cosign.command(&["generate-key-pair", "--output-key-prefix", "mine"]).env("COSIGN_PASSWORD", "hunter2");
    generate.stdout().await?;
    let home = case.directory.join("cosign");
    let (private, public) = (home.join("mine.key"), home.join("mine.pub"));
    let private = private.to_string_lossy();
    let wrong = sign(case, &artifact, &private, &[]).await?;
    refused(&wrong, 4, "FileInvalid")?;
    ensure!(wrong.stderr.contains("COSIGN_PASSWORD"), "{}", wrong.stderr);
    refused(&sign(case, &artifact, &public.to_string_lossy(), &[]).await?, 4, "FileInvalid")?;
    refused(&sign(case, &artifact, "/missing.key", &[]).await?, 4, "FileNotFound")?;
    let image = artifact.image();
    let right = command(case, &["sign", &image, "--plain-http", "--key", &private]).env("COSIGN_PASSWORD", "hunter2");
    right.stdout().await?;
    let key = public.to_string_lossy();
    let arguments = ["verify", &image, "--plain-http", "--key", &key, "--transparency-log", "ignored"];
    let verified = run(case, &arguments).await?;
    ensure!(verified.exit.success(), "{}", verified.stderr);
    let missing = format!("{}@sha256:{}", artifact.repository(), "0".repeat(64));
    let missing =
        command(case, &["sign", &missing, "--plain-http", "--key", &private]).env("COSIGN_PASSWORD", "hunter2");
    refused(&missing.output().await?, 5, "ReferenceNotFound")
}

/// Runs `supercargo generate-key-pair`, with an empty password.
async fn generate(case: &Case, prefix: &str) -> Result<Output> {
    let arguments = ["generate-key-pair", "--output-key-prefix", prefix, "--format", "json"];
    command(case, &arguments).env("COSIGN_PASSWORD", "").output().await
}

async fn a_generated_key_is_read_by_cosign_and_replaces_nothing(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let prefix = case.directory.join("release.v1").to_string_lossy().into_owned();
    let made = generate(case, &prefix).await?;
    ensure!(made.exit.success(), "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout)?;
    let file = |name: &str| made[name].as_str().map(PathBuf::from).context("no path");
    let (private, public) = (file("privateKey")?, file("publicKey")?);
    assert_eq!(private.to_string_lossy(), format!("{prefix}.key"));
    let mode = fs_err::metadata(&private)?.permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    let (private_text, public_pem) = (fs_err::read_to_string(&private)?, fs_err::read_to_string(&public)?);
    let key = SigningKey { kind: KeyKind::P256, public_pem, public, private, pkcs8_pem: String::new() };

    let [theirs, ours] =
        [Artifact::push(case, &case.lab.registry, "theirs"), Artifact::push(case, &case.lab.registry, "ours")];
    let (theirs, ours) = (theirs.await?, ours.await?);
    cosign.sign(&theirs.image(), &key).await?;
    signed(case, &ours, &key.private.to_string_lossy(), &[]).await?;
    for artifact in [&theirs, &ours] {
        assert!(accepts(&cosign, artifact, &key).await?, "cosign, {}", artifact.image());
        assert!(verifies(case, artifact, &key).await?, "verify, {}", artifact.image());
    }

    refused(&generate(case, &prefix).await?, 1, "OutputConflict")?;
    assert_eq!(fs_err::read_to_string(&key.private)?, private_text, "the private key was replaced");
    fs_err::remove_file(&key.private)?;
    refused(&generate(case, &prefix).await?, 1, "OutputConflict")?;
    ensure!(!fs_err::exists(&key.private)?, "a private key whose public key is another");
    assert_eq!(fs_err::read_to_string(&key.public)?, key.public_pem, "the public key was replaced");
    let missing = case.directory.join("missing/release").to_string_lossy().into_owned();
    refused(&generate(case, &missing).await?, 1, "StorageFailed")
}
