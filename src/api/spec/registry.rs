//! `spec.registry`: access to the registry.

#![allow(unreachable_pub, reason = "KubeSchema repeats each type inside a function body")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::vocabulary::CaSource;

/// Access to the registry: credentials and TLS.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!self.plainHTTP || !(self.insecureSkipVerify || has(self.caRef) || has(self.clientCertificateRef))", "plainHTTP uses no TLS; remove insecureSkipVerify, caRef and clientCertificateRef, or plainHTTP"),
    validation = ("!self.insecureSkipVerify || !has(self.caRef)", "insecureSkipVerify accepts any certificate, so caRef would have no effect; remove one of the two")
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

    /// Name of a ServiceAccount in the object's namespace, such as `puller`. Its `imagePullSecrets` (at most 16) are
    /// used after `pullSecrets`. Default: no ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::api::name::OBJECT_PATTERN))]
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

    /// ConfigMap or Secret in the object's namespace with certificate authorities in PEM, such as `{name: corp-ca}`.
    /// They are trusted in addition to the system's. Default: the system's authorities alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaReference>,

    /// Secret of type `kubernetes.io/tls` in the object's namespace with the client certificate for the registry, such
    /// as `{name: registry-mtls}`. Default: no client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<CertificateReference>,
}

/// Key of a ConfigMap or Secret in the object's namespace that holds certificates in PEM.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaReference {
    /// Kind of the object that holds the certificates: `ConfigMap` (default) or `Secret`.
    #[serde(default)]
    pub kind: CaSource,

    /// Name of the ConfigMap or Secret with the certificates, such as `corp-ca`, in the object's namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::api::name::OBJECT_PATTERN))]
    pub name: String,

    /// Key of the ConfigMap or Secret that holds the certificates. Default: `ca.crt`.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::api::name::KEY_PATTERN))]
    pub key: String,
}

/// Secret with a client certificate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReference {
    /// Name of a Secret of type `kubernetes.io/tls`, such as `registry-mtls`, in the object's namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::api::name::OBJECT_PATTERN))]
    pub name: String,
}

/// Secret with registry credentials.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of a docker configuration or basic-auth Secret, such as `registry-login`, in the object's namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = crate::api::name::OBJECT_PATTERN))]
    pub name: String,
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}
