//! Policies and keys that change: affected objects are judged again at once, and nothing of them is fetched again.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::json;
use supercargo_e2e::api_proxy::Treatment;
use supercargo_e2e::chart;
use supercargo_e2e::gate::Gate;
use supercargo_e2e::object::{LIMIT, Space, artifact_digest, condition, is_ready};
use supercargo_e2e::registry::{Options, Registry};

use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec, spec_with, tests};
use crate::support::policy::{
    Signatory, applied, apply_policy, at_once, delete_policy, entry, key_in, layers_read, policy_name, verified, verify,
};

tests!(
    a_changed_policy_is_applied_at_once_without_a_download,
    a_key_that_is_rotated_leads_to_a_new_verdict_and_back,
    suspending_hides_no_denial_and_no_changed_requirement,
    a_policy_created_during_a_pass_prevents_publishing,
    a_label_change_during_a_pass_prevents_publishing,
    a_key_changed_during_a_pass_prevents_publishing,
    a_label_that_is_read_by_name_is_compared_before_the_switch_too,
    a_switch_that_a_crash_cut_off_is_not_completed_by_other_rules,
);

/// Publishes a signed artifact, from a registry of its own, by an object called `app`.
async fn published(case: &mut Case, signatory: &Signatory, verify: &serde_json::Value) -> Result<(Registry, Artifact)> {
    let registry = case.registry("own", &Options::default()).await?;
    let artifact = Artifact::push_text(case, &registry, "app:1", "app").await?;
    signatory.sign(case, &artifact).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&format!("{}:1", artifact.repository()), &json!({"verify": verify}))).await?;
    case.space.ready_with("app", &artifact.digest).await?;
    Ok((registry, artifact))
}

fn is_verified(object: &DynamicObject, status: &str) -> bool {
    verified(object).is_some_and(|verified| verified.status == status)
}

async fn a_changed_policy_is_applied_at_once_without_a_download(case: &mut Case) -> Result<()> {
    let (acme, other) = (Signatory::new()?, Signatory::new()?);
    let (registry, app) = published(case, &acme, &json!([])).await?;
    let beside = Artifact::push_text(case, &registry, "beside:1", "beside").await?;
    case.space.apply("beside", &spec(&format!("{}:1", beside.repository()))).await?;
    let bystander = case.space.ready("beside").await?;
    let (asked_beside, read) =
        (registry.requests(&case.repository("beside"))?.len(), layers_read(&registry, &app, "app")?);
    assert_eq!(read, 1, "it was fetched once");
    assert_eq!(verified(&case.space.get("app").await?), None);

    let (name, repository) = (policy_name(case, "acme"), app.repository());
    let by = |who: &Signatory| verify(&[&repository], &[who.key()]);
    let policy = apply_policy(case, "acme", &by(&acme)).await?;
    let judged = |object: &DynamicObject| is_ready(object) && is_verified(object, "True");
    let object = at_once("a policy is made", case.space.wait("app", "be verified", judged)).await?;
    assert_eq!(applied(&object), std::slice::from_ref(&name));
    let generation = object.data.pointer("/status/policies/0/generation");
    assert_eq!(generation, Some(&json!(policy.metadata.generation)));
    let by_whom = object.data.pointer("/status/verification/0/name");
    assert_eq!(by_whom, Some(&json!(format!("{name}/release"))));

    apply_policy(case, "acme", &by(&other)).await?;
    let object = at_once("its key is another", case.space.refused("app", "IdentityMismatch")).await?;
    assert!(is_verified(&object, "False"), "{:?}", verified(&object));
    assert_eq!(artifact_digest(&object), Some(app.digest.as_str()), "what is served is named");
    ensure!(case.current("app").exists(), "what is served stays");

    apply_policy(case, "acme", &json!({"images": [repository], "action": "Deny"})).await?;
    let object = at_once("it denies", case.space.refused("app", "PolicyDenied")).await?;
    assert!(condition(&object, "Stalled").is_some(), "somebody has to decide otherwise");
    apply_policy(case, "acme", &json!({"images": [repository], "action": "Allow"})).await?;
    at_once("it allows", case.space.ready("app")).await?;
    delete_policy(case, "acme").await?;
    let free = |object: &DynamicObject| is_ready(object) && applied(object).is_empty();
    at_once("it is gone", case.space.wait("app", "be free", free)).await?;

    assert_eq!(layers_read(&registry, &app, "app")?, read, "it was fetched again");
    assert_eq!(registry.requests(&case.repository("beside"))?.len(), asked_beside, "somebody else was judged too");
    let now = case.space.get("beside").await?;
    assert_eq!(now.metadata.resource_version, bystander.metadata.resource_version);
    Ok(())
}

