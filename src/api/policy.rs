//! `OCIArtifactPolicy`: what the cluster's administrators ask of artifacts, whatever objects ask themselves.

#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]
#![allow(clippy::duplicated_attributes, reason = "print columns are given one after another")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::spec::LimitsSpec;
use super::verify::VerifySpec;

/// What is asked of the artifacts that it speaks about.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "supercargo.dev",
    version = "v1alpha1",
    kind = "OCIArtifactPolicy",
    plural = "ociartifactpolicies",
    singular = "ociartifactpolicy",
    shortname = "ociartpol",
    category = "supercargo",
    derive = "PartialEq",
    doc = "What the cluster's administrators ask of OCI artifacts. Every policy that speaks about an artifact must be satisfied, and so must the object's own spec.verify; an object cannot weaken a policy. Secrets and ConfigMaps that a policy names are in the operator's own namespace.",
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.action"),
    printcolumn(name = "Enforcement", type_ = "string", json_path = ".spec.enforcement"),
    printcolumn(name = "Images", type_ = "string", json_path = ".spec.images"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("(self.action == 'Verify') == (self.verify.size() > 0)", "action: Verify needs entries in verify, and Allow and Deny take none")
)]
pub struct OCIArtifactPolicySpec {
    /// The repositories that it speaks about, as patterns for `host/repository` such as `ghcr.io/acme/**`. `*` and `?`
    /// stop at `/`, `**` does not. `**` alone is every repository.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub images: Vec<String>,

    /// The namespaces that it speaks about. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,

    /// `Verify`: artifacts must be signed as `verify` says. `Deny`: they are refused. `Allow`: nothing is asked, and the
    /// operator's default for artifacts that no policy speaks about does not hold for them.
    #[serde(default)]
    pub action: PolicyAction,

    /// Who must have signed. Every entry must be satisfied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub verify: Vec<VerifySpec>,

    /// `Enforce`, or `Warn`: an artifact that does not satisfy it is published all the same, and the object says so.
    #[serde(default)]
    pub enforcement: Enforcement,

    /// Bounds for these artifacts. They lower the operator's and the object's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
}

/// What a policy does.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyAction {
    /// Signatures are asked for.
    #[default]
    Verify,
    /// Refused.
    Deny,
    /// Nothing is asked.
    Allow,
}

/// Whether a policy decides.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcement {
    /// It decides.
    #[default]
    Enforce,
    /// It only says what it would decide.
    Warn,
}

impl Enforcement {
    /// The text, as status has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "Enforce",
            Self::Warn => "Warn",
        }
    }
}

impl OCIArtifactPolicySpec {
    /// True where it speaks about namespaces with those labels. A selector that cannot be understood selects all: a
    /// policy that is written wrong must not be one that is not there.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let selector = self.namespace_selector.clone().map(Selector::try_from);
        !matches!(selector, Some(Ok(selector)) if !selector.matches(labels))
    }
}
