//! `OCIArtifact.status`.

#![allow(clippy::struct_field_names, reason = "fields are called as the annotations that they hold")]
#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

mod lenient;

/// State of the object, written by the operator.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OCIArtifactStatus {
    /// Generation of the spec that the rest of the status describes; -1 before the first pass.
    #[serde(default)]
    pub observed_generation: i64,

    /// Conditions of the object. `Ready` is always present. `Reconciling` and `Stalled` are present only while they are
    /// True, `Verified` only if a signature is required: `True` means that the content consumers read satisfies the
    /// requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,

    /// Last revision that was published successfully: the content that consumers read now. Absent before the first
    /// success and after a withdrawal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactStatus>,

    /// Revision that was refused, with the reason. Absent after the next success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidateStatus>,

    /// Signatures of the published revision: for each satisfied requirement, the signature that satisfies it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub verification: Vec<VerificationStatus>,

    /// `OCIArtifactPolicy` objects that match the object's image and namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub policies: Vec<PolicyStatus>,

    /// State of each output, also after a failed pass: `digest` names the revision that consumers read there now.
    /// Outputs that left the spec stay listed with `leaving: true` until their content is removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub outputs: Vec<OutputStatus>,

    /// Journal of a switch of outputs; present only during the switch. After a restart the operator completes the
    /// switch if every output is prepared, and otherwise publishes all outputs again. If it stays, the operator is not
    /// running or cannot write status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switching: Option<SwitchingStatus>,

    /// Fingerprints of the inputs that the published revision was made from besides its digest. After a change of
    /// `content` the artifact is published again, after a change of `trust` it is verified again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprints: Option<Fingerprints>,

    /// Value of the request annotation that the last pass handled: `supercargo.dev/requestedAt` if it changed, otherwise
    /// `reconcile.fluxcd.io/requestedAt`. If it equals the annotation, the requested pass has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,

    /// Values of the request annotations that passes have handled. An annotation with a value other than the one here
    /// is a pending request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_requests: Option<HandledRequests>,
}

/// Values of the annotations that request a pass.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandledRequests {
    /// Last handled value of the annotation `supercargo.dev/requestedAt`, which requests a pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
    /// Last handled value of the annotation `reconcile.fluxcd.io/requestedAt`, which requests a pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flux_requested_at: Option<String>,
    /// Last handled value of the annotation `supercargo.dev/forceAt`, which requests a pass that fetches all layers
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_at: Option<String>,
}

/// Switch of outputs that has begun and whose outcome is not recorded yet.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchingStatus {
    /// Digest of the manifest that the outputs are switched to.
    pub digest: String,
    /// Names of the outputs in `spec.outputs` that change in the switch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub outputs: Vec<String>,
    /// Digest over the files of each volume output, by output name. After a restart the operator switches to a prepared
    /// tree only if its files have this digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lists: BTreeMap<String, String>,
    /// Name of each immutable ConfigMap or Secret that is about to be created, by the name of the output.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locations: BTreeMap<String, String>,
    /// Revision that `status.artifact` names once the switch is complete.
    pub artifact: ArtifactStatus,
    /// Fingerprint that `status.fingerprints.content` has once the switch is complete.
    pub content: String,
    /// Fingerprint of the verification rules that accepted the revision. After a restart the operator completes the
    /// switch only if the rules still have this fingerprint. Absent: no signature was required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
}

/// Published revision of the artifact.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactStatus {
    /// Reference of the revision: repository, tag and digest, such as `ghcr.io/team/app:1.0@sha256:...`.
    pub reference: String,
    /// Digest of the manifest that `spec.image` resolved to: `sha256:` and 64 hex digits.
    pub digest: String,
    /// Shortened digest for display: the algorithm and the first 12 hex digits, such as `sha256:0123456789ab`.
    pub short_digest: String,
    /// Digest of the manifest that was selected from the index. Absent if the image is not an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_digest: Option<String>,
    /// Tag that was resolved, or that `spec.image` has beside the digest. Absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Type of the artifact: `artifactType` of the manifest, or without one the media type of its config.
    pub artifact_type: String,
    /// Media type of the manifest, such as `application/vnd.oci.image.manifest.v1+json`.
    pub media_type: String,
    /// Bytes of all layers of the manifest together.
    pub size: i64,
    /// Annotations `org.opencontainers.image.*` of the manifest: at most 16, each value at most 256 bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Time at which this revision was published (RFC 3339).
    pub last_update_time: String,
}

