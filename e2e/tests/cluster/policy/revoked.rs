//! An operator with `--on-revoked=withdraw`: only a verdict withdraws published content.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use supercargo_e2e::chart;
use supercargo_e2e::gate::Gate;
use supercargo_e2e::object::{LIMIT, Space, artifact_digest, condition, text};
use supercargo_e2e::obstacle::{CONFIG_MAP_DELETIONS, Denial};
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::wait;

use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec_with, tests};
use crate::support::policy::{Signatory, apply_policy, delete_policy, entry, key_in, policy_name, verify};

tests!(
    content_refused_later_is_withdrawn_until_it_is_accepted,
    content_is_not_withdrawn_while_it_cannot_be_verified,
    published_content_is_verified_although_the_tag_has_moved,
    neither_suspending_nor_a_broken_spec_keeps_what_is_refused,
    a_suspended_object_that_cannot_be_withdrawn_is_tried_again,
    a_pass_that_ends_before_it_judges_keeps_nothing_that_is_refused,
    a_denial_is_heard_while_a_slow_registry_is_asked_for_signatures,
    a_requirement_that_was_taken_back_withdraws_nothing,
);

const MAP: &str = "app-files";

/// Returns a volume output and a ConfigMap output.
fn outputs() -> Value {
    json!([{"name": "files", "volume": {"name": "default"}}, {"name": "map", "configMap": {"name": MAP}}])
}

/// Publishes a signed artifact `app:1`, from a registry of its own, to two outputs, by an operator that withdraws.
async fn published(case: &mut Case, signatory: &Signatory) -> Result<(Registry, Artifact, String)> {
    let registry = case.registry("own", &Options { durable: true, ..Options::default() }).await?;
    let artifact = Artifact::push_text(case, &registry, "app:1", "app").await?;
    let signature = signatory.sign(case, &artifact).await?;
    let mut settings = case.settings()?;
    settings.extra.extend(["--on-revoked", "withdraw"].map(str::to_owned));
    case.start_operator_as(&settings).await?;
    let image = format!("{}:1", artifact.repository());
    case.space.apply("app", &spec_with(&image, &json!({"outputs": outputs()}))).await?;
    is_served(case, &artifact).await?;
    Ok((registry, artifact, signature))
}

async fn is_served(case: &Case, artifact: &Artifact) -> Result<DynamicObject> {
    let object = case.space.ready_with("app", &artifact.digest).await?;
    ensure!(case.current("app").exists(), "no files");
    case.space.config_maps().get(MAP).await.context("no ConfigMap")?;
    Ok(object)
}

async fn withdrawals(case: &Case) -> Result<Vec<String>> {
    let events = case.space.events("app").await?;
    Ok(events.into_iter().filter(|(_, reason, _)| reason == "Withdrawn").map(|(_, _, note)| note).collect())
}

/// Waits until status names nothing as served, then checks that all outputs are withdrawn.
async fn is_withdrawn(case: &Case, digest: &str, reason: &str, times: usize) -> Result<()> {
    let gone = |object: &DynamicObject| artifact_digest(object).is_none();
    let object = case.space.wait("app", &format!("be withdrawn: {reason}"), gone).await?;
    ensure!(object.data.pointer("/status/outputs").is_none(), "outputs are named: {}", object.data);
    assert_eq!(text(&object, "/status/candidate/digest"), Some(digest), "{reason}");
    assert_eq!(text(&object, "/status/candidate/reason"), Some(reason));
    let left: Vec<_> =
        fs_err::read_dir(case.object_directory("app"))?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    assert_eq!(left, [".artifact.json"], "{reason}: the directory that is mounted stays, empty");
    assert_eq!(case.space.config_maps().get_opt(MAP).await?, None, "{reason}");
    // The Event is written after status.
    let notes = wait::until(LIMIT, &format!("Event {times} about a withdrawal"), || async {
        let notes = withdrawals(case).await?;
        Ok((notes.len() >= times).then_some(notes))
    })
    .await?;
    assert_eq!(notes.len(), times, "{reason}: {notes:?}");
    ensure!(notes.last().is_some_and(|note| note.contains(reason)), "{reason}: {notes:?}");
    Ok(())
}

