//! Operator identities with rights in one namespace, as the chart's `watchNamespaces` grants them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::chart;
use crate::lab::Lab;
use crate::object::{LIMIT, Space};
use crate::wait;

/// Name of the ServiceAccount, its Role and the `RoleBinding`.
const NAME: &str = "operator";

/// ServiceAccount with the chart's rights, some of which can be revoked.
pub struct Rights {
    space: Space,
    rules: Vec<PolicyRule>,
    pub kubeconfig: PathBuf,
}

impl Rights {
    pub async fn create(lab: &Lab, space: &Space) -> Result<Self> {
        let accounts: Api<ServiceAccount> = Api::namespaced(space.client.clone(), &space.namespace);
        let account = serde_json::from_value(json!({"metadata": {"name": NAME}}))?;
        accounts.create(&PostParams::default(), &account).await?;
        let roles: Api<ClusterRole> = Api::all(space.client.clone());
        let rules = roles.get(chart::RELEASE).await?.rules.context("the chart's ClusterRole has no rules")?;

        let subjects = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": space.namespace}]);
        let role =
            |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
        let binding: RoleBinding = serde_json::from_value(
            json!({"metadata": {"name": NAME}, "roleRef": role("Role", NAME), "subjects": subjects}),
        )?;
        let bindings: Api<RoleBinding> = Api::namespaced(space.client.clone(), &space.namespace);
        bindings.create(&PostParams::default(), &binding).await?;
        // Policies are cluster-scoped, in every mode.
        let policies: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": {"name": format!("e2e-{}-policies", space.namespace)},
            "roleRef": role("ClusterRole", &format!("{}-policies", chart::RELEASE)), "subjects": subjects,
        }))?;
        Api::all(space.client.clone()).create(&PostParams::default(), &policies).await?;

        let access = chart::service_account(&lab.run, &lab.tools, &lab.control_plane, &space.namespace, NAME).await?;
        let directory = lab.run.subdirectory(&format!("rights/{}", space.namespace))?;
        let kubeconfig = directory.join("operator.kubeconfig");
        access.write(&kubeconfig)?;
        let rights = Self { space: space.clone(), rules, kubeconfig };
        rights.give_back().await?;
        rights.wait("", "configmaps", "patch", true).await?;
        Ok(rights)
    }

    /// Grants all rights of the chart.
    pub async fn give_back(&self) -> Result<()> {
        self.write(&self.rules).await
    }

    /// Grants all rights of the chart and these verbs of one resource.
    pub async fn add(&self, group: &str, resource: &str, verbs: &[&str]) -> Result<()> {
        let mut rules = self.rules.clone();
        rules.push(rule(group, resource, verbs)?);
        self.write(&rules).await?;
        for verb in verbs {
            self.wait(group, resource, verb, true).await?;
        }
        Ok(())
    }

    /// Revokes these verbs of one resource.
    pub async fn take(&self, group: &str, resource: &str, verbs: &[&str]) -> Result<()> {
        let mut rules = Vec::new();
        for known in &self.rules {
            let mut others = known.clone();
            let resources = others.resources.get_or_insert_default();
            let before = resources.len();
            resources.retain(|name| name != resource);
            if resources.len() < before {
                let left: Vec<&str> =
                    known.verbs.iter().map(String::as_str).filter(|verb| !verbs.contains(verb)).collect();
                if !left.is_empty() {
                    rules.push(rule(group, resource, &left)?);
                }
            }
            if others.resources.as_ref().is_some_and(|left| !left.is_empty()) {
                rules.push(others);
            }
        }
        self.write(&rules).await?;
        for verb in verbs {
            self.wait(group, resource, verb, false).await?;
        }
        Ok(())
    }

    async fn write(&self, rules: &[PolicyRule]) -> Result<()> {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": NAME}, "rules": rules,
        });
        let roles: Api<Role> = Api::namespaced(self.space.client.clone(), &self.space.namespace);
        roles.patch(NAME, &PatchParams::apply("supercargo-e2e").force(), &Patch::Apply(role)).await?;
        Ok(())
    }

    /// Waits until the API server's authorizer allows, or denies, the verb.
    async fn wait(&self, group: &str, resource: &str, verb: &str, wanted: bool) -> Result<()> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let namespace = &self.space.namespace;
        let review: SubjectAccessReview = serde_json::from_value(json!({
            "metadata": {},
            "spec": {
                "user": format!("system:serviceaccount:{namespace}:{NAME}"),
                "resourceAttributes": {
                    "namespace": namespace, "group": group, "resource": resource, "subresource": subresource,
                    "verb": verb,
                },
            },
        }))?;
        let reviews: Api<SubjectAccessReview> = Api::all(self.space.client.clone());
        wait::until(LIMIT, &format!("the right to {verb} {resource} to be {wanted}"), async || {
            let answer = reviews.create(&PostParams::default(), &review).await?;
            Ok((answer.status.is_some_and(|status| status.allowed) == wanted).then_some(()))
        })
        .await
    }
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> Result<PolicyRule> {
    let rule: Value = json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    Ok(serde_json::from_value(rule)?)
}