async fn a_key_that_is_rotated_leads_to_a_new_verdict_and_back(case: &mut Case) -> Result<()> {
    let (acme, other) = (Signatory::new()?, Signatory::new()?);
    let secret = policy_name(case, "key");
    let operators = Space { namespace: chart::NAMESPACE.to_owned(), client: case.space.client.clone() };
    for space in [&case.space.clone(), &operators] {
        space.secret(&secret, "Opaque", &[("cosign.pub", &acme.public_pem)]).await?;
    }
    let (registry, app) = published(case, &acme, &json!([entry("own", &[key_in(&secret)])])).await?;
    apply_policy(case, "by-secret", &verify(&[&app.repository()], &[key_in(&secret)])).await?;
    let judged_by = |number: usize| {
        move |object: &DynamicObject| {
            let signed = object.data.pointer("/status/verification").and_then(serde_json::Value::as_array);
            is_ready(object) && is_verified(object, "True") && signed.is_some_and(|signed| signed.len() == number)
        }
    };
    case.space.wait("app", "be judged by both", judged_by(2)).await?;
    let versions = |object: &DynamicObject| object.metadata.generation;
    let generation = versions(&case.space.get("app").await?);

    for (whose, space, without) in
        [("object's", &case.space, "SecretNotFound"), ("policy's", &operators, "PolicyDenied")]
    {
        let rows = [
            ("is another", Some(&other.public_pem), "IdentityMismatch"),
            (
                "is no key",
                Some(&"no key".to_owned()),
                if whose == "policy's" { "PolicyDenied" } else { "SecretInvalid" },
            ),
            ("is gone", None, without),
        ];
        for (what, pem, reason) in rows {
            match pem {
                Some(pem) => space.secret(&secret, "Opaque", &[("cosign.pub", pem)]).await?,
                None => drop(space.secrets().delete(&secret, &DeleteParams::default()).await?),
            }
            let object = case.space.refused("app", reason).await.map_err(|e| e.context(format!("{whose} {what}")))?;
            assert_eq!(artifact_digest(&object), Some(app.digest.as_str()), "{whose} {what}: what is served is named");
            ensure!(case.current("app").exists(), "{whose} {what}: what is served stays");
            space.secret(&secret, "Opaque", &[("cosign.pub", &acme.public_pem)]).await?;
            let again = case.space.wait("app", "be judged again", judged_by(2)).await;
            again.map_err(|error| error.context(format!("{whose} {what}, and back within {LIMIT:?}")))?;
        }
    }
    assert_eq!(layers_read(&registry, &app, "app")?, 1, "it was fetched again");
    assert_eq!(versions(&case.space.get("app").await?), generation, "nobody has touched the spec");
    Ok(())
}