async fn content_refused_later_is_withdrawn_until_it_is_accepted(case: &mut Case) -> Result<()> {
    let (acme, other) = (Signatory::new()?, Signatory::new()?);
    let (registry, app, signature) = published(case, &acme).await?;
    let repository = app.repository();
    let mounted = fs_err::metadata(case.object_directory("app"))?;
    let generation = case.space.get("app").await?.metadata.generation;

    apply_policy(case, "release", &verify(&[&repository], &[other.key()])).await?;
    is_withdrawn(case, &app.digest, "IdentityMismatch", 1).await?;
    // The withdrawal is reported once, and the refused candidate stays in status.
    case.space.poll("app").await?;
    is_withdrawn(case, &app.digest, "IdentityMismatch", 1).await?;
    other.sign(case, &app).await?;
    case.space.request_pass("app").await?;
    is_served(case, &app).await?;

    apply_policy(case, "no", &json!({"images": [repository], "action": "Deny"})).await?;
    is_withdrawn(case, &app.digest, "PolicyDenied", 2).await?;
    case.space.poll("app").await?;
    is_withdrawn(case, &app.digest, "PolicyDenied", 2).await?;
    delete_policy(case, "no").await?;
    is_served(case, &app).await?;

    // Deletes one of two signatures, together with the referrers list of a registry without the referrers API, then
    // changes the required key.
    case.lab.publisher.delete(&format!("{repository}@{signature}")).await?;
    apply_policy(case, "release", &verify(&[&repository], &[acme.key()])).await?;
    is_withdrawn(case, &app.digest, "IdentityMismatch", 3).await?;
    apply_policy(case, "release", &verify(&[&repository], &[other.key()])).await?;
    is_served(case, &app).await?;

    let unsigned = Artifact::push_text(case, &registry, "app:1", "unsigned").await?;
    delete_policy(case, "release").await?;
    case.space.request_pass("app").await?;
    is_served(case, &unsigned).await?;
    apply_policy(case, "release", &verify(&[&repository], &[acme.key()])).await?;
    is_withdrawn(case, &unsigned.digest, "SignatureMissing", 4).await?;
    acme.sign(case, &unsigned).await?;
    // No reconcile is requested: signatures are often made a moment after the tag.
    let object = is_served(case, &unsigned).await?;
    assert_eq!(object.metadata.generation, generation, "nobody has touched the spec");
    let now = fs_err::metadata(case.object_directory("app"))?;
    assert_eq!(now.ino(), mounted.ino(), "consumers mount this directory");
    Ok(())
}

async fn content_is_not_withdrawn_while_it_cannot_be_verified(case: &mut Case) -> Result<()> {
    let acme = Signatory::new()?;
    let (mut registry, app, _) = published(case, &acme).await?;
    let repository = app.repository();
    let operators = Space { namespace: chart::NAMESPACE.to_owned(), client: case.space.client.clone() };
    let secret = policy_name(case, "key");
    operators.config_map(&policy_name(case, "root"), &[("trusted_root.json", "{")]).await?;
    let mut rooted = entry("release", &[acme.key()]);
    rooted["cosign"]["trustedRootRef"] = json!({"name": policy_name(case, "root")});
    rooted["cosign"]["transparencyLog"] = json!("Required");
    let rows = [
        ("a key that is not there", verify(&[&repository], &[key_in(&secret)]), "PolicyDenied"),
        ("a key that is none", verify(&[&repository], &[json!({"inline": "no key"})]), "PolicyDenied"),
        ("a root that is none", json!({"images": [repository], "verify": [rooted]}), "PolicyDenied"),
    ];
    for (label, policy, reason) in rows {
        apply_policy(case, "release", &policy).await?;
        let object = case.space.refused("app", reason).await.with_context(|| label.to_owned())?;
        stays(case, &object, &app, label).await?;
    }
    // The object's own Secret, which the tenant has not created yet.
    delete_policy(case, "release").await?;
    is_served(case, &app).await?;
    case.space.patch("app", &json!({"spec": {"verify": [entry("own", &[key_in("missing")])]}})).await?;
    stays(case, &case.space.refused("app", "SecretNotFound").await?, &app, "a Secret that is missing").await?;
    case.space.patch("app", &json!({"spec": {"verify": []}})).await?;
    is_served(case, &app).await?;

    // An unreachable registry gives no verdict, even if the requirements have changed.
    registry.stop().await?;
    apply_policy(case, "release", &verify(&[&repository], &[Signatory::new()?.key()])).await?;
    stays(case, &case.space.refused("app", "RegistryUnavailable").await?, &app, "a registry that is gone").await?;
    // The same with a digest, which needs no resolution.
    case.space.patch("app", &json!({"spec": {"image": app.image()}})).await?;
    stays(case, &case.space.refused("app", "RegistryUnavailable").await?, &app, "and a digest").await?;
    registry.resume().await?;
    is_withdrawn(case, &app.digest, "IdentityMismatch", 1).await
}

async fn stays_served(case: &Case, object: &DynamicObject, artifact: &Artifact, label: &str) -> Result<()> {
    assert_eq!(artifact_digest(object), Some(artifact.digest.as_str()), "{label}");
    ensure!(case.current("app").exists(), "{label}: no files");
    case.space.config_maps().get(MAP).await.with_context(|| label.to_owned())?;
    Ok(())
}

