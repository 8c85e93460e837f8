//! What the cluster's administrators ask of artifacts: who is bound by it, who may change it, and what becomes of what is
//! published when they do.
//!
//! Policies are the cluster's, and other tests are in it too: each speaks about repositories or namespaces of its own test.
//! Signatures are made by hand, with keys and in no log, so that no tool has to be built for them.

mod broken;
mod changes;
mod combinations;
mod revoked;
mod samples;
mod tenant;
mod watching;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use supercargo_e2e::object::{Condition, Space, condition, policy_resource};
use supercargo_e2e::registry::Registry;
use supercargo_e2e::signing::SIGN_PREDICATE;
use supercargo_e2e::signing::handmade::{self, Envelope, Signer};

use crate::case::{Case, Test};
use crate::signing::artifact::Artifact;

/// Longest time from a change of a policy to what it changes: far less than any interval, on a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(8);

pub(crate) fn tests() -> Vec<Test> {
    [
        combinations::tests(),
        tenant::tests(),
        changes::tests(),
        revoked::tests(),
        broken::tests(),
        samples::tests(),
        watching::tests(),
    ]
    .concat()
}

/// Somebody who signs, with a key that nobody else has.
pub(crate) struct Signatory {
    signer: Signer,
    pub(crate) public_pem: String,
}

impl Signatory {
    pub(crate) fn new() -> Result<Self> {
        let signer = Signer::generate()?;
        Ok(Self { public_pem: signer.verifier_pem()?, signer })
    }

    /// Signs what is in a registry; answers the digest of the manifest that the signature is in.
    pub(crate) async fn sign(&self, case: &Case, artifact: &Artifact) -> Result<String> {
        let statement = handmade::statement(&artifact.digest, SIGN_PREDICATE, &json!({}))?;
        let bundle = Envelope::sign(&self.signer, &statement)?.bundle;
        artifact.attach_bundle(case, &bundle).await
    }

    fn key(&self) -> Value {
        json!({"inline": self.public_pem})
    }
}

/// A requirement: a signature with any of these keys.
pub(crate) fn entry(name: &str, keys: &[Value]) -> Value {
    json!({"name": name, "cosign": {"keys": keys, "transparencyLog": "Ignored"}})
}

/// The key `cosign.pub` of a Secret.
pub(crate) fn key_in(secret: &str) -> Value {
    json!({"secretRef": {"name": secret}})
}

/// A policy that asks for a signature with any of these keys.
pub(crate) fn verify(images: &[&str], keys: &[Value]) -> Value {
    json!({"images": images, "verify": [entry("release", keys)]})
}

fn policies(client: &kube::Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &policy_resource())
}

/// The name of a policy of this test.
pub(crate) fn policy_name(case: &Case, name: &str) -> String {
    format!("{}-{name}", case.space.namespace)
}

/// Makes or replaces a policy.
pub(crate) async fn apply_policy(case: &Case, name: &str, spec: &Value) -> Result<DynamicObject> {
    let name = policy_name(case, name);
    let policy = json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifactPolicy", "metadata": {"name": name}, "spec": spec,
    });
    let params = PatchParams::apply("supercargo-e2e").force();
    Ok(policies(&case.space.client).patch(&name, &params, &Patch::Apply(policy)).await?)
}

pub(crate) async fn delete_policy(case: &Case, name: &str) -> Result<()> {
    policies(&case.space.client).delete(&policy_name(case, name), &DeleteParams::default()).await?;
    Ok(())
}

/// Waits for something that must not wait for an interval.
pub(crate) async fn at_once<T>(what: &str, waiting: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(AT_ONCE, waiting).await.with_context(|| format!("not within {AT_ONCE:?}: {what}"))?
}

fn verified(object: &DynamicObject) -> Option<Condition> {
    condition(object, "Verified")
}

/// What `status.policies` lists.
fn applied(object: &DynamicObject) -> Vec<String> {
    let listed = object.data.pointer("/status/policies").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(|one| Some(one.get("name")?.as_str()?.to_owned())).collect()
}

/// The layers that somebody has asked for, of this repository.
fn layers_read(registry: &Registry, artifact: &Artifact, text: &str) -> Result<usize> {
    let layer = supercargo_e2e::hostile::artifact::digest(text.as_bytes());
    let path = artifact.repository().split_once('/').map(|(_, path)| path.to_owned()).context("no repository")?;
    let requests = registry.all_requests()?;
    Ok(requests.iter().filter(|request| request.path == format!("/v2/{path}/blobs/{layer}")).count())
}

/// Other namespaces with labels, of this test alone.
async fn space(case: &Case, name: &str, labels: &Value) -> Result<Space> {
    let space = Space::create(&case.lab.control_plane.client, &policy_name(case, name)).await?;
    let patch = json!({"metadata": {"labels": labels}});
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(space.client.clone());
    let labelled = namespaces.patch(&space.namespace, &PatchParams::default(), &Patch::Merge(patch)).await?;
    ensure!(labelled.metadata.labels.is_some(), "no labels");
    Ok(space)
}
