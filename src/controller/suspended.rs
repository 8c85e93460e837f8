//! An object with `spec.suspend`: nothing is resolved, fetched or published, but the served artifact is still judged.
//!
//! A tenant may suspend objects, but must not keep denied content that way. Policies and requirements are compared with
//! those by which the served digest was judged. A denial is reported. A changed requirement sets `Verified` to Unknown;
//! only with `--on-revoked=withdraw` are signatures fetched from the registry, because only then the verdict matters.

use std::time::Duration;

use kube::runtime::controller::Action;

use super::attempt::rejudge;
use super::context::Context;
use super::lookups::Unread;
use super::report::Judged;
use super::subject::Subject;
use super::{OnRevoked, dereference, revocation, until_changed};
use crate::api::{OCIArtifactSpec, OCIArtifactStatus};
use crate::failure::{Class, Failure};
use crate::oci::Reference;
use crate::registry::Registry;
use crate::request::Request;

/// Pause until a referenced object is read again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// Pause until a registry that did not return signatures is queried again.
const REJUDGE: Duration = Duration::from_secs(60);
/// Pause until a refused status write is retried, or the policies are listed.
const AWAITED: Duration = Duration::from_secs(5);

/// Judges the served artifact, writes status, and chooses the time of the next look.
pub(super) async fn look_after<R: Registry>(subject: &Subject<'_>, context: &Context<R>) -> Action {
    let (status, next) = if context.policies.is_listed() {
        judge(subject, context).await
    } else {
        let known = subject.status();
        (subject.report(&known).suspended(None), Some(AWAITED))
    };
    subject.write_status(&status).await;
    let is_written = context.memory.unwritten(&subject.id.uid).is_none();
    match next {
        _ if !is_written => Action::requeue(AWAITED),
        Some(pause) => Action::requeue(pause),
        None => until_changed(),
    }
}

/// Returns the status, and the pause until the next look if no event will cause it.
async fn judge<R: Registry>(subject: &Subject<'_>, context: &Context<R>) -> (OCIArtifactStatus, Option<Duration>) {
    let known = subject.status();
    let report = subject.report(&known);
    let served = known.artifact.as_ref().and_then(|artifact| artifact.reference.parse::<Reference>().ok());
    let image = served.as_ref().map_or_else(|| subject.spec.image.clone(), ToString::to_string);
    let semver = subject.spec.semver.clone().filter(|_| served.is_none());
    let spec = OCIArtifactSpec { image, semver, ..subject.spec.clone() };
    let asked = match dereference::watched_request(subject, context, &spec).await {
        Ok(asked) => asked,
        Err(Unread::Failed(failure)) if failure.is_verdict_of_trust() => {
            return refused(subject, context, None, served.as_ref(), failure).await;
        }
        // Not a state of the object.
        Err(Unread::Unanswered(_)) => return (OCIArtifactStatus::clone(&known), Some(AWAITED)),
        // The requirements are unknown, and a suspended object gets no other treatment.
        Err(Unread::Failed(failure)) => {
            let next = (failure.class != Class::Stalled).then_some(LOOK_AGAIN);
            return (report.suspended(None), next);
        }
    };
    let request = &asked.request;
    if !request.requirement.is_empty() && !context.public_root.is_settled() {
        return (report.suspended(None), Some(AWAITED));
    }
    if let Some(objection) = request.requirement.denied() {
        let failure = Failure::from(objection);
        return refused(subject, context, Some(request), served.as_ref(), failure).await;
    }
    let is_changed = request.requirement.fingerprint() != subject.trust();
    if served.is_none() || !is_changed || context.on_revoked == OnRevoked::Keep {
        return (report.suspended(Some(Judged { request, basis: None })), None);
    }
    match rejudge(subject, context, &asked).await {
        // A change wakes the object.
        None => (OCIArtifactStatus::clone(&known), Some(AWAITED)),
        Some(Ok(basis)) => (report.suspended(Some(Judged { request, basis: Some(&basis) })), None),
        Some(Err(failure)) if failure.is_verdict_of_trust() => {
            refused(subject, context, Some(request), served.as_ref(), failure).await
        }
        Some(Err(failure)) => {
            tracing::debug!(namespace = %subject.id.namespace, name = %subject.id.name, "cannot verify the published content: {}", failure.message);
            (report.suspended(Some(Judged { request, basis: None })), Some(REJUDGE))
        }
    }
}

/// Returns the status of an object whose served artifact (or repository, if nothing is served) is refused. Withdraws
/// the content if configured, and returns the pause before the next attempt if that failed.
async fn refused<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: Option<&Request>,
    served: Option<&Reference>,
    failure: Failure,
) -> (OCIArtifactStatus, Option<Duration>) {
    let failure = match served.and_then(|served| served.digest.as_ref()) {
        Some(digest) => failure.of(digest),
        None => failure,
    };
    let known = subject.status();
    let (_, status) = revocation::after_failure(subject, context, request, failure, None).await;
    let is_left = context.on_revoked == OnRevoked::Withdraw && !status.outputs.is_empty();
    // The requested pass is not run while the object is suspended.
    let status = OCIArtifactStatus {
        last_handled_reconcile_at: known.last_handled_reconcile_at.clone(),
        handled_requests: known.handled_requests.clone(),
        ..status
    };
    (status, is_left.then_some(LOOK_AGAIN))
}