/// Revision that was refused.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateStatus {
    /// Digest of the refused manifest: `sha256:` and 64 hex digits.
    pub digest: String,
    /// Reason of the refusal, such as `SignatureMissing`.
    pub reason: String,
    /// Human-readable message with the cause of the refusal.
    pub message: String,
    /// True if the digest was published, and was withdrawn from consumers after the refusal (`--on-revoked=withdraw`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// `OCIArtifactPolicy` that matches the object's image and namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// Name of the `OCIArtifactPolicy` that matches the object.
    pub name: String,
    /// Generation of the policy that was applied.
    pub generation: i64,
    /// Enforcement of the policy: `Enforce` or `Warn`.
    pub enforcement: String,
}

/// Signature requirement, and the signature that satisfies it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationStatus {
    /// Name of the requirement: that of the entry in `spec.verify`, or `<policy>/<entry>`.
    pub name: String,
    /// Storage format of the signature: `Bundle` or `Legacy`.
    pub format: String,
    /// OIDC issuer that vouches for the subject. Absent for a signature by a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Subject of the signing certificate: an email address or a URI. Absent for a signature by a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Digest of the public key that made the signature (SHA-256 of its SPKI). Absent for a signature by a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    /// Index of the signature's entry in the transparency log. Absent if no log was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<i64>,
    /// Time of the signature, proven by a log or a timestamp authority (RFC 3339). Absent if neither is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Digest of the Sigstore bundle; for a legacy signature, of the signed payload.
    pub bundle_digest: String,
}

/// State of one output.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputStatus {
    /// Name of the output in the spec. `<name>~<number>`, such as `files~1`, is a `leaving` output whose name is in use
    /// again.
    pub name: String,
    /// Kind of the output: `Volume`, `ConfigMap` or `Secret`.
    pub kind: String,
    /// Place where consumers read: `<volume>:<namespace>/<object>/current`, or the name of the ConfigMap or Secret.
    pub location: String,
    /// Digest of the manifest whose content consumers read in this output now.
    pub digest: String,
    /// True for an output that is no longer in the spec and whose content is not removed yet. The operator retries the
    /// removal; its log names the reason if it fails. Absent: the output is in the spec.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Replaced immutable ConfigMaps or Secrets of this output that still exist, the newest first. Each one is deleted
    /// when neither `--keep-revisions` nor `--keep-revisions-for` of the operator keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub earlier: Vec<EarlierStatus>,
    /// Number of files; for a ConfigMap or Secret, the number of keys.
    pub files: i64,
    /// Bytes of all files of the output together.
    pub bytes: i64,
    /// Number of layers and entries left out: layers that are not content, such as signatures, and entries that this
    /// kind of output cannot hold, such as symbolic links in a ConfigMap.
    pub skipped: i64,
    /// Digest over the paths, kinds, modes, sizes and contents of the files on a volume. The operator compares the
    /// files with it at every `--full-scan-interval`. Stored in status because a workload that can write to the volume
    /// cannot write to status. Absent for ConfigMaps and Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_digest: Option<String>,
}

/// Immutable ConfigMap or Secret that was replaced by one with other content.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlierStatus {
    /// Name of the replaced ConfigMap or Secret.
    pub location: String,
    /// Time at which the ConfigMap or Secret was replaced (RFC 3339).
    pub replaced: String,
}

/// Fingerprints of the inputs that the published revision was made from besides its digest.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fingerprints {
    /// Fingerprint of the spec fields that change the published content.
    pub content: String,
    /// Fingerprint of everything that the digest was verified by: requirements, and the bytes of keys and trusted
    /// roots. Absent if no signature was required, and if the digest has to be verified again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
}
