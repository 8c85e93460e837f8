//! The artifacts of a lock, carried over an air gap in one archive.

use anyhow::{Result, ensure};
use serde_json::json;
use supercargo_e2e::registry::Options;
use supercargo_e2e::signing::KeyKind;

use super::{LOCK, Repository, push};
use crate::support::case::Case;
use crate::support::command::refused;

pub(super) async fn an_archive_of_the_lock_replaces_the_registry(case: &mut Case) -> Result<()> {
    let mut registry = case.registry("origin", &Options::default()).await?;
    let signed = push(case, &registry, "signed:1", "signed").await?;
    let first = push(case, &registry, "rules:1", "first").await?;
    let [signed_image, image] = ["signed:1", "rules:1"].map(|name| registry.reference(name));
    let signer = case.lab.cosign(&case.directory.join("cosign")).await?;
    let [release, other] =
        [signer.key_pair("release", KeyKind::P256).await?, signer.key_pair("other", KeyKind::P256).await?];
    signer.sign(&signed_image, &release).await?;
    let required = |pem: &str| {
        let cosign = json!({"keys": [{"inline": pem}], "transparencyLog": "Ignored"});
        json!({"verify": [{"name": "release", "cosign": cosign}]})
    };
    let outside = Repository::new(case).await?;
    let set = |repository: &Repository, pem: &str| {
        repository.set(&[
            ("vendor/signed", &signed_image, required(pem)),
            ("vendor/rules", &image, json!({})),
            // The same artifact a second time.
            ("vendor/more", &image, json!({})),
        ])
    };
    set(&outside, &release.public_pem)?;
    outside.lock(&[]).await?;
    outside.commit().await?;
    // The tag moves, and the cache learns about it: the lock still has the first digest.
    push(case, &registry, "rules:1", "second").await?;
    outside.answer(&["pull", &image, "--plain-http"]).await?;
    registry.stop().await?;

    let archive = case.directory.join("artifacts.tar").display().to_string();
    let listed = outside.answer(&["export", "--lock", LOCK, "-o", &archive]).await?;
    let lock = outside.text(LOCK)?;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let is_locked = |line: &str| line.split_once('@').is_some_and(|(_, digest)| lock.contains(digest));
    ensure!(listed.lines().all(is_locked), "{listed}");

    let inside = Repository { home: case.directory.join("inside"), ..outside.cloned("clone").await? };
    fs_err::create_dir_all(&inside.home)?;
    let output = inside.run(&["sync", "-f", "supercargo.yaml", "--locked"]).await?;
    ensure!(output.exit.code == Some(3) && output.stderr.contains("RegistryUnavailable"), "{output:?}");
    inside.answer(&["import", &archive]).await?;
    inside.sync(&["--locked"]).await?;
    assert_eq!((inside.files("vendor/signed")?, inside.files("vendor/rules")?), (signed, first));
    // Signatures came along, and are verified.
    set(&inside, &other.public_pem)?;
    inside.refused_sync(&["--locked"], 6, "IdentityMismatch").await?;

    refused(&inside.run(&["export", "--lock", "gone.yaml", "-o", &archive]).await?, 4, "FileNotFound")?;
    // A cache without the artifacts.
    inside.answer(&["package", "vendor/rules", "--ref", "a.example/b:1", "--cache-dir", "fresh"]).await?;
    let output = inside.run(&["export", "--lock", LOCK, "-o", &archive, "--cache-dir", "fresh"]).await?;
    ensure!(output.stderr.contains("vendor/more") && output.stderr.contains("--locked"), "{output:?}");
    refused(&output, 5, "ReferenceNotFound")
}
