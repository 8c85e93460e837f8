//! `OCIArtifact.spec`.

#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]
#![allow(clippy::duplicated_attributes, reason = "print columns are given one after another")]

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::status::OCIArtifactStatus;
use super::verify::VerifySpec;

/// What to fetch, how, and where its files go.
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
    doc = "An OCI artifact that is kept, unpacked, where workloads can read it. supercargo resolves spec.image to a digest, fetches exactly that digest, checks every byte, unpacks it and publishes the files to spec.outputs. status.artifact.digest names what consumers read now.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Tag", type_ = "string", json_path = ".status.artifact.tag"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.artifact.shortDigest"),
    printcolumn(
        name = "Verified",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Verified")].status"#
    ),
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
    /// What to fetch: `[oci://]host[:port]/repository[:tag][@sha256:<64 hex>]`.
    ///
    /// A tag is looked up again after every `interval`. A digest is never looked up again: it
    /// decides, and a tag beside it is only recorded for people and tools such as Renovate. With
    /// neither, the tag is `latest`. There are no short names: `nginx` is not `docker.io/library/nginx`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(
        validation = ("!self.startsWith('http://') && !self.startsWith('https://')", "write spec.image without http:// or https://, as host/repository:tag; for a registry without TLS set spec.registry.plainHTTP"),
        validation = super::image::host_rule(),
        validation = super::image::path_rule(),
        validation = super::image::length_rule()
    )]
    pub image: String,

    /// Chooses the tag: the highest version of the repository's tags that is in a range. Looked up
    /// again after every `interval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<SemverSpec>,

    /// Which manifest of an index is published, as `os/architecture[/variant]`, such as `linux/arm64`.
    ///
    /// Needed only where the reference names an index of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = r"^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$"))]
    pub platform: Option<String>,

    /// How often a tag is looked up again, as a Go duration such as `90s` or `1h30m`; at least 10s.
    ///
    /// Some jitter is added. A digest is never looked up again; its outputs are still checked.
    #[serde(default = "default_interval")]
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = (r"self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('168h')", "spec.interval must be a Go duration such as 90s or 1h30m, between 10s and 168h; to look now, set the annotation supercargo.dev/requestedAt")
    )]
    pub interval: String,

    /// Bound on one whole pass: name lookup, TLS, bodies that trickle, unpacking. A Go duration, at most 1h.
    #[serde(default = "default_timeout")]
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = (r"self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')", "spec.timeout must be a Go duration such as 90s or 5m, between 1s and 1h")
    )]
    pub timeout: String,

    /// Stops looking at tags and fetching. What is published stays, and policies and `verify` still judge it.
    #[serde(default)]
    pub suspend: bool,

    /// How to talk to the registry.
    #[serde(default)]
    pub registry: RegistrySpec,

    /// What the artifact may be: patterns for its `artifactType`, or where it has none for the media
    /// type of its config, in which `*` stands for anything. Any other is refused before a layer is
    /// fetched. None: anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub artifact_types: Vec<String>,

    /// Which layers are fetched, and what is done with each.
    #[serde(default)]
    pub layers: LayersSpec,

    /// Which of the artifact's files are published.
    #[serde(default)]
    pub files: FilesSpec,

    /// Who must have signed the digest that the image means, before anything of it is fetched. Every entry must be
    /// satisfied. None: nobody is asked for a signature, unless an `OCIArtifactPolicy` does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub verify: Vec<VerifySpec>,

    /// Bounds for this artifact. They lower the operator's; one that is higher changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,

    /// Places that the files are published to, at most 8. All of them change to a new revision together, or none does.
    /// Default: one output named `files` on the volume `default`. An empty list resolves and verifies `spec.image`, and
    /// fetches no layer.
    #[serde(default = "default_outputs")]
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

/// Chooses a tag by its version.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SemverSpec {
    /// Versions that match, as Helm and Flux write them: `1.2.x`, `~1.2`, `^1`, `>=1.2.0 <2.0.0`, `1.2 - 1.4 || 2.x`.
    #[schemars(length(min = 1, max = 256))]
    pub range: String,

    /// Prereleases such as `1.3.0-rc.1` match too. Otherwise only where the range itself names one.
    #[serde(default)]
    pub prereleases: bool,

    /// Regular expression (RE2 syntax) that a tag must match to be looked at, such as `^v?[0-9.]+$`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub filter: Option<String>,
}