/// Finding M9.
async fn suspending_hides_no_denial_and_no_changed_requirement(case: &mut Case) -> Result<()> {
    let (acme, other) = (Signatory::new()?, Signatory::new()?);
    let (registry, app) = published(case, &acme, &json!([])).await?;
    let repository = app.repository();
    apply_policy(case, "acme", &verify(&[&repository], &[acme.key()])).await?;
    case.space.wait("app", "be verified", |object| is_verified(object, "True")).await?;
    case.space.patch("app", &json!({"spec": {"suspend": true}})).await?;
    let is_suspended = |object: &DynamicObject| {
        condition(object, "Ready").is_some_and(|ready| ready.status == "True" && ready.reason == "Suspended")
    };
    let object = case.space.wait("app", "be suspended", is_suspended).await?;
    assert!(is_verified(&object, "True"), "nothing else is required: {:?}", verified(&object));
    let asked = registry.requests(&case.repository("app"))?.len();

    apply_policy(case, "acme", &verify(&[&repository], &[other.key()])).await?;
    let is_unknown = |object: &DynamicObject| is_suspended(object) && is_verified(object, "Unknown");
    at_once("its key is another", case.space.wait("app", "be unknown", is_unknown)).await?;
    apply_policy(case, "acme", &json!({"images": [repository], "action": "Deny"})).await?;
    let object = at_once("it denies", case.space.refused("app", "PolicyDenied")).await?;
    assert_eq!(artifact_digest(&object), Some(app.digest.as_str()), "what is served is named");
    ensure!(case.current("app").exists(), "what is served stays");
    delete_policy(case, "acme").await?;
    let object = at_once("it is gone", case.space.wait("app", "be suspended", is_suspended)).await?;
    assert_eq!(verified(&object), None, "nothing is required");
    assert_eq!(registry.requests(&case.repository("app"))?.len(), asked, "a suspended object was looked up");
    Ok(())
}

/// An artifact in a registry behind a slow gate.
struct Slow {
    _registry: Registry,
    gate: Gate,
    app: Artifact,
    /// The artifact's repository behind the gate.
    repository: String,
}

/// Starts the operator with a slow registry, so that a pass takes long.
async fn slowly(case: &mut Case) -> Result<Slow> {
    let registry = case.registry("own", &Options::default()).await?;
    let gate = Gate::open(&registry.address).await?;
    let text: String = (0..30_000).map(|number: u32| number.to_string()).collect();
    let app = Artifact::push_text(case, &registry, "app:1", &text).await?;
    case.start_operator().await?;
    gate.throttle(8_000);
    let repository = app.repository().replace(&registry.address, &gate.address);
    Ok(Slow { _registry: registry, gate, app, repository })
}

/// Waits until the object is denied, and checks that its pass published nothing.
async fn is_denied_unpublished(case: &Case, gate: &Gate) -> Result<()> {
    // The policy arrives by the watch while the pass could still end.
    at_once("it denies", case.space.refused("app", "PolicyDenied")).await?;
    gate.throttle(0);
    ensure!(!case.current("app").exists(), "what was denied is published");
    let object = case.space.get("app").await?;
    assert_eq!(artifact_digest(&object), None, "what was denied is named as served");
    Ok(())
}

/// L5, for the key that a policy names.
async fn a_key_changed_during_a_pass_prevents_publishing(case: &mut Case) -> Result<()> {
    let Slow { _registry, gate, app, repository } = slowly(case).await?;
    let (acme, other) = (Signatory::new()?, Signatory::new()?);
    acme.sign(case, &app).await?;
    let secret = policy_name(case, "key");
    let operators = Space { namespace: chart::NAMESPACE.to_owned(), client: case.space.client.clone() };
    operators.secret(&secret, "Opaque", &[("cosign.pub", &acme.public_pem)]).await?;
    apply_policy(case, "by-secret", &verify(&[&repository], &[key_in(&secret)])).await?;
    case.space.apply("app", &spec(&format!("{repository}:1"))).await?;
    gate.wait_passed(30_000, LIMIT).await?;
    // Slow enough for the next read of the key, which is at most 15 s away.
    gate.throttle(1_000);
    operators.secret(&secret, "Opaque", &[("cosign.pub", &other.public_pem)]).await?;
    let object = case.space.refused("app", "IdentityMismatch").await?;
    ensure!(!case.current("app").exists(), "it was published by a key that was replaced");
    assert_eq!(artifact_digest(&object), None, "what was refused is named as served");
    Ok(())
}

