//! The operator's memory of each object between two looks. No client.
//!
//! Lost at a restart, after which every object gets a look. An early wake-up, without a change in the objects that the
//! spec refers to, causes no request to a registry.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::api::{OCIArtifactStatus, Reason};
use crate::backoff::Backoff;
use crate::failure::{Failure, Obstacle};
use crate::mutex::lock;
use crate::oci::Digest;
use crate::output::damage::Damage;
use crate::plan::Revision;

/// Minimum pause between two looks.
pub(super) const SHORTEST: Duration = Duration::from_millis(50);
/// Interval of checks for the obstacle of an output.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Back-off after an unanswered read of the API server.
const UNANSWERED: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
/// Back-off before content that another writer changes is repaired a second time.
const REPAIR: Backoff = Backoff::new(Duration::from_secs(4), Duration::from_secs(300));
/// Time after which a repair is forgotten, and later damage counts as new.
const REPAIR_FORGOTTEN: Duration = Duration::from_secs(900);
/// Back-off after the API server refused a status write.
const WRITE: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));
/// Sweep of the memory after this many inserts, and the time past due after which an entry is dropped.
const SWEEP_EVERY: usize = 256;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// Memory of one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    /// Digest of all inputs of the last pass; a change makes a pass due at once.
    pub(super) inputs: Option<Digest>,
    /// Time of the next pass.
    pub(super) due: Option<Instant>,
    /// Consecutive failed passes.
    pub(super) failures: u32,
    /// The last failure; `None` after a success.
    pub(super) failure: Option<Failure>,
    /// The permanently refused revision, and the failure.
    pub(super) refused: Option<(Revision, Failure)>,
    /// Reported damage that is not repaired yet.
    pub(super) damage: Vec<Damage>,
    /// Consecutive repairs, and the time of the last one.
    pub(super) repairs: Option<(u32, Instant)>,
    /// Time of the next full scan, if known.
    pub(super) read_due: Option<Instant>,
    /// Time of the next removal of earlier revisions, or of outputs that left the spec.
    pub(super) tidy_due: Option<Instant>,
    /// Consecutive failed removals.
    pub(super) tidy_failures: u32,
    /// Versions of the API objects at the outputs' places at the end of the last pass.
    pub(super) versions: Option<Vec<Option<String>>>,
    /// End of the last pass.
    pub(super) ended: Option<Instant>,
    /// State of status writes, independent of the result of a pass.
    pub(super) written: Written,
    /// Consecutive unanswered reads of the API server.
    pub(super) unanswered: u32,
    /// True if an own ConfigMap was touched since the last look.
    pub(super) is_touched: bool,
}

/// Memory of status writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// Version of the object at the last write, and its time; an older object does not have that status yet.
    version: Option<(u64, Instant)>,
    /// Status that the API server refused, although it describes the published state.
    unwritten: Option<Unwritten>,
}

/// A status that could not be written.
#[derive(Clone, Debug)]
struct Unwritten {
    status: OCIArtifactStatus,
    failures: u32,
    retry_at: Instant,
}

impl Written {
    /// True if a write is outstanding or was made after a time: the entry may be that of a first pass.
    fn is_after(&self, time: Instant) -> bool {
        self.unwritten.as_ref().is_some_and(|unwritten| unwritten.retry_at > time)
            || self.version.is_some_and(|(_, at)| at > time)
    }
}

impl Remembered {
    /// True if no pass is due by time, and no input has changed.
    pub(super) fn is_early(&self, inputs: &Digest, now: Instant) -> bool {
        self.inputs.as_ref() == Some(inputs) && self.due.is_some_and(|due| now < due)
    }

    /// Returns the time until the next look: short for obstacles, otherwise until the next pass or scan.
    pub(super) fn next_look(&self, now: Instant) -> Duration {
        let until = |due: Instant| due.saturating_duration_since(now);
        let left = self.due.map_or(Duration::ZERO, until);
        let left = match &self.failure {
            // The recovery of a volume wakes every object.
            Some(failure) if matches!(failure.obstacle.as_deref(), Some(Obstacle::Volume(_))) => left,
            Some(failure) if failure.obstacle.is_some() => left.min(LOOK_AGAIN),
            Some(_) => left,
            None => self.read_due.map_or(left, |due| left.min(until(due))),
        };
        let left = self.tidy_due.map_or(left, |due| left.min(until(due)));
        self.written.unwritten.as_ref().map_or(left, |unwritten| left.min(until(unwritten.retry_at)))
    }

    /// True if nothing needs a look: an early wake-up without a changed input. Files are scanned at their interval even
    /// if the object is woken more often.
    pub(super) fn is_at_rest(&self, inputs: &Digest, now: Instant) -> bool {
        let is_reading_due = self.read_due.is_some_and(|due| due <= now);
        self.is_early(inputs, now)
            && self.failure.is_none()
            && self.damage.is_empty()
            && !self.is_touched
            && !is_reading_due
    }

