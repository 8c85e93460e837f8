//! Status from what a pass found. Pure: what is written, and whether anything is, follows from here.

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

/// Most annotations copied to status, and their longest value in bytes: status stays small whatever an
/// artifact contains.
const MAX_ANNOTATIONS: usize = 16;
const MAX_ANNOTATION: usize = 256;
/// Most policies that are listed.
const MAX_POLICIES: usize = 32;
/// Most outputs that left the spec, and most earlier objects of one output, that are listed.
const MAX_LEAVING: usize = 24;
const MAX_EARLIER: usize = 32;
/// Most signatures that are listed; the CRD allows no more.
const MAX_VERIFICATION: usize = 32;
/// Longest text about who has signed, in bytes.
const MAX_SIGNERS: usize = 1024;
/// Longest message of a failure with its remedy, in bytes. An Event's note has 1024, and names the digest before it.
const MAX_FAILURE: usize = 960;
/// Message of `Verified=Unknown`.
const NOT_EVALUATED: &str = "not yet evaluated against the current verification rules";
/// The annotations that are copied.
const ANNOTATIONS: &str = "org.opencontainers.image.";

/// What every report starts from.
pub(super) struct Before<'a> {
    /// The status as it is.
    pub(super) status: &'a OCIArtifactStatus,
    /// Generation of the spec that was acted upon.
    pub(super) generation: i64,
    /// The spec asks for a signature.
    pub(super) asks_signature: bool,
    /// Values of the annotations that ask for a pass.
    pub(super) requests: &'a HandledRequests,
    /// The time, where something changes.
    pub(super) now: Timestamp,
}

/// Requirements for what a suspended object serves.
#[derive(Clone, Copy)]
pub(super) struct Judged<'a> {
    /// The request for what is served.
    pub(super) request: &'a Request,
    /// Result of judging by it; `None` where nothing was looked for.
    pub(super) basis: Option<&'a Basis>,
}

