//! Status from the result of a pass. Pure: decides the content of a status write, and if one is needed.

use jiff::Timestamp;

use crate::api::status::{CandidateStatus, Fingerprints, HandledRequests, SwitchingStatus};
use crate::api::{OCIArtifactStatus, Reason};
use crate::failure::{Class, Failure};
use crate::output::Published;
use crate::pass::{Look, Outcome, Switching};
use crate::request::Request;
use crate::trust::Basis;

mod artifact;
mod conditions;
mod outputs;
mod text;
mod verification;

use conditions::MAX_SIGNERS;
use text::{cut_to, short};
use verification::{policies, signatures};

pub(super) use text::with_remedy;

/// Known status and inputs of every report.
pub(super) struct Report<'a> {
    /// The current status.
    pub(super) status: &'a OCIArtifactStatus,
    /// Generation of the spec that was processed.
    pub(super) generation: i64,
    /// True if the spec requires a signature.
    pub(super) requires_signature: bool,
    /// Values of the annotations that request a pass.
    pub(super) requests: &'a HandledRequests,
    /// Current time, for changes.
    pub(super) now: Timestamp,
}

/// Requirements for the served artifact of a suspended object.
#[derive(Clone, Copy)]
pub(super) struct Judged<'a> {
    /// Request for the served artifact.
    pub(super) request: &'a Request,
    /// Basis of the verdict; `None` if signatures were not searched for.
    pub(super) basis: Option<&'a Basis>,
}

