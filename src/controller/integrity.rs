//! Whether published files are still what was published, between passes and before them.
//!
//! ```text
//! each look:            names, modes, sizes, targets, times ─▶ other times only? ─▶ those files are read
//! each scan interval:   every file is read
//! a difference:         log, Event, and the pass that follows publishes again
//! ```
//!
//! When every file was read last is remembered here, and for the first look after a restart by the time of the list
//! on the volume. Who can write there can put off one such scan by it, but not those of an operator that runs.

use std::time::{Duration, Instant};

use super::event;
use super::memory::{Remembered, with_jitter};
use super::reconcile::Reconcile;
use crate::failure::Failure;
use crate::oci::Digest;
use crate::output::integrity::{Damage, Reading};
use crate::pass::{self, Before, Look, Outcome};
use crate::registry::Registry;
use crate::request::Request;

/// Pause after files could not be read.
const READ_AGAIN: Duration = Duration::from_secs(120);

impl<R: Registry> Reconcile<'_, R> {
    /// Looks at the outputs, and reads files where it is time to or where nothing else can tell. What is found goes to
    /// `remembered.damage` and is told once. `None` where that was given up, or nothing can be seen.
    pub(super) async fn examine(&self, request: &Request, remembered: &mut Remembered) -> Option<Look> {
        let before = self.before(remembered);
        let look = pass::look(&self.context.engine, request, &before).await.ok()?;
        let told = !remembered.damage.is_empty();
        let mut damage = look.damage.clone();
        let is_due = self.is_reading_due(request, remembered).await;
        // What is known to be damaged is published again in any case.
        if damage.is_empty() && (look.is_doubtful || is_due) {
            let reading = if is_due { Reading::Everything } else { Reading::Doubtful };
            match self.read(request, &before, reading).await {
                Some(Ok(found)) => damage = found,
                Some(Err(failure)) => {
                    tracing::warn!(object = %self.subject.id, reason = %failure.reason, "published files cannot be read: {}", failure.message);
                    remembered.read_due = remembered.read_due.map(|_| Instant::now() + READ_AGAIN);
                    return None;
                }
                None => return None,
            }
            if is_due {
                remembered.read_due = self.next_reading();
            }
        }
        if !told {
            self.tell(&damage).await;
        }
        remembered.damage = damage;
        Some(look)
    }

    /// What is known before a pass, but for what was refused.
    pub(super) fn before(&self, remembered: &Remembered) -> pass::Before {
        pass::Before {
            recorded: self.subject.recorded(),
            trust: self.subject.trust(),
            refused: None,
            lists: self.subject.lists(),
            damage: remembered.damage.clone(),
        }
    }

    /// Where the image means something else by now that cannot be had, what status names is served all the same, and is
    /// to be what it was: it is published again by its digest.
    pub(super) async fn restore(
        &self,
        request: &Request,
        failure: &Failure,
        inputs: &Digest,
        remembered: &mut Remembered,
    ) -> Result<(), kube::Error> {
        let Some(recorded) = self.subject.recorded() else { return Ok(()) };
        let is_tried = failure.candidate.as_ref() == Some(&recorded.digest);
        if remembered.damage.is_empty() || is_tried || recorded.fingerprint != request.fingerprint.as_str() {
            return Ok(());
        }
        let mut request = request.clone();
        (request.reference.digest, request.selection) = (Some(recorded.digest), None);
        if let Some(Ok(outcome)) = self.pass(&request, inputs, remembered).await? {
            self.tell_repaired(&outcome, &remembered.damage).await;
            remembered.damage.clear();
            remembered.read_due = self.next_reading();
        }
        Ok(())
    }

    /// Says once what was found.
    async fn tell(&self, damage: &[Damage]) {
        for damage in damage {
            let damage = crate::failure::printable(&damage.to_string());
            tracing::warn!(object = %self.subject.id, "{damage}");
            self.context.metrics.damaged();
            self.subject.publish(&event::damaged(&damage)).await;
        }
    }

    /// Says that a pass has published again what was damaged.
    pub(super) async fn tell_repaired(&self, outcome: &Outcome, told: &[Damage]) {
        let Some(damage) = outcome.repaired.first() else { return };
        if told.is_empty() {
            // It came between the last look and the pass.
            self.tell(&outcome.repaired).await;
        }
        let digest = outcome.pinned.digest().to_string();
        tracing::info!(object = %self.subject.id, output = %damage.output, image = %outcome.pinned, "repaired");
        self.context.metrics.repaired();
        self.subject.publish(&event::repaired(&digest)).await;
    }

    /// Reads files; `None` where that was given up, for the operator is shutting down or the object is not what it was.
    async fn read(&self, request: &Request, before: &Before, reading: Reading) -> Option<Result<Vec<Damage>, Failure>> {
        tokio::select! {
            read = pass::read(&self.context.engine, request, before, reading) => Some(read),
            () = self.context.shutdown.cancelled() => None,
            () = self.superseded() => None,
        }
    }

    /// True where every file is to be read now.
    async fn is_reading_due(&self, request: &Request, remembered: &mut Remembered) -> bool {
        if self.context.full_scan.is_zero() {
            return false;
        }
        if remembered.read_due.is_none() {
            remembered.read_due = self.reading_due_by_volume(request).await;
        }
        remembered.read_due.is_some_and(|due| due <= Instant::now())
    }

    /// When every file is to be read, by what earlier operators left on the volumes; `None` where nothing is there.
    async fn reading_due_by_volume(&self, request: &Request) -> Option<Instant> {
        let mut oldest = None;
        for target in &request.targets {
            let age = self.context.engine.outputs.last_read(&request.object, target).await.ok().flatten();
            oldest = oldest.max(age);
        }
        let left = self.full_scan_interval().saturating_sub(oldest?);
        Instant::now().checked_add(left)
    }

    /// When every file is to be read after it has been read or written now.
    pub(super) fn next_reading(&self) -> Option<Instant> {
        Instant::now().checked_add(self.full_scan_interval()).filter(|_| !self.context.full_scan.is_zero())
    }

    fn full_scan_interval(&self) -> Duration {
        with_jitter(self.context.full_scan, &self.subject.id.uid)
    }
}

/// A failure that keeps damaged files from being published again says so.
pub(super) fn with_damage(failure: Failure, damage: &[Damage]) -> Failure {
    match damage.first() {
        Some(damage) => {
            let message = crate::failure::printable(&format!("{}; {damage}", failure.message));
            Failure { message, ..failure }
        }
        None => failure,
    }
}
