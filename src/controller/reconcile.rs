//! One look at one object, from the wake-up to the next one.
//!
//! ```text
//! admit ─▶ dereference ─▶ examine ─▶ schedule ─▶ attempt ─▶ report
//! ```
//!
//! *admit* and *schedule* decide without a client whether there is anything to do; *dereference* reads what the object
//! refers to; *examine* looks at the outputs; *attempt* runs the pass and switches the outputs; *report* writes status and
//! decides when to look again. Every way out of a pass goes through *report*: a failing object always says so.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};

use super::attempt::{self, Ended};
use super::context::Context;
use super::dereference::{self, Inputs};
use super::schedule::{self, Remembered, pause, with_jitter};
use super::stored::Stored;
use super::subject::{self, Subject, Told};
use super::watching::{jittered, random};
use super::{integrity, obstacle, recover, revocation, suspended, tidy, unreadable, until_changed};
use crate::api::status::ArtifactStatus;
use crate::api::{self, Reason};
use crate::failure::{Class, Failure};
use crate::oci::Digest;
use crate::pass::{Look, Outcome};
use crate::plan::Revision;
use crate::registry::Registry;
use crate::request::Request;

/// Pause where the object in memory is older than the status that was written last. Its own ConfigMap may wake it up before
/// the watch has brought that, and acting on it would undo what was written.
const BEHIND: Duration = Duration::from_millis(200);
/// Pause until the first try to get a trusted root has ended, which wakes up everything.
const AWAITED: Duration = Duration::from_secs(5);
/// Pause after the API server refused the status of an object that cannot be read.
const UNREADABLE: Duration = Duration::from_secs(60);
/// Pause after a panic, which is a fault of ours that must not stop the objects of others.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// Never fails: what goes wrong is the object's state, and decides when to look again.
pub(super) async fn reconcile<R: Registry>(
    stored: Arc<Stored>,
    context: Arc<Context<R>>,
) -> Result<Action, Infallible> {
    let started = Instant::now();
    let looked = AssertUnwindSafe(look_after(&stored, &context, started)).catch_unwind().await;
    let action = if let Ok(action) = looked {
        action
    } else {
        tracing::error!(object = %stored.name_any(), namespace = ?stored.namespace(), "a reconcile panicked");
        // It may have been the report that panicked.
        let _ = AssertUnwindSafe(report_panic(&stored, &context)).catch_unwind().await;
        Action::requeue(AFTER_PANIC)
    };
    tracing::debug!(object = %stored.name_any(), namespace = ?stored.namespace(), took = ?started.elapsed(), "looked at");
    Ok(action)
}

async fn look_after<R: Registry>(stored: &Arc<Stored>, context: &Context<R>, started: Instant) -> Action {
    crate::failpoint::panic_at(&stored.name_any());
    take_off_old_finalizer(stored, context).await;
    let spec = match &stored.spec {
        Ok(spec) => spec,
        Err(message) => {
            tracing::warn!(object = %stored.name_any(), namespace = ?stored.namespace(), %message, "the spec cannot be read");
            return report_unreadable(stored, context, message).await;
        }
    };
    let subject = Subject::new(stored, spec, &context.client, &context.metrics, &context.memory);
    // No client required.
    match admit(&subject, context) {
        Admitted::Later(action) => return action,
        Admitted::Suspended => return suspended::look_after(&subject, context).await,
        Admitted::Now => {}
    }
    if context.memory.is_write_due(&subject.id.uid, Instant::now()) {
        subject.write_status(&subject.status()).await;
    }
    // Client required: Secrets, ConfigMaps, policies.
    let mut remembered = context.memory.get(&subject.id.uid);
    let inputs = match dereference::inputs(&subject, context, remembered.is_awaiting()).await {
        Ok(inputs) => inputs,
        Err(error) => return unanswered(&subject, context, &error),
    };
    if awaits_root(&inputs, context) {
        return Action::requeue(AWAITED);
    }
    if remembered.is_at_rest(&inputs.mark, Instant::now()) && !context.scans.has_ended(&subject.id.uid) {
        tidy::tidy(&subject, context, &inputs, &mut remembered).await;
        return requeue(context, &subject, remembered);
    }
    // Client required: the outputs as they are.
    context.memory.begin_look(&subject.id.uid);
    if remembered.inputs.as_ref() != Some(&inputs.mark) {
        // Somebody has changed or requested something: no reason to wait for another writer.
        remembered.repairs = None;
    }
    recover::complete_switch(&subject, context, &inputs, &remembered).await;
    let is_early = remembered.is_early(&inputs.mark, Instant::now());
    let look = match &inputs.request {
        Ok(request) => integrity::examine(&subject, context, request, &mut remembered, is_early).await,
        Err(_) => Ok(None),
    };
    let look = match look {
        Ok(look) => look,
        Err(failure) => {
            context.memory.touch(&subject.id.uid);
            return unanswered(&subject, context, &failure.message);
        }
    };
    // No client required.
    let is_due = match schedule_of(&subject, &inputs, look.as_ref(), &remembered, is_early) {
        Schedule::Pass => true,
        Schedule::Early => false,
        // Client required: the API server may accept by now what it has refused.
        Schedule::Obstructed => obstacle::is_gone(&subject, context, &inputs, &remembered).await,
    };
    if !is_due {
        tidy::tidy(&subject, context, &inputs, &mut remembered).await;
        return requeue(context, &subject, remembered);
    }
    let request = match &inputs.request {
        Ok(request) => request,
        Err(failure) => return failed(&subject, context, None, failure.clone(), &inputs, remembered, started).await,
    };
    let wait = remembered.repair_pause(Instant::now());
    if !remembered.damage.is_empty() && !wait.is_zero() {
        return contested(&subject, context, request, &inputs, remembered, wait).await;
    }
    integrity::remove_additions(&subject, context, &mut remembered).await;
    match attempt::attempt(&subject, context, request, &inputs, &remembered).await {
        Ended::Kept(outcome) => {
            succeeded(&subject, context, request, &outcome, &inputs, remembered, started).await;
        }
        Ended::Committed(committed) => {
            succeeded(&subject, context, request, &committed.outcome, &inputs, remembered, started).await;
            // The lock ends here: the outcome is recorded.
            drop(committed);
            context.memory.tidy_now(&subject.id.uid);
        }
        Ended::Failed(failure) if failure.class == Class::Unanswered => {
            return unanswered(&subject, context, &failure.message);
        }
        Ended::Failed(failure) => {
            let mut remembered = remembered;
            attempt::restore(&subject, context, request, &failure, &inputs, &mut remembered).await;
            let failure = integrity::with_damage(failure, &remembered.damage);
            failed(&subject, context, Some(request), failure, &inputs, remembered, started).await;
        }
        Ended::GivenUp => return Action::requeue(Duration::ZERO),
    }
    // What nothing names any more may go.
    let mut remembered = context.memory.get(&subject.id.uid);
    tidy::tidy(&subject, context, &inputs, &mut remembered).await;
    requeue(context, &subject, remembered)
}