impl Report<'_> {
    /// Returns the status after a successful pass.
    pub(super) fn succeeded(&self, request: &Request, outcome: &Outcome) -> OCIArtifactStatus {
        let artifact = match &outcome.manifest {
            Some(manifest) => Some(self.artifact(&outcome.pinned, manifest)),
            None => self.renamed(&outcome.pinned),
        };
        let done = if request.targets.is_empty() { "is resolved; spec.outputs is empty" } else { "is published" };
        let mut message = format!("{} {done}", short(&outcome.pinned));
        for warning in request.requirement.warnings() {
            message = cut_to(&format!("{message}; {warning} (enforcement: Warn)"), MAX_SIGNERS);
        }
        let verification = match &outcome.basis {
            Some(basis) => signatures(basis),
            None => self.status.verification.clone(),
        };
        OCIArtifactStatus {
            artifact,
            candidate: None,
            verification,
            policies: policies(request),
            outputs: self.outputs_after_success(request, &outcome.published),
            switching: None,
            fingerprints: Some(Fingerprints {
                content: request.fingerprint.as_str().to_owned(),
                trust: request.requirement.fingerprint(),
            }),
            conditions: self.conditions(
                true,
                Reason::Succeeded,
                &message,
                None,
                self.verified_after_success(request, outcome),
            ),
            ..self.observed()
        }
    }

    /// Returns the status after a failed pass. Published content stays, and stays in status. `request` is `None`
    /// without a valid request, `look` is the state of the outputs after the pass, if known.
    pub(super) fn failed(
        &self,
        request: Option<&Request>,
        failure: &Failure,
        look: Option<&Look>,
    ) -> OCIArtifactStatus {
        self.failed_with(request, failure, look, self.candidate_after(failure))
    }

    /// Returns the candidate after a failure: the refused digest. A denied object is not resolved again, so its last
    /// denied digest stays the candidate.
    fn candidate_after(&self, failure: &Failure) -> Option<CandidateStatus> {
        let before = self.status.candidate.as_ref();
        let same = || before.filter(|before| before.reason == failure.reason.as_str()).cloned();
        let mut refused = candidate(failure).or_else(same)?;
        refused.withdrawn = before.is_some_and(|before| before.withdrawn && before.digest == refused.digest);
        Some(refused)
    }

    fn failed_with(
        &self,
        request: Option<&Request>,
        failure: &Failure,
        look: Option<&Look>,
        candidate: Option<CandidateStatus>,
    ) -> OCIArtifactStatus {
        let kind = match failure.class {
            Class::Retry | Class::Wait | Class::Unanswered => "Reconciling",
            Class::Stalled => "Stalled",
        };
        // A forced fetch that failed is still due.
        let force_at = self.status.handled_requests.as_ref().and_then(|handled| handled.force_at.clone());
        let handled = HandledRequests { force_at, ..self.requests.clone() };
        let verified = self.verified_after_failure(request, failure);
        let withdrawn = candidate.as_ref().filter(|candidate| candidate.withdrawn).map(text::withdrawn);
        let message = with_remedy(&format!("{}{}", withdrawn.unwrap_or_default(), failure.message), failure.reason);
        let mut fingerprints = self.status.fingerprints.clone();
        if verified != self.verified_before()
            && let Some(made) = &mut fingerprints
        {
            // The earlier verdict is lost, so the artifact is judged again even if the requirement returns to its
            // earlier value.
            made.trust = None;
        }
        OCIArtifactStatus {
            candidate,
            policies: request.map_or_else(|| self.status.policies.clone(), policies),
            // The journal ends once all outputs hold one revision again.
            switching: self.status.switching.clone().filter(|_| look.is_none_or(Look::is_torn)),
            outputs: match (request, look) {
                (Some(request), Some(look)) => self.outputs_shown(request, look),
                (Some(_) | None, _) => self.status.outputs.clone(),
            },
            fingerprints,
            conditions: self.conditions(false, failure.reason, &message, Some(kind), verified),
            handled_requests: (handled != HandledRequests::default()).then_some(handled),
            ..self.observed()
        }
    }

    /// Returns the status after a failed pass whose published content was withdrawn because of `refusal`.
    pub(super) fn withdrawn(
        &self,
        request: Option<&Request>,
        failure: &Failure,
        refusal: &Failure,
    ) -> OCIArtifactStatus {
        let status = OCIArtifactStatus {
            artifact: None,
            verification: Vec::new(),
            outputs: Vec::new(),
            fingerprints: None,
            ..self.status.clone()
        };
        let withdrawn = candidate(refusal).map(|refused| CandidateStatus { withdrawn: true, ..refused });
        Report { status: &status, ..*self }.failed_with(request, failure, None, withdrawn)
    }

    /// Returns the status during a long pass, with the artifact served meanwhile.
    pub(super) fn progressing(&self, message: &str) -> OCIArtifactStatus {
        OCIArtifactStatus {
            conditions: self.conditions(
                false,
                Reason::Progressing,
                message,
                Some("Reconciling"),
                self.verified_before(),
            ),
            last_handled_reconcile_at: self.status.last_handled_reconcile_at.clone(),
            handled_requests: self.status.handled_requests.clone(),
            ..self.observed()
        }
    }

    /// Returns the status of a suspended object. Served content stays. Without served content, `Stalled` is set,
    /// because kstatus treats an object that is only not ready as in progress. `judged` is `None` if the requirements
    /// are unknown.
    pub(super) fn suspended(&self, judged: Option<Judged<'_>>) -> OCIArtifactStatus {
        let (ready, message) = match &self.status.artifact {
            Some(_) if self.status.switching.is_some() => {
                let message = "suspended while several outputs were switched; they may hold different revisions";
                (false, with_remedy(message, Reason::Suspended))
            }
            Some(artifact) => (true, format!("suspended; {} stays published", artifact.short_digest)),
            None => (false, with_remedy("suspended while nothing is published", Reason::Suspended)),
        };
        let abnormal = (!ready).then_some("Stalled");
        let verified = judged.map_or_else(|| self.verified_before(), |judged| self.verified_of_suspended(judged));
        let mut fingerprints = self.status.fingerprints.clone();
        let mut listed = self.status.verification.clone();
        if let Some(made) = &mut fingerprints {
            match judged {
                Some(Judged { request, basis: Some(basis) }) => {
                    made.trust = request.requirement.fingerprint();
                    listed = signatures(basis);
                }
                // Judged again when the object is resumed or its requirement changes.
                Some(Judged { basis: None, .. }) if verified != self.verified_before() => made.trust = None,
                Some(Judged { basis: None, .. }) | None => {}
            }
        }
        OCIArtifactStatus {
            conditions: self.conditions(ready, Reason::Suspended, &message, abnormal, verified),
            verification: listed,
            policies: judged.map_or_else(|| self.status.policies.clone(), |judged| policies(judged.request)),
            fingerprints,
            // The requested pass is not run while the object is suspended.
            last_handled_reconcile_at: self.status.last_handled_reconcile_at.clone(),
            handled_requests: self.status.handled_requests.clone(),
            ..self.observed()
        }
    }

    fn observed(&self) -> OCIArtifactStatus {
        let is_none = *self.requests == HandledRequests::default();
        OCIArtifactStatus {
            observed_generation: self.generation,
            last_handled_reconcile_at: request_to_echo(self.requests, self.status),
            handled_requests: (!is_none).then(|| self.requests.clone()),
            ..self.status.clone()
        }
    }

    /// Returns the status with the journal of a switch.
    pub(super) fn switching(&self, request: &Request, outcome: &Outcome, switching: &Switching) -> OCIArtifactStatus {
        let artifact = outcome.manifest.as_ref().map(|manifest| self.artifact(&outcome.pinned, manifest));
        let switching = artifact.map(|artifact| SwitchingStatus {
            digest: switching.revision.digest.to_string(),
            outputs: switching.outputs.clone(),
            lists: switching.lists.iter().map(|(output, list)| (output.clone(), list.to_string())).collect(),
            locations: switching.locations.iter().map(|(output, place)| (output.clone(), place.to_string())).collect(),
            artifact,
            content: switching.revision.fingerprint.to_string(),
            trust: request.requirement.fingerprint(),
        });
        OCIArtifactStatus { switching, ..self.status.clone() }
    }

    /// Returns the status after the completion of a switch that an earlier process began.
    pub(super) fn completed(
        &self,
        request: &Request,
        published: &[Published],
        switching: &SwitchingStatus,
    ) -> OCIArtifactStatus {
        let fingerprints = Fingerprints { content: switching.content.clone(), trust: None };
        OCIArtifactStatus {
            artifact: Some(switching.artifact.clone()),
            verification: Vec::new(),
            outputs: self.outputs_after_success(request, published),
            fingerprints: Some(fingerprints),
            switching: None,
            ..self.status.clone()
        }
    }
}

/// Returns the request to echo: the annotation whose value changed, ours if both did.
fn request_to_echo(requests: &HandledRequests, status: &OCIArtifactStatus) -> Option<String> {
    let before = status.handled_requests.clone().unwrap_or_default();
    let changed = |now: &Option<String>, before: &Option<String>| now.clone().filter(|_| now != before);
    changed(&requests.requested_at, &before.requested_at)
        .or_else(|| changed(&requests.flux_requested_at, &before.flux_requested_at))
        .or_else(|| status.last_handled_reconcile_at.clone())
}

fn candidate(failure: &Failure) -> Option<CandidateStatus> {
    failure.candidate.as_ref().map(|digest| CandidateStatus {
        digest: digest.to_string(),
        reason: failure.reason.to_string(),
        message: failure.message.clone(),
        withdrawn: false,
    })
}

#[cfg(test)]
mod tests;
