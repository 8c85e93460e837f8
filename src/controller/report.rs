//! Status from the result of a pass. Pure: decides the content of a status write, and if one is needed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::status::{
    ArtifactStatus, CandidateStatus, EarlierStatus, Fingerprints, HandledRequests, OutputStatus, PolicyStatus,
    SwitchingStatus, VerificationStatus,
};
use crate::api::{OCIArtifactStatus, Reason};
use crate::failure::{Class, Failure};
use crate::oci::Manifest;
use crate::output::Published;
use crate::output::location::Location;
use crate::pass::{Look, Outcome, Switching};
use crate::registry::Pinned;
use crate::request::{ObjectId, Request, Target};
use crate::trust::requirement::Applied;
use crate::trust::{Basis, Judgement, Signer, Verified};

/// Maximum number of annotations copied to status, and maximum length of their values in bytes: status stays small.
const MAX_ANNOTATIONS: usize = 16;
const MAX_ANNOTATION: usize = 256;
/// Maximum number of listed policies.
const MAX_POLICIES: usize = 32;
/// Maximum numbers of listed outputs that left the spec, and of earlier objects of one output.
const MAX_LEAVING: usize = 24;
const MAX_EARLIER: usize = 32;
/// Maximum number of listed signatures, the same as in the CRD.
const MAX_VERIFICATION: usize = 32;
/// Maximum length of the text with the signers, in bytes.
const MAX_SIGNERS: usize = 1024;
/// Maximum length of a failure's message with its remedy, in bytes. An Event's note has 1024 and also a digest.
const MAX_FAILURE: usize = 960;
/// Message of `Verified=Unknown`.
const NOT_EVALUATED: &str = "not yet evaluated against the current verification rules";
/// Prefix of the annotations that are copied.
const ANNOTATIONS: &str = "org.opencontainers.image.";

/// Inputs of every report.
pub(super) struct Before<'a> {
    /// The current status.
    pub(super) status: &'a OCIArtifactStatus,
    /// Generation of the spec that was processed.
    pub(super) generation: i64,
    /// True if the spec requires a signature.
    pub(super) asks_signature: bool,
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

/// Content of a condition.
#[derive(PartialEq)]
struct Verdict {
    status: String,
    reason: String,
    message: String,
}

impl Verdict {
    fn new(status: &str, reason: Reason, message: &str) -> Self {
        Self { status: status.to_owned(), reason: reason.to_string(), message: message.to_owned() }
    }
}

