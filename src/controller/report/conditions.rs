//! `status.conditions`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::text::cut_to;
use super::verification::MAX_VERIFICATION;
use super::{Judged, Report};
use crate::api::Reason;
use crate::failure::Failure;
use crate::pass::Outcome;
use crate::request::Request;
use crate::trust::{Basis, Judgement};

/// Maximum length of the text with the signers, in bytes.
pub(super) const MAX_SIGNERS: usize = 1024;
/// Message of `Verified=Unknown`.
const NOT_EVALUATED: &str =
    "the published content was not yet evaluated against the current verification rules; Ready has the cause";

/// Content of a condition.
#[derive(PartialEq)]
pub(super) struct Verdict {
    status: String,
    reason: String,
    message: String,
}

impl Verdict {
    fn new(status: &str, reason: Reason, message: &str) -> Self {
        Self { status: status.to_owned(), reason: reason.to_string(), message: message.to_owned() }
    }
}

impl Report<'_> {
    /// Returns `Verified` after a success; `None` if no signature is required.
    pub(super) fn verified_after_success(&self, request: &Request, outcome: &Outcome) -> Option<Verdict> {
        match &outcome.basis {
            Some(Basis::NoPolicy) => None,
            Some(Basis::Judged(judgement)) => Some(verdict_of(judgement)),
            None => self.verified_before().filter(|_| !request.requirement.is_empty()),
        }
    }

    /// Returns `Verified` after a failure: False if the served artifact is refused, the earlier verdict if it was
    /// judged by the current requirement, otherwise Unknown.
    pub(super) fn verified_after_failure(&self, request: Option<&Request>, failure: &Failure) -> Option<Verdict> {
        let required = request.and_then(|request| request.requirement.fingerprint());
        if required.is_none() && (request.is_some() || !self.requires_signature) {
            return None;
        }
        let served = self.status.artifact.as_ref().map(|artifact| artifact.digest.as_str());
        let candidate = failure.candidate.as_ref().map(ToString::to_string);
        let is_of_served = served.is_none() || candidate.as_deref() == served;
        if is_of_served && failure.reason.is_of_trust() {
            return Some(Verdict::new("False", failure.reason, &failure.message));
        }
        let judged = self.status.fingerprints.as_ref().and_then(|made| made.trust.clone());
        match self.verified_before().filter(|_| served.is_some() && judged.is_some() && judged == required) {
            Some(verdict) => Some(verdict),
            None => Some(Verdict::new("Unknown", failure.reason, NOT_EVALUATED)),
        }
    }

    /// Returns `Verified` of a suspended object, for the current requirement.
    pub(super) fn verified_of_suspended(&self, Judged { request, basis }: Judged<'_>) -> Option<Verdict> {
        let required = request.requirement.fingerprint()?;
        if let Some(Basis::Judged(judgement)) = basis {
            return Some(verdict_of(judgement));
        }
        let judged = self.status.fingerprints.as_ref().and_then(|made| made.trust.as_ref());
        let before = self.verified_before().filter(|_| judged == Some(&required));
        before.or_else(|| Some(Verdict::new("Unknown", Reason::Suspended, NOT_EVALUATED)))
    }

    pub(super) fn verified_before(&self) -> Option<Verdict> {
        let before = self.status.conditions.iter().find(|condition| condition.type_ == "Verified")?;
        Some(Verdict { status: before.status.clone(), reason: before.reason.clone(), message: before.message.clone() })
    }

    /// Returns the conditions: `Ready` always, `abnormal` (Reconciling or Stalled) only if set, `Verified` if a
    /// signature is required.
    pub(super) fn conditions(
        &self,
        ready: bool,
        reason: Reason,
        message: &str,
        abnormal: Option<&str>,
        verified: Option<Verdict>,
    ) -> Vec<Condition> {
        let condition = |kind: &str, verdict: Verdict| {
            let Verdict { status, reason, message } = verdict;
            let before = self.status.conditions.iter().find(|condition| condition.type_ == kind);
            let since =
                before.filter(|before| before.status == status).map(|before| before.last_transition_time.clone());
            Condition {
                type_: kind.to_owned(),
                status,
                reason,
                message,
                observed_generation: Some(self.generation),
                last_transition_time: since.unwrap_or(Time(self.now)),
            }
        };
        let of = |status: bool| Verdict::new(if status { "True" } else { "False" }, reason, message);
        let ready = condition("Ready", of(ready));
        let abnormal = abnormal.map(|kind| condition(kind, of(true)));
        let verified = verified.map(|verdict| condition("Verified", verdict));
        std::iter::once(ready).chain(abnormal).chain(verified).collect()
    }
}

fn verdict_of(Judgement { verified, doubts }: &Judgement) -> Verdict {
    if let Some(doubt) = doubts.first() {
        return Verdict::new("False", doubt.reason, &format!("{} (enforcement: Warn)", doubt.message));
    }
    let signers: Vec<String> =
        verified.iter().map(|one| format!("entry {}: signed by {}", one.entry, one.signer)).collect();
    let left_out = match verified.len().saturating_sub(MAX_VERIFICATION) {
        0 => String::new(),
        more => format!("; {more} more signatures, beyond the {MAX_VERIFICATION} that status.verification lists"),
    };
    let signers = cut_to(&signers.join("; "), MAX_SIGNERS.saturating_sub(left_out.len()));
    Verdict::new("True", Reason::Succeeded, &format!("{signers}{left_out}"))
}
