//! Policies of a test, their signers, and the status that objects report of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use supercargo_e2e::object::{Condition, Space, condition, policy_resource};
use supercargo_e2e::registry::Registry;
use supercargo_e2e::signing::SIGN_PREDICATE;
use supercargo_e2e::signing::handmade::{self, Envelope, Signer};

use crate::support::artifact::Artifact;
use crate::support::case::Case;

/// Longest time from a change of a policy to its effect: far less than any interval, on a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A signer with a key of its own.
pub(crate) struct Signatory {
    signer: Signer,
    pub(crate) public_pem: String,
}

impl Signatory {
    pub(crate) fn new() -> Result<Self> {
        let signer = Signer::generate()?;
        Ok(Self { public_pem: signer.verifier_pem()?, signer })
    }

    /// Signs an artifact in a registry and returns the digest of the signature's manifest.
    pub(crate) async fn sign(&self, case: &Case, artifact: &Artifact) -> Result<String> {
        let statement = handmade::statement(&artifact.digest, SIGN_PREDICATE, &json!({}))?;
        let bundle = Envelope::sign(&self.signer, &statement)?.bundle;
        artifact.attach_bundle(case, &bundle).await
    }

    pub(crate) fn key(&self) -> Value {
        json!({"inline": self.public_pem})
    }
}

/// Returns a requirement: a signature with any of these keys.
pub(crate) fn entry(name: &str, keys: &[Value]) -> Value {
    json!({"name": name, "cosign": {"keys": keys, "transparencyLog": "Ignored"}})
}

/// Returns a reference to the key `cosign.pub` of a Secret.
pub(crate) fn key_in(secret: &str) -> Value {
    json!({"secretRef": {"name": secret}})
}

/// Returns a policy that requires a signature with any of these keys.
pub(crate) fn verify(images: &[&str], keys: &[Value]) -> Value {
    json!({"images": images, "verify": [entry("release", keys)]})
}

pub(crate) fn policies(client: &kube::Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &policy_resource())
}

/// Returns the name of a policy of this test.
pub(crate) fn policy_name(case: &Case, name: &str) -> String {
    format!("{}-{name}", case.space.namespace)
}

/// Creates or replaces a policy.
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

/// Limits the time of a change that must not wait for an interval.
pub(crate) async fn at_once<T>(what: &str, waiting: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(AT_ONCE, waiting).await.with_context(|| format!("not within {AT_ONCE:?}: {what}"))?
}

pub(crate) fn verified(object: &DynamicObject) -> Option<Condition> {
    condition(object, "Verified")
}

/// Returns the names of the policies that `status.policies` lists.
pub(crate) fn applied(object: &DynamicObject) -> Vec<String> {
    let listed = object.data.pointer("/status/policies").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(|one| Some(one.get("name")?.as_str()?.to_owned())).collect()
}

/// Returns the number of requests for the layer with this text, in the artifact's repository.
pub(crate) fn layers_read(registry: &Registry, artifact: &Artifact, text: &str) -> Result<usize> {
    let layer = supercargo_e2e::hostile::artifact::digest(text.as_bytes());
    let path = artifact.repository().split_once('/').map(|(_, path)| path.to_owned()).context("no repository")?;
    let requests = registry.all_requests()?;
    Ok(requests.iter().filter(|request| request.path == format!("/v2/{path}/blobs/{layer}")).count())
}

/// Creates another namespace with labels, for this test alone.
pub(crate) async fn space(case: &Case, name: &str, labels: &Value) -> Result<Space> {
    let space = Space::create(&case.lab.control_plane.client, &policy_name(case, name)).await?;
    let patch = json!({"metadata": {"labels": labels}});
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(space.client.clone());
    let labelled = namespaces.patch(&space.namespace, &PatchParams::default(), &Patch::Merge(patch)).await?;
    ensure!(labelled.metadata.labels.is_some(), "no labels");
    Ok(space)
}