/// How to talk to the registry.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!self.plainHTTP || !(self.insecureSkipVerify || has(self.caRef) || has(self.clientCertificateRef))", "plainHTTP speaks no TLS at all; remove insecureSkipVerify, caRef and clientCertificateRef, or plainHTTP"),
    validation = ("!self.insecureSkipVerify || !has(self.caRef)", "insecureSkipVerify accepts any certificate, so caRef would do nothing; remove one of the two")
)]
pub struct RegistrySpec {
    /// Secrets of this namespace with registry credentials, tried in order for the image's host:
    /// `kubernetes.io/dockerconfigjson`, or `kubernetes.io/basic-auth` with an annotation that names the
    /// image's host, such as `supercargo.dev/registry: ghcr.io`.
    #[serde(default)]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub pull_secrets: Vec<SecretReference>,

    /// A ServiceAccount of this namespace whose `imagePullSecrets` are tried after `pullSecrets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
    pub service_account_name: Option<String>,

    /// Speak HTTP without TLS. Never a fallback: it is used only when set, and then always. The
    /// operator must allow it for the host (`--plain-http-host`).
    #[serde(default, rename = "plainHTTP")]
    pub plain_http: bool,

    /// Accept any certificate. Whoever sits in between can then read the pull secrets and hide or
    /// replace tags; digests in `spec.image` and signatures still hold.
    #[serde(default)]
    pub insecure_skip_verify: bool,

    /// Certificate authorities, PEM, that are trusted besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaReference>,

    /// A Secret of type `kubernetes.io/tls` with the certificate that is shown to the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretReference>,
}

/// A key of a ConfigMap or Secret of the object's own namespace, with PEM certificates.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaReference {
    /// What holds it.
    #[serde(default)]
    pub kind: CaSource,

    /// Name of the ConfigMap or Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
    pub name: String,

    /// Key with the certificates.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::KEY_PATTERN))]
    pub key: String,
}

/// Kinds of objects that hold certificate authorities.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaSource {
    /// A ConfigMap.
    #[default]
    ConfigMap,
    /// A Secret.
    Secret,
}

impl CaSource {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// A Secret of the object's own namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
    pub name: String,
}

/// Which of the artifact's files are published.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesSpec {
    /// Publish only what lies below this directory of the artifact, without the directory itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = ("!self.startsWith('/') && !self.split('/').exists(c, c == '..')", "spec.files.subPath must be relative and must not contain ..")
    )]
    pub sub_path: Option<String>,

    /// Publish only these: patterns for paths below `subPath`, such as `**/*.json` or `rules`. `*`
    /// and `?` stop at `/`, `**` does not. A directory stands for everything in it. None: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub include: Vec<String>,

    /// But not these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub exclude: Vec<String>,

    /// Symbolic links: `Keep` those that stay inside the artifact, or `Reject` the artifact that has any.
    #[serde(default)]
    pub symlinks: Symlinks,
}

/// What is done with symbolic links that stay inside the artifact. Others are refused in any case.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Symlinks {
    /// They are published.
    #[default]
    Keep,
    /// They are refused.
    Reject,
}

/// Which layers are fetched, and what is done with each.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayersSpec {
    /// Only layers of these media types, in which `*` stands for anything. Others are not fetched. None: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub media_types: Vec<String>,

    /// Only layers with these titles (`org.opencontainers.image.title`), as patterns for paths such as
    /// `*.json` or `docs/**`. Others, and those without a title, are not fetched. None: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub titles: Vec<String>,

    /// `Auto`: archives that are marked so, or have no title, are extracted, and everything else is a
    /// file. `Extract`: every layer is an archive, tar or zip. `File`: every layer is a file.
    #[serde(default)]
    pub mode: LayerMode,

    /// When two layers have different content for one path: `Fail`, or `LastWins`.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// What is done with a layer.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerMode {
    /// What its annotations and media type say.
    #[default]
    Auto,
    /// It is extracted.
    Extract,
    /// It is a file.
    File,
}

/// What is done where two layers have different content for one path.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnConflict {
    /// The artifact is refused.
    #[default]
    Fail,
    /// The layer that comes later in the manifest has it.
    LastWins,
}

/// Bounds for one artifact. Bytes are numbers, or quantities such as `512Mi` or `1G`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Layers of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub layers: Option<u32>,

    /// Bytes of one layer as transferred: a number, or a quantity such as `512Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (r"type(self) == int ? self > 0 : self.matches('^[1-9][0-9]{0,14}([kMGT]|[KMGT]i)?$')", "write spec.limits.layerBytes as a number of bytes, or a quantity such as 512Mi or 1G"))]
    pub layer_bytes: Option<ByteCount>,

    /// Bytes of all files together: a number, or a quantity such as `512Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (r"type(self) == int ? self > 0 : self.matches('^[1-9][0-9]{0,14}([kMGT]|[KMGT]i)?$')", "write spec.limits.extractedBytes as a number of bytes, or a quantity such as 512Mi or 1G"))]
    pub extracted_bytes: Option<ByteCount>,

    /// Bytes of one file: a number, or a quantity such as `512Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (r"type(self) == int ? self > 0 : self.matches('^[1-9][0-9]{0,14}([kMGT]|[KMGT]i)?$')", "write spec.limits.fileBytes as a number of bytes, or a quantity such as 512Mi or 1G"))]
    pub file_bytes: Option<ByteCount>,

    /// Files, directories and links together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub files: Option<u32>,

    /// Levels of a path: a file at the top is on the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub depth: Option<u32>,

    /// Bytes that come out of a layer for each byte of it, once it is more than 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub ratio: Option<u32>,
}

