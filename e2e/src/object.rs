//! Namespaces of the cluster and the objects in them, as users see them: without the operator's own types.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

/// Timeout of everything that is not slow on purpose.
pub const LIMIT: Duration = Duration::from_secs(40);

const REQUESTED_AT: &str = "supercargo.dev/requestedAt";

/// Returns the resource `OCIArtifact`.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("supercargo.dev", "v1alpha1", "OCIArtifact"),
        "ociartifacts",
    )
}

/// Returns the resource `OCIArtifactPolicy`.
pub fn policy_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("supercargo.dev", "v1alpha1", "OCIArtifactPolicy"),
        "ociartifactpolicies",
    )
}

/// Namespace with a client for it.
#[derive(Clone)]
pub struct Space {
    pub namespace: String,
    pub client: kube::Client,
}

/// Condition of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub status: String,
    pub reason: String,
    pub message: String,
    pub observed_generation: i64,
}

impl Space {
    /// Creates the namespace.
    pub async fn create(client: &kube::Client, name: &str) -> Result<Self> {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::<Namespace>::all(client.clone()).create(&kube::api::PostParams::default(), &namespace).await?;
        Ok(Self { namespace: name.to_owned(), client: client.clone() })
    }

    pub fn artifacts(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource())
    }

    pub fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an `OCIArtifact`, as `kubectl create` does.
    pub async fn create_artifact(&self, name: &str, spec: &Value) -> Result<DynamicObject> {
        let object: DynamicObject = serde_json::from_value(self.document(name, spec))?;
        Ok(self.artifacts().create(&kube::api::PostParams::default(), &object).await?)
    }

    /// Creates an `OCIArtifact`, or replaces its spec.
    pub async fn apply(&self, name: &str, spec: &Value) -> Result<DynamicObject> {
        let object = self.document(name, spec);
        Ok(self.artifacts().patch(name, &forced(), &Patch::Apply(object)).await?)
    }

    fn document(&self, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec,
        })
    }

    pub async fn get(&self, name: &str) -> Result<DynamicObject> {
        Ok(self.artifacts().get(name).await?)
    }

    /// Applies a JSON merge patch.
    pub async fn patch(&self, name: &str, patch: &Value) -> Result<DynamicObject> {
        Ok(self.artifacts().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
    }

    pub async fn delete(&self, name: &str) -> Result<()> {
        self.artifacts().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until the object satisfies `wanted`. Uses a watch, so that no intermediate state is missed.
    pub async fn wait(&self, name: &str, what: &str, wanted: impl Fn(&DynamicObject) -> bool) -> Result<DynamicObject> {
        let condition = |object: Option<&DynamicObject>| object.is_some_and(&wanted);
        let waiting = await_condition(self.artifacts(), name, condition);
        if let Ok(object) = tokio::time::timeout(LIMIT, waiting).await {
            return object?.context("the object went away");
        }
        let last = self.artifacts().get_opt(name).await?;
        let status = last.map(|object| object.data.get("status").cloned().unwrap_or_default());
        bail!("waited {LIMIT:?} in vain for {name} to {what}; its status is {}", json!(status))
    }

    /// Waits for `Ready=True` of the current generation.
    pub async fn ready(&self, name: &str) -> Result<DynamicObject> {
        self.wait(name, "be Ready", is_ready).await
    }

    /// Waits for `Ready=True` with this digest.
    pub async fn ready_with(&self, name: &str, digest: &str) -> Result<DynamicObject> {
        let wanted = |object: &DynamicObject| is_ready(object) && artifact_digest(object) == Some(digest);
        self.wait(name, &format!("be Ready with {digest}"), wanted).await
    }

    /// Waits for `Ready=False` with this reason, of the current generation.
    pub async fn refused(&self, name: &str, reason: &str) -> Result<DynamicObject> {
        let wanted = |object: &DynamicObject| {
            current_condition(object, "Ready").is_some_and(|ready| ready.status == "False" && ready.reason == reason)
        };
        self.wait(name, &format!("have the reason {reason}"), wanted).await
    }

    /// Requests a pass without waiting for it; returns the token of the request.
    pub async fn request_pass(&self, name: &str) -> Result<String> {
        let token = crate::random::name("e2e-")?;
        self.patch(name, &json!({"metadata": {"annotations": {REQUESTED_AT: token}}})).await?;
        Ok(token)
    }

    /// Requests a pass and waits until the operator has handled the request.
    pub async fn poll(&self, name: &str) -> Result<DynamicObject> {
        let token = self.request_pass(name).await?;
        let wanted = |object: &DynamicObject| text(object, "/status/lastHandledReconcileAt") == Some(&token);
        self.wait(name, "have handled the request for a pass", wanted).await
    }

    /// Waits until the object is gone.
    pub async fn gone(&self, name: &str) -> Result<()> {
        let waiting = await_condition(self.artifacts(), name, |object: Option<&DynamicObject>| object.is_none());
        match tokio::time::timeout(LIMIT, waiting).await {
            Ok(gone) => Ok(gone.map(drop)?),
            Err(_) => bail!("waited {LIMIT:?} in vain for {name} to go; it is {}", json!(self.get(name).await?)),
        }
    }

    /// Returns the Events about an object: type, reason and note, the oldest first.
    pub async fn events(&self, name: &str) -> Result<Vec<(String, String, String)>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut about: Vec<Event> = events.list(&ListParams::default()).await?.items;
        about.retain(|event| event.regarding.as_ref().is_some_and(|regarding| regarding.name.as_deref() == Some(name)));
        about.sort_by_key(|event| event.event_time.clone().map(|time| time.0));
        let field = |value: Option<String>| value.unwrap_or_default();
        Ok(about.into_iter().map(|event| (field(event.type_), field(event.reason), field(event.note))).collect())
    }

    /// Creates or replaces a pull Secret for one registry.
    pub async fn pull_secret(&self, name: &str, registry: &str, username: &str, password: &str) -> Result<()> {
        self.docker_config(name, registry, &json!({"username": username, "password": password})).await
    }

    /// Creates or replaces a pull Secret with any entry of a Docker configuration.
    pub async fn docker_config(&self, name: &str, registry: &str, entry: &Value) -> Result<()> {
        let config = json!({"auths": {registry: entry}}).to_string();
        self.secret(name, "kubernetes.io/dockerconfigjson", &[(".dockerconfigjson", &config)]).await
    }

    /// Creates or replaces a Secret.
    pub async fn secret(&self, name: &str, kind: &str, data: &[(&str, &str)]) -> Result<()> {
        let data: BTreeMap<&str, &str> = data.iter().copied().collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "stringData": data,
        });
        self.secrets().patch(name, &forced(), &Patch::Apply(secret)).await?;
        Ok(())
    }

    /// Creates or replaces a ConfigMap.
    pub async fn config_map(&self, name: &str, data: &[(&str, &str)]) -> Result<()> {
        let data: BTreeMap<&str, &str> = data.iter().copied().collect();
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        self.config_maps().patch(name, &forced(), &Patch::Apply(map)).await?;
        Ok(())
    }

    /// Creates or replaces a ServiceAccount whose pods pull with a Secret.
    pub async fn service_account(&self, name: &str, pull_secret: &str) -> Result<()> {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name},
            "imagePullSecrets": [{"name": pull_secret}],
        });
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        accounts.patch(name, &forced(), &Patch::Apply(account)).await?;
        Ok(())
    }
}

/// Returns parameters for a forced apply by the field manager of the harness.
fn forced() -> PatchParams {
    PatchParams::apply("supercargo-e2e").force()
}

/// Returns a condition of any generation.
pub fn condition(object: &DynamicObject, kind: &str) -> Option<Condition> {
    let conditions = object.data.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|condition| condition.get("type").is_some_and(|found| found == kind))?;
    let field = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Condition {
        status: field("status"),
        reason: field("reason"),
        message: field("message"),
        observed_generation: found.get("observedGeneration").and_then(Value::as_i64).unwrap_or(-1),
    })
}

/// Returns a condition if it is about the object's current generation.
pub fn current_condition(object: &DynamicObject, kind: &str) -> Option<Condition> {
    condition(object, kind).filter(|found| Some(found.observed_generation) == object.metadata.generation)
}

pub fn is_ready(object: &DynamicObject) -> bool {
    current_condition(object, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Returns the string at a JSON pointer in the object.
pub fn text<'a>(object: &'a DynamicObject, pointer: &str) -> Option<&'a str> {
    object.data.pointer(pointer).and_then(Value::as_str)
}

pub fn artifact_digest(object: &DynamicObject) -> Option<&str> {
    text(object, "/status/artifact/digest")
}
