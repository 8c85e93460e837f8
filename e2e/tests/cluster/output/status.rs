//! Refused status writes, which affect only status itself, and the bounds of status.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use supercargo_e2e::archive::noise;
use supercargo_e2e::files::{Entry, Tree};
use supercargo_e2e::gate::Gate;
use supercargo_e2e::object::{condition, is_ready};
use supercargo_e2e::obstacle::{Denial, STATUS_WRITES};
use supercargo_e2e::reader::Reader;
use supercargo_e2e::signing::SIGN_PREDICATE;
use supercargo_e2e::signing::handmade::{self, Envelope, Signer};
use supercargo_e2e::wait;

use super::{Tag, agrees, rounds};
use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec, tests};
use crate::support::policy::{apply_policy, delete_policy};

tests!(
    a_refused_status_costs_one_download_and_one_switch,
    a_refused_progress_note_does_not_end_a_long_pass,
    forty_verified_requirements_fit_into_status,
);

/// Pushes revision 1 with a large file.
async fn push_large(case: &mut Case, tag: &mut Tag, mebibytes: usize) -> Result<String> {
    let mut tree: Tree = super::content(1);
    tree.insert("large".to_owned(), Entry::File { content: noise(mebibytes << 20, 1), executable: false });
    tag.push(case, &tree).await
}

async fn a_refused_status_costs_one_download_and_one_switch(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&tag.image())).await?;
    case.space.ready_with("app", tag.last()?).await?;
    let digest = push_large(case, &mut tag, usize::try_from(rounds("SUPERCARGO_LAYER_MIB", 8)?)?).await?;
    let (manifests, blobs) = (tag.manifests()?, tag.blobs()?);
    let reader = Reader::default().volume("volume", &case.object_directory("app"));
    let denial = Denial::of(&case.space, STATUS_WRITES).await?;
    case.space.request_pass("app").await?;
    let counted = async || {
        let fetched = tag.blobs()? - blobs;
        ensure!(fetched <= 1, "{fetched} layers were fetched");
        let fetched = tag.manifests()? - manifests;
        ensure!(fetched <= 2, "the manifest was fetched {fetched} times");
        Ok(())
    };
    let held = wait::holds(Duration::from_secs(rounds("SUPERCARGO_DENIED_SECONDS", 15)?), counted).await;
    let object = case.space.get("app").await?;
    ensure!(supercargo_e2e::object::artifact_digest(&object) != Some(&digest), "status was not refused");
    denial.remove().await?;
    let ready = case.space.ready_with("app", &digest).await;
    let (switches, revision) = reader.stop().await?.most_switches("volume")?;
    held?;
    ensure!(switches <= 1, "{switches} targets of current for revision {revision}");
    ready?;
    agrees(case, &tag, "app", 1).await
}

/// A pass of more than five seconds is announced in status.
async fn a_refused_progress_note_does_not_end_a_long_pass(case: &mut Case) -> Result<()> {
    let mut tag = Tag::start(case).await?;
    let digest = push_large(case, &mut tag, 8).await?;
    let gate = Gate::open(&tag.registry.address).await?;
    // About eight seconds for the layer.
    gate.throttle(1 << 20);
    case.start_operator().await?;
    let denial = Denial::of(&case.space, STATUS_WRITES).await?;
    case.space.apply("app", &spec(&format!("{}/{}", gate.address, tag.name))).await?;
    let current = case.current("app");
    let published = wait::until_true(Duration::from_secs(40), "the files to be published", || Ok(current.exists()));
    published.await?;
    let fetched = tag.blobs()?;
    denial.remove().await?;
    ensure!(fetched <= 1, "{fetched} layers were fetched");
    case.space.ready_with("app", &digest).await?;
    ensure!(tag.blobs()? <= 1, "{} layers were fetched", tag.blobs()?);
    agrees(case, &tag, "app", 1).await
}

async fn forty_verified_requirements_fit_into_status(case: &mut Case) -> Result<()> {
    const POLICIES: usize = 5;
    const ENTRIES: usize = 8;
    let signer = Signer::generate()?;
    let app = Artifact::push_text(case, &case.lab.registry, "app:1", "app").await?;
    let statement = handmade::statement(&app.digest, SIGN_PREDICATE, &json!({}))?;
    app.attach_bundle(case, &Envelope::sign(&signer, &statement)?.bundle).await?;
    let key = json!([{"inline": signer.verifier_pem()?}]);
    for policy in 0..POLICIES {
        let entry = |number: usize| {
            let cosign = json!({"keys": key, "transparencyLog": "Ignored"});
            json!({"name": format!("entry-{policy}-{number}"), "cosign": cosign})
        };
        let entries: Vec<Value> = (0..ENTRIES).map(entry).collect();
        let spec = json!({"images": [app.repository()], "verify": entries});
        apply_policy(case, &format!("many-{policy}"), &spec).await?;
    }
    case.start_operator().await?;
    case.space.apply("app", &spec(&app.image())).await?;
    let ready = case.space.ready("app").await;
    for policy in 0..POLICIES {
        delete_policy(case, &format!("many-{policy}")).await?;
    }
    let object = ready?;
    ensure!(is_ready(&object), "not Ready");
    let listed = object.data.pointer("/status/verification").and_then(Value::as_array).map_or(0, Vec::len);
    ensure!((1..=32).contains(&listed), "{listed} requirements in status");
    // Requirements left out of status are counted in the message of the verdict.
    let verified = condition(&object, "Verified").context("no condition Verified")?;
    let mut numbers = verified.message.split(|sign: char| !sign.is_ascii_digit());
    let left_out = (POLICIES * ENTRIES - listed).to_string();
    ensure!(numbers.any(|number| number == left_out), "{left_out} left out, and not told: {}", verified.message);
    Ok(())
}
