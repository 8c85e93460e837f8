//! `OCIArtifact.status`, and the reasons, which are API: CamelCase and stable.

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

    /// Value of the annotation `supercargo.dev/requestedAt` or `reconcile.fluxcd.io/requestedAt`, whichever changed
    /// last, that a pass has handled. Equal to the annotation: the requested pass has ended.
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
    /// Value of `supercargo.dev/requestedAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
    /// Value of `reconcile.fluxcd.io/requestedAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flux_requested_at: Option<String>,
    /// Value of `supercargo.dev/forceAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_at: Option<String>,
}

/// Switch of outputs that has begun and whose outcome is not recorded yet.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwitchingStatus {
    /// Digest of the manifest that the outputs are switched to.
    pub digest: String,
    /// Names of the outputs that change.
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
    /// Fingerprint of the verification rules that accepted the revision. After a restart the operator completes the switch
    /// only if the rules are still these; without a value no signature was required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
}

/// Published revision of the artifact.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactStatus {
    /// Repository, tag and digest in one string.
    pub reference: String,
    /// Digest of the manifest.
    pub digest: String,
    /// Shortened digest for display: the algorithm and the first 12 hex digits, such as `sha256:0123456789ab`.
    pub short_digest: String,
    /// Digest of the manifest that was selected from the index. Absent if the image is not an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform_digest: Option<String>,
    /// Tag that was resolved, or that `spec.image` has beside the digest. Absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// `artifactType` of the manifest, or if it has none the media type of its config.
    pub artifact_type: String,
    /// Media type of the manifest.
    pub media_type: String,
    /// Bytes of all layers of the manifest together.
    pub size: i64,
    /// The manifest's `org.opencontainers.image.*` annotations, shortened.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Time at which this revision was published (RFC 3339).
    pub last_update_time: String,
}

/// Revision that was refused.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateStatus {
    /// Digest of the manifest.
    pub digest: String,
    /// Reason of the refusal, such as `SignatureMissing`.
    pub reason: String,
    /// Human-readable message with the cause of the refusal.
    pub message: String,
}

/// `OCIArtifactPolicy` that matches the object's image and namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// Name of the `OCIArtifactPolicy`.
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
    /// Digest of the public key (of its SPKI). Absent for a signature by a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    /// Index of the signature's entry in the transparency log. Absent if no log was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<i64>,
    /// Time of the signature, proven by a log or a timestamp authority (RFC 3339). Absent if neither is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Digest of the bundle, or of the signed payload.
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
    /// Digest of the manifest that the content came from.
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
    /// Bytes of the files.
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
    /// Name of the ConfigMap or Secret.
    pub location: String,
    /// Time at which it was replaced (RFC 3339).
    pub replaced: String,
}

/// Fingerprints of the inputs that the published revision was made from besides its digest.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fingerprints {
    /// Fingerprint of the spec fields that change the published content.
    pub content: String,
    /// Fingerprint of everything that the digest was judged by: requirements, and the bytes of keys and trusted roots.
    /// Absent if nothing was required, and if the digest is to be judged again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
}

macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $name:ident: $remedy:literal,)+) => {
        /// Reason of an object's conditions and Events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $meaning])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Returns the stable text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Returns the reason with this text, as stored in status.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
            }

            /// Returns the meaning, one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($meaning),+).trim_ascii(),)+ }
            }

            /// Returns the remedy, one sentence.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

