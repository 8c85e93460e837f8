//! Identities in signing certificates, and the rules that accept them. Pure.

use std::fmt;

use regex::Regex;

/// Maximum memory of a compiled pattern, in bytes.
const PATTERN_BYTES: usize = 256 * 1024;
/// The pattern that accepts every subject of an issuer, of any kind.
const ANY_SUBJECT: &str = ".*";

/// Identity in a certificate: the issuer and the subject that it vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) issuer: String,
    pub(super) subject: CertificateSubject,
}

/// Subject of a certificate. Its kind matters: an email address never matches a rule for URIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CertificateSubject {
    Email(String),
    Uri(String),
    /// Neither an email address nor a URI, such as the `otherName` of Fulcio's username identities. The library returns
    /// no text for it, so only the issuer can be matched.
    Other,
}

impl fmt::Display for CertificateSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Email(text) | Self::Uri(text) => f.write_str(text),
            Self::Other => f.write_str("a subject that is neither an email address nor a URI"),
        }
    }
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
#[error("is not a valid RE2 regular expression, or larger than the limit")]
pub struct SubjectPatternError;

impl IdentityRule {
    /// Accepts exactly this subject of exactly this issuer.
    pub fn exactly(issuer: &str, subject: &str) -> Self {
        Self { issuer: issuer.to_owned(), subject: SubjectRule::Exactly(subject.to_owned()) }
    }

    /// Accepts subjects that the pattern matches as a whole; `.*` accepts every subject of every kind.
    pub fn matching(issuer: &str, pattern: &str) -> Result<Self, SubjectPatternError> {
        if pattern == ANY_SUBJECT {
            return Ok(Self { issuer: issuer.to_owned(), subject: SubjectRule::Any });
        }
        // Without the group, `a|b` would be anchored on one side only.
        let anchored = format!("^(?:{pattern})$");
        // A pattern that closes the group itself would not be anchored at all, so it must also compile alone.
        let alone = regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build();
        let whole = regex::RegexBuilder::new(&anchored).size_limit(PATTERN_BYTES).build();
        let pattern = alone.and(whole).map_err(|_| SubjectPatternError)?;
        Ok(Self { issuer: issuer.to_owned(), subject: SubjectRule::Matching(pattern) })
    }

    /// True if the rule accepts an identity: the issuer is equal, and the subject is of the right kind and text.
    pub(super) fn matches(&self, identity: &Identity) -> bool {
        self.issuer == identity.issuer && self.subject.matches(&identity.subject)
    }
}

impl SubjectRule {
    /// True if the rule accepts a subject. A rule accepts one kind only: `.*@example.com` must not accept an attacker's URI
    /// with that ending.
    fn matches(&self, subject: &CertificateSubject) -> bool {
        let is_match = |text: &str| match self {
            Self::Any => true,
            Self::Exactly(wanted) => wanted == text,
            Self::Matching(pattern) => pattern.is_match(text),
        };
        match (self, subject) {
            (Self::Any, _) => true,
            (Self::Exactly(_) | Self::Matching(_), CertificateSubject::Other) => false,
            (Self::Exactly(_) | Self::Matching(_), CertificateSubject::Uri(text)) => {
                self.is_for_uris() && is_match(text)
            }
            (Self::Exactly(_) | Self::Matching(_), CertificateSubject::Email(text)) => {
                !self.is_for_uris() && is_match(text)
            }
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
        write!(f, "{subject} (issuer {})", self.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_matches_the_whole_subject_and_one_kind() {
        const ISSUER: &str = "https://token.example";
        let uri = |text: &str| CertificateSubject::Uri(text.to_owned());
        let email = |text: &str| CertificateSubject::Email(text.to_owned());
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
            (matching(".*"), CertificateSubject::Other, true),
            (matching("(.*)"), uri(workflow), false),
            (matching(".+"), CertificateSubject::Other, false),
            (matching("(?s).*://(?s).*"), CertificateSubject::Other, false),
            (exactly(""), CertificateSubject::Other, false),
        ];
        for (rule, subject, want) in rows {
            let identity = |issuer: &str| Identity { issuer: issuer.to_owned(), subject: subject.clone() };
            assert_eq!(rule.matches(&identity(ISSUER)), want, "{rule} and {subject:?}");
            assert!(!rule.matches(&identity("https://token.example/")), "another issuer");
        }
        for pattern in ["(", "a)|(b", "(a{1000}){1000}", "(?-u:\\xff)"] {
            assert!(IdentityRule::matching(ISSUER, pattern).is_err(), "{pattern}");
        }
    }
}