/// Says in status that the operator has a fault. The panic's own message may quote what the operator keeps to itself.
async fn report_panic<R>(stored: &Arc<Stored>, context: &Context<R>) {
    let Ok(spec) = &stored.spec else { return };
    let subject = Subject::new(stored, spec, &context.client, &context.metrics, &context.memory);
    let known = subject.status();
    let failure = Failure::internal("a reconcile of this object panicked; the operator's log has the place");
    context.metrics.pass_ended(failure.reason, Duration::ZERO);
    subject.write_status(&subject.report(&known).failed(None, &failure, None)).await;
}

/// The API server did not answer a read. That is no state of the object: no condition changes and nothing is forgotten.
fn unanswered<R>(subject: &Subject<'_>, context: &Context<R>, error: &impl std::fmt::Display) -> Action {
    let pause = jittered(context.memory.unanswered(&subject.id.uid), random());
    tracing::debug!(object = %subject.id, %error, ?pause, "the API server did not answer; looked at again after a pause");
    if context.outage.begins(Instant::now()) {
        tracing::warn!(object = %subject.id, %error, "the API server did not answer; what waits for it is tried again");
    }
    Action::requeue(pause)
}

/// Status and one Event. Where the API server refuses the status, the Event alone, once for each message.
async fn report_unreadable<R>(stored: &Arc<Stored>, context: &Context<R>, message: &str) -> Action {
    let Err(error) = unreadable::report(&context.client, &context.metrics, stored, message).await else {
        return until_changed();
    };
    let (uid, mark) = (stored.uid().unwrap_or_default(), Some(Digest::of(message.as_bytes())));
    if context.memory.get(&uid).inputs != mark {
        tracing::warn!(object = %stored.name_any(), %error, "the status of an unreadable object is not written");
        unreadable::tell(&context.client, &context.metrics, stored, message).await;
        context.memory.set(&uid, Remembered { inputs: mark, ..Remembered::default() });
    }
    Action::requeue(UNREADABLE)
}

/// Whether an object is looked at now.
enum Admitted {
    Now,
    Suspended,
    Later(Action),
}

/// Decides from memory alone.
fn admit<R>(subject: &Subject<'_>, context: &Context<R>) -> Admitted {
    let Subject { stored, spec, id, .. } = subject;
    if stored.metadata.deletion_timestamp.is_some() {
        // Nothing holds it back. What it has published is removed once the watch reports that it is gone.
        context.memory.forget(&id.uid);
        return Admitted::Later(until_changed());
    }
    if context.memory.is_behind(&id.uid, subject.version(), Instant::now()) {
        return Admitted::Later(Action::requeue(BEHIND));
    }
    if spec.suspend {
        context.memory.forget(&id.uid);
        return Admitted::Suspended;
    }
    if !context.policies.is_listed() {
        // Their first list wakes up everything.
        return Admitted::Later(until_changed());
    }
    Admitted::Now
}

