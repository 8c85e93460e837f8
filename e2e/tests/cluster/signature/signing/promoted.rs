//! Signatures of a promoted artifact, verified by cosign at the destination.

use anyhow::{Result, ensure};
use supercargo_e2e::registry::Product;
use supercargo_e2e::signing::KeyKind;

use super::{accepts, cosign, registry};
use crate::support::artifact::Artifact;
use crate::support::case::{Case, tests};
use crate::support::command::answer;

tests!(cosign_verifies_bundles_and_legacy_signatures_of_a_promoted_artifact);

async fn cosign_verifies_bundles_and_legacy_signatures_of_a_promoted_artifact(case: &mut Case) -> Result<()> {
    let cosign = cosign(case).await?;
    let (right, wrong) =
        (cosign.key_pair("right", KeyKind::P256).await?, cosign.key_pair("wrong", KeyKind::P256).await?);
    let source = registry(case, Product::Distribution).await?;
    // One each: cosign reads no legacy signatures where it finds a bundle.
    let (bundle, legacy) =
        (Artifact::push(case, &source, "bundle").await?, Artifact::push(case, &source, "legacy").await?);
    cosign.sign(&bundle.image(), &right).await?;
    cosign.sign_legacy(&legacy.image(), &right).await?;
    for (number, product) in [Product::Referrers, Product::Distribution].into_iter().enumerate() {
        let options = supercargo_e2e::registry::Options { product, ..Default::default() };
        let target = case.registry(&format!("target{number}"), &options).await?;
        for (name, artifact) in [("bundle", &bundle), ("legacy", &legacy)] {
            let there = target.reference(&format!("{}:1", case.repository(name)));
            answer(case, &["promote", &artifact.image(), &there, "--plain-http"]).await?;
            let promoted = Artifact::of(case, &target, name, artifact.digest.clone(), artifact.bytes.clone());
            ensure!(accepts(&cosign, &promoted, &right).await?, "{product:?}, {name}: the key that signed");
            ensure!(!accepts(&cosign, &promoted, &wrong).await?, "{product:?}, {name}: another key");
        }
    }
    Ok(())
}
