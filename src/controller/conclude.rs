//! End of a look: status, Event, memory, and the time of the next look.

use std::time::{Duration, Instant};

use kube::runtime::controller::Action;

use super::context::Context;
use super::dereference::Inputs;
use super::memory::Remembered;
use super::schedule::{pause, with_jitter};
use super::subject::{Publish, Subject};
use super::{integrity, revocation};
use crate::api::Reason;
use crate::api::status::ArtifactStatus;
use crate::failure::{Class, Failure};
use crate::pass::{Look, Outcome};
use crate::plan::Revision;
use crate::registry::Registry;
use crate::request::Request;

/// Records a successful pass.
pub(super) async fn succeeded<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    outcome: &Outcome,
    inputs: &Inputs,
    before: Remembered,
    started: Instant,
) -> Action {
    context.metrics.pass_ended(Reason::Succeeded, started.elapsed());
    let known = subject.status();
    let status = subject.report(&known).succeeded(request, outcome);
    if outcome.manifest.is_some() {
        let top = outcome.top.as_ref().map(|top| top.names.join(", ")).unwrap_or_default();
        tracing::info!(namespace = %subject.id.namespace, name = %subject.id.name, digest = %outcome.pinned.digest(), image = %outcome.pinned, %top, "published");
        context.scans.forget(&subject.id.uid);
    }
    // A repeated repair is reported by the condition alone.
    let was_contested = before.is_contested(Instant::now())
        && before.failure.as_ref().is_some_and(|failure| failure.reason == Reason::DigestMismatch)
        && known.artifact.as_ref().is_some_and(|one| is_of(outcome, one));
    let publish = if was_contested { Publish::No } else { Publish::Yes };
    subject.write_status_and(&status, publish).await;
    integrity::report_outcome(subject, context, request, outcome, &before).await;
    let now = Instant::now();
    let remembered = Remembered {
        inputs: Some(inputs.mark.clone()),
        due: Some(now + with_jitter(request.interval, &subject.id.uid)),
        read_due: if outcome.manifest.is_some() { integrity::next_reading(subject, context) } else { before.read_due },
        repairs: if outcome.repaired.is_empty() { before.repairs } else { Some(before.repaired(now)) },
        tidy_due: before.tidy_due,
        ..Remembered::default()
    };
    context.requeue(&subject.id.uid, remembered)
}

/// Records a failed pass, and withdraws the served content if the failure requires it. `request` is `None` without a
/// valid request.
pub(super) async fn failed<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: Option<&Request>,
    failure: Failure,
    inputs: &Inputs,
    remembered: Remembered,
    started: Instant,
) -> Action {
    context.metrics.pass_ended(failure.reason, started.elapsed());
    tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, reason = %failure.reason, remedy = failure.reason.remedy(), "{}", failure.message);
    let after = match request {
        Some(request) => integrity::look(subject, context, request, &remembered).await,
        None => None,
    };
    let failure = match (request, &after) {
        (Some(request), Some(look)) => with_torn_outputs(failure, request, look),
        (Some(_) | None, _) => failure,
    };
    let (failure, status) = revocation::after_failure(subject, context, request, failure, after.as_ref()).await;
    subject.write_status(&status).await;
    let failures = if remembered.inputs.as_ref() == Some(&inputs.mark) { remembered.failures + 1 } else { 1 };
    let interval = request.map_or(Duration::from_secs(600), |request| request.interval);
    let refused = match (&failure.candidate, request) {
        (Some(digest), Some(request)) if failure.class == Class::Stalled && !failure.is_beside_digest => {
            let fingerprint = request.fingerprint.clone();
            Some((Revision { digest: digest.clone(), fingerprint }, failure.clone()))
        }
        (Some(_) | None, _) => None,
    };
    let pause = with_jitter(pause(&failure, failures, interval), &subject.id.uid);
    let remembered = Remembered {
        inputs: Some(inputs.mark.clone()),
        due: Some(Instant::now() + pause),
        failures,
        failure: Some(failure),
        refused,
        versions: after.map(|look| look.versions),
        ended: Some(Instant::now()),
        ..remembered
    };
    context.requeue(&subject.id.uid, remembered)
}

/// Adds the revision of each output, if they differ because a switch could not be reverted or was cut off by a crash.
fn with_torn_outputs(failure: Failure, request: &Request, look: &Look) -> Failure {
    if !look.is_torn() {
        return failure;
    }
    let held = request.targets.iter().zip(&look.shown).map(|(target, shown)| match shown {
        Some(shown) => format!("{:?} holds {}", target.output, shown.revision.digest.short()),
        None => format!("{:?} holds nothing", target.output),
    });
    failure.with_note(&format!(
        "and outputs hold different revisions until the next success: {}",
        held.collect::<Vec<_>>().join(", ")
    ))
}

/// Handles another writer's change soon after a repair: reports it in status, and delays the next repair.
pub(super) async fn contested<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    inputs: &Inputs,
    remembered: Remembered,
    wait: Duration,
) -> Action {
    let failure = integrity::contested(&remembered.damage);
    let known = subject.status();
    let status = subject.report(&known).failed(Some(request), &failure, None);
    subject.write_status_and(&status, Publish::No).await;
    let due = Some(Instant::now() + wait);
    let remembered = Remembered { inputs: Some(inputs.mark.clone()), due, failure: Some(failure), ..remembered };
    context.requeue(&subject.id.uid, remembered)
}

fn is_of(outcome: &Outcome, artifact: &ArtifactStatus) -> bool {
    outcome.pinned.digest().to_string() == artifact.digest
}