async fn stays(case: &Case, object: &DynamicObject, artifact: &Artifact, label: &str) -> Result<()> {
    stays_served(case, object, artifact, label).await?;
    assert_eq!(withdrawals(case).await?, Vec::<String>::new(), "{label}");
    Ok(())
}

async fn published_content_is_verified_although_the_tag_has_moved(case: &mut Case) -> Result<()> {
    let (acme, other) = (Signatory::new()?, Signatory::new()?);
    let (registry, app, _) = published(case, &acme).await?;
    apply_policy(case, "release", &verify(&[&app.repository()], &[acme.key()])).await?;
    case.space
        .wait("app", "be verified", |object| {
            crate::support::policy::verified(object).is_some_and(|v| v.status == "True")
        })
        .await?;

    // A refused digest that was never published is no reason to withdraw the published one.
    let next = Artifact::push_text(case, &registry, "app:1", "next").await?;
    case.space.request_pass("app").await?;
    let object = case.space.refused("app", "SignatureMissing").await?;
    assert_eq!(text(&object, "/status/candidate/digest"), Some(next.digest.as_str()));
    stays(case, &object, &app, "another digest").await?;
    apply_policy(case, "release", &verify(&[&app.repository()], &[other.key()])).await?;
    is_withdrawn(case, &app.digest, "IdentityMismatch", 1).await?;

    // The same if the object names another repository, which does not exist.
    other.sign(case, &app).await?;
    case.space.patch("app", &json!({"spec": {"image": app.image()}})).await?;
    is_served(case, &app).await?;
    case.space.patch("app", &json!({"spec": {"image": registry.reference("nothing/here:1")}})).await?;
    let object = case.space.refused("app", "ReferenceNotFound").await?;
    assert_eq!(artifact_digest(&object), Some(app.digest.as_str()));
    apply_policy(case, "release", &json!({"images": [app.repository()], "action": "Deny"})).await?;
    is_withdrawn(case, &app.digest, "PolicyDenied", 2).await
}

/// Finding M9.
async fn neither_suspending_nor_a_broken_spec_keeps_what_is_refused(case: &mut Case) -> Result<()> {
    let (acme, other) = (Signatory::new()?, Signatory::new()?);
    let (registry, app, _) = published(case, &acme).await?;
    let repository = app.repository();
    let deny = json!({"images": [repository], "action": "Deny"});

    case.space.patch("app", &json!({"spec": {"suspend": true}})).await?;
    apply_policy(case, "release", &verify(&[&repository], &[acme.key()])).await?;
    let verified =
        |object: &DynamicObject| crate::support::policy::verified(object).is_some_and(|one| one.status == "True");
    let object = case.space.wait("app", "be judged while it is suspended", verified).await?;
    stays(case, &object, &app, "satisfied").await?;
    apply_policy(case, "release", &verify(&[&repository], &[other.key()])).await?;
    is_withdrawn(case, &app.digest, "IdentityMismatch", 1).await?;
    assert_eq!(crate::support::policy::layers_read(&registry, &app, "app")?, 1, "a suspended object was fetched");

    delete_policy(case, "release").await?;
    case.space.patch("app", &json!({"spec": {"suspend": false}})).await?;
    is_served(case, &app).await?;
    case.space.patch("app", &json!({"spec": {"suspend": true}})).await?;
    apply_policy(case, "no", &deny).await?;
    is_withdrawn(case, &app.digest, "PolicyDenied", 2).await?;

    delete_policy(case, "no").await?;
    case.space.patch("app", &json!({"spec": {"suspend": false}})).await?;
    is_served(case, &app).await?;
    let broken = json!({"spec": {"registry": {"pullSecrets": [{"name": "missing"}]}}});
    case.space.patch("app", &broken).await?;
    let object = case.space.refused("app", "SecretNotFound").await?;
    assert_eq!(artifact_digest(&object), Some(app.digest.as_str()), "a Secret that is missing is no verdict");
    apply_policy(case, "no", &deny).await?;
    is_withdrawn(case, &app.digest, "PolicyDenied", 3).await
}

/// M9. No event reports that the API server accepts what it has refused.
async fn a_suspended_object_that_cannot_be_withdrawn_is_tried_again(case: &mut Case) -> Result<()> {
    let (_registry, app, _) = published(case, &Signatory::new()?).await?;
    let denial = Denial::of(&case.space, CONFIG_MAP_DELETIONS).await?;
    case.space.patch("app", &json!({"spec": {"suspend": true}})).await?;
    apply_policy(case, "no", &json!({"images": [app.repository()], "action": "Deny"})).await?;
    let is_left = |object: &DynamicObject| {
        condition(object, "Ready").is_some_and(|ready| ready.message.contains("not withdrawn yet"))
    };
    case.space.wait("app", "not be withdrawn", is_left).await?;
    denial.remove().await?;
    is_withdrawn(case, &app.digest, "PolicyDenied", 1).await
}

