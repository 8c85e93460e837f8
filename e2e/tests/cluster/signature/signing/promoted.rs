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
    let [bundle, legacy, other] = [
        cosign.key_pair("bundle", KeyKind::P256).await?,
        cosign.key_pair("legacy", KeyKind::P256).await?,
        cosign.key_pair("other", KeyKind::P256).await?,
    ];
    let source = registry(case, Product::Distribution).await?;
    let artifact = Artifact::push(case, &source, "app").await?;
    cosign.sign(&artifact.image(), &bundle).await?;
    cosign.sign_legacy(&artifact.image(), &legacy).await?;
    for (number, product) in [Product::Referrers, Product::Distribution].into_iter().enumerate() {
        let options = supercargo_e2e::registry::Options { product, ..Default::default() };
        let target = case.registry(&format!("target{number}"), &options).await?;
        let there = target.reference(&format!("{}:1", case.repository("app")));
        answer(case, &["promote", &artifact.image(), &there, "--plain-http"]).await?;
        let promoted = Artifact::of(case, &target, "app:1", artifact.digest.clone(), artifact.bytes.clone());
        for (key, want) in [(&bundle, true), (&legacy, true), (&other, false)] {
            ensure!(accepts(&cosign, &promoted, key).await? == want, "{product:?}: {want}");
        }
    }
    Ok(())
}
