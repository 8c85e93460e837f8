//! Comparison of published content with its lists, between passes and before them.
//!
//! ```text
//! each look:            names, modes, sizes, targets, times ─▶ only times differ? ─▶ these files are read
//! each scan interval:   every file is read
//! a difference:         log, Event, and the following pass publishes again
//! ```
//!
//! The time of the last full scan is kept in memory; after a restart it is taken from the list on the volume. A writer
//! on the volume can thereby delay one scan after a restart, but none in a running operator.

use std::time::{Duration, Instant};

use super::context::Context;
use super::event;
use super::memory::Remembered;
use super::schedule::with_jitter;
use super::subject::Subject;
use crate::api::Reason;
use crate::failure::{Class, Failure};
use crate::output::damage::{Damage, Reading};
use crate::pass::{self, Before, Look, Outcome};
use crate::registry::Registry;
use crate::request::Request;

/// Pause after files could not be read.
const READ_AGAIN: Duration = Duration::from_secs(120);

/// Looks at the outputs, and starts reading files if a full scan is due or only reading can decide. Stores damage in
/// `remembered.damage` and reports it once. `None` if the look timed out or the outputs cannot be seen. Returns an
/// error only for unanswered reads of the API server.
pub(super) async fn examine<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    remembered: &mut Remembered,
    is_early: bool,
) -> Result<Option<Look>, Failure> {
    if is_early && remembered.failure.is_some() {
        // A failed object is examined when its next pass is due.
        return Ok(None);
    }
    let before = before(subject, request, remembered);
    let Some(look) = look_at(context, request, &before).await? else { return Ok(None) };
    let was_reported = !remembered.damage.is_empty();
    let mut damage = look.damage.clone();
    // Known damage is published again without another scan.
    if damage.is_empty() {
        match context.scans.take(&subject.id.uid, &before.outputs) {
            Some(Ok(found)) => damage = found,
            Some(Err(failure)) => {
                tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, reason = %failure.reason, "cannot read the published files: {}", failure.message);
                remembered.read_due = remembered.read_due.map(|_| Instant::now() + READ_AGAIN);
            }
            None => begin_reading(subject, context, request, before, (&look, remembered)).await,
        }
    }
    if !was_reported {
        report_damage(subject, context, &damage, remembered.is_contested(Instant::now())).await;
    }
    remembered.damage = damage;
    Ok(Some(look))
}

/// Looks at the outputs without reading files; `None` on any error.
pub(super) async fn look<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    remembered: &Remembered,
) -> Option<Look> {
    look_at(context, request, &before(subject, request, remembered)).await.ok().flatten()
}

/// Limits a look to `spec.timeout`, because a slow volume must show in status. Returns errors of the API server only.
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

/// Starts reading files if a full scan is due or only reading can decide. The end of the scan wakes the object.
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
        // If this scan fails, an earlier time replaces this one.
        remembered.read_due = next_reading(subject, context);
    }
    let generation = subject.stored.metadata.generation;
    context.scans.begin(context, generation, request.clone(), before, reading);
}

/// Returns the state before a pass, without the refused digest.
///
/// An output without a record makes the whole revision unrecorded: the volume's own data is not trusted.
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

/// Reports a pass's findings beyond the publication.
pub(super) async fn report_outcome<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    outcome: &Outcome,
    before: &Remembered,
) {
    if !outcome.skipped.is_empty() {
        subject.publish(&event::layers_skipped(&outcome.skipped)).await;
    }
    // Once for each generation of the spec, not for each revision.
    let known = &subject.stored.status;
    let is_new = known.artifact.is_none() || known.observed_generation != subject.generation();
    if let Some(directory) = outcome.top.as_ref().and_then(|top| top.single_directory.as_ref()).filter(|_| is_new) {
        subject.publish(&event::single_directory(directory)).await;
    }
    for (output, volume) in context.empty_dirs.outputs(request).filter(|_| is_new) {
        subject.publish(&event::volume_not_mountable(output, volume)).await;
    }
    report_repaired(subject, context, outcome, before).await;
}

/// Reports that damaged content was published again.
pub(super) async fn report_repaired<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    outcome: &Outcome,
    before: &Remembered,
) {
    let Some(damage) = outcome.repaired.first() else { return };
    let is_again = before.is_contested(Instant::now());
    if before.damage.is_empty() {
        // The damage occurred between the last look and the pass.
        report_damage(subject, context, &outcome.repaired, is_again).await;
    }
    let digest = outcome.pinned.digest().to_string();
    tracing::info!(namespace = %subject.id.namespace, name = %subject.id.name, output = %damage.output, %digest, image = %outcome.pinned, "repaired");
    context.metrics.repaired();
    if !is_again {
        subject.publish(&event::repaired(&digest)).await;
    }
}

/// Removes keys added by others, if that alone repairs all damage. After a failure the pass repairs it.
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
            tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, output = %damage.output, %error, "cannot remove the keys that another writer added");
            return;
        }
        tracing::info!(namespace = %subject.id.namespace, name = %subject.id.name, output = %damage.output, "removed the keys that another writer added");
    }
    context.metrics.repaired();
    remembered.damage.clear();
    remembered.repairs = Some(remembered.repaired(Instant::now()));
}

/// Creates a failure of an object whose content another writer changes repeatedly.
pub(super) fn contested(damage: &[Damage]) -> Failure {
    let damage = damage.first().map(ToString::to_string).unwrap_or_default();
    let message = format!("{damage}; another writer changed it again after a repair, so repairs wait longer each time");
    Failure::new(Class::Retry, Reason::DigestMismatch, message)
}

/// Adds the damage to a failure that prevents its repair.
pub(super) fn with_damage(failure: Failure, damage: &[Damage]) -> Failure {
    match damage.first() {
        Some(damage) => failure.with_note(&format!("and {damage}")),
        None => failure,
    }
}

/// Returns the time of the next full scan, counted from now.
pub(super) fn next_reading<R>(subject: &Subject<'_>, context: &Context<R>) -> Option<Instant> {
    Instant::now().checked_add(full_scan_interval(subject, context)).filter(|_| !context.full_scan.is_zero())
}

/// Reports damage once. Damage soon after a repair is reported by the condition alone.
async fn report_damage<R: Registry>(subject: &Subject<'_>, context: &Context<R>, damage: &[Damage], is_again: bool) {
    for damage in damage {
        let damage = crate::failure::printable(&damage.to_string());
        tracing::warn!(namespace = %subject.id.namespace, name = %subject.id.name, "{damage}");
        context.metrics.damaged();
        if !is_again {
            subject.publish(&event::damaged(&damage)).await;
        }
    }
}

/// True if a full scan is due.
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

/// Returns the time of the next full scan according to the lists on the volumes; `None` without lists.
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
