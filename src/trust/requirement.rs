//! What is asked of a digest before it may be fetched: values, compared and matched, nothing more.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use regex::Regex;

use super::sigstore::{Key, Root, RootError, Subject};
use crate::api::policy::Enforcement;
use crate::api::verify::{CertificateTransparency, SignatureFormat, TransparencyLog};
use crate::oci::{Digest, Hasher};

/// Raised when the same material is judged otherwise than before, so that everything published is judged again.
const JUDGEMENT: &str = "3";
/// Most memory that a compiled pattern may take, in bytes.
const PATTERN_BYTES: usize = 256 * 1024;
/// The pattern that accepts every subject of an issuer, whatever its kind.
const ANY_SUBJECT: &str = ".*";

/// Everything that is asked of a digest: each entry must be satisfied.
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    entries: Vec<Entry>,
    objections: Vec<Objection>,
    applied: Vec<Applied>,
}

/// Why an artifact would not be let in, whoever has signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// Who objects, and why.
    pub text: String,
    /// Whether that decides.
    pub enforcement: Enforcement,
    /// Whether somebody wants it so. A policy that cannot be applied objects too, and that is nobody's verdict.
    pub is_verdict: bool,
}

/// A policy that speaks about the artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its name.
    pub policy: String,
    /// The generation of its spec.
    pub generation: i64,
    /// Whether it decides.
    pub enforcement: Enforcement,
}

/// One thing that is asked: a signature by any of its authorities.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, for people.
    pub name: String,
    /// Keys that may sign.
    pub keys: Vec<Key>,
    /// Identities that may sign.
    pub identities: Vec<IdentityRule>,
    /// What verifies certificates and logs.
    pub root: Root,
    /// Whether a log must hold the signature.
    pub log: TransparencyLog,
    /// Rule for logs of certificates.
    pub certificate_transparency: CertificateTransparency,
    /// What the signed statement may be.
    pub predicate_types: Vec<String>,
    /// How the signature may be kept.
    pub formats: Vec<SignatureFormat>,
    /// Whether the digest is refused without.
    pub enforcement: Enforcement,
}

/// To whom a certificate must have been given.
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

/// Why a text is no pattern for subjects.
#[derive(Debug, thiserror::Error)]
#[error("is no regular expression in RE2 syntax, or too large a one")]
pub struct PatternError;

impl Requirement {
    /// All of those.
    pub fn new(entries: Vec<Entry>, objections: Vec<Objection>, applied: Vec<Applied>) -> Self {
        Self { entries, objections, applied }
    }

    /// True where no signature is asked for.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The objection that decides, if there is one: what somebody wants, before what cannot be applied.
    pub fn denied(&self) -> Option<&Objection> {
        let decides = |objection: &&Objection| objection.enforcement == Enforcement::Enforce;
        self.objections.iter().filter(decides).min_by_key(|objection| !objection.is_verdict)
    }

    /// Objections that do not decide.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        let warns = |objection: &&Objection| objection.enforcement == Enforcement::Warn;
        self.objections.iter().filter(warns).map(|objection| objection.text.as_str())
    }

    /// The policies that speak about the artifact.
    pub fn applied(&self) -> &[Applied] {
        &self.applied
    }

    /// What is asked, in its order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Tells two requirements apart that could judge one digest differently: the 64 hex digits of a SHA-256. A tenant
    /// writes half of what is hashed and may try in private, so that fewer digits could be searched through. `None` where
    /// nothing is asked.
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

    /// Fails with the entry whose trusted root could verify nothing, whatever is signed.
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
    /// True for what clients write of one of the keys: base64 of its fingerprint.
    pub(super) fn has_key_of(&self, hint: &str) -> bool {
        self.keys.iter().any(|key| STANDARD.encode(key.fingerprint().as_bytes()) == hint)
    }
}

impl IdentityRule {
    /// That subject, exactly, by the word of that issuer, exactly.
    pub fn exactly(issuer: &str, subject: &str) -> Self {
        Self { issuer: issuer.to_owned(), subject: SubjectRule::Exactly(subject.to_owned()) }
    }

    /// Subjects that a pattern matches as a whole; `.*` is every subject of every kind.
    pub fn matching(issuer: &str, pattern: &str) -> Result<Self, PatternError> {
        if pattern == ANY_SUBJECT {
            return Ok(Self { issuer: issuer.to_owned(), subject: SubjectRule::Any });
        }
        // Inside of a group, or an alternative would be anchored on one side only.
        let anchored = format!("^(?:{pattern})$");
        // A pattern that closes the group itself would be anchored nowhere.
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
    /// A rule is for subjects of one kind: `.*@example.com` must not accept a URI that an attacker ends like that.
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
            // The pattern as it is written: with slashes, escaped or not.
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

/// A signature that satisfies an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Name of the entry.
    pub entry: String,
    /// How it is kept.
    pub format: SignatureFormat,
    /// Who signed.
    pub signer: Signer,
    /// Where the log has it.
    pub log_index: Option<u64>,
    /// When it was made, as a log or a timestamp authority says.
    pub time: Option<Timestamp>,
    /// Digest of the bundle, or of the signed payload.
    pub digest: Digest,
}

/// Who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Who has the key with that fingerprint.
    Key(Digest),
    /// To whom a certificate was given.
    Identity {
        /// By whose word.
        issuer: String,
        /// An email address or a URI.
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