    /// True if the last failure may be resolved by a referenced object.
    pub(super) fn is_awaiting(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| lies_in_cluster(failure.reason))
    }

    /// Returns the time until damage may be repaired: zero for the first repair, then with back-off, so that two
    /// competing writers do not load the cluster.
    pub(super) fn repair_pause(&self, now: Instant) -> Duration {
        let Some((repairs, last)) = self.repairs else { return Duration::ZERO };
        let since = now.saturating_duration_since(last);
        if since > REPAIR_FORGOTTEN {
            return Duration::ZERO;
        }
        REPAIR.pause(repairs).saturating_sub(since)
    }

    /// True if a repair was made recently: new damage then comes from the same writer.
    pub(super) fn is_contested(&self, now: Instant) -> bool {
        self.repairs.is_some_and(|(_, last)| now.saturating_duration_since(last) <= REPAIR_FORGOTTEN)
    }

    /// Returns the count of repairs after another one.
    pub(super) fn repaired(&self, now: Instant) -> (u32, Instant) {
        let is_recent = |(_, last): &(u32, Instant)| now.saturating_duration_since(*last) <= REPAIR_FORGOTTEN;
        let before = self.repairs.filter(is_recent).map_or(0, |(repairs, _)| repairs);
        (before.saturating_add(1), now)
    }
}

/// Memory of all objects, by uid.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<String, Remembered>>);