reasons! {
    /// Every output holds the digest that spec.image resolves to.
    Succeeded: "Nothing to do.",
    /// A pass is in progress.
    Progressing: "Wait; the message says what is being done.",
    /// `spec.suspend` is set; nothing is resolved or fetched.
    Suspended: "Set spec.suspend to false to go on.",
    /// The spec is invalid, or its fields contradict each other.
    InvalidSpec: "Correct the field that the message names.",
    /// A Secret, ConfigMap or ServiceAccount that the spec names, or a key in it, does not exist.
    SecretNotFound: "Create what the message names in the object's namespace, or grant the operator get on it where it is forbidden; it is looked for every few seconds.",
    /// A Secret or ConfigMap that the spec names does not have the expected content.
    SecretInvalid: "Correct what the message names; a kubernetes.io/basic-auth Secret names its host in the annotation supercargo.dev/registry.",
    /// A file that an option of a command names does not exist. Only commands report it.
    FileNotFound: "Check the path.",
    /// A file that an option of a command names, or its standard input, cannot be read or does not have the expected
    /// content. Only commands report it.
    FileInvalid: "Correct the file: credentials are written by docker login or podman login, certificates and keys are PEM.",
    /// The registry has no such repository, tag or digest, or hides it from these credentials.
    ReferenceNotFound: "Check spec.image, or push the tag; it is looked for again by itself.",
    /// No tag of the repository matches spec.semver.
    NoMatchingTag: "Correct spec.semver, or push a tag with a version in its range; it is looked for again by itself.",
    /// The registry refused the credentials, or requires credentials.
    Unauthorized: "Name a pull secret with the right user and password in spec.registry.pullSecrets.",
    /// The registry accepts the credentials but does not allow the read.
    Forbidden: "Give the user of the pull secret read access to the repository.",
    /// The registry cannot be reached, or responds with an error of its own.
    RegistryUnavailable: "Check the registry and the network; it is tried again by itself.",
    /// The registry limits the rate of requests.
    RateLimited: "Wait, use longer intervals, or log in with a pull secret for a higher limit.",
    /// The registry, or a host that it refers to, has an address that the operator does not connect to, or may not be
    /// contacted without TLS.
    AddressDenied: "Check spec.image; the message says which of the operator's flags opens the address, if any, and --plain-http-host allows HTTP.",
    /// The TLS connection to the registry failed.
    TLSFailed: "Check the registry's certificate; name its authority in spec.registry.caRef, and what it wants from clients in clientCertificateRef.",
    /// The manifest is malformed, or contradicts itself.
    ManifestInvalid: "Push the artifact again with a current client.",
    /// The index has no manifest for spec.platform, or several and spec.platform is not set.
    PlatformNotFound: "Set spec.platform to one of those that the message names.",
    /// The artifact's type is not in spec.artifactTypes.
    UnexpectedArtifactType: "Correct spec.image, or add the type that the message names to spec.artifactTypes.",
    /// No layer of the artifact is selected by spec.layers.
    NoMatchingLayer: "Correct spec.layers or the image; the message names what is there.",
    /// The artifact has an unsupported format.
    UnsupportedFormat: "Push it as a tar, tar+gzip, tar+zstd, zip or plain file layer, or set spec.layers.mode to File.",
    /// Content does not match its digest or size.
    DigestMismatch: "Look for a broken or hostile registry, mirror or proxy, or for another writer of the volume, ConfigMap or Secret that the message names.",
    /// The artifact exceeds a limit.
    LimitExceeded: "Make the artifact smaller, or raise the limit that the message names; for a namespace's limit, deleting its objects helps too.",
    /// An archive has an entry that could leave its directory, or that is not a regular file, directory or safe link.
    UnsafeArchive: "Push the artifact without the entry that the message names.",
    /// Two layers have different content for the same path.
    LayerConflict: "Push the artifact with each path in one layer only, or set spec.layers.onConflict to LastWins.",
    /// The artifact has no directory spec.files.subPath, or include and exclude leave no file.
    SubPathNotFound: "Correct spec.files, or the output's include and exclude; the message names what is there.",
    /// No signature of an accepted format and type was found for the digest.
    SignatureMissing: "Sign the digest that the message names; it is looked for again by itself.",
    /// A signature was found, but it is malformed, is for another digest, or is not in the log.
    SignatureInvalid: "Sign the digest again, and look into who has put there what the message names; where it is yours, look whether its log and authority are in the trusted root.",
    /// The digest is signed, but not by an accepted signer.
    IdentityMismatch: "Find out whether the signer that the message names may sign; then name it in spec.verify.",
    /// A policy of the cluster refuses the artifact, regardless of its signatures.
    PolicyDenied: "Ask who administers the OCIArtifactPolicy that the message names, or use another artifact.",
    /// A trusted root is invalid, or has expired.
    TrustRootInvalid: "Replace the trusted_root.json that the message names by a current one.",
    /// The volume is full.
    StorageFull: "Free or add space on the volume; it is tried again by itself.",
    /// A write to a volume failed, or the API server refused a write of a ConfigMap, Secret or status.
    StorageFailed: "For a volume that does not respond, check the server of the share; for another fault of a volume, its mount and ownership; for the API server, the quota, policy or right that the message names.",
    /// The output's place holds something that this object does not own, or file names do not fit the output.
    OutputConflict: "Wait where the message says that it is being removed; otherwise remove or rename what the message names, or choose another name or separator for the output.",
    /// The files exceed the size limit of the output.
    OutputTooLarge: "Publish less with spec.files.subPath or the output's include, or use a volume output for content that is not secret.",
    /// The pass took longer than spec.timeout.
    Timeout: "Raise spec.timeout, or look at what the message says was slow.",
    /// An internal error of supercargo.
    Internal: "Report it with the operator's log around this time.",
}

impl Reason {
    /// Returns true for reasons that concern signatures, policies or trusted roots.
    pub fn is_of_trust(self) -> bool {
        matches!(
            self,
            Self::SignatureMissing
                | Self::SignatureInvalid
                | Self::IdentityMismatch
                | Self::PolicyDenied
                | Self::TrustRootInvalid
        )
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
