//! One look at one object, from the wake-up to the next one.
//!
//! ```text
//! admit ─▶ dereference ─▶ examine ─▶ schedule ─▶ attempt ─▶ report
//! ```
//!
//! *admit* and *schedule* decide without a client if there is work; *dereference* reads the objects that the spec
//! refers to; *examine* looks at the outputs; *attempt* runs the pass and switches the outputs; *report* writes status
//! and chooses the time of the next look.
//!
//! The order is an invariant. *admit* comes first: an object that is behind its last status write, or whose policies
//! are not listed yet, must not cause any request. Inputs are read before the outputs, and a change of their mark makes
//! a pass due. A switch that an earlier process began is completed before *examine*; otherwise a pass would resolve the
//! tag and fetch again. Every end of a pass goes through *report*, so a failing object always shows its failure. The
//! exceptions are an unanswered read and a given-up pass, which keep the remembered inputs: with new ones the next look
//! would take unfinished work for done.

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

/// Pause if the object in memory is older than the last status write. Its own ConfigMap may wake it before its watch
/// delivers the new status, and a reconcile of the old one would undo that write.
const BEHIND: Duration = Duration::from_millis(200);
/// Pause while the first fetch of a trusted root is running; its end wakes every object.
const AWAITED: Duration = Duration::from_secs(5);
/// Pause after the API server refused the status of an unreadable object.
const UNREADABLE: Duration = Duration::from_secs(60);
/// Pause after a panic: a defect of the operator, which must not affect other objects.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// Reconciles one object. Never fails: errors become the object's state, and choose the time of the next look.
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
        // The report itself may have panicked.
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
    // Client required: the state of the outputs.
    context.memory.begin_look(&subject.id.uid);
    if remembered.inputs.as_ref() != Some(&inputs.mark) {
        // The spec or another input has changed: repairs need not wait for the other writer any more.
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
        // Client required: the API server may now accept the refused write.
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
            // The outcome is recorded, so the lock can be released.
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
    // Removes content that is no longer referenced.
    let mut remembered = context.memory.get(&subject.id.uid);
    tidy::tidy(&subject, context, &inputs, &mut remembered).await;
    requeue(context, &subject, remembered)
}

/// Reports a defect of the operator in status, without the panic's message, which may contain confidential data.
async fn report_panic<R>(stored: &Arc<Stored>, context: &Context<R>) {
    let Ok(spec) = &stored.spec else { return };
    let subject = Subject::new(stored, spec, &context.client, &context.metrics, &context.memory);
    let known = subject.status();
    let failure = Failure::internal("a reconcile of this object panicked; the operator's log has the place");
    context.metrics.pass_ended(failure.reason, Duration::ZERO);
    subject.write_status(&subject.report(&known).failed(None, &failure, None)).await;
}

/// Handles an unanswered read of the API server. It is not a state of the object: conditions and memory stay unchanged.
fn unanswered<R>(subject: &Subject<'_>, context: &Context<R>, error: &impl std::fmt::Display) -> Action {
    let pause = jittered(context.memory.unanswered(&subject.id.uid), random());
    tracing::debug!(object = %subject.id, %error, ?pause, "the API server did not answer; looked at again after a pause");
    if context.outage.begins(Instant::now()) {
        tracing::warn!(object = %subject.id, %error, "the API server did not answer; what waits for it is tried again");
    }
    Action::requeue(pause)
}

/// Writes status and one Event. If the API server refuses the status, writes the Event alone, once for each message.
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

/// Admission of an object to a look.
enum Admitted {
    Now,
    Suspended,
    Later(Action),
}

/// Decides from memory alone.
fn admit<R>(subject: &Subject<'_>, context: &Context<R>) -> Admitted {
    let Subject { stored, spec, id, .. } = subject;
    if stored.metadata.deletion_timestamp.is_some() {
        // Nothing delays the deletion. Published content is removed once the watch reports it.
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
        // The first list of policies wakes every object.
        return Admitted::Later(until_changed());
    }
    Admitted::Now
}

/// True if signatures are required, but the default trusted root is not settled yet.
fn awaits_root<R>(inputs: &Inputs, context: &Context<R>) -> bool {
    let asks = inputs.request.as_ref().is_ok_and(|request| !request.requirement.is_empty());
    asks && !context.public_root.is_settled()
}

/// Decision about a pass.
enum Schedule {
    Pass,
    Early,
    /// Not due, unless the obstacle of the last pass is gone.
    Obstructed,
}

/// Decides if a pass is due: by time, or because the outputs differ from the result of the last pass.
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
    // A repeated repair is reported by the condition alone.
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

/// Adds the revision of each output, if they differ because a switch could not be reverted or was cut off by a crash.
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

/// Handles another writer's change soon after a repair: reports it in status, and delays the next repair.
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
