//! `OCIArtifact.spec`.

#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]
#![allow(clippy::duplicated_attributes, reason = "print columns are given one after another")]

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::status::OCIArtifactStatus;
use super::verify::VerifySpec;
use super::vocabulary::{CaSource, LayerMode, OnConflict, Symlinks};

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
        validation = (r"self.matches('^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('168h')", "spec.interval must be a Go duration such as 90s or 1h30m, between 10s and 168h; to look now, set the annotation supercargo.dev/requestedAt")
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

    /// Access to the registry: credentials and TLS.
    #[serde(default)]
    pub registry: RegistrySpec,

    /// Accepted artifact types, as patterns in which `*` matches anything, such as `application/vnd.cncf.flux.*`; at
    /// most 16. They are compared with the manifest's `artifactType`, or if it has none with the media type of its
    /// config. Any other type is refused (`UnexpectedArtifactType`) before a layer is fetched. Default: all types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub artifact_types: Vec<String>,

    /// Selection of the layers to fetch, and rules for unpacking them.
    #[serde(default)]
    pub layers: LayersSpec,

    /// Selection of the files to publish.
    #[serde(default)]
    pub files: FilesSpec,

    /// Signature requirements for the resolved digest, at most 8, verified before any layer is fetched; every entry
    /// must be satisfied. If empty, no signature is required unless an `OCIArtifactPolicy` requires one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub verify: Vec<VerifySpec>,

    /// Limits for this artifact. Each one takes effect only if it is lower than the operator's.
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

/// Access to the registry: credentials and TLS.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!self.plainHTTP || !(self.insecureSkipVerify || has(self.caRef) || has(self.clientCertificateRef))", "plainHTTP speaks no TLS at all; remove insecureSkipVerify, caRef and clientCertificateRef, or plainHTTP"),
    validation = ("!self.insecureSkipVerify || !has(self.caRef)", "insecureSkipVerify accepts any certificate, so caRef would do nothing; remove one of the two")
)]
pub struct RegistrySpec {
    /// Secrets in the object's namespace with registry credentials, at most 8: `kubernetes.io/dockerconfigjson`, or
    /// `kubernetes.io/basic-auth` with an annotation that names the image's host, such as
    /// `supercargo.dev/registry: ghcr.io`. Of the credentials that match the image, the most specific are tried first,
    /// then in the order of this list.
    #[serde(default)]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub pull_secrets: Vec<SecretReference>,

    /// Name of a ServiceAccount in the object's namespace; its `imagePullSecrets` (the first 16) are used after
    /// `pullSecrets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
    pub service_account_name: Option<String>,

    /// Uses HTTP without TLS. Never a fallback: HTTP is used only if this is set, and then always. The operator must
    /// allow it for the host (`--plain-http-host`). Excludes `insecureSkipVerify`, `caRef` and `clientCertificateRef`.
    /// Default: false.
    #[serde(default, rename = "plainHTTP")]
    pub plain_http: bool,

    /// Accepts any certificate of the registry. An attacker on the network can then read the pull secrets and hide or
    /// replace tags; digests in `spec.image` and signatures still hold. Excludes `caRef`. Default: false.
    #[serde(default)]
    pub insecure_skip_verify: bool,

    /// ConfigMap or Secret with certificate authorities in PEM, which are trusted in addition to the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaReference>,

    /// Secret of type `kubernetes.io/tls` with the client certificate that is presented to the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretReference>,
}

/// Key of a ConfigMap or Secret in the object's namespace that holds certificates in PEM.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaReference {
    /// Kind of the object that holds the certificates: `ConfigMap` (default) or `Secret`.
    #[serde(default)]
    pub kind: CaSource,

    /// Name of the ConfigMap or Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
    pub name: String,

    /// Key of the ConfigMap or Secret that holds the certificates. Default: `ca.crt`.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::KEY_PATTERN))]
    pub key: String,
}

/// Secret in the object's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
    pub name: String,
}

/// Selection of the files to publish.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesSpec {
    /// Directory of the artifact whose content is published, without the directory itself: a relative path without
    /// `..`, such as `rules/prod`. Default: the whole artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = ("!self.startsWith('/') && !self.split('/').exists(c, c == '..')", "spec.files.subPath must be relative and must not contain ..")
    )]
    pub sub_path: Option<String>,

    /// Patterns for the files to publish, relative to `subPath`, such as `**/*.json` or `rules`; at most 32. `*` and
    /// `?` do not match `/`, `**` does. A directory stands for everything in it. Default: all files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub include: Vec<String>,

    /// Patterns to exclude from the files that `include` selects, in the same syntax, such as `**/test/**`; at most 32.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub exclude: Vec<String>,

    /// Rule for symbolic links that stay inside the artifact. `Keep` (default): they are published. `Reject`: an
    /// artifact with a symbolic link is refused. Links that lead out of the artifact are refused in any case.
    #[serde(default)]
    pub symlinks: Symlinks,
}

