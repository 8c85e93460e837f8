//! Treatment of published content that is refused later: a key was replaced, an identity or authority is no longer
//! trusted, or a policy denies the repository.
//!
//! ```text
//! a pass failed ─▶ of the served digest? ─ no ─▶ judge the served digest too, if the requirement has changed
//!                          │ yes                        │ (no verdict possible now ─▶ again soon)
//!                          ▼                            ▼
//!                  a verdict of trust? ─ yes, and --on-revoked=withdraw ─▶ outputs are cleared ─▶ status reports it
//! ```
//!
//! [`Failure::is_verdict_of_trust`] alone decides what counts as a verdict. Outputs are cleared before status is
//! written, because status must list all content that still exists.

use std::time::Duration;

use super::attempt::rejudge;
use super::context::Context;
use super::dereference;
use super::lookups::Unread;
use super::subject::Subject;
use crate::api::{OCIArtifactSpec, OCIArtifactStatus, Reason};
use crate::failure::{Class, Failure};
use crate::oci::Reference;
use crate::output::OutputError;
use crate::output::location::Location;
use crate::pass::Look;
use crate::registry::Registry;
use crate::request::Request;

/// Pause before the served content is judged again, if a failure with a longer pause prevented the judgement.
const AGAIN: Duration = Duration::from_secs(20);

/// Withdraws the served content if required; returns the failure of the pass and the new status. `look` is the state of
/// the outputs after the pass.
pub(super) async fn after_failure<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: Option<&Request>,
    failure: Failure,
    look: Option<&Look>,
) -> (Failure, OCIArtifactStatus) {
    let known = subject.status();
    let report = subject.report(&known);
    let refusal = match refusal_of_served(subject, context, request, &failure).await {
        Ok(Some(refusal)) => refusal,
        judged => {
            // No event reports that it can be judged.
            let again = judged.err().map(|Unknown| AGAIN).filter(|_| failure.class == Class::Stalled);
            let failure = Failure { retry_after: failure.retry_after.or(again), ..failure };
            let status = report.failed(request, &failure, look);
            return (failure, status);
        }
    };
    match withdraw(subject, context, request).await {
        Ok(()) => {
            tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, digest = refusal.candidate.as_ref().map(tracing::field::display), reason = %refusal.reason, "withdrawn: {}", refusal.message);
            let status = report.withdrawn(request, &failure, &refusal);
            (failure, status)
        }
        Err(error) => {
            tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, "cannot withdraw all content; retried after a pause: {}", error.message);
            let failure = Failure { class: Class::Retry, ..failure };
            let failure = failure.with_note(&format!("and the content is not withdrawn yet: {}", error.message));
            let status = report.failed(request, &failure, look);
            (failure, status)
        }
    }
}

/// The served content could not be judged yet.
struct Unknown;

/// Returns the refusal of the served artifact, if it is refused and must be withdrawn.
async fn refusal_of_served<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: Option<&Request>,
    failure: &Failure,
) -> Result<Option<Failure>, Unknown> {
    let Some(served) = dereference::served(subject, context) else { return Ok(None) };
    let Some(digest) = served.digest.clone() else { return Ok(None) };
    // In another repository the same digest has other signatures and other policies.
    let is_there = request.is_some_and(|request| request.reference.repository == served.repository);
    let is_of_served = is_there && failure.candidate.as_ref() == Some(&digest);
    // A pass that stalls before the judgement, for example at the artifact's type, has not judged.
    let is_judged = failure.is_verdict_of_trust() || failure.class != Class::Stalled;
    let refusal =
        if is_of_served && is_judged { Some(failure.clone()) } else { judge(subject, context, &served).await? };
    // A trusted root that could not be fetched never withdraws content.
    let counts = |refusal: &Failure| !context.public_root.is_stand_in() || refusal.reason == Reason::PolicyDenied;
    let refusal = refusal.filter(|refusal| refusal.is_verdict_of_trust() && counts(refusal));
    Ok(refusal.map(|refusal| refusal.of(&digest)))
}

/// Judges the served artifact, unless it was judged by the current requirement; `None` if it is not refused, or if the
/// spec does not allow a judgement.
async fn judge<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    served: &Reference,
) -> Result<Option<Failure>, Unknown> {
    let spec = subject.spec;
    let spec = OCIArtifactSpec { image: served.to_string(), semver: None, ..spec.clone() };
    let asked = match dereference::request(subject, context, &spec).await {
        Ok(asked) => asked,
        // Denied by a policy, regardless of other problems in the spec.
        Err(Unread::Failed(failure)) => return Ok(Some(failure)),
        Err(Unread::Unanswered(_)) => return Err(Unknown),
    };
    let requirement = &asked.request.requirement;
    if requirement.denied().is_none() && requirement.fingerprint() == subject.trust() {
        return Ok(None);
    }
    match rejudge(subject, context, &asked).await {
        Some(Err(failure)) if !failure.is_verdict_of_trust() && failure.class != Class::Stalled => Err(Unknown),
        Some(judged) => Ok(judged.err()),
        // A change wakes the object.
        None => Ok(None),
    }
}

/// Withdraws all published content, including outputs that are not in status yet. An error at one location stops no
/// other.
async fn withdraw<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: Option<&Request>,
) -> Result<(), Failure> {
    let known = subject.status();
    let mut locations: Vec<Location> = Vec::new();
    for output in &known.outputs {
        let all = std::iter::once(&output.location).chain(output.earlier.iter().map(|earlier| &earlier.location));
        locations.extend(all.filter_map(|location| Location::parse(&output.kind, location)));
    }
    for target in request.iter().flat_map(|request| &request.targets) {
        let begun = known.switching.as_ref().and_then(|switching| switching.locations.get(&target.output));
        locations.extend(begun.and_then(|name| Location::of_object(&target.place, name)));
        locations.extend(Location::of_place(&target.place));
    }
    let mut withdrawn = Ok(());
    for location in &locations {
        withdrawn = withdrawn.and(match context.engine.outputs.withdraw(&subject.id, location).await {
            // Nothing was ever published to this volume.
            Err(OutputError::NoVolume { .. }) if !is_recorded(&known, location, subject) => Ok(()),
            result => result,
        });
    }
    Ok(withdrawn?)
}

fn is_recorded(status: &OCIArtifactStatus, location: &Location, subject: &Subject<'_>) -> bool {
    let text = location.text(&subject.id);
    status.outputs.iter().any(|output| output.kind == location.kind.as_str() && output.location == text)
}
