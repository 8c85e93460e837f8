//! `spec.outputs`: places that the files are published to.

#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Place that the files are published to: exactly one of `volume`, `configMap` and `secret`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("(has(self.volume) ? 1 : 0) + (has(self.configMap) ? 1 : 0) + (has(self.secret) ? 1 : 0) == 1", "set exactly one of volume, configMap and secret in each output; use two outputs for two places")
)]
pub struct OutputSpec {
    /// Name of the output, unique in the object: at most 63 lower-case letters, digits and `-`, such as `files`.
    /// `status.outputs` lists the output under this name.
    #[schemars(length(min = 1, max = 63), regex(pattern = crate::api::name::LABEL_PATTERN))]
    pub name: String,

    /// Publishes the files on a shared volume of the operator, at `<namespace>/<object>/current`. `{}` is the volume
    /// `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeOutput>,

    /// Publishes the files as the keys of a ConfigMap in the object's namespace, such as `{name: rules}`; at most 900
    /// KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapOutput>,

    /// Publishes the files as the keys of a Secret in the object's namespace, such as `{name: tokens}`. Off by default:
    /// requires the chart value
    /// `rbac.secretOutputs: true`. An object with a `secret` output may have only `secret` outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretOutput>,

    /// Patterns for the files of this output, such as `rules/*.yaml`, applied to the files that `spec.files` selects.
    /// The syntax is that of `spec.files.include`. Default: all of these files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub include: Vec<String>,

    /// Patterns for files to leave out of those that `include` selects, such as `**/*_test.yaml`. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub exclude: Vec<String>,
}

/// Files on a shared volume of the operator.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeOutput {
    /// Name of a volume of the operator, as in its flag `--volume NAME=PATH`. Default: `default`.
    #[serde(default = "default_volume")]
    #[schemars(length(min = 1, max = 63), regex(pattern = crate::api::name::LABEL_PATTERN))]
    pub name: String,
}

/// Files as the keys of a ConfigMap.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapOutput {
    /// Name of the ConfigMap, or the prefix of its name with `immutable`. An existing ConfigMap that this object does
    /// not own is left unchanged, and Ready becomes False (`OutputConflict`).
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::api::name::OBJECT_PATTERN))]
    pub name: String,

    /// Publishes each content as a new immutable ConfigMap named `<name>-<10 hex digits of the content>`, such as
    /// `rules-90b4e1aa57`; `status.outputs[].location` has the current name. Default: false. A replaced ConfigMap is
    /// deleted when neither `--keep-revisions` (2) nor `--keep-revisions-for` (2m) of the operator keeps it, also if a
    /// workload still mounts it.
    #[serde(default)]
    pub immutable: bool,

    /// Replacement for `/` in keys, 1 to 8 letters, digits, `-`, `_` and `.`. Default: `__`, so that the file
    /// `rules/a.yaml` becomes the key `rules__a.yaml`. Two files with the same key are refused (`OutputConflict`).
    #[serde(default = "default_separator")]
    #[schemars(length(min = 1, max = 8), regex(pattern = crate::api::name::KEY_PATTERN))]
    pub separator: String,
}

/// Files as the keys of a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretOutput {
    /// Name of the Secret, or the prefix of its name with `immutable`. An existing Secret that this object does not own
    /// is left unchanged, and Ready becomes False (`OutputConflict`).
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::api::name::OBJECT_PATTERN))]
    pub name: String,

    /// Type of the Secret, such as `kubernetes.io/tls`. Default: `Opaque`. Kubernetes does not change the type of an
    /// existing Secret: after a change of `type`, delete the Secret or choose another `name` (else `OutputConflict`).
    #[serde(default = "default_secret_type", rename = "type")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-zA-Z0-9]([-._/a-zA-Z0-9]*[a-zA-Z0-9])?$"))]
    pub kind: String,

    /// Publishes each revision as a new immutable Secret named `<name>-<10 hex digits>`; the digits come from the
    /// artifact's digest and the spec, so the name reveals nothing of the content. `status.outputs[].location` has the
    /// current name. Default: false. A replaced Secret is deleted when neither `--keep-revisions` (2) nor
    /// `--keep-revisions-for` (2m) of the operator keeps it, also if a workload still mounts it.
    #[serde(default)]
    pub immutable: bool,

    /// Replacement for `/` in keys, 1 to 8 letters, digits, `-`, `_` and `.`. Default: `__`, so that the file
    /// `tls/tls.crt` becomes the key `tls__tls.crt`. Two files with the same key are refused (`OutputConflict`).
    #[serde(default = "default_separator")]
    #[schemars(length(min = 1, max = 8), regex(pattern = crate::api::name::KEY_PATTERN))]
    pub separator: String,
}

fn default_volume() -> String {
    "default".to_owned()
}

fn default_secret_type() -> String {
    "Opaque".to_owned()
}

fn default_separator() -> String {
    "__".to_owned()
}

pub(super) fn default_outputs() -> Vec<OutputSpec> {
    vec![OutputSpec {
        name: "files".to_owned(),
        volume: Some(VolumeOutput { name: default_volume() }),
        config_map: None,
        secret: None,
        include: Vec::new(),
        exclude: Vec::new(),
    }]
}
