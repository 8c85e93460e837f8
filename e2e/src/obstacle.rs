//! Obstacles that cluster administrators create: quotas and admission policies, each for one namespace.
//!
//! Functions return when a dry run by the harness has shown that the obstacle is in force, or gone.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::object::{LIMIT, Space};
use crate::wait;

/// Name of a ConfigMap that is created in dry runs only.
const PROBE: &str = "obstacle-probe";
/// Interval between two dry runs.
const PACE: Duration = Duration::from_millis(50);

/// Quota that prevents new ConfigMaps in the namespace; existing ConfigMaps can be changed.
pub struct Quota {
    space: Space,
}

impl Quota {
    pub async fn on_config_maps(space: &Space) -> Result<Self> {
        let quota: ResourceQuota = serde_json::from_value(json!({
            "metadata": {"name": "no-config-maps"}, "spec": {"hard": {"count/configmaps": "0"}},
        }))?;
        quotas(space).create(&PostParams::default(), &quota).await?;
        // The controller manager must set the quota's status, and the API server reads the quota from a cache.
        wait_probe(space, false).await.context("the quota is not in force")?;
        Ok(Self { space: space.clone() })
    }

    pub async fn remove(self) -> Result<()> {
        quotas(&self.space).delete("no-config-maps", &DeleteParams::default()).await?;
        wait_probe(&self.space, true).await.context("the quota is still in force")
    }
}

fn quotas(space: &Space) -> Api<ResourceQuota> {
    Api::namespaced(space.client.clone(), &space.namespace)
}

/// `ValidatingAdmissionPolicy` that denies requests of `ServiceAccounts` outside `kube-system` in one namespace. At most
/// one exists per namespace.
pub struct Denial {
    space: Space,
    name: String,
}

/// Requests to deny.
#[derive(Debug, Clone, Copy)]
pub struct Denied {
    pub group: &'static str,
    pub version: &'static str,
    /// Resource; with `/status` for the subresource.
    pub resource: &'static str,
    pub operations: &'static [&'static str],
    /// CEL expression over the request, in addition to the other fields.
    pub condition: &'static str,
}

/// Writes to ConfigMaps, without deletions.
pub const CONFIG_MAP_WRITES: Denied =
    Denied { group: "", version: "v1", resource: "configmaps", operations: &["CREATE", "UPDATE"], condition: "true" };
/// Deletions of ConfigMaps.
pub const CONFIG_MAP_DELETIONS: Denied =
    Denied { group: "", version: "v1", resource: "configmaps", operations: &["DELETE"], condition: "true" };
/// Writes to the status of `OCIArtifact` objects.
pub const STATUS_WRITES: Denied = Denied {
    group: "supercargo.dev",
    version: "v1alpha1",
    resource: "ociartifacts/status",
    operations: &["CREATE", "UPDATE"],
    condition: "true",
};
/// Writes to the ConfigMap `second`, without dry runs: no rehearsal shows this denial.
pub const WRITES_TO_SECOND: Denied = Denied {
    group: "",
    version: "v1",
    resource: "configmaps",
    operations: &["CREATE", "UPDATE"],
    condition: "request.name == 'second' && !(has(request.dryRun) && request.dryRun)",
};

impl Denial {
    pub async fn of(space: &Space, denied: Denied) -> Result<Self> {
        let name = format!("e2e-{}-denial", space.namespace);
        let (resource, subresource) = denied.resource.split_once('/').unwrap_or((denied.resource, ""));
        let (operations, extra) = (json!(denied.operations), denied.condition);
        let condition = format!(
            "request.name == '{PROBE}' || (request.resource.resource == '{resource}' && \
             request.subResource == '{subresource}' && request.operation in {operations} && ({extra}) && \
             request.userInfo.username.startsWith('system:serviceaccount:') && \
             !request.userInfo.username.startsWith('system:serviceaccount:kube-system:'))"
        );
        let rule = |group: &str, version: &str, resource: &str, operations: &Value| json!({"apiGroups": [group], "apiVersions": [version], "resources": [resource], "operations": operations});
        let rules = [
            rule(denied.group, denied.version, denied.resource, &operations),
            rule("", "v1", "configmaps", &json!(["CREATE"])),
        ];
        let policy: ValidatingAdmissionPolicy = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": rules},
                "matchConditions": [{"name": "denied", "expression": condition}],
                "validations": [{"expression": "false", "message": "denied by the test"}],
            },
        }))?;
        let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.namespace}},
                },
            },
        }))?;
        let (policies, bindings) = apis(space);
        policies.create(&PostParams::default(), &policy).await?;
        bindings.create(&PostParams::default(), &binding).await?;
        wait_probe(space, false).await.context("the admission policy is not in force")?;
        Ok(Self { space: space.clone(), name })
    }

    pub async fn remove(self) -> Result<()> {
        let (policies, bindings) = apis(&self.space);
        bindings.delete(&self.name, &DeleteParams::default()).await?;
        policies.delete(&self.name, &DeleteParams::default()).await?;
        wait_probe(&self.space, true).await.context("the admission policy is still in force")
    }
}

fn apis(space: &Space) -> (Api<ValidatingAdmissionPolicy>, Api<ValidatingAdmissionPolicyBinding>) {
    (Api::all(space.client.clone()), Api::all(space.client.clone()))
}

/// Waits until a dry run by the harness may, or may not, create a ConfigMap.
async fn wait_probe(space: &Space, wanted: bool) -> Result<()> {
    let probe: ConfigMap = serde_json::from_value(json!({"metadata": {"name": PROBE}}))?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let maps = space.config_maps();
    wait::until_with_pace(LIMIT, PACE, &format!("a ConfigMap to be allowed: {wanted}"), async || {
        let allowed = match maps.create(&dry, &probe).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) if [403, 422].contains(&status.code) => false,
            Err(error) => return Err(error.into()),
        };
        Ok((allowed == wanted).then_some(()))
    })
    .await
}