/// M9. The artifact's type is looked at before signatures.
async fn a_pass_that_ends_before_it_judges_keeps_nothing_that_is_refused(case: &mut Case) -> Result<()> {
    let acme = Signatory::new()?;
    let (mut registry, app, _) = published(case, &acme).await?;
    case.space.patch("app", &json!({"spec": {"artifactTypes": ["application/other"]}})).await?;
    let object = case.space.refused("app", "UnexpectedArtifactType").await?;
    stays(case, &object, &app, "another type").await?;
    apply_policy(case, "release", &verify(&[&app.repository()], &[Signatory::new()?.key()])).await?;
    is_withdrawn(case, &app.digest, "IdentityMismatch", 1).await?;

    // What cannot be judged now is judged as soon as it can be, and not at the interval of the object.
    delete_policy(case, "release").await?;
    case.space.patch("app", &json!({"spec": {"artifactTypes": null}})).await?;
    is_served(case, &app).await?;
    let other = Artifact::push_text(case, &case.lab.registry, "other:1", "other").await?;
    case.space.patch("app", &json!({"spec": {"image": other.image(), "artifactTypes": ["application/other"]}})).await?;
    let object = case.space.refused("app", "UnexpectedArtifactType").await?;
    stays_served(case, &object, &app, "another artifact").await?;
    registry.stop().await?;
    apply_policy(case, "release", &verify(&[&app.repository()], &[Signatory::new()?.key()])).await?;
    wait::holds(Duration::from_secs(3), async || {
        stays_served(case, &case.space.get("app").await?, &app, "a registry that is gone").await
    })
    .await?;
    registry.resume().await?;
    is_withdrawn(case, &app.digest, "IdentityMismatch", 2).await
}

/// Suspends an object whose registry has become slow, and changes the key that is required of it; returns the gate in
/// front of the registry, and the artifact as it is named through the gate.
async fn judged_slowly(case: &mut Case) -> Result<(Registry, Gate, Artifact)> {
    let (acme, other) = (Signatory::new()?, Signatory::new()?);
    let (registry, app, _) = published(case, &acme).await?;
    let gate = Gate::open(&registry.address).await?;
    let app = app.through(&gate.address);
    let spec = json!({"spec": {"image": format!("{}:1", app.repository()), "timeout": "10m"}});
    case.space.patch("app", &spec).await?;
    let through = |object: &DynamicObject| {
        text(object, "/status/artifact/reference").is_some_and(|reference| reference.starts_with(&gate.address))
    };
    case.space.wait("app", "be served through the gate", through).await?;
    case.space.patch("app", &json!({"spec": {"suspend": true}})).await?;
    case.space
        .wait("app", "be suspended", |object| {
            condition(object, "Ready").is_some_and(|ready| ready.reason == "Suspended")
        })
        .await?;
    gate.throttle(50);
    let before = gate.passed();
    apply_policy(case, "release", &verify(&[&app.repository()], &[other.key()])).await?;
    gate.wait_passed(before + 1, Duration::from_secs(20)).await?;
    Ok((registry, gate, app))
}

/// M9. A tenant may own the registry, and `spec.timeout` may be an hour.
async fn a_denial_is_heard_while_a_slow_registry_is_asked_for_signatures(case: &mut Case) -> Result<()> {
    let (_registry, _gate, app) = judged_slowly(case).await?;
    apply_policy(case, "no", &json!({"images": [app.repository()], "action": "Deny"})).await?;
    let withdrawn = is_withdrawn(case, &app.digest, "PolicyDenied", 1);
    tokio::time::timeout(Duration::from_secs(15), withdrawn).await.context("served 15 s after it was denied")?
}

/// M9. A verdict by a requirement that is not in force any more is none.
async fn a_requirement_that_was_taken_back_withdraws_nothing(case: &mut Case) -> Result<()> {
    let (_registry, gate, app) = judged_slowly(case).await?;
    delete_policy(case, "release").await?;
    // Longer than the watch needs.
    let _ = tokio::time::timeout(Duration::from_secs(3), std::future::pending::<()>()).await;
    gate.throttle(0);
    wait::holds(Duration::from_secs(15), async || {
        stays(case, &case.space.get("app").await?, &app, "no policy is in force").await
    })
    .await
}