impl Memory {
    pub(super) fn get(&self, uid: &str) -> Remembered {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    /// True if `version` of the object is older than the last status write. Only for a limited time, because versions
    /// start lower after a restored etcd.
    pub(super) fn is_behind(&self, uid: &str, version: u64, now: Instant) -> bool {
        const BELIEVED: Duration = Duration::from_secs(30);
        let written = self.lock().get(uid).and_then(|one| one.written.version);
        written.is_some_and(|(written, at)| version < written && now.saturating_duration_since(at) < BELIEVED)
    }

    /// Returns the actual status of the object, if the API server refused to store it.
    pub(super) fn unwritten(&self, uid: &str) -> Option<OCIArtifactStatus> {
        Some(self.lock().get(uid)?.written.unwritten.as_ref()?.status.clone())
    }

    /// True if a refused status write is due for a retry.
    pub(super) fn is_write_due(&self, uid: &str, now: Instant) -> bool {
        let lock = self.lock();
        let unwritten = lock.get(uid).and_then(|one| one.written.unwritten.as_ref());
        unwritten.is_some_and(|unwritten| unwritten.retry_at <= now)
    }

    /// Records a successful status write.
    pub(super) fn wrote(&self, uid: &str, version: u64, now: Instant) {
        let written = Written { version: Some((version, now)), unwritten: None };
        self.lock().entry(uid.to_owned()).or_default().written = written;
    }

    /// Records that the stored status is current.
    pub(super) fn is_stored(&self, uid: &str) {
        if let Some(one) = self.lock().get_mut(uid) {
            one.written.unwritten = None;
        }
    }

    /// Records a refused status write; returns the pause until the retry.
    pub(super) fn refused(&self, uid: &str, status: OCIArtifactStatus, now: Instant) -> Duration {
        let mut all = self.lock();
        let written = &mut all.entry(uid.to_owned()).or_default().written;
        let failures = written.unwritten.as_ref().map_or(0, |before| before.failures).saturating_add(1);
        let pause = WRITE.pause(failures);
        written.unwritten = Some(Unwritten { status, failures, retry_at: now + pause });
        pause
    }

    /// Counts an unanswered read of the API server; returns the pause until the retry. All else stays unchanged.
    pub(super) fn unanswered(&self, uid: &str) -> Duration {
        let mut all = self.lock();
        let one = all.entry(uid.to_owned()).or_default();
        one.unanswered = one.unanswered.saturating_add(1);
        UNANSWERED.pause(one.unanswered)
    }

    /// Records that an own ConfigMap was touched, so the next look examines the outputs.
    pub(super) fn touch(&self, uid: &str) {
        if let Some(one) = self.lock().get_mut(uid) {
            one.is_touched = true;
        }
    }

    /// Records the start of a look at the outputs. A touch from now on is for the next look.
    pub(super) fn begin_look(&self, uid: &str) {
        if let Some(one) = self.lock().get_mut(uid) {
            one.is_touched = false;
        }
    }

    /// Replaces the memory of an object, except for status writes and touches meanwhile.
    pub(super) fn set(&self, uid: &str, remembered: Remembered) -> Remembered {
        let mut all = self.lock();
        let (written, is_touched) =
            all.get(uid).map(|before| (before.written.clone(), before.is_touched)).unwrap_or_default();
        let remembered = Remembered { written, is_touched, unanswered: 0, ..remembered };
        all.insert(uid.to_owned(), remembered.clone());
        // Deleted objects send no notice. Entries of living objects are renewed when due.
        if all.len().is_multiple_of(SWEEP_EVERY)
            && let Some(long_ago) = Instant::now().checked_sub(FORGOTTEN_AFTER)
        {
            let is_due = |one: &Remembered| one.due.map_or(one.failures > 0, |due| due > long_ago);
            all.retain(|_, one| is_due(one) || one.written.is_after(long_ago));
        }
        remembered
    }

    /// Makes a removal due, after a switch left earlier content behind.
    pub(super) fn tidy_now(&self, uid: &str) {
        if let Some(one) = self.lock().get_mut(uid) {
            one.tidy_due = None;
        }
    }

    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Remembered>> {
        // Each statement leaves the map consistent.
        lock(&self.0)
    }
}

/// True if the failure may be resolved by a change in the cluster: then referenced objects are read again.
fn lies_in_cluster(reason: Reason) -> bool {
    use Reason::{Forbidden, SecretInvalid, SecretNotFound, TLSFailed, TrustRootInvalid, Unauthorized};
    [SecretNotFound, SecretInvalid, TrustRootInvalid, Unauthorized, Forbidden, TLSFailed].contains(&reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;

    /// Finding P3 33.
    #[test]
    fn an_older_version_waits_for_half_a_minute_after_a_write() {
        let (memory, now) = (Memory::default(), Instant::now());
        memory.wrote("uid", 100, now);
        let rows = [(99, 0, true), (99, 29, true), (99, 30, false), (100, 0, false), (101, 0, false)];
        for (version, seconds, want) in rows {
            let is_behind = memory.is_behind("uid", version, now + Duration::from_secs(seconds));
            assert_eq!(is_behind, want, "{version} after {seconds} s");
        }
    }

    #[test]
    fn an_early_wake_up_examines_nothing_without_a_cause() {
        let (now, inputs) = (Instant::now(), Digest::of(b"a"));
        let hour = now + Duration::from_secs(3600);
        let failure = || Some(Failure::new(Class::Retry, Reason::RegistryUnavailable, "x"));
        let rest = || Remembered { inputs: Some(inputs.clone()), due: Some(hour), ..Remembered::default() };
        let rows = [
            ("all is well", rest(), true),
            ("a file is due to be read", Remembered { read_due: Some(now), ..rest() }, false),
            ("its ConfigMap was touched", Remembered { is_touched: true, ..rest() }, false),
            ("it failed", Remembered { failure: failure(), ..rest() }, false),
            ("it is due", Remembered { due: Some(now), ..rest() }, false),
            ("another input", Remembered { inputs: Some(Digest::of(b"b")), ..rest() }, false),
        ];
        for (label, remembered, wanted) in rows {
            assert_eq!(remembered.is_at_rest(&inputs, now), wanted, "{label}");
        }
        // One task reads keys again for all objects, without a look at them.
        assert_eq!(rest().next_look(now).as_secs(), 3600);
    }

    #[test]
    fn an_unanswered_read_discards_nothing_and_backs_off() {
        let (memory, now) = (Memory::default(), Instant::now());
        let refused = Failure::new(Class::Stalled, Reason::IdentityMismatch, "x");
        memory.set("u", Remembered { failure: Some(refused.clone()), due: Some(now), ..Remembered::default() });
        let pauses: Vec<_> = (0..6).map(|_| memory.unanswered("u").as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15]);
        assert_eq!(memory.get("u").failure, Some(refused));
        memory.set("u", memory.get("u"));
        assert_eq!(memory.unanswered("u").as_secs(), 1, "an answer resets the back-off");
    }

    #[test]
    fn a_touch_during_a_look_is_for_the_next_look() {
        let (memory, inputs, now) = (Memory::default(), Digest::of(b"a"), Instant::now());
        let due = Some(now + Duration::from_secs(60));
        memory.set("u", Remembered { inputs: Some(inputs.clone()), due, ..Remembered::default() });
        memory.touch("u");
        memory.begin_look("u");
        let seen = memory.get("u");
        assert!(seen.is_at_rest(&inputs, now));
        memory.touch("u");
        memory.set("u", seen);
        assert!(!memory.get("u").is_at_rest(&inputs, now));
    }

    #[test]
    fn no_pass_is_due_early_unless_an_input_changed() {
        let now = Instant::now();
        let inputs = Digest::of(b"a");
        let remembered = Remembered {
            inputs: Some(inputs.clone()),
            due: Some(now + Duration::from_secs(60)),
            ..Remembered::default()
        };
        assert!(remembered.is_early(&inputs, now));
        assert!(!remembered.is_early(&inputs, now + Duration::from_secs(61)), "its time has come");
        assert!(!remembered.is_early(&Digest::of(b"b"), now), "something changed");
        assert!(!Remembered::default().is_early(&inputs, now), "nothing is known");
    }

    #[test]
    fn a_status_that_was_not_written_is_not_forgotten_for_the_number_of_objects() {
        let (memory, now) = (Memory::default(), Instant::now());
        // The first pass of an object, whose memory is set after the write of its status and of its Events.
        memory.refused("u", OCIArtifactStatus::default(), now);
        memory.wrote("v", 100, now);
        let due = Some(now + Duration::from_secs(60));
        for number in 0..2 * SWEEP_EVERY {
            memory.set(&format!("uid-{number}"), Remembered { due, ..Remembered::default() });
        }
        assert!(memory.unwritten("u").is_some(), "nobody writes it any more");
        assert!(memory.is_behind("v", 99, now), "an older version is taken for the current one");
    }
}
