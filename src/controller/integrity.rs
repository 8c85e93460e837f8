//! Whether published content is still what was published, between passes and before them.
//!
//! ```text
//! each look:            names, modes, sizes, targets, times ─▶ other times only? ─▶ those files are read
//! each scan interval:   every file is read
//! a difference:         log, Event, and the pass that follows publishes again
//! ```
//!
//! The time of the last full scan is remembered here, and for the first look after a restart it is that of the list on the
//! volume. A writer there can put off one such scan by it, but not those of an operator that runs.

use std::time::{Duration, Instant};

use super::context::Context;
use super::event;
use super::schedule::{Remembered, with_jitter};
use super::subject::Subject;
use crate::api::Reason;
use crate::failure::{Class, Failure};
use crate::output::damage::{Damage, Reading};
use crate::pass::{self, Before, Look, Outcome};
use crate::registry::Registry;
use crate::request::Request;

/// Pause after files could not be read.
const READ_AGAIN: Duration = Duration::from_secs(120);

/// Looks at the outputs, and reads files where it is time to or where nothing else can tell. Damage goes to
/// `remembered.damage` and is told once. `None` where that was given up, or nothing can be seen. An error is one of the API
/// server, which tells nothing.
pub(super) async fn examine<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    remembered: &mut Remembered,
    is_early: bool,
) -> Result<Option<Look>, Failure> {
    if is_early && remembered.failure.is_some() {
        // One that waits to be tried again is looked at when it is.
        return Ok(None);
    }
    let before = before(subject, request, remembered);
    let Some(look) = look_at(context, request, &before).await? else { return Ok(None) };
    let told = !remembered.damage.is_empty();
    let mut damage = look.damage.clone();
    // Known damage is published again in any case.
    if damage.is_empty() {
        match context.scans.take(&subject.id.uid, &before.outputs) {
            Some(Ok(found)) => damage = found,
            Some(Err(failure)) => {
                tracing::warn!(object = %subject.id, reason = %failure.reason, "published files cannot be read: {}", failure.message);
                remembered.read_due = remembered.read_due.map(|_| Instant::now() + READ_AGAIN);
            }
            None => begin_reading(subject, context, request, before, (&look, remembered)).await,
        }
    }
    if !told {
        tell(subject, context, &damage, remembered.is_contested(Instant::now())).await;
    }
    remembered.damage = damage;
    Ok(Some(look))
}

/// Looks at the outputs and nothing more; `None` where something is in the way.
pub(super) async fn look<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    remembered: &Remembered,
) -> Option<Look> {
    look_at(context, request, &before(subject, request, remembered)).await.ok().flatten()
}

/// Looks for no longer than a pass may: a volume may be slow, and status has to say so. An error is the API server's.
async fn look_at<R: Registry>(
    context: &Context<R>,
    request: &Request,
    before: &Before,
) -> Result<Option<Look>, Failure> {
    match tokio::time::timeout(request.timeout, pass::look(&context.engine, request, before)).await {
        Ok(Ok(look)) => Ok(Some(look)),
        Ok(Err(failure)) if failure.class == Class::Unanswered => Err(failure),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// Begins to read files where it is time to or where nothing else can tell. The object is looked at again when that ends.
async fn begin_reading<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    before: Before,
    (look, remembered): (&Look, &mut Remembered),
) {
    let is_due = is_reading_due(subject, context, request, remembered).await;
    if !look.is_doubtful && !is_due {
        return;
    }
    let reading = if is_due { Reading::Everything } else { Reading::Doubtful };
    if is_due {
        // Sooner where this one fails.
        remembered.read_due = next_reading(subject, context);
    }
    let generation = subject.stored.metadata.generation;
    context.scans.begin(context, generation, request.clone(), before, reading);
}

/// State before a pass, but for what was refused.
///
/// An output without a record makes the whole revision unrecorded: what a volume says of itself is not believed.
pub(super) fn before(subject: &Subject<'_>, request: &Request, remembered: &Remembered) -> Before {
    let outputs = subject.records();
    let is_recorded = request.targets.iter().all(|target| outputs.contains_key(&target.output));
    Before {
        recorded: subject.recorded().filter(|_| is_recorded),
        trust: subject.trust(),
        refused: None,
        outputs,
        damage: remembered.damage.clone(),
        is_forced: false,
    }
}

/// Tells what a pass has found and done beside publishing.
pub(super) async fn tell_outcome<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    outcome: &Outcome,
    before: &Remembered,
) {
    if !outcome.skipped.is_empty() {
        subject.publish(&event::layers_skipped(&outcome.skipped)).await;
    }
    // Once for a spec, not for each revision.
    let known = &subject.stored.status;
    let is_new = known.artifact.is_none() || known.observed_generation != subject.generation();
    if let Some(directory) = outcome.top.as_ref().and_then(|top| top.single_directory.as_ref()).filter(|_| is_new) {
        subject.publish(&event::single_directory(directory)).await;
    }
    tell_repaired(subject, context, outcome, before).await;
}

