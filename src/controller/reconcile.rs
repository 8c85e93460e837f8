//! One look at one object, from the wake-up to the next one.
//!
//! ```text
//! admit ─▶ dereference ─▶ examine ─▶ attempt ─▶ conclude
//! ```
//!
//! *admit* decides without a client if there is work; *dereference* reads the objects that the spec refers to;
//! *examine* looks at the outputs and decides if a pass is due; *attempt* runs the pass and switches the outputs;
//! *conclude* writes status and chooses the time of the next look.
//!
//! The order is an invariant. *admit* comes first: an object that is behind its last status write, or whose policies
//! are not listed yet, must not cause any request. Inputs are read before the outputs, and a change of their mark makes
//! a pass due. A switch that an earlier process began is completed before *examine*; otherwise a pass would resolve the
//! tag and fetch again. Every end of a pass goes through *conclude*, so a failing object always shows its failure. The
//! exceptions are an unanswered read and a given-up pass, which keep the remembered inputs: with new ones the next look
//! would take unfinished work for done.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::attempt::{self, Ended};
use super::context::Context;
use super::dereference::{self, Inputs};
use super::memory::Remembered;
use super::schedule::{self, Schedule};
use super::subject::Subject;
use super::watching::{jittered, random};
use super::{conclude, finalizer, integrity, obstacle, recover, suspended, tidy, unreadable, until_changed};
use crate::api::stored::Stored;
use crate::failure::{Class, Failure};
use crate::registry::Registry;
use crate::request::ObjectId;
use crate::request::Request;

/// Pause if the object in memory is older than the last status write. Its own ConfigMap may wake it before its watch
/// delivers the new status, and a reconcile of the old one would undo that write.
const BEHIND: Duration = Duration::from_millis(200);
/// Pause while the first fetch of a trusted root is running; its end wakes every object.
const AWAITED: Duration = Duration::from_secs(5);
/// Pause after a panic: a defect of the operator, which must not affect other objects.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// Reconciles one object. Never fails: errors become the object's state, and choose the time of the next look.
pub(super) async fn reconcile<R: Registry>(
    stored: Arc<Stored>,
    context: Arc<Context<R>>,
) -> Result<Action, Infallible> {
    let (started, id) = (Instant::now(), ObjectId::from(&*stored));
    let looked = AssertUnwindSafe(look_after(&stored, &context, started)).catch_unwind().await;
    let action = if let Ok(action) = looked {
        action
    } else {
        tracing::error!(namespace = %id.namespace, name = %id.name, "the reconcile panicked");
        // The report itself may have panicked.
        let _ = AssertUnwindSafe(report_panic(&stored, &context)).catch_unwind().await;
        Action::requeue(AFTER_PANIC)
    };
    tracing::debug!(namespace = %id.namespace, name = %id.name, took = ?started.elapsed(), "reconcile finished");
    Ok(action)
}