impl Before<'_> {
    /// Returns the status after a successful pass.
    pub(super) fn succeeded(&self, request: &Request, outcome: &Outcome) -> OCIArtifactStatus {
        let artifact = match &outcome.manifest {
            Some(manifest) => Some(self.artifact(&outcome.pinned, manifest)),
            None => self.renamed(&outcome.pinned),
        };
        let done = if request.targets.is_empty() { "is resolved; spec.outputs is empty" } else { "is published" };
        let mut message = format!("{} {done}", short(&outcome.pinned));
        for warning in request.requirement.warnings() {
            message = cut_to(&format!("{message}; {warning}, which only warns"), MAX_SIGNERS);
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
            outputs: self.outputs(request, &outcome.published),
            switching: None,
            fingerprints: Some(Fingerprints {
                content: request.fingerprint.as_str().to_owned(),
                trust: request.requirement.fingerprint(),
            }),
            conditions: self.conditions(true, Reason::Succeeded, &message, None, self.signed(request, outcome)),
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
        let kind = match failure.class {
            Class::Retry | Class::Wait | Class::Unanswered => "Reconciling",
            Class::Stalled => "Stalled",
        };
        // A forced fetch that failed is still due.
        let force_at = self.status.handled_requests.as_ref().and_then(|handled| handled.force_at.clone());
        let handled = HandledRequests { force_at, ..self.requests.clone() };
        // A denied object is not resolved again, so the last denied digest stays the candidate.
        let before = || self.status.candidate.clone().filter(|before| before.reason == failure.reason.as_str());
        let verified = self.unsigned(request, failure);
        let message = with_remedy(&failure.message, failure.reason);
        let mut fingerprints = self.status.fingerprints.clone();
        if verified != self.judged_before()
            && let Some(made) = &mut fingerprints
        {
            // The earlier verdict is lost, so the artifact is judged again even if the requirement returns to its
            // earlier value.
            made.trust = None;
        }
        OCIArtifactStatus {
            candidate: candidate(failure).or_else(before),
            policies: request.map_or_else(|| self.status.policies.clone(), policies),
            // The journal ends once all outputs hold one revision again.
            switching: self.status.switching.clone().filter(|_| look.is_none_or(Look::is_torn)),
            outputs: match (request, look) {
                (Some(request), Some(look)) => self.shown(request, look),
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
        let failed = Before { status: &status, ..*self }.failed(request, failure, None);
        OCIArtifactStatus { candidate: candidate(refusal), ..failed }
    }

    /// Returns the status during a long pass, with the artifact served meanwhile.
    pub(super) fn progressing(&self, message: &str) -> OCIArtifactStatus {
        OCIArtifactStatus {
            conditions: self.conditions(false, Reason::Progressing, message, Some("Reconciling"), self.judged_before()),
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
        let verified = judged.map_or_else(|| self.judged_before(), |judged| self.judged_suspended(judged));
        let mut fingerprints = self.status.fingerprints.clone();
        let mut listed = self.status.verification.clone();
        if let Some(made) = &mut fingerprints {
            match judged {
                Some(Judged { request, basis: Some(basis) }) => {
                    made.trust = request.requirement.fingerprint();
                    listed = signatures(basis);
                }
                // Judged again when the object is resumed or its requirement changes.
                Some(Judged { basis: None, .. }) if verified != self.judged_before() => made.trust = None,
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
            last_handled_reconcile_at: requested(self.requests, self.status),
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
            content: switching.revision.fingerprint.clone(),
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
            outputs: self.outputs(request, published),
            fingerprints: Some(fingerprints),
            switching: None,
            ..self.status.clone()
        }
    }

    /// Returns the outputs of a success, followed by outputs that left the spec, until their content is removed.
    fn outputs(&self, request: &Request, published: &[Published]) -> Vec<OutputStatus> {
        let new: Vec<_> = published.iter().map(|output| self.output(&request.object, output)).collect();
        let is_gone = |kind: &str, location: &str| !new.iter().any(|new| new.kind == kind && new.location == location);
        let mut outputs = new.clone();
        let mut leaving: Vec<OutputStatus> = Vec::new();
        let begun = self.begun(&new);
        for old in self.status.outputs.iter().chain(&begun) {
            let own = EarlierStatus { location: old.location.clone(), replaced: self.now.to_string() };
            let all = std::iter::once(own).chain(old.earlier.iter().cloned());
            let gone = all.filter(|one| is_gone(&old.kind, &one.location));
            let is_still = request.targets.iter().any(|target| is_of(old, target));
            match outputs.iter_mut().find(|new| is_still && new.name == old.name) {
                Some(new) => {
                    new.earlier.extend(gone);
                    // The oldest objects beyond the limit are removed before their time.
                    let over = new.earlier.split_off(new.earlier.len().min(MAX_EARLIER));
                    leaving.extend(left(old, over));
                }
                None => leaving.extend(left(old, gone.collect())),
            }
        }
        for output in leaving.into_iter().take(MAX_LEAVING) {
            outputs.push(OutputStatus { name: free_name(&outputs, &output.name), leaving: true, ..output });
        }
        outputs
    }

    /// Returns the immutable objects that a switch may have created and that did not become an output.
    fn begun(&self, new: &[OutputStatus]) -> Vec<OutputStatus> {
        let locations = self.status.switching.iter().flat_map(|switching| &switching.locations);
        let begun = locations.filter_map(|(output, location)| {
            let same = new.iter().find(|new| new.name == *output)?;
            (same.location != *location).then(|| OutputStatus { location: location.clone(), ..same.clone() })
        });
        begun.collect()
    }

    /// Returns the outputs as consumers read them now, for any result of the pass.
    fn shown(&self, request: &Request, look: &Look) -> Vec<OutputStatus> {
        let mut outputs: Vec<OutputStatus> = Vec::new();
        let mut others: Vec<OutputStatus> = Vec::new();
        let targets = || request.targets.iter().zip(&look.shown);
        for old in &self.status.outputs {
            match targets().find(|(target, _)| is_of(old, target)) {
                // The target is shown below or holds nothing, but earlier objects must stay listed.
                Some((_, Some(_))) => {}
                Some((_, None)) if old.earlier.is_empty() => {}
                // The output left the spec, and is not removed yet.
                Some((_, None)) | None => others.push(old.clone()),
            }
        }
        for (target, shown) in targets() {
            let Some(shown) = shown else { continue };
            let now = self.output(&request.object, shown);
            let old = self.status.outputs.iter().find(|old| is_of(old, target));
            let is_same = |old: &&OutputStatus| (&old.digest, &old.location) == (&now.digest, &now.location);
            let earlier = old.map(|old| old.earlier.clone()).unwrap_or_default();
            outputs.push(old.filter(is_same).cloned().unwrap_or(OutputStatus { earlier, ..now }));
        }
        if !look.is_torn() {
            others.extend(self.begun(&outputs).into_iter().map(|begun| OutputStatus { leaving: true, ..begun }));
        }
        for other in others {
            let name = free_name(&outputs, &other.name);
            let leaving = other.leaving || name != other.name;
            outputs.push(OutputStatus { name, leaving, ..other });
        }
        outputs
    }

    /// Returns `Verified` after a success; `None` if no signature is required.
    fn signed(&self, request: &Request, outcome: &Outcome) -> Option<Verdict> {
        match &outcome.basis {
            Some(Basis::NoPolicy) => None,
            Some(Basis::Judged(judgement)) => Some(verdict(judgement)),
            None => self.judged_before().filter(|_| !request.requirement.is_empty()),
        }
    }

    /// Returns `Verified` after a failure: False if the served artifact is refused, the earlier verdict if it was
    /// judged by the current requirement, otherwise Unknown.
    fn unsigned(&self, request: Option<&Request>, failure: &Failure) -> Option<Verdict> {
        let asked = request.and_then(|request| request.requirement.fingerprint());
        if asked.is_none() && (request.is_some() || !self.asks_signature) {
            return None;
        }
        let served = self.status.artifact.as_ref().map(|artifact| artifact.digest.as_str());
        let candidate = failure.candidate.as_ref().map(ToString::to_string);
        let is_of_served = served.is_none() || candidate.as_deref() == served;
        if is_of_served && failure.reason.is_of_trust() {
            return Some(Verdict::new("False", failure.reason, &failure.message));
        }
        let judged = self.status.fingerprints.as_ref().and_then(|made| made.trust.clone());
        match self.judged_before().filter(|_| served.is_some() && judged.is_some() && judged == asked) {
            Some(verdict) => Some(verdict),
            None => Some(Verdict::new("Unknown", failure.reason, NOT_EVALUATED)),
        }
    }

    /// Returns `Verified` of a suspended object, for the current requirement.
    fn judged_suspended(&self, Judged { request, basis }: Judged<'_>) -> Option<Verdict> {
        let asked = request.requirement.fingerprint()?;
        if let Some(Basis::Judged(judgement)) = basis {
            return Some(verdict(judgement));
        }
        let judged = self.status.fingerprints.as_ref().and_then(|made| made.trust.as_ref());
        let before = self.judged_before().filter(|_| judged == Some(&asked));
        before.or_else(|| Some(Verdict::new("Unknown", Reason::Suspended, NOT_EVALUATED)))
    }

    fn judged_before(&self) -> Option<Verdict> {
        let before = self.status.conditions.iter().find(|condition| condition.type_ == "Verified")?;
        Some(Verdict { status: before.status.clone(), reason: before.reason.clone(), message: before.message.clone() })
    }

    /// Returns the conditions: `Ready` always, `abnormal` (Reconciling or Stalled) only if set, `Verified` if a
    /// signature is required.
    fn conditions(
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

    fn artifact(&self, pinned: &Pinned, manifest: &Manifest) -> ArtifactStatus {
        let same = self.status.artifact.as_ref().filter(|before| before.digest == pinned.digest().to_string());
        ArtifactStatus {
            reference: pinned.to_string(),
            digest: pinned.digest().to_string(),
            short_digest: pinned.digest().short(),
            platform_digest: manifest.platform_digest.as_ref().map(ToString::to_string),
            tag: pinned.tag().map(str::to_owned),
            artifact_type: cut(&manifest.artifact_type),
            media_type: manifest.media_type.clone(),
            size: whole(manifest.size()),
            annotations: annotations(manifest),
            last_update_time: same.map_or_else(|| self.now.to_string(), |before| before.last_update_time.clone()),
        }
    }

    /// Returns the served artifact under another name, for example after a tag was added to the digest.
    fn renamed(&self, pinned: &Pinned) -> Option<ArtifactStatus> {
        self.status.artifact.clone().map(|artifact| ArtifactStatus {
            reference: pinned.to_string(),
            tag: pinned.tag().map(str::to_owned),
            ..artifact
        })
    }

    fn output(&self, object: &ObjectId, published: &Published) -> OutputStatus {
        // A probe cannot see skipped entries, so their number is kept while the output has the same content.
        let made = self.status.fingerprints.as_ref().map(|made| made.content.as_str());
        let is_same = |output: &&OutputStatus| {
            output.name == published.output && output.digest == published.revision.digest.to_string()
        };
        let before = self.status.outputs.iter().find(is_same).filter(|_| made == Some(&published.revision.fingerprint));
        OutputStatus {
            name: published.output.clone(),
            kind: published.location.kind().as_str().to_owned(),
            location: published.location.text(object),
            leaving: false,
            earlier: Vec::new(),
            digest: published.revision.digest.to_string(),
            files: whole(published.files),
            bytes: whole(published.bytes),
            skipped: whole(published.skipped).max(before.map_or(0, |output| output.skipped)),
            list_digest: published.list_digest.as_ref().map(ToString::to_string),
        }
    }
}

/// True if an output in status belongs to a target, perhaps with other content or in another form.
fn is_of(old: &OutputStatus, target: &Target) -> bool {
    let location = Location::parse(&old.kind, &old.location);
    !old.leaving && old.name == target.output && location.is_some_and(|location| location.is_family(&target.place))
}

/// Returns one entry for all places of an output that left the spec, so that the limit on entries drops no place.
fn left(old: &OutputStatus, places: Vec<EarlierStatus>) -> Option<OutputStatus> {
    let mut places = places.into_iter();
    let location = places.next()?.location;
    Some(OutputStatus { location, earlier: places.take(MAX_EARLIER).collect(), ..old.clone() })
}

/// Returns the name of an entry for an output that left the spec: its own, or if another output has that name now,
/// `<name>~<number>`, which is not a valid name in a spec.
fn free_name(outputs: &[OutputStatus], name: &str) -> String {
    let base = name.split('~').next().unwrap_or_default();
    let numbered = (0..).map(|number| format!("{base}~{number}"));
    let names = [name.to_owned(), base.to_owned()].into_iter().chain(numbered);
    let is_taken = |name: &String| outputs.iter().any(|other| other.name == *name);
    names.into_iter().find(|name| !is_taken(name)).unwrap_or_default()
}

/// Returns the request to echo: the annotation whose value changed, ours if both did.
fn requested(requests: &HandledRequests, status: &OCIArtifactStatus) -> Option<String> {
    let before = status.handled_requests.clone().unwrap_or_default();
    let changed = |now: &Option<String>, before: &Option<String>| now.clone().filter(|_| now != before);
    changed(&requests.requested_at, &before.requested_at)
        .or_else(|| changed(&requests.flux_requested_at, &before.flux_requested_at))
        .or_else(|| status.last_handled_reconcile_at.clone())
}

/// Returns the message, followed by the remedy of the reason as its own sentence. Only the message is truncated.
pub(super) fn with_remedy(message: &str, reason: Reason) -> String {
    let remedy = reason.remedy();
    let most = MAX_FAILURE.saturating_sub(remedy.len() + ". ".len());
    let mut shown = crate::failure::printable(message);
    if shown.len() > most {
        shown.truncate(shown.floor_char_boundary(most.saturating_sub('…'.len_utf8())));
        shown.push('…');
    }
    let shown = shown.trim_end_matches('.');
    format!("{shown}. {remedy}")
}

/// Returns `tag at sha256:0123456789ab`, or the digest alone.
pub(super) fn short(pinned: &Pinned) -> String {
    let digest = pinned.digest().short();
    pinned.tag().map_or_else(|| digest.clone(), |tag| format!("{tag} at {digest}"))
}

fn candidate(failure: &Failure) -> Option<CandidateStatus> {
    failure.candidate.as_ref().map(|digest| CandidateStatus {
        digest: digest.to_string(),
        reason: failure.reason.to_string(),
        message: failure.message.clone(),
    })
}

fn annotations(manifest: &Manifest) -> BTreeMap<String, String> {
    manifest
        .annotations
        .iter()
        .filter(|(key, _)| key.starts_with(ANNOTATIONS) && key.len() <= MAX_ANNOTATION)
        .take(MAX_ANNOTATIONS)
        .map(|(key, value)| (cut(key), cut(value)))
        .collect()
}

fn verdict(Judgement { verified, doubts }: &Judgement) -> Verdict {
    if let Some(doubt) = doubts.first() {
        return Verdict::new("False", doubt.reason, &format!("{}; this only warns", doubt.message));
    }
    let signers: Vec<String> = verified.iter().map(|one| format!("{}: signed by {}", one.entry, one.signer)).collect();
    let left_out = match verified.len().saturating_sub(MAX_VERIFICATION) {
        0 => String::new(),
        more => format!("; {more} more in no list: status.verification has at most {MAX_VERIFICATION}"),
    };
    let signers = cut_to(&signers.join("; "), MAX_SIGNERS.saturating_sub(left_out.len()));
    Verdict::new("True", Reason::Succeeded, &format!("{signers}{left_out}"))
}

fn policies(request: &Request) -> Vec<PolicyStatus> {
    let status = |applied: &Applied| PolicyStatus {
        name: applied.policy.clone(),
        generation: applied.generation,
        enforcement: applied.enforcement.as_str().to_owned(),
    };
    request.requirement.applied().iter().take(MAX_POLICIES).map(status).collect()
}

/// Returns the signatures to list.
fn signatures(basis: &Basis) -> Vec<VerificationStatus> {
    match basis {
        Basis::Judged(judgement) => judgement.verified.iter().take(MAX_VERIFICATION).map(verification).collect(),
        Basis::NoPolicy => Vec::new(),
    }
}

fn verification(verified: &Verified) -> VerificationStatus {
    let Verified { entry, format, signer, log_index, time, digest } = verified;
    let (issuer, subject, key) = match signer {
        Signer::Key(fingerprint) => (None, None, Some(fingerprint.to_string())),
        Signer::Identity { issuer, subject } => (Some(cut(issuer)), Some(cut(subject)), None),
    };
    VerificationStatus {
        name: entry.clone(),
        format: format.as_str().to_owned(),
        issuer,
        subject,
        key_fingerprint: key,
        log_index: log_index.map(whole),
        time: time.map(|time| time.to_string()),
        bundle_digest: digest.to_string(),
    }
}

fn cut(text: &str) -> String {
    cut_to(text, MAX_ANNOTATION)
}

fn cut_to(text: &str, most: usize) -> String {
    let mut shown = crate::failure::printable(text);
    shown.truncate(shown.floor_char_boundary(most));
    shown
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
