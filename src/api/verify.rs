//! Who must have signed: `spec.verify` of `OCIArtifact`.

#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::spec::CaSource;

/// Predicate type of the signatures that `cosign sign` makes.
pub const SIGNATURE_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// One requirement: a signature by any of its authorities satisfies it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifySpec {
    /// Name of the requirement, unique in the list; messages and `status.verification` use it.
    #[schemars(length(min = 1, max = 63), regex(pattern = super::name::LABEL_PATTERN))]
    pub name: String,

    /// A signature that `cosign sign`, or any other client of Sigstore, has made.
    pub cosign: CosignSpec,
}

/// A signature that is accepted.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.keyless.size() + self.keys.size() > 0", "name at least one authority: an identity in cosign.keyless, or a key in cosign.keys"),
    validation = ("self.transparencyLog != 'Ignored' || self.keyless.size() == 0", "transparencyLog: Ignored needs cosign.keys and no cosign.keyless: without the log nothing proves when a short-lived certificate was used")
)]
pub struct CosignSpec {
    /// Identities to whom a certificate authority of the trusted root has given the signing certificate.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub keyless: Vec<IdentitySpec>,

    /// Public keys.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub keys: Vec<KeySpec>,

    /// The certificate authorities, logs and timestamp authorities that are trusted, as a `trusted_root.json`. Default:
    /// those of the public good instance of Sigstore, as they were when this version was made or the operator last asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_root_ref: Option<TrustedRootReference>,

    /// Whether a log of the trusted root must hold the signature. `Ignored` only together with `keys`.
    #[serde(default)]
    pub transparency_log: TransparencyLog,

    /// Rule for certificate transparency: a log of the trusted root must hold the signing certificate, shown by a signed
    /// certificate timestamp (SCT) in it. Default: `Required`. `Ignored` is for a private Sigstore without such a log.
    #[serde(default)]
    pub certificate_transparency: CertificateTransparency,

    /// What the signed statement may be. An attestation is no signature: what it says of the artifact is not looked at.
    #[serde(default = "default_predicate_types")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub predicate_types: Vec<String>,

    /// `Bundle`: Sigstore bundles, found as referrers. `Legacy`: the tag `sha256-<hex>.sig`.
    #[serde(default = "default_formats")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub formats: Vec<SignatureFormat>,
}

/// To whom the signing certificate was given.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.subject) != has(self.subjectRegExp)", "set exactly one of subject and subjectRegExp; who signs must be named as well as who vouches for them")
)]
pub struct IdentitySpec {
    /// Who vouches for the subject: the OIDC issuer's URL, exactly.
    #[schemars(length(min = 1, max = 512))]
    pub issuer: String,

    /// The subject, exactly: an email address, or a URI such as that of a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject: Option<String>,

    /// A regular expression (RE2 syntax) for the whole subject. One with `://` is for URIs, any other for email addresses.
    /// `.*` accepts every subject of every kind, so that the issuer alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject_reg_exp: Option<String>,
}

/// A public key: P-256, P-384, Ed25519 or RSA, as PEM.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.secretRef) != has(self.inline)", "set exactly one of secretRef and inline in each key")
)]
pub struct KeySpec {
    /// A Secret of the object's namespace, and the key in it. Where it changes, what is published is judged again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyReference>,

    /// The PEM itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub inline: Option<String>,
}

/// A key of a Secret of the object's own namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
    pub name: String,

    /// Key with the PEM.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::KEY_PATTERN))]
    pub key: String,
}

/// A key of a ConfigMap or Secret of the object's own namespace, with a `trusted_root.json`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustedRootReference {
    /// What holds it.
    #[serde(default)]
    pub kind: CaSource,

    /// Name of the ConfigMap or Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
    pub name: String,

    /// Key with the trusted root.
    #[serde(default = "default_root_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::KEY_PATTERN))]
    pub key: String,
}

/// Whether a transparency log must hold the signature.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransparencyLog {
    /// One of the trusted root's must.
    #[default]
    Required,
    /// Nobody asks.
    Ignored,
}

/// Requirement for the signing certificate to be in a certificate transparency log.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CertificateTransparency {
    /// A log of the trusted root must contain the certificate; a root without such logs is refused.
    #[default]
    Required,
    /// Signed certificate timestamps are not verified.
    Ignored,
}

/// How a signature is kept beside its artifact.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SignatureFormat {
    /// A Sigstore bundle that refers to the artifact.
    Bundle,
    /// A layer under the tag `sha256-<hex>.sig`.
    Legacy,
}

impl SignatureFormat {
    /// The text, as status has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "Bundle",
            Self::Legacy => "Legacy",
        }
    }
}

fn default_predicate_types() -> Vec<String> {
    vec![SIGNATURE_PREDICATE.to_owned()]
}

fn default_formats() -> Vec<SignatureFormat> {
    vec![SignatureFormat::Bundle, SignatureFormat::Legacy]
}

fn default_key() -> String {
    "cosign.pub".to_owned()
}

fn default_root_key() -> String {
    "trusted_root.json".to_owned()
}
