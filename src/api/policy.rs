//! `OCIArtifactPolicy`: requirements of the cluster's administrators, in addition to those of each object.

#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]
#![allow(clippy::duplicated_attributes, reason = "print columns are given one after another")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::spec::LimitsSpec;
use super::verify::VerifySpec;
use super::vocabulary::{Enforcement, PolicyAction};

/// Requirements for the artifacts that this policy matches. An artifact must satisfy every policy that matches it.
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
    doc = "Requirements of the cluster's administrators for OCI artifacts. An artifact must satisfy every policy that matches its repository and namespace, and the object's own spec.verify; an object cannot weaken a policy. Secrets and ConfigMaps that a policy names are in the operator's own namespace.",
    printcolumn(name = "Action", type_ = "string", json_path = ".spec.action"),
    printcolumn(name = "Enforcement", type_ = "string", json_path = ".spec.enforcement"),
    printcolumn(name = "Images", type_ = "string", json_path = ".spec.images"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("(self.action == 'Verify') == (has(self.verify) && self.verify.size() > 0)", "action: Verify requires entries in verify, and Allow and Deny allow no entries"),
    validation = (r"self.images.all(image, image == '**' || image.matches('^[^/@]+(/[^/:@]+)+/?$'))", "write images as patterns for host/repository, such as ghcr.io/acme/**: without https:// or oci://, a tag or a digest; ** alone is every repository"),
    validation = (r"self.images.all(image, image == '**' || (image.matches('^([^/]*[:.*?{[][^/]*|localhost)/') && !image.matches('[^!-~]|[^/][*][*]|[*][*][^/]|[.]/')))", "a pattern in spec.images can match no repository; expected host/repository, such as ghcr.io/acme/**: the host has a dot or a port (registry:5000) and does not end with a dot or colon, ** is a whole path component, and all characters are ASCII")
)]
pub struct OCIArtifactPolicySpec {
    /// Repositories that the policy matches: 1 to 64 patterns for `host/repository`, such as `ghcr.io/acme/**`. `*` and
    /// `?` do not match `/`, `**` does. `**` alone matches every repository; a pattern that ends with `/` matches the
    /// repository and everything below it.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub images: Vec<String>,

    /// Label selector for the namespaces of the OCIArtifacts that the policy matches, such as
    /// `matchLabels: {tier: prod}`. Default: all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,

    /// Effect on matching artifacts. `Verify` (default): they must satisfy every entry of `verify`. `Deny`: they are
    /// refused. `Allow`: this policy requires no signature, and the operator's rule for artifacts without a matching
    /// policy (`--no-policy`) does not apply to them.
    #[serde(default)]
    pub action: PolicyAction,

    /// Signature requirements, at most 8; every entry must be satisfied. Required with `action: Verify`, not allowed
    /// with `Allow` and `Deny`. Secrets and ConfigMaps named here are in the operator's own namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub verify: Vec<VerifySpec>,

    /// Consequence of a violation. `Enforce` (default): artifacts that do not satisfy the policy are refused. `Warn`:
    /// they are published all the same, and the object's conditions report the violation.
    #[serde(default)]
    pub enforcement: Enforcement,

    /// Limits for matching artifacts, such as `extractedBytes: 1Gi`. Each one takes effect only if it is lower than the
    /// operator's and the object's. Default: none beyond these two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
}

impl OCIArtifactPolicySpec {
    /// Returns the repositories and namespaces that the policy matches.
    pub fn scope(&self) -> Scope {
        Scope { images: self.images.clone(), namespace_selector: self.namespace_selector.clone() }
    }
}

/// Policy spec as stored. A spec that cannot be read, because it bypassed admission or this version is too old for it,
/// must not count as absent.
#[derive(Clone, Debug)]
pub struct StoredPolicySpec {
    /// Repositories and namespaces that the policy matches.
    pub scope: Scope,
    /// `None` if the spec cannot be read completely, or has a field that is unknown to this version.
    pub spec: Option<OCIArtifactPolicySpec>,
}

/// Repositories and namespaces that a policy matches. A part that cannot be read matches everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// `spec.images`.
    pub images: Vec<String>,
    /// `spec.namespaceSelector`.
    pub namespace_selector: Option<LabelSelector>,
}

impl<'de> Deserialize<'de> for StoredPolicySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Value::deserialize(deserializer)?;
        let images = stored.get("images").and_then(|images| Vec::deserialize(images).ok());
        let selector = stored.get("namespaceSelector").and_then(|selector| LabelSelector::deserialize(selector).ok());
        let scope = Scope { images: images.unwrap_or_else(|| vec!["**".to_owned()]), namespace_selector: selector };
        // An unknown field may be what makes the policy strict, so it must not be ignored.
        let mut is_known = true;
        let spec = serde_ignored::deserialize(stored, |_| is_known = false).ok();
        Ok(Self { scope, spec: spec.filter(|_| is_known) })
    }
}

impl Scope {
    /// Returns true if the policy matches namespaces with these labels. An invalid selector matches all namespaces.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let selector = self.namespace_selector.clone().map(Selector::try_from);
        !matches!(selector, Some(Ok(selector)) if !selector.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unreadable_policy_keeps_its_readable_scope_and_otherwise_matches_everything() {
        let (images, selector) = (json!(["ghcr.io/acme/**"]), json!({"matchLabels": {"tier": "prod"}}));
        let rows = [
            ("whole", json!({"images": images, "namespaceSelector": selector, "action": "Deny"}), true, true, true),
            ("action", json!({"images": images, "namespaceSelector": selector, "action": "Maybe"}), false, true, true),
            ("verify", json!({"images": images, "verify": "all"}), false, true, false),
            ("images", json!({"images": "ghcr.io/acme/**", "namespaceSelector": selector}), false, false, true),
            ("an image", json!({"images": ["a", 1]}), false, false, false),
            ("no images", json!({"action": "Deny"}), false, false, false),
            ("selector", json!({"images": images, "namespaceSelector": "prod", "action": "Deny"}), false, true, false),
            (
                "operator",
                json!({"images": images, "namespaceSelector": {"matchExpressions": [
                {"key": "tier", "operator": "Like", "values": ["prod"]}]}, "action": "Deny"}),
                true,
                true,
                false,
            ),
            (
                "a field of a newer version",
                json!({"images": images, "action": "Allow", "strict": true}),
                false,
                true,
                false,
            ),
            (
                "one in an entry",
                json!({"images": images, "verify": [{"name": "a", "cosign": {"keys": [{"inline": "k"}], "strict": 1}}]}),
                false,
                true,
                false,
            ),
            (
                "one in the selector",
                json!({"images": images, "namespaceSelector": {"matchLabels": {"tier": "prod"}, "x": 1}, "action": "Deny"}),
                false,
                true,
                true,
            ),
            ("no object", json!(1), false, false, false),
        ];
        let labels = |tier: &str| BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
        for (label, stored, is_readable, is_about_some_images, is_about_some_namespaces) in rows {
            let StoredPolicySpec { scope, spec } = serde_json::from_value(stored).unwrap();
            assert_eq!(spec.is_some(), is_readable, "{label}");
            assert_eq!(scope.images, [if is_about_some_images { "ghcr.io/acme/**" } else { "**" }], "{label}");
            assert!(scope.selects(&labels("prod")), "{label}");
            assert_eq!(!scope.selects(&labels("dev")), is_about_some_namespaces, "{label}");
        }
    }
}
