//! Signature requirements of a digest, which must be satisfied before it may be fetched: pure values and matching.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::identity::IdentityRule;
use super::sigstore::{PublicKey, Root, RootError};
use crate::api::vocabulary::{CertificateTransparency, Enforcement, SignatureFormat, TransparencyLog};
use crate::oci::{Digest, Hasher};

/// Version of the evaluation. Raise it when the same material is judged differently than before, so that all published
/// content is judged again.
const JUDGEMENT: &str = "3";

/// All signature requirements of a digest. Each entry must be satisfied.
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    entries: Vec<Entry>,
    objections: Vec<Objection>,
    applied: Vec<Applied>,
}

/// Reason to deny an artifact regardless of its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Name of the policy; `None` if no policy matches the artifact.
    pub policy: Option<String>,
    /// Name of the policy and its reason.
    pub text: String,
    /// Enforcement: deny, or only warn.
    pub enforcement: Enforcement,
    /// True if a policy denies the artifact on purpose. A policy that cannot be applied also objects, but that is not a
    /// verdict on the artifact.
    pub is_verdict: bool,
}

/// Policy that matches the artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Name of the policy.
    pub policy: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Enforcement of the policy.
    pub enforcement: Enforcement,
}

/// One requirement: a signature by any of the accepted keys or identities.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Human-readable name.
    pub name: String,
    /// Accepted keys.
    pub keys: Vec<PublicKey>,
    /// Accepted identities.
    pub identities: Vec<IdentityRule>,
    /// Trusted root that verifies certificates and log entries.
    pub root: Root,
    /// Transparency log mode: required or ignored.
    pub log: TransparencyLog,
    /// Certificate transparency mode.
    pub certificate_transparency: CertificateTransparency,
    /// Accepted predicate types of the signed statement.
    pub predicate_types: Vec<String>,
    /// Accepted signature formats.
    pub formats: Vec<SignatureFormat>,
    /// Enforcement: refuse the digest without such a signature, or only warn.
    pub enforcement: Enforcement,
}

impl Requirement {
    /// Combines entries, objections and the policies that they come from.
    pub fn new(entries: Vec<Entry>, objections: Vec<Objection>, applied: Vec<Applied>) -> Self {
        Self { entries, objections, applied }
    }

    /// True if no signature is required.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the enforced objection, if any. A deliberate denial comes before a policy that cannot be applied.
    pub fn denied(&self) -> Option<&Objection> {
        let decides = |objection: &&Objection| objection.enforcement == Enforcement::Enforce;
        self.objections.iter().filter(decides).min_by_key(|objection| !objection.is_verdict)
    }

    /// Returns the texts of the objections that only warn.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.tolerated().map(|objection| objection.text.as_str())
    }

    /// Returns the objections that only warn.
    pub fn tolerated(&self) -> impl Iterator<Item = &Objection> {
        self.objections.iter().filter(|objection| objection.enforcement == Enforcement::Warn)
    }

    /// Returns the policies that match the artifact.
    pub fn applied(&self) -> &[Applied] {
        &self.applied
    }

    /// Returns the entries, in the order of evaluation.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns a fingerprint that differs for any two requirements that could judge one digest differently: the 64 hex
    /// digits of a SHA-256. A tenant controls half of the hashed input and may search offline for a collision, so a
    /// shorter fingerprint could be attacked. `None` if no signature is required.
    pub fn fingerprint(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut hasher = Hasher::default();
        let mut add = |text: &str| hasher.field(text.as_bytes());
        add(JUDGEMENT);
        for entry in &self.entries {
            let Entry { name, keys, identities, root, log, predicate_types, formats, enforcement, .. } = entry;
            let transparency = entry.certificate_transparency;
            add(name);
            add(&format!(
                "{log:?} {transparency:?} {formats:?} {enforcement:?} {} {} {}",
                keys.len(),
                identities.len(),
                predicate_types.len()
            ));
            add(&root.fingerprint().to_string());
            let keys = keys.iter().map(|key| key.fingerprint().to_string());
            let identities = identities.iter().map(|identity| format!("{identity:?}"));
            for text in keys.chain(identities).chain(predicate_types.iter().cloned()) {
                add(&text);
            }
        }
        Some(hasher.finish().hex())
    }

    /// Gives the entry of a command's options the name that messages show.
    pub fn rename(&mut self, old: &str, new: &str) {
        for entry in self.entries.iter_mut().filter(|entry| entry.name == old) {
            new.clone_into(&mut entry.name);
        }
    }

    /// Fails with the first enforced entry whose trusted root cannot verify any signature.
    pub(super) fn check_roots(&self, now: Timestamp) -> Result<(), (&Entry, RootError)> {
        let enforced = |entry: &&Entry| entry.enforcement == Enforcement::Enforce;
        self.entries.iter().filter(enforced).try_for_each(|entry| {
            let asks_log = entry.log == TransparencyLog::Required;
            let asks_certificates = !entry.identities.is_empty() && entry.keys.is_empty();
            let certificates = asks_certificates.then_some(entry.certificate_transparency);
            entry.root.check(now, certificates, asks_log).map_err(|error| (entry, error))
        })
    }
}

impl Entry {
    /// True if a bundle's key hint names one of the keys. Clients write the fingerprint in base64.
    pub(super) fn has_key_of(&self, hint: &str) -> bool {
        self.keys.iter().any(|key| STANDARD.encode(key.fingerprint().as_bytes()) == hint)
    }
}

/// Signature that satisfies an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Name of the entry.
    pub entry: String,
    /// Format in which the signature is stored.
    pub format: SignatureFormat,
    /// Signer of the artifact.
    pub signer: Signer,
    /// Index of the entry in the transparency log.
    pub log_index: Option<u64>,
    /// Earliest time attested by a log or a timestamp authority.
    pub time: Option<Timestamp>,
    /// Digest of the bundle, or of the legacy payload.
    pub digest: Digest,
}

/// Signer of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Holder of the key with this fingerprint.
    Key(Digest),
    /// Identity in the signing certificate.
    Identity {
        /// OIDC issuer that vouched for the subject.
        issuer: String,
        /// Email address or URI.
        subject: String,
    },
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(fingerprint) => write!(f, "the key {}", fingerprint.short()),
            Self::Identity { issuer, subject } => write!(f, "{subject} (issuer {issuer})"),
        }
    }
}
