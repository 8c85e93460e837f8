//! Signature requirements: `spec.verify` of `OCIArtifact` and `OCIArtifactPolicy`.

#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::vocabulary::{CaSource, CertificateTransparency, SIGNATURE_PREDICATE, SignatureFormat, TransparencyLog};

/// Signature requirement. A signature by any one of its keys or identities satisfies it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifySpec {
    /// Name of the requirement, unique in the list: at most 63 lower-case letters, digits and `-`, such as `release`.
    /// Messages and `status.verification` use it.
    #[schemars(length(min = 1, max = 63), regex(pattern = super::name::LABEL_PATTERN))]
    pub name: String,

    /// Accepted signatures, made by `cosign sign` or another Sigstore client: at least one key in `keys` or one
    /// identity in `keyless`.
    pub cosign: CosignSpec,
}

/// Accepted signatures: signers, trusted root, rules for logs, types and formats.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.keyless.size() + self.keys.size() > 0", "name at least one authority: an identity in cosign.keyless, or a key in cosign.keys"),
    validation = ("self.transparencyLog != 'Ignored' || self.keyless.size() == 0", "transparencyLog: Ignored requires cosign.keys and no cosign.keyless: only the log proves when a short-lived certificate was used")
)]
pub struct CosignSpec {
    /// Accepted identities, at most 16: issuer and subject of the signing certificate, which a certificate authority of
    /// the trusted root must have issued. At least one identity here or one key in `keys` is required.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub keyless: Vec<IdentitySpec>,

    /// Accepted public keys, at most 16, such as `[{secretRef: {name: cosign-pub}}]`. At least one key here or one
    /// identity in `keyless` is required.
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub keys: Vec<KeySpec>,

    /// ConfigMap or Secret with the trusted root: the accepted certificate authorities, logs and timestamp authorities,
    /// as a `trusted_root.json`. Default: the root of Sigstore's public good instance, embedded in this release or as
    /// last refreshed by the operator (`--refresh-trusted-root`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_root_ref: Option<TrustedRootReference>,

    /// Rule for the transparency log. `Required` (default): a log in the trusted root must contain the signature,
    /// proven by data stored with the signature; no log is contacted. `Ignored`: the log is not verified; only with
    /// `keys` and without `keyless`.
    #[serde(default)]
    pub transparency_log: TransparencyLog,

    /// Rule for certificate transparency, for signatures by `keyless` identities. `Required` (default): a log in the
    /// trusted root must contain the signing certificate, proven by a signed certificate timestamp (SCT) in it.
    /// `Ignored`: SCTs are not verified; for a private Sigstore without such a log.
    #[serde(default)]
    pub certificate_transparency: CertificateTransparency,

    /// Accepted predicate types of the signed statement, at most 16. Default: `https://sigstore.dev/cosign/sign/v1`,
    /// which includes bundles without a statement and legacy signatures. An attestation counts as a signature if its
    /// type is listed; its content is not evaluated.
    #[serde(default = "default_predicate_types")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub predicate_types: Vec<String>,

    /// Accepted storage formats. `Bundle`: Sigstore bundles that are referrers of the digest. `Legacy`: the tag
    /// `sha256-<hex>.sig`. Default: both.
    #[serde(default = "default_formats")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub formats: Vec<SignatureFormat>,
}

/// Identity in a signing certificate: the issuer, and exactly one of `subject` and `subjectRegExp`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.subject) != has(self.subjectRegExp)", "set exactly one of subject and subjectRegExp; the issuer alone does not identify a signer")
)]
pub struct IdentitySpec {
    /// URL of the OIDC issuer that vouches for the subject, compared exactly, such as
    /// `https://token.actions.githubusercontent.com`.
    #[schemars(length(min = 1, max = 512))]
    pub issuer: String,

    /// Subject of the certificate, compared exactly: an email address such as `dev@example.com`, or a URI such as
    /// `https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main`. Excludes `subjectRegExp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject: Option<String>,

    /// Regular expression (RE2 syntax) that must match the whole subject, such as
    /// `https://github\.com/acme/.+@refs/heads/main`. Excludes `subject`. An expression with `://` matches only URIs,
    /// any other only email addresses. `.*` accepts every subject of every kind, so that the issuer alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject_reg_exp: Option<String>,
}

/// Public key in PEM (P-256, P-384, Ed25519 or RSA), from exactly one of `secretRef` and `inline`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.secretRef) != has(self.inline)", "set exactly one of secretRef and inline in each key")
)]
pub struct KeySpec {
    /// Secret with the public key, such as `{name: cosign-pub}`. When the Secret changes, published content is verified
    /// again. Excludes `inline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyReference>,

    /// Public key as text in PEM, starting with `-----BEGIN PUBLIC KEY-----`; at most 4096 characters. Excludes
    /// `secretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub inline: Option<String>,
}

/// Key of a Secret in the object's namespace; for a policy, in the operator's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// Name of the Secret with the public key, such as `cosign-pub`, in the object's namespace; of an
    /// `OCIArtifactPolicy`, in the operator's namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
    pub name: String,

    /// Key of the Secret that holds the PEM. Default: `cosign.pub`.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::KEY_PATTERN))]
    pub key: String,
}

/// Key of a ConfigMap or Secret that holds a `trusted_root.json`, in the object's namespace; for a policy, in the
/// operator's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustedRootReference {
    /// Kind of the object that holds the trusted root: `ConfigMap` (default) or `Secret`.
    #[serde(default)]
    pub kind: CaSource,

    /// Name of the ConfigMap or Secret with the trusted root, such as `private-sigstore`; for a policy, in the
    /// operator's namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::OBJECT_PATTERN))]
    pub name: String,

    /// Key of the ConfigMap or Secret that holds the trusted root. Default: `trusted_root.json`.
    #[serde(default = "default_root_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = super::name::KEY_PATTERN))]
    pub key: String,
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