/// True where signatures are required before it is known whose root verifies them.
fn awaits_root<R>(inputs: &Inputs, context: &Context<R>) -> bool {
    let asks = inputs.request.as_ref().is_ok_and(|request| !request.requirement.is_empty());
    asks && !context.public_root.is_settled()
}

/// What is due for an object.
enum Schedule {
    Pass,
    Early,
    /// Not yet, unless the obstacle of the last pass is gone.
    Obstructed,
}

/// Decides whether a pass is due: it is time, or something is not as the last pass left it.
fn schedule_of(
    subject: &Subject<'_>,
    inputs: &Inputs,
    look: Option<&Look>,
    remembered: &Remembered,
    is_early: bool,
) -> Schedule {
    if !is_early {
        return Schedule::Pass;
    }
    let Ok(request) = &inputs.request else { return Schedule::Early };
    match &remembered.failure {
        Some(failure) if failure.obstacle.is_some() => Schedule::Obstructed,
        Some(_) => Schedule::Early,
        None => {
            let holds = |look: &Look, recorded: Revision| look.observed.holds(request, &recorded.digest);
            let is_whole = remembered.damage.is_empty()
                && look.zip(subject.recorded()).is_some_and(|(look, recorded)| holds(look, recorded));
            if is_whole { Schedule::Early } else { Schedule::Pass }
        }
    }
}

async fn take_off_old_finalizer<R>(stored: &Arc<Stored>, context: &Context<R>) {
    if !stored.finalizers().iter().any(|name| name == api::OLD_FINALIZER) {
        return;
    }
    let objects: Api<Stored> = Api::namespaced(context.client.clone(), &stored.namespace().unwrap_or_default());
    if let Err(error) = subject::remove_old_finalizer(&objects, stored.as_ref(), &context.metrics).await {
        tracing::warn!(object = %stored.name_any(), %error, "the finalizer of an earlier version is not taken off yet");
    }
}

async fn succeeded<R: Registry>(
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
        tracing::info!(object = %subject.id, image = %outcome.pinned, %top, "published");
        context.scans.forget(&subject.id.uid);
    }
    // A repair of what was repaired before is told by the condition alone.
    let was_contested = before.is_contested(Instant::now())
        && before.failure.as_ref().is_some_and(|failure| failure.reason == Reason::DigestMismatch)
        && known.artifact.as_ref().is_some_and(|one| is_of(outcome, one));
    let told = if was_contested { Told::No } else { Told::Yes };
    subject.write_status_told(&status, told).await;
    integrity::tell_outcome(subject, context, outcome, &before).await;
    let now = Instant::now();
    let remembered = Remembered {
        inputs: Some(inputs.mark.clone()),
        due: Some(now + with_jitter(request.interval, &subject.id.uid)),
        read_due: if outcome.manifest.is_some() { integrity::next_reading(subject, context) } else { before.read_due },
        repairs: if outcome.repaired.is_empty() { before.repairs } else { Some(before.repaired(now)) },
        tidy_due: before.tidy_due,
        ..Remembered::default()
    };
    requeue(context, subject, remembered)
}

async fn failed<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: Option<&Request>,
    failure: Failure,
    inputs: &Inputs,
    remembered: Remembered,
    started: Instant,
) -> Action {
    context.metrics.pass_ended(failure.reason, started.elapsed());
    tracing::warn!(object = %subject.id, reason = %failure.reason, remedy = failure.reason.remedy(), "{}", failure.message);
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
            let fingerprint = request.fingerprint.as_str().to_owned();
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
    requeue(context, subject, remembered)
}

/// Names what each output holds, where that is not one revision: a switch could not be reverted, or was cut off by a crash.
fn with_torn_outputs(failure: Failure, request: &Request, look: &Look) -> Failure {
    if !look.is_torn() {
        return failure;
    }
    let held = request.targets.iter().zip(&look.shown).map(|(target, shown)| match shown {
        Some(shown) => format!("{} holds {}", target.output, shown.revision.digest.short()),
        None => format!("{} holds nothing", target.output),
    });
    failure.with_note(&format!("and the outputs differ: {}", held.collect::<Vec<_>>().join(", ")))
}

/// Another writer changes what was repaired a moment ago: status says so, and the next repair waits.
async fn contested<R: Registry>(
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
    subject.write_status_told(&status, Told::No).await;
    let due = Some(Instant::now() + wait);
    let remembered = Remembered { inputs: Some(inputs.mark.clone()), due, failure: Some(failure), ..remembered };
    requeue(context, subject, remembered)
}

fn is_of(outcome: &Outcome, artifact: &ArtifactStatus) -> bool {
    outcome.pinned.digest().to_string() == artifact.digest
}

fn requeue<R>(context: &Context<R>, subject: &Subject<'_>, remembered: Remembered) -> Action {
    let remembered = context.memory.set(&subject.id.uid, remembered);
    Action::requeue(remembered.next_look(Instant::now()).max(schedule::SHORTEST))
}