/// L5.
async fn a_policy_created_during_a_pass_prevents_publishing(case: &mut Case) -> Result<()> {
    let Slow { _registry, gate, repository, .. } = slowly(case).await?;
    case.space.apply("app", &spec(&format!("{repository}:1"))).await?;
    gate.wait_passed(20_000, LIMIT).await?;
    apply_policy(case, "no", &json!({"images": [repository], "action": "Deny"})).await?;
    is_denied_unpublished(case, &gate).await
}

/// L5, L6.
async fn a_label_change_during_a_pass_prevents_publishing(case: &mut Case) -> Result<()> {
    let Slow { _registry, gate, repository, .. } = slowly(case).await?;
    let label = policy_name(case, "tier");
    let selector = json!({"matchLabels": {&label: "closed"}});
    apply_policy(case, "no", &json!({"images": [repository], "action": "Deny", "namespaceSelector": selector})).await?;
    case.space.apply("app", &spec(&format!("{repository}:1"))).await?;
    gate.wait_passed(20_000, LIMIT).await?;
    let namespaces: Api<Namespace> = Api::all(case.space.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": {&label: "closed"}}}));
    namespaces.patch(&case.space.namespace, &PatchParams::default(), &patch).await?;
    is_denied_unpublished(case, &gate).await
}

/// L5, L6, for an operator that may not list namespaces.
async fn a_label_that_is_read_by_name_is_compared_before_the_switch_too(case: &mut Case) -> Result<()> {
    let registry = case.registry("own", &Options::default()).await?;
    let gate = Gate::open(&registry.address).await?;
    let text: String = (0..30_000).map(|number: u32| number.to_string()).collect();
    let app = Artifact::push_text(case, &registry, "app:1", &text).await?;
    let proxy = crate::operations::api_server::start_behind_proxy(case, &[]).await?;
    proxy.set(Treatment::Refused("/api/v1/namespaces?", 403));
    gate.throttle(8_000);
    let (label, app) = (policy_name(case, "tier"), app.through(&gate.address));
    let selector = json!({"matchLabels": {&label: "closed"}});
    let deny = json!({"images": [app.repository()], "action": "Deny", "namespaceSelector": selector});
    apply_policy(case, "no", &deny).await?;
    case.space.apply("app", &spec(&format!("{}:1", app.repository()))).await?;
    gate.wait_passed(30_000, LIMIT).await?;
    // Slow enough for the next read of the labels, which is at most 15 s away.
    gate.throttle(4_000);
    let namespaces: Api<Namespace> = Api::all(case.space.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": {&label: "closed"}}}));
    namespaces.patch(&case.space.namespace, &PatchParams::default(), &patch).await?;
    case.space.refused("app", "PolicyDenied").await?;
    ensure!(!case.current("app").exists(), "what was denied is published");
    Ok(())
}

/// L5. What is required is another than when the outputs were about to be switched.
async fn a_switch_that_a_crash_cut_off_is_not_completed_by_other_rules(case: &mut Case) -> Result<()> {
    let (acme, other) = (Signatory::new()?, Signatory::new()?);
    let registry = case.registry("own", &Options::default()).await?;
    let first = Artifact::push_text(case, &registry, "app:1", "first").await?;
    acme.sign(case, &first).await?;
    let repository = first.repository();
    apply_policy(case, "release", &verify(&[&repository], &[acme.key()])).await?;
    case.start_operator().await?;
    case.space.apply("app", &spec_with(&format!("{repository}:1"), &crate::output::both())).await?;
    case.space.ready_with("app", &first.digest).await?;
    let served = fs_err::read_link(case.current("app"))?;
    case.take_operator()?.stop().await?;
    let next = Artifact::push_text(case, &registry, "app:1", "next").await?;
    acme.sign(case, &next).await?;
    crate::output::end_operator_at(case, "switch-between").await?;
    apply_policy(case, "release", &verify(&[&repository], &[other.key()])).await?;
    case.start_operator().await?;
    let object = case.space.refused("app", "IdentityMismatch").await?;
    assert_eq!(fs_err::read_link(case.current("app"))?, served, "what nobody has accepted is published");
    assert_eq!(artifact_digest(&object), Some(first.digest.as_str()));
    Ok(())
}
