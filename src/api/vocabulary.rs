//! Closed vocabularies of the API: values of fields that mean the same in every version of it.
//!
//! They name no version, so that modules below [`crate::request`] depend on no versioned type.

use serde::{Deserialize, Serialize};

/// Predicate type of the signatures that `cosign sign` makes.
pub const SIGNATURE_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Rule for symbolic links that stay inside the artifact. Other links are refused in any case.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Symlinks {
    /// The links are published.
    #[default]
    Keep,
    /// An artifact with a symbolic link is refused.
    Reject,
}

/// Treatment of a layer.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerMode {
    /// The layer's annotations and media type decide.
    #[default]
    Auto,
    /// The layer is extracted.
    Extract,
    /// The layer is published as a file.
    File,
}

/// Rule for layers with different content for the same path.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnConflict {
    /// The artifact is refused.
    #[default]
    Fail,
    /// The later layer in the manifest wins.
    LastWins,
}

/// Kind of an object that holds certificate authorities or a trusted root.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaSource {
    /// A ConfigMap.
    #[default]
    ConfigMap,
    /// A Secret.
    Secret,
}

impl CaSource {
    /// Returns the name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// Rule for the transparency log.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransparencyLog {
    /// A log in the trusted root must contain the signature.
    #[default]
    Required,
    /// The transparency log is not verified.
    Ignored,
}

/// Rule for certificate transparency logs.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CertificateTransparency {
    /// A log in the trusted root must contain the certificate; a root without such logs is refused.
    #[default]
    Required,
    /// Signed certificate timestamps are not verified.
    Ignored,
}

/// Storage format of a signature.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SignatureFormat {
    /// Sigstore bundle that is a referrer of the artifact.
    Bundle,
    /// Layer under the tag `sha256-<hex>.sig`.
    Legacy,
}

impl SignatureFormat {
    /// Returns the name used in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "Bundle",
            Self::Legacy => "Legacy",
        }
    }
}

/// Effect of a policy on matching artifacts.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyAction {
    /// Signatures are required.
    #[default]
    Verify,
    /// Matching artifacts are refused.
    Deny,
    /// No signature is required.
    Allow,
}

/// Consequence of a violation of a policy.
#[derive(schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcement {
    /// The artifact is refused.
    #[default]
    Enforce,
    /// The violation is only reported.
    Warn,
}

impl Enforcement {
    /// Returns the name used in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "Enforce",
            Self::Warn => "Warn",
        }
    }
}
