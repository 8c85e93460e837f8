//! An entry of a lock file, and what it covers.

use serde::Deserialize;

use crate::api::vocabulary::SignatureFormat;
use crate::oci::Digest;

/// Value of `kind` in a lock file.
pub const KIND: &str = "ArtifactLock";
/// Value of `apiVersion` in a lock file.
pub const API_VERSION: &str = "supercargo.dev/v1alpha1";

/// One locked reference.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Directory of an entry of an `ArtifactSet`, or namespace and name of an OCIArtifact.
    pub name: String,
    /// Reference as the files have it.
    pub image: String,
    /// Tag that was resolved; absent for a digest alone.
    pub tag: Option<String>,
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Digest of the index's manifest for the platform.
    pub platform_digest: Option<Digest>,
    /// Media type of the manifest.
    pub media_type: Option<String>,
    /// Artifact type of the manifest.
    pub artifact_type: Option<String>,
    /// Bytes of the manifest's config and layers.
    pub size: u64,
    /// Digest of the list of files.
    pub files_digest: Digest,
    /// Digest of the fields that select files; see [`super::selection()`].
    pub selection: Digest,
    /// Signatures that were verified, by requirement.
    #[serde(default)]
    pub signers: Vec<Signer>,
    /// Names of the policies that matched.
    #[serde(default)]
    pub policies: Vec<String>,
}

/// One verified signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signer {
    /// Name of the entry of `verify`, or of the policy that requires it.
    pub requirement: String,
    /// `Bundle` or `Legacy`.
    pub format: String,
    /// OIDC issuer.
    pub issuer: Option<String>,
    /// Email address or URI.
    pub subject: Option<String>,
    /// Digest of the public key.
    pub key_fingerprint: Option<Digest>,
}

impl Signer {
    /// Creates a signer without an identity or key.
    pub fn new(requirement: &str, format: SignatureFormat) -> Self {
        let (requirement, format) = (requirement.to_owned(), format.as_str().to_owned());
        Self { requirement, format, issuer: None, subject: None, key_fingerprint: None }
    }
}

/// Reason why an entry does not apply to a reference of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// No entry has the name.
    Missing,
    /// The entry is about another image or tag.
    Image,
    /// The image is pinned to another digest than the locked one.
    Digest {
        /// Digest beside the image.
        pinned: String,
        /// Digest of the entry.
        locked: Digest,
    },
    /// Other fields select the tag or the files.
    Selection,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("has no entry in the lock"),
            Self::Image => f.write_str("has another image than its entry in the lock"),
            Self::Digest { pinned, locked } => write!(f, "is pinned to {pinned}, but to {locked} in the lock"),
            Self::Selection => f.write_str("selects other versions or files than its entry in the lock"),
        }
    }
}

impl Entry {
    /// Returns the reason why the entry does not apply to an image with a selection. A digest that is pinned beside the
    /// tag, or is no longer, is the same image as long as it is the locked one.
    pub(super) fn gap(&self, image: &str, selection: &Digest) -> Option<Gap> {
        let split = |image: &str| match image.split_once('@') {
            Some((name, digest)) => (name.to_owned(), Some(digest.to_owned())),
            None => (image.to_owned(), None),
        };
        let ((own, _), (name, pinned)) = (split(&self.image), split(image));
        if own != name {
            return Some(Gap::Image);
        }
        if let Some(pinned) = pinned.filter(|pinned| *pinned != self.digest.to_string()) {
            return Some(Gap::Digest { pinned, locked: self.digest.clone() });
        }
        (self.selection != *selection).then_some(Gap::Selection)
    }
}