/// What a condition says.
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
    /// Everything is as the spec wants it.
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

    /// The pass ended badly. What was published stays, and stays named. `request` is what was asked, where that is known.
    /// `look` is the state of the outputs after it, where that is known.
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
        // What was not fetched is still to be fetched again.
        let force_at = self.status.handled_requests.as_ref().and_then(|handled| handled.force_at.clone());
        let handled = HandledRequests { force_at, ..self.requests.clone() };
        // What a policy denies is not looked up again, so the digest that it was denied for is still the last one seen.
        let before = || self.status.candidate.clone().filter(|before| before.reason == failure.reason.as_str());
        let verified = self.unsigned(request, failure);
        let message = with_remedy(&failure.message, failure.reason);
        let mut fingerprints = self.status.fingerprints.clone();
        if verified != self.judged_before()
            && let Some(made) = &mut fingerprints
        {
            // What the condition said is lost, so it is judged again when what is asked is what it was.
            made.trust = None;
        }
        OCIArtifactStatus {
            candidate: candidate(failure).or_else(before),
            policies: request.map_or_else(|| self.status.policies.clone(), policies),
            // The journal ends with the switch: when every output holds one revision again.
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

    /// The pass ended badly, and what was published is withdrawn, for `refusal` speaks against it.
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

    /// A pass takes long: say so, and what is served meanwhile.
    pub(super) fn progressing(&self, message: &str) -> OCIArtifactStatus {
        OCIArtifactStatus {
            conditions: self.conditions(false, Reason::Progressing, message, Some("Reconciling"), self.judged_before()),
            last_handled_reconcile_at: self.status.last_handled_reconcile_at.clone(),
            handled_requests: self.status.handled_requests.clone(),
            ..self.observed()
        }
    }

    /// Nothing is done on purpose. What is served is served. Without anything served, `Stalled` says that waiting
    /// changes nothing: kstatus takes an object that is only not ready for one in progress. `judged` is `None` where it is
    /// not known what is required.
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
                // Judged again, when the object is resumed or something else is required.
                Some(Judged { basis: None, .. }) if verified != self.judged_before() => made.trust = None,
                Some(Judged { basis: None, .. }) | None => {}
            }
        }
        OCIArtifactStatus {
            conditions: self.conditions(ready, Reason::Suspended, &message, abnormal, verified),
            verification: listed,
            policies: judged.map_or_else(|| self.status.policies.clone(), |judged| policies(judged.request)),
            fingerprints,
            // The pass that the annotation requests is not made.
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

    /// Several outputs are about to be switched.
    pub(super) fn switching(&self, outcome: &Outcome, switching: &Switching) -> OCIArtifactStatus {
        let artifact = outcome.manifest.as_ref().map(|manifest| self.artifact(&outcome.pinned, manifest));
        let switching = artifact.map(|artifact| SwitchingStatus {
            digest: switching.revision.digest.to_string(),
            outputs: switching.outputs.clone(),
            lists: switching.lists.iter().map(|(output, list)| (output.clone(), list.to_string())).collect(),
            locations: switching.locations.iter().map(|(output, place)| (output.clone(), place.to_string())).collect(),
            artifact,
            content: switching.revision.fingerprint.clone(),
        });
        OCIArtifactStatus { switching, ..self.status.clone() }
    }

    /// A switch that an earlier process began is completed.
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

    /// The outputs of a success, and behind them those that left the spec, until their content is removed.
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
                    // The oldest ones go before their time.
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

    /// Immutable objects that a switch began to create and that did not come to be an output.
    fn begun(&self, new: &[OutputStatus]) -> Vec<OutputStatus> {
        let locations = self.status.switching.iter().flat_map(|switching| &switching.locations);
        let begun = locations.filter_map(|(output, location)| {
            let same = new.iter().find(|new| new.name == *output)?;
            (same.location != *location).then(|| OutputStatus { location: location.clone(), ..same.clone() })
        });
        begun.collect()
    }

    /// The outputs as consumers read them now, whatever a pass came to.
    fn shown(&self, request: &Request, look: &Look) -> Vec<OutputStatus> {
        let mut outputs: Vec<OutputStatus> = Vec::new();
        let mut others: Vec<OutputStatus> = Vec::new();
        let targets = || request.targets.iter().zip(&look.shown);
        for old in &self.status.outputs {
            match targets().find(|(target, _)| is_of(old, target)) {
                // The target is there, or nothing is: but earlier objects are not forgotten.
                Some((_, Some(_))) => {}
                Some((_, None)) if old.earlier.is_empty() => {}
                // It left the spec, and no pass has removed it yet.
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

    /// What consumers read is signed, where that is asked for.
    fn signed(&self, request: &Request, outcome: &Outcome) -> Option<Verdict> {
        match &outcome.basis {
            Some(Basis::NoPolicy) => None,
            Some(Basis::Judged(judgement)) => Some(verdict(judgement)),
            None => self.judged_before().filter(|_| !request.requirement.is_empty()),
        }
    }

    /// A pass that failed says of what consumers read what it knows: that it is refused, that it was judged by
    /// what is asked now, or nothing.
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

    /// `Verified` of a suspended object, by what is required now.
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

    /// `Ready` always, `abnormal` (Reconciling or Stalled) only while it is so, `Verified` where a signature is asked for.
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

    /// The same content under another name: a tag was added to the digest, say.
    fn renamed(&self, pinned: &Pinned) -> Option<ArtifactStatus> {
        self.status.artifact.clone().map(|artifact| ArtifactStatus {
            reference: pinned.to_string(),
            tag: pinned.tag().map(str::to_owned),
            ..artifact
        })
    }

    fn output(&self, object: &ObjectId, published: &Published) -> OutputStatus {
        // A probe cannot know what was left out when the output was made of the same in the same way.
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

/// True where an output in status is that of a target, perhaps with another content or form than the target has now.
fn is_of(old: &OutputStatus, target: &Target) -> bool {
    let location = Location::parse(&old.kind, &old.location);
    !old.leaving && old.name == target.output && location.is_some_and(|location| location.is_family(&target.place))
}

/// An entry for places of an output that left the spec: one entry for all of them, so that none is cut off.
fn left(old: &OutputStatus, places: Vec<EarlierStatus>) -> Option<OutputStatus> {
    let mut places = places.into_iter();
    let location = places.next()?.location;
    Some(OutputStatus { location, earlier: places.take(MAX_EARLIER).collect(), ..old.clone() })
}

/// Returns the name of an entry for an output that left the spec: its own, or where another output has that by now,
/// `<name>~<number>`, which no output in a spec can be called.
fn free_name(outputs: &[OutputStatus], name: &str) -> String {
    let base = name.split('~').next().unwrap_or_default();
    let numbered = (0..).map(|number| format!("{base}~{number}"));
    let names = [name.to_owned(), base.to_owned()].into_iter().chain(numbered);
    let is_taken = |name: &String| outputs.iter().any(|other| other.name == *name);
    names.into_iter().find(|name| !is_taken(name)).unwrap_or_default()
}

/// The request that is echoed: of the two annotations the one whose value changed, ours where both did.
fn requested(requests: &HandledRequests, status: &OCIArtifactStatus) -> Option<String> {
    let before = status.handled_requests.clone().unwrap_or_default();
    let changed = |now: &Option<String>, before: &Option<String>| now.clone().filter(|_| now != before);
    changed(&requests.requested_at, &before.requested_at)
        .or_else(|| changed(&requests.flux_requested_at, &before.flux_requested_at))
        .or_else(|| status.last_handled_reconcile_at.clone())
}

/// The message and, as a sentence of its own, the remedy of the reason. A message that is too long is cut, the remedy
/// never.
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

/// `tag at sha256:0123456789ab`, or the digest alone.
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

/// The signatures that are listed.
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
