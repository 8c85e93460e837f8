//! Parts of an object that several commands show.

use serde::Serialize;

use crate::api::status::{ArtifactStatus, VerificationStatus};
use crate::api::stored::Stored;
use crate::api::{OCIArtifactSpec, OCIArtifactStatus, Reason};
use crate::oci::Digest;
use crate::request::ObjectId;

/// An object with its image, at the beginning of a result in JSON.
#[derive(Debug, Serialize)]
pub(super) struct Head {
    pub(super) namespace: String,
    pub(super) name: String,
    /// `spec.image`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<String>,
    /// Parser error of a spec that cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
}

impl From<&Stored> for Head {
    fn from(stored: &Stored) -> Self {
        let ObjectId { namespace, name, .. } = ObjectId::from(stored);
        let spec = spec(stored);
        Self {
            namespace,
            name,
            image: spec.ok().map(|spec| spec.image.clone()),
            problem: spec.err().map(str::to_owned),
        }
    }
}

/// A condition of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    /// Message without the remedy.
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<&'static str>,
    /// Time at which the status changed.
    pub(super) since: String,
}

impl Condition {
    pub(super) fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// Returns the reason, if this release knows it.
    pub(super) fn known(&self) -> Option<Reason> {
        Reason::parse(&self.reason)
    }
}

/// Returns the conditions of an object, each with its remedy apart from the message.
pub(super) fn conditions(status: &OCIArtifactStatus) -> Vec<Condition> {
    let shown = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        let remedy = Reason::parse(&condition.reason).map(Reason::remedy);
        let alone = remedy.and_then(|remedy| condition.message.strip_suffix(remedy));
        let message = alone.unwrap_or(&condition.message);
        let is_fault = alone.is_some() || condition.status == "False";
        Condition {
            kind: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
            message: message.trim_end().to_owned(),
            remedy: remedy.filter(|_| is_fault),
            since: condition.last_transition_time.0.to_string(),
        }
    };
    status.conditions.iter().map(shown).collect()
}

/// Returns the condition of a type.
pub(super) fn condition<'a>(all: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    all.iter().find(|condition| condition.kind == kind)
}

/// Returns the namespace and name of an object, as text.
pub(super) fn name(stored: &Stored) -> String {
    ObjectId::from(stored).to_string()
}

/// Returns the spec, or the problem as text.
pub(super) fn spec(stored: &Stored) -> Result<&OCIArtifactSpec, &str> {
    stored.spec.as_ref().map_err(String::as_str)
}

/// Returns `sha256:0123456789ab`, or the text itself if it is not a digest.
pub(super) fn short(digest: &str) -> String {
    digest.parse::<Digest>().map_or_else(|_| digest.to_owned(), |digest| digest.short())
}

/// Returns a revision as text: `tag 1.4.0 at sha256:0123456789ab`.
pub(super) fn revision(artifact: &ArtifactStatus) -> String {
    let digest = short(&artifact.digest);
    artifact.tag.as_ref().map_or_else(|| digest.clone(), |tag| format!("tag {tag} at {digest}"))
}

/// Returns the signer of a signature as text.
pub(super) fn signer(signature: &VerificationStatus) -> String {
    match (&signature.issuer, &signature.subject, &signature.key_fingerprint) {
        (Some(issuer), Some(subject), _) => format!("{subject} ({issuer})"),
        (_, _, Some(key)) => format!("key {key}"),
        (_, _, None) => "an unknown signer".to_owned(),
    }
}