/// Place that the files are published to: exactly one of `volume`, `configMap` and `secret`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("(has(self.volume) ? 1 : 0) + (has(self.configMap) ? 1 : 0) + (has(self.secret) ? 1 : 0) == 1", "set exactly one of volume, configMap and secret in each output; use two outputs for two places")
)]
pub struct OutputSpec {
    /// Name of the output, unique in the object: at most 63 lower-case letters, digits and `-`, such as `files`.
    /// `status.outputs` lists the output under this name.
    #[schemars(length(min = 1, max = 63), regex(pattern = super::name::LABEL_PATTERN))]
    pub name: String,

    /// Files on a shared volume of the operator, at `<namespace>/<object>/current`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeOutput>,

    /// Files as the keys of a ConfigMap in the object's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapOutput>,

    /// Files as the keys of a Secret in the object's namespace. Off by default: requires the chart value
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
    /// Name of the volume, as the operator was started with (`--volume NAME=PATH`).
    #[serde(default = "default_volume")]
    #[schemars(length(min = 1, max = 63), regex(pattern = super::name::LABEL_PATTERN))]
    pub name: String,
}

/// Files as the keys of a ConfigMap.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapOutput {
    /// Name of the ConfigMap, or the prefix of its name with `immutable`. An existing ConfigMap that this object does
    /// not own is left unchanged, and Ready becomes False (`OutputConflict`).
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
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
    #[schemars(length(min = 1, max = 8), regex(pattern = super::name::KEY_PATTERN))]
    pub separator: String,
}

/// Files as the keys of a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretOutput {
    /// Name of the Secret, or the prefix of its name with `immutable`. An existing Secret that this object does not own
    /// is left unchanged, and Ready becomes False (`OutputConflict`).
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
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
    #[schemars(length(min = 1, max = 8), regex(pattern = super::name::KEY_PATTERN))]
    pub separator: String,
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

fn default_interval() -> String {
    "10m".to_owned()
}

fn default_timeout() -> String {
    "5m".to_owned()
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

fn default_outputs() -> Vec<OutputSpec> {
    vec![OutputSpec {
        name: "files".to_owned(),
        volume: Some(VolumeOutput { name: default_volume() }),
        config_map: None,
        secret: None,
        include: Vec::new(),
        exclude: Vec::new(),
    }]
}

/// Parses a Go duration, as the fields `interval` and `timeout` have it.
pub fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let parsed: kube::core::Duration = text.parse().ok()?;
    (!parsed.is_negative()).then(|| parsed.into())
}

/// A number of bytes, or a quantity such as `512Mi`.
#[derive(schemars::JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct ByteCount(#[schemars(with = "IntOrString")] Count);

/// Kubernetes' own type for this ends at 2 GiB, and an object with more could not be read at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Count {
    Number(i64),
    Text(String),
}

impl ByteCount {
    /// The number; `None` for what is none, or 0.
    pub fn bytes(&self) -> Option<u64> {
        match &self.0 {
            Count::Number(number) => u64::try_from(*number).ok().filter(|bytes| *bytes > 0),
            Count::Text(text) => parse_bytes(text),
        }
    }
}

/// Parses a number of bytes, as the fields of `limits` have it: `1048576`, `512Mi`, `1G`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_numbers_or_quantities() {
        let rows = [
            ("1", Some(1)),
            ("512Mi", Some(512 << 20)),
            ("2Gi", Some(2 << 30)),
            ("1k", Some(1000)),
            ("3T", Some(3_000_000_000_000)),
            ("0", None),
            ("", None),
            ("Mi", None),
            ("1.5Gi", None),
            ("-1", None),
            ("1K", None),
            ("99999999999999999999", None),
            ("99999999999Ti", None),
        ];
        for (text, want) in rows {
            assert_eq!(parse_bytes(text), want, "{text}");
            let count: ByteCount = serde_json::from_value(text.into()).unwrap();
            assert_eq!(count.bytes(), want, "{text}");
        }
        for number in [1_i64, 2_147_483_648, i64::MAX, 0, -1] {
            let count: ByteCount = serde_json::from_value(number.into()).unwrap();
            assert_eq!(count.bytes(), u64::try_from(number).ok().filter(|number| *number > 0), "{number}");
        }
    }
}