/// Selection of the layers to fetch, and rules for unpacking them.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayersSpec {
    /// Media types of the layers to fetch, as patterns in which `*` matches anything; at most 32. Other layers are not
    /// fetched. With `titles`, a layer must match both. Default: all layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub media_types: Vec<String>,

    /// Titles (`org.opencontainers.image.title`) of the layers to fetch, as patterns for paths such as `*.json` or
    /// `docs/**`; at most 32. Other layers, and layers without a title, are not fetched. Default: all layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 256)))]
    pub titles: Vec<String>,

    /// Treatment of each layer. `Auto` (default): archives that are marked (`io.deis.oras.content.unpack`) or have no
    /// title are extracted, and every other layer is a file. `Extract`: every layer is extracted as a tar or zip
    /// archive. `File`: every layer is a file.
    #[serde(default)]
    pub mode: LayerMode,

    /// Rule for layers with different content for the same path. `Fail` (default): the artifact is refused
    /// (`LayerConflict`). `LastWins`: the later layer in the manifest wins.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// Limits for one artifact, each in effect only if it is lower than the others that apply. Byte counts are numbers, or
/// quantities such as `512Mi` or `1G`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Maximum number of layers in the manifest. Default: the operator's limit (`--max-layers`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub layers: Option<u32>,

    /// Maximum bytes of one layer as transferred: a number, or a quantity such as `512Mi`. Default: the operator's
    /// limit (`--max-layer-bytes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (r"type(self) == int ? self > 0 : self.matches('^[1-9][0-9]{0,14}([kMGT]|[KMGT]i)?$')", "write spec.limits.layerBytes as a number of bytes, or a quantity such as 512Mi or 1G"))]
    pub layer_bytes: Option<ByteCount>,

    /// Maximum bytes of all files together: a number, or a quantity such as `512Mi`. Default: the operator's limit
    /// (`--max-extracted-bytes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (r"type(self) == int ? self > 0 : self.matches('^[1-9][0-9]{0,14}([kMGT]|[KMGT]i)?$')", "write spec.limits.extractedBytes as a number of bytes, or a quantity such as 512Mi or 1G"))]
    pub extracted_bytes: Option<ByteCount>,

    /// Maximum bytes of one file: a number, or a quantity such as `512Mi`. Default: the operator's limit
    /// (`--max-file-bytes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (r"type(self) == int ? self > 0 : self.matches('^[1-9][0-9]{0,14}([kMGT]|[KMGT]i)?$')", "write spec.limits.fileBytes as a number of bytes, or a quantity such as 512Mi or 1G"))]
    pub file_bytes: Option<ByteCount>,

    /// Maximum number of files, directories and links together; every 256 bytes of a path or a link's target count as
    /// one more. Default: the operator's limit (`--max-entries`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub files: Option<u32>,

    /// Maximum number of levels in a path; a file at the top is on the first level. Default: the operator's limit
    /// (`--max-depth`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub depth: Option<u32>,

    /// Maximum decompressed bytes for each byte of a layer, checked once more than 1 MiB is decompressed. Default: the
    /// operator's limit (`--max-ratio`).
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
    /// Name of a volume of the operator, as in its flag `--volume NAME=PATH`. Default: `default`.
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

/// Parses a Go duration, as in the fields `interval` and `timeout`.
pub fn parse_duration(text: &str) -> Option<std::time::Duration> {
    let parsed: kube::core::Duration = text.parse().ok()?;
    (!parsed.is_negative()).then(|| parsed.into())
}

/// Number of bytes, or a quantity such as `512Mi`.
#[derive(schemars::JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct ByteCount(#[schemars(with = "IntOrString")] Count);

/// Value as written. The Kubernetes type for it ends at 2 GiB, and an object with a larger number could not be read at
/// all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Count {
    Number(i64),
    Text(String),
}

impl ByteCount {
    /// Returns the number of bytes; `None` if the text is not a quantity, or the number is not positive.
    pub fn bytes(&self) -> Option<u64> {
        match &self.0 {
            Count::Number(number) => u64::try_from(*number).ok().filter(|bytes| *bytes > 0),
            Count::Text(text) => parse_bytes(text),
        }
    }
}

/// Parses a number of bytes, as in the fields of `limits`: `1048576`, `512Mi`, `1G`.
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