/// Tells that a pass has published again what was damaged.
pub(super) async fn tell_repaired<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    outcome: &Outcome,
    before: &Remembered,
) {
    let Some(damage) = outcome.repaired.first() else { return };
    let is_again = before.is_contested(Instant::now());
    if before.damage.is_empty() {
        // It came between the last look and the pass.
        tell(subject, context, &outcome.repaired, is_again).await;
    }
    let digest = outcome.pinned.digest().to_string();
    tracing::info!(object = %subject.id, output = %damage.output, image = %outcome.pinned, "repaired");
    context.metrics.repaired();
    if !is_again {
        subject.publish(&event::repaired(&digest)).await;
    }
}

/// Removes what others have added, where that alone repairs every damage. What cannot be removed is left to the pass.
pub(super) async fn remove_additions<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    remembered: &mut Remembered,
) {
    if remembered.damage.is_empty() || !remembered.damage.iter().all(|damage| damage.is_additive) {
        return;
    }
    for damage in &remembered.damage {
        if let Err(error) = context.engine.outputs.remove_additions(&subject.id, &damage.location).await {
            tracing::warn!(object = %subject.id, output = %damage.output, %error, "added keys are not removed");
            return;
        }
        tracing::info!(object = %subject.id, output = %damage.output, "added keys are removed");
    }
    context.metrics.repaired();
    remembered.damage.clear();
    remembered.repairs = Some(remembered.repaired(Instant::now()));
}

/// The failure of an object whose content another writer changes again and again.
pub(super) fn contested(damage: &[Damage]) -> Failure {
    let damage = damage.first().map(ToString::to_string).unwrap_or_default();
    let message = format!("{damage}; another writer changed it again after a repair, so repairs wait longer each time");
    Failure::new(Class::Retry, Reason::DigestMismatch, message)
}

/// A failure that keeps damaged content from being published again names the damage.
pub(super) fn with_damage(failure: Failure, damage: &[Damage]) -> Failure {
    match damage.first() {
        Some(damage) => failure.with_note(&format!("and {damage}")),
        None => failure,
    }
}

/// Time of the next full scan after files have been read or written now.
pub(super) fn next_reading<R>(subject: &Subject<'_>, context: &Context<R>) -> Option<Instant> {
    Instant::now().checked_add(full_scan_interval(subject, context)).filter(|_| !context.full_scan.is_zero())
}

/// Tells once what was found. What comes back soon after a repair is told by the condition alone.
async fn tell<R: Registry>(subject: &Subject<'_>, context: &Context<R>, damage: &[Damage], is_again: bool) {
    for damage in damage {
        let damage = crate::failure::printable(&damage.to_string());
        tracing::warn!(object = %subject.id, "{damage}");
        context.metrics.damaged();
        if !is_again {
            subject.publish(&event::damaged(&damage)).await;
        }
    }
}

/// True where every file is to be read now.
async fn is_reading_due<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    remembered: &mut Remembered,
) -> bool {
    if context.full_scan.is_zero() {
        return false;
    }
    if remembered.read_due.is_none() {
        remembered.read_due = reading_due_by_volume(subject, context, request).await;
    }
    remembered.read_due.is_some_and(|due| due <= Instant::now())
}

/// Time of the next full scan by what earlier operators left on the volumes; `None` where nothing is there.
async fn reading_due_by_volume<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
) -> Option<Instant> {
    let mut oldest = None;
    for target in &request.targets {
        let age = context.engine.outputs.last_read(&request.object, target).await.ok().flatten();
        oldest = oldest.max(age);
    }
    let left = full_scan_interval(subject, context).saturating_sub(oldest?);
    Instant::now().checked_add(left)
}

fn full_scan_interval<R>(subject: &Subject<'_>, context: &Context<R>) -> Duration {
    with_jitter(context.full_scan, &subject.id.uid)
}
