//! Verdict about a case, and the comparison with the expected one. Pure.

use serde::Serialize;

use super::file::{Expected, Verdict};
use crate::api::Reason;
use crate::trust::requirement::{Objection, Requirement};
use crate::trust::{Basis, Doubt, Judgement, Signer, TrustError, Verified};

/// Verdict about a case, and its reasons.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// Reasons of a denial, or of warnings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) findings: Vec<Finding>,
    /// Verified signers: the subject, or the fingerprint of the key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) signers: Vec<String>,
    /// Names of the policies that match the image.
    pub(super) matches: Vec<String>,
}

/// Reason to refuse an image, or to warn about it.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) reason: &'static str,
    /// Policy whose requirement is not satisfied; absent for a requirement of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<String>,
    pub(super) message: String,
}

impl From<&Objection> for Finding {
    fn from(Objection { policy, text, .. }: &Objection) -> Self {
        Self { reason: Reason::PolicyDenied.as_str(), policy: policy.clone(), message: text.clone() }
    }
}

impl Finding {
    fn new(reason: Reason, entry: &str, message: String) -> Self {
        // The name of an object's own entry has no slash.
        let policy = entry.split_once('/').map(|(policy, _)| policy.to_owned());
        Self { reason: reason.as_str(), policy, message }
    }
}

impl Outcome {
    /// Returns the outcome for an image that a policy denies, whatever its signatures.
    pub(super) fn refused(objection: &Objection, matches: Vec<String>) -> Self {
        Self { verdict: Verdict::Denied, findings: vec![objection.into()], signers: Vec::new(), matches }
    }

    /// Returns the outcome of a search for signatures. Fails if the search was not complete, which is no verdict.
    pub(super) fn new(
        judged: Result<Basis, TrustError>,
        requirement: &Requirement,
        matches: Vec<String>,
    ) -> Result<Self, String> {
        let Judgement { verified, doubts } = match judged {
            Ok(Basis::Judged(judgement)) => judgement,
            Ok(Basis::NoPolicy) => Judgement::default(),
            Err(error) => {
                let (Some(reason), Some(entry)) = (error.reason(), error.entry()) else {
                    return Err(error.to_string());
                };
                let findings = vec![Finding::new(reason, entry, error.to_string())];
                return Ok(Self { verdict: Verdict::Denied, findings, signers: Vec::new(), matches });
            }
        };
        let mut findings: Vec<Finding> = requirement.tolerated().map(Finding::from).collect();
        for Doubt { entry, reason, message } in doubts {
            if !reason.is_of_trust() {
                return Err(message);
            }
            findings.push(Finding::new(reason, &entry, message));
        }
        let verdict = if findings.is_empty() { Verdict::Allowed } else { Verdict::Warned };
        Ok(Self { verdict, findings, signers: verified.iter().map(signer).collect(), matches })
    }

    /// Returns a line for each value that differs from the expected one.
    pub(super) fn differences(&self, expected: Expected<'_>) -> Vec<String> {
        let Expected { verdict, reason, policy, signer, matches } = expected;
        let mut all = Vec::new();
        let mut compare = |field: &str, wanted: Option<&str>, found: &[&str]| {
            if let Some(wanted) = wanted.filter(|wanted| !found.contains(wanted)) {
                all.push(format!("{field}: expected {wanted}, got {}", listed(found)));
            }
        };
        compare("verdict", Some(verdict.as_str()), &[self.verdict.as_str()]);
        compare("reason", reason, &self.findings.iter().map(|finding| finding.reason).collect::<Vec<_>>());
        compare("policy", policy, &self.policies(reason));
        compare("signer", signer, &texts(&self.signers));
        if let Some(matches) = matches.filter(|matches| !matches.iter().eq(&self.matches)) {
            let wanted: Vec<&str> = matches.iter().map(String::as_str).collect();
            all.push(format!("matches: expected {}, got {}", listed(&wanted), listed(&texts(&self.matches))));
        }
        all
    }

    /// Returns the policies that decide: those that deny or warn for the reason, or all that an allowed image matches.
    pub(super) fn policies(&self, reason: Option<&str>) -> Vec<&str> {
        let has_reason = |finding: &&Finding| reason.is_none_or(|reason| finding.reason == reason);
        let deciding = self.findings.iter().filter(has_reason).filter_map(|finding| finding.policy.as_deref());
        match self.verdict {
            Verdict::Allowed => texts(&self.matches),
            Verdict::Warned | Verdict::Denied => deciding.collect(),
        }
    }
}

fn texts(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

/// Returns a list as text.
pub(super) fn listed(all: &[&str]) -> String {
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Returns the signer as files of tests name it.
fn signer(verified: &Verified) -> String {
    match &verified.signer {
        Signer::Key(fingerprint) => fingerprint.to_string(),
        Signer::Identity { subject, .. } => subject.clone(),
    }
}
