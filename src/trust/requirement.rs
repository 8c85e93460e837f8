//! Signature requirements of a digest, which must be satisfied before it may be fetched: pure values and matching.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use regex::Regex;

use super::sigstore::{Key, Root, RootError, Subject};
use crate::api::policy::Enforcement;
use crate::api::verify::{CertificateTransparency, SignatureFormat, TransparencyLog};
use crate::oci::{Digest, Hasher};

/// Version of the evaluation. Raise it when the same material is judged differently than before, so that all published
/// content is judged again.
const JUDGEMENT: &str = "3";
/// Maximum memory of a compiled pattern, in bytes.
const PATTERN_BYTES: usize = 256 * 1024;
/// The pattern that accepts every subject of an issuer, of any kind.
const ANY_SUBJECT: &str = ".*";

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
    pub keys: Vec<Key>,
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

/// Accepted issuer and subject of a certificate.
#[derive(Clone, Debug)]
pub struct IdentityRule {
    issuer: String,
    subject: SubjectRule,
}

#[derive(Clone, Debug)]
enum SubjectRule {
    Exactly(String),
    Matching(Regex),
    /// Every subject of every kind: the issuer alone decides.
    Any,
}

/// Error for a text that is not a valid subject pattern.
#[derive(Debug, thiserror::Error)]
#[error("is no regular expression in RE2 syntax, or too large a one")]
pub struct PatternError;

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

    /// Returns the objections that only warn.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        let warns = |objection: &&Objection| objection.enforcement == Enforcement::Warn;
        self.objections.iter().filter(warns).map(|objection| objection.text.as_str())
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

impl IdentityRule {
    /// Accepts exactly this subject of exactly this issuer.
    pub fn exactly(issuer: &str, subject: &str) -> Self {
        Self { issuer: issuer.to_owned(), subject: SubjectRule::Exactly(subject.to_owned()) }
    }

    /// Accepts subjects that the pattern matches as a whole; `.*` accepts every subject of every kind.
    pub fn matching(issuer: &str, pattern: &str) -> Result<Self, PatternError> {
        if pattern == ANY_SUBJECT {
            return Ok(Self { issuer: issuer.to_owned(), subject: SubjectRule::Any });
        }
        // Without the group, `a|b` would be anchored on one side only.
        let anchored = format!("^(?:{pattern})$");
        // A pattern that closes the group itself would not be anchored at all, so it must also compile alone.
        let alone = regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
        let whole = regex::RegexBuilder::new(&anchored).size_limit(PATTERN_BYTES).build();
        let pattern = alone.and(whole).map_err(|_| PatternError)?;
        Ok(Self { issuer: issuer.to_owned(), subject: SubjectRule::Matching(pattern) })
    }

    pub(super) fn is(&self, issuer: &str, subject: &Subject) -> bool {
        self.issuer == issuer && self.subject.accepts(subject)
    }
}

impl SubjectRule {
    /// True if the rule accepts a subject. It accepts one kind only: `.*@example.com` must not accept an attacker's URI
    /// with that ending.
    fn accepts(&self, subject: &Subject) -> bool {
        let is_match = |text: &str| match self {
            Self::Any => true,
            Self::Exactly(wanted) => wanted == text,
            Self::Matching(pattern) => pattern.is_match(text),
        };
        match (self, subject) {
            (Self::Any, _) => true,
            (Self::Exactly(_) | Self::Matching(_), Subject::Other) => false,
            (Self::Exactly(_) | Self::Matching(_), Subject::Uri(text)) => self.is_for_uris() && is_match(text),
            (Self::Exactly(_) | Self::Matching(_), Subject::Email(text)) => !self.is_for_uris() && is_match(text),
        }
    }

    fn is_for_uris(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(text) => text.contains(':'),
            // The pattern as written: slashes may be escaped.
            Self::Matching(pattern) => pattern.as_str().replace('\\', "").contains("://"),
        }
    }
}

impl fmt::Display for IdentityRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = match &self.subject {
            SubjectRule::Exactly(text) => text,
            SubjectRule::Matching(pattern) => pattern.as_str(),
            SubjectRule::Any => "any subject",
        };
        write!(f, "{subject} of {}", self.issuer)
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
            Self::Identity { issuer, subject } => write!(f, "{subject} of {issuer}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_matched_as_a_whole_and_by_its_kind() {
        const ISSUER: &str = "https://token.example";
        let uri = |text: &str| Subject::Uri(text.to_owned());
        let email = |text: &str| Subject::Email(text.to_owned());
        let workflow = "https://github.com/acme/app/.github/workflows/rel.yml@refs/heads/main";
        let pattern = r"https://github\.com/acme/[^/]+/\.github/workflows/.+@refs/heads/main";
        let exactly = |text: &str| IdentityRule::exactly(ISSUER, text);
        let matching = |text: &str| IdentityRule::matching(ISSUER, text).unwrap();
        let rows = [
            (exactly(workflow), uri(workflow), true),
            (exactly(workflow), email(workflow), false),
            (exactly(workflow), uri(&workflow.to_uppercase()), false),
            (exactly(workflow), uri(&format!("{workflow}x")), false),
            (exactly("dev@example.test"), email("dev@example.test"), true),
            (exactly("dev@example.test"), uri("dev@example.test"), false),
            (exactly("spiffe:acme"), uri("spiffe:acme"), true),
            (matching(pattern), uri(workflow), true),
            (matching(pattern), uri(&format!("{workflow}-evil")), false),
            (matching(pattern), uri(&format!("https://evil.example/?{workflow}")), false),
            (matching("https://a/x|https://b/x"), uri("https://a/x/../evil"), false),
            (matching("https://a/x|https://b/x"), uri("https://b/x"), true),
            (matching(r".+@example\.test"), email("dev@example.test"), true),
            (matching(r".+@example\.test"), uri("https://evil.example/x@example.test"), false),
            (matching(r"https:\/\/a\/.+"), uri("https://a/x"), true),
            (matching("(?s).*"), email("a\nb"), true),
            (matching(".+"), email("a\nb"), false),
            (matching(".*"), email("dev@example.test"), true),
            (matching(".*"), email("a\nb"), true),
            (matching(".*"), uri(workflow), true),
            (matching(".*"), uri("spiffe://acme.example/ns/build"), true),
            (matching(".*"), Subject::Other, true),
            (matching("(.*)"), uri(workflow), false),
            (matching(".+"), Subject::Other, false),
            (matching("(?s).*://(?s).*"), Subject::Other, false),
            (exactly(""), Subject::Other, false),
        ];
        for (rule, subject, want) in rows {
            assert_eq!(rule.is(ISSUER, &subject), want, "{rule} and {subject:?}");
            assert!(!rule.is("https://token.example/", &subject), "another issuer");
        }
        for pattern in ["(", "a)|(b", "(a{1000}){1000}", "(?-u:\\xff)"] {
            assert!(IdentityRule::matching(ISSUER, pattern).is_err(), "{pattern}");
        }
    }
}
