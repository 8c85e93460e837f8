//! `OCIArtifact.spec`.

#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]
#![allow(clippy::duplicated_attributes, reason = "print columns are given one after another")]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::status::OCIArtifactStatus;
use super::verify::VerifySpec;

mod limits;
mod outputs;
mod registry;
mod selection;

pub use limits::{ByteCount, LimitsSpec, parse_bytes};
pub use outputs::{ConfigMapOutput, OutputSpec, SecretOutput, VolumeOutput};
pub use registry::{CaReference, CertificateReference, RegistrySpec, SecretReference};
pub use selection::{FilesSpec, LayersSpec};

/// Artifact to fetch, its verification, and the outputs that its files are published to.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "supercargo.dev",
    version = "v1alpha1",
    kind = "OCIArtifact",
    plural = "ociartifacts",
    singular = "ociartifact",
    shortname = "ociart",
    category = "supercargo",
    namespaced,
    status = "OCIArtifactStatus",
    derive = "PartialEq",
    doc = "An OCI artifact whose files are published where workloads can read them. supercargo resolves spec.image to a digest, fetches exactly that digest, checks every byte, unpacks it and publishes the files to spec.outputs. status.artifact.digest names what consumers read now.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Tag", type_ = "string", json_path = ".status.artifact.tag"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.artifact.shortDigest"),
    printcolumn(
        name = "Verified",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Verified")].status"#
    ),
    printcolumn(name = "Updated", type_ = "date", json_path = ".status.artifact.lastUpdateTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(name = "Size", type_ = "integer", json_path = ".status.artifact.size", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.semver) || self.image.matches('^(oci://)?[^/]+/[^:@]+$')", "spec.semver chooses the tag, so spec.image must have neither a tag nor a digest; remove one of the two"),
    validation = super::references::rule()
)]
pub struct OCIArtifactSpec {
    /// Reference of the artifact: `[oci://]host[:port]/repository[:tag][@sha256:<64 hex>]`, such as
    /// `ghcr.io/team/app:1.0`.
    ///
    /// A tag is resolved again after every `interval`. A digest is never resolved again: it takes precedence, and a tag
    /// beside it is only recorded for people and tools such as Renovate. With neither, the tag is `latest`, unless
    /// `semver` selects one. Short names are not completed: `nginx` is not `docker.io/library/nginx`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = ("!self.startsWith('http://') && !self.startsWith('https://')", "write spec.image without http:// or https://, as host/repository:tag; for a registry without TLS set spec.registry.plainHTTP"),
        validation = super::image::host_rule(),
        validation = super::image::path_rule(),
        validation = super::image::length_rule()
    )]
    pub image: String,

    /// Selection of the tag by version: the highest version in a range, evaluated again after every `interval`. `image`
    /// must then have neither a tag nor a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<SemverSpec>,

    /// Platform of the manifest to publish from an index, as `os/architecture[/variant]`, such as `linux/arm64`.
    ///
    /// Required only if the image is an index with several manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$"))]
    pub platform: Option<String>,

    /// Time between two polls of a tag, as a Go duration such as `90s` or `1h30m`, from 10s to 168h. Default: 10m.
    ///
    /// The time varies by up to 10 % between objects. A digest is never polled; its outputs are still checked.
    #[serde(default = "default_interval")]
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = (r"self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('168h')", "spec.interval must be a Go duration such as 90s or 1h30m, between 10s and 168h; to reconcile now, set the annotation supercargo.dev/requestedAt")
    )]
    pub interval: String,

    /// Time limit of one whole pass (name lookup, TLS, slow downloads, unpacking), as a Go duration from 1s to 1h.
    /// Default: 5m. Waiting for a turn at the registry or for a processor does not count.
    #[serde(default = "default_timeout")]
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = (r"self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')", "spec.timeout must be a Go duration such as 90s or 5m, between 1s and 1h")
    )]
    pub timeout: String,

    /// Suspends polling and fetching. Published content stays, and policies and `verify` still apply to it. Default:
    /// false.
    #[serde(default)]
    pub suspend: bool,

    /// Access to the registry: credentials and TLS, such as `pullSecrets: [{name: registry-login}]`. Default: no
    /// credentials, and TLS with the system's certificate authorities.
    #[serde(default)]
    pub registry: RegistrySpec,

    /// Accepted artifact types, as patterns in which `*` matches anything, such as `application/vnd.cncf.flux.*`; at
    /// most 16. They are compared with the manifest's `artifactType`, or if it has none with the media type of its
    /// config. Any other type is refused (`UnexpectedArtifactType`) before a layer is fetched. Default: all types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub artifact_types: Vec<String>,

    /// Selection of the layers to fetch by `mediaTypes` and `titles`, and rules for unpacking them. Default: all layers
    /// with content; archives are extracted (`mode: Auto`).
    #[serde(default)]
    pub layers: LayersSpec,

    /// Selection of the files to publish by `subPath`, `include` and `exclude`, and a rule for `symlinks`. Default: all
    /// files.
    #[serde(default)]
    pub files: FilesSpec,

    /// Signature requirements for the resolved digest, at most 8, verified before any layer is fetched; every entry
    /// must be satisfied. Default: none, so no signature is required unless an `OCIArtifactPolicy` requires one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub verify: Vec<VerifySpec>,

    /// Limits for this artifact, such as `extractedBytes: 512Mi`. Each one takes effect only if it is lower than the
    /// operator's. Default: the operator's limits (`--max-...`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,

    /// Places that the files are published to, at most 8. All of them change to a new revision together, or none does.
    /// Default: one output named `files` on the volume `default`. An empty list resolves and verifies `spec.image`, and
    /// fetches no layer.
    #[serde(default = "outputs::default_outputs")]
    #[schemars(length(max = 8))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".to_string()]),
        validation = ("self.all(o, !has(o.volume) || self.filter(p, has(p.volume) && p.volume.name == o.volume.name).size() == 1)", "two outputs name the same volume; an object has one directory on a volume, so keep one of them"),
        validation = ("self.all(o, !has(o.configMap) || self.filter(p, has(p.configMap) && p.configMap.name == o.configMap.name).size() == 1)", "two outputs name the same ConfigMap; give them different names"),
        validation = ("self.all(o, !has(o.secret) || self.filter(p, has(p.secret) && p.secret.name == o.secret.name).size() == 1)", "two outputs name the same Secret; give them different names"),
        validation = ("self.all(o, has(o.secret)) || !self.exists(o, has(o.secret))", "an object with a secret output may have only secret outputs; use a second OCIArtifact for volumes and ConfigMaps")
    )]
    pub outputs: Vec<OutputSpec>,
}

/// Selection of a tag by its version.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SemverSpec {
    /// Accepted versions, in the syntax of Helm and Flux: `1.2.x`, `~1.2`, `^1`, `>=1.2.0 <2.0.0`, `1.2 - 1.4 || 2.x`.
    #[schemars(length(min = 1, max = 256))]
    pub range: String,

    /// Includes prereleases such as `1.3.0-rc.1`. Default: false; they then match only if the range itself names a
    /// prerelease.
    #[serde(default)]
    pub prereleases: bool,

    /// Regular expression (RE2 syntax) that a tag must match to be considered, such as `^v?[0-9.]+$`. Default: every
    /// tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub filter: Option<String>,
}

fn default_interval() -> String {
    "10m".to_owned()
}

fn default_timeout() -> String {
    "5m".to_owned()
}

/// Parses a Go duration, as in the fields `interval` and `timeout`.
pub fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let parsed: kube::core::Duration = text.parse().ok()?;
    (!parsed.is_negative()).then(|| parsed.into())
}

impl OCIArtifactSpec {
    /// Returns the number of references to other objects.
    pub fn references(&self) -> usize {
        super::references::count(&self.registry, &self.verify)
    }
}