/// Runs the steps of one look. Each returns an end of the look, or the value that the next step requires.
async fn look_after<R: Registry>(stored: &Arc<Stored>, context: &Context<R>, started: Instant) -> Action {
    crate::failpoint::panic_at(&stored.name_any());
    finalizer::remove(stored, context).await;
    let spec = match &stored.spec {
        Ok(spec) => spec,
        Err(message) => return unreadable::look_after(stored, context, message).await,
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
    let inputs = match dereference(&subject, context, &remembered).await {
        Dereferenced::Later(action) => return action,
        Dereferenced::Inputs(inputs) => *inputs,
    };
    // Client required: the state of the outputs.
    match examine(&subject, context, &inputs, &mut remembered).await {
        Examined::Later(action) => return action,
        Examined::Rested => {}
        Examined::Invalid(failure) => {
            return conclude::failed(&subject, context, None, failure, &inputs, remembered, started).await;
        }
        Examined::Contested(request, wait) => {
            return conclude::contested(&subject, context, request, &inputs, remembered, wait).await;
        }
        // Registry required.
        Examined::Due(request) => match run_pass(&subject, context, request, &inputs, remembered, started).await {
            Passed::Later(action) => return action,
            Passed::Concluded => remembered = context.memory.get(&subject.id.uid),
        },
    }
    // Removes content that is no longer referenced.
    tidy::tidy(&subject, context, &inputs, &mut remembered).await;
    context.requeue(&subject.id.uid, remembered)
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

/// Result of reading the objects that the spec refers to.
enum Dereferenced {
    Inputs(Box<Inputs>),
    Later(Action),
}

/// Reads the objects that the spec refers to, unless a trusted root is awaited or the API server does not answer.
async fn dereference<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    remembered: &Remembered,
) -> Dereferenced {
    match dereference::inputs(subject, context, remembered.is_awaiting()).await {
        Ok(inputs) if awaits_root(&inputs, context) => Dereferenced::Later(Action::requeue(AWAITED)),
        Ok(inputs) => Dereferenced::Inputs(Box::new(inputs)),
        Err(error) => Dereferenced::Later(unanswered(subject, context, &error)),
    }
}

/// True if signatures are required, but the default trusted root is not settled yet.
fn awaits_root<R>(inputs: &Inputs, context: &Context<R>) -> bool {
    let is_required = inputs.request.as_ref().is_ok_and(|request| !request.requirement.is_empty());
    is_required && !context.public_root.is_settled()
}

/// Result of looking at the outputs.
enum Examined<'a> {
    /// A pass is due.
    Due(&'a Request),
    /// No pass is due.
    Rested,
    /// A pass is due, but the spec and its referenced objects do not make a request.
    Invalid(Failure),
    /// A repair is due, but another writer changed the outputs soon after the last one.
    Contested(&'a Request, Duration),
    Later(Action),
}

/// Looks at the outputs, and decides if a pass is due.
async fn examine<'a, R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    inputs: &'a Inputs,
    remembered: &mut Remembered,
) -> Examined<'a> {
    let uid = &subject.id.uid;
    if remembered.is_at_rest(&inputs.mark, Instant::now()) && !context.scans.has_ended(uid) {
        return Examined::Rested;
    }
    context.memory.begin_look(uid);
    if remembered.inputs.as_ref() != Some(&inputs.mark) {
        // The spec or another input has changed: repairs need not wait for the other writer any more.
        remembered.repairs = None;
    }
    recover::complete_switch(subject, context, inputs, remembered).await;
    let is_early = remembered.is_early(&inputs.mark, Instant::now());
    let look = match &inputs.request {
        Ok(request) => integrity::examine(subject, context, request, remembered, is_early).await,
        Err(_) => Ok(None),
    };
    let look = match look {
        Ok(look) => look,
        Err(failure) => {
            context.memory.touch(uid);
            return Examined::Later(unanswered(subject, context, &failure.message));
        }
    };
    let is_due = match schedule::decide(subject, inputs, look.as_ref(), remembered, is_early) {
        Schedule::Pass => true,
        Schedule::Early => false,
        // The API server may now accept the refused write.
        Schedule::Obstructed => obstacle::is_gone(subject, context, inputs, remembered).await,
    };
    let wait = remembered.repair_pause(Instant::now());
    match &inputs.request {
        _ if !is_due => Examined::Rested,
        Err(failure) => Examined::Invalid(failure.clone()),
        Ok(request) if !remembered.damage.is_empty() && !wait.is_zero() => Examined::Contested(request, wait),
        Ok(request) => Examined::Due(request),
    }
}

/// Result of a pass.
enum Passed {
    /// Status and memory have the outcome.
    Concluded,
    /// The pass has no outcome.
    Later(Action),
}

/// Runs the pass, and records its outcome.
async fn run_pass<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    inputs: &Inputs,
    mut remembered: Remembered,
    started: Instant,
) -> Passed {
    integrity::remove_additions(subject, context, &mut remembered).await;
    match attempt::attempt(subject, context, request, inputs, &remembered).await {
        Ended::Kept(outcome) => {
            conclude::succeeded(subject, context, request, &outcome, inputs, remembered, started).await;
        }
        Ended::Committed(committed) => {
            conclude::succeeded(subject, context, request, &committed.outcome, inputs, remembered, started).await;
            // The outcome is recorded, so the lock can be released.
            drop(committed);
            context.memory.tidy_now(&subject.id.uid);
        }
        Ended::Failed(failure) if failure.class == Class::Unanswered => {
            return Passed::Later(unanswered(subject, context, &failure.message));
        }
        Ended::Failed(failure) => {
            attempt::restore(subject, context, request, &failure, inputs, &mut remembered).await;
            let failure = integrity::with_damage(failure, &remembered.damage);
            conclude::failed(subject, context, Some(request), failure, inputs, remembered, started).await;
        }
        Ended::GivenUp => return Passed::Later(Action::requeue(Duration::ZERO)),
    }
    Passed::Concluded
}

/// Handles an unanswered read of the API server. It is not a state of the object: conditions and memory stay unchanged.
fn unanswered<R>(subject: &Subject<'_>, context: &Context<R>, error: &impl std::fmt::Display) -> Action {
    let pause = jittered(context.memory.unanswered(&subject.id.uid), random());
    tracing::debug!(namespace = %subject.id.namespace, name = %subject.id.name, %error, ?pause, "the API server did not answer; reconciled again after a pause");
    if context.outage.begins(Instant::now()) {
        tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, %error, "the API server did not answer; reads are retried until it does");
    }
    Action::requeue(pause)
}

/// Reports a defect of the operator in status, without the panic's message, which may contain confidential data.
async fn report_panic<R>(stored: &Arc<Stored>, context: &Context<R>) {
    let Ok(spec) = &stored.spec else { return };
    let subject = Subject::new(stored, spec, &context.client, &context.metrics, &context.memory);
    let known = subject.status();
    let failure = Failure::internal("a reconcile of this object panicked; the operator's log names the location");
    context.metrics.pass_ended(failure.reason, Duration::ZERO);
    subject.write_status(&subject.report(&known).failed(None, &failure, None)).await;
}
