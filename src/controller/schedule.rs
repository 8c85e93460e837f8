//! When an object is looked at, and what the operator remembers of it between two looks. No client.
//!
//! Memory only: after a restart every object gets a look. A wake-up before its time, with nothing changed in what the
//! object refers to, costs no request to a registry.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::api::{OCIArtifactStatus, Reason};
use crate::backoff::Backoff;
use crate::failure::{Class, Failure, Obstacle};
use crate::oci::Digest;
use crate::output::damage::Damage;
use crate::plan::Revision;

/// Shortest pause between two looks.
pub(super) const SHORTEST: Duration = Duration::from_millis(50);
/// Pauses after failures that time may heal.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(120));
/// Pauses before a registry is asked again for what it did not have or give.
const WAIT: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
/// Interval of looks at the obstacle of an output.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Pauses after a read that the API server did not answer.
const UNANSWERED: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));

/// Least part of a pause that jitter leaves of it.
const EARLIEST: f64 = 0.9;

/// Pauses before content that another writer changes is repaired a second time.
const REPAIR: Backoff = Backoff::new(Duration::from_secs(4), Duration::from_secs(300));
/// Time after which a repair is forgotten: the next damage is a new one.
const REPAIR_FORGOTTEN: Duration = Duration::from_secs(900);

/// Pauses after a status write that the API server refused.
const WRITE: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));

/// Longest pause between tries of a removal that has failed a few times, and how many those are.
pub(super) const REMOVAL_SOON: Duration = Duration::from_secs(4);
const REMOVAL_SOON_FOR: u32 = 50;
/// Longest such pause after more failures.
pub(super) const REMOVAL_LONGEST: Duration = Duration::from_secs(300);

/// Sweep of the memory after this many inserts, and the time past due after which an entry is dropped.
const SWEEP_EVERY: usize = 256;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// Memory of one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    /// Digest of everything that the last pass was given; another value makes another pass due at once.
    pub(super) inputs: Option<Digest>,
    /// Time of the next pass.
    pub(super) due: Option<Instant>,
    /// Passes that failed in a row.
    pub(super) failures: u32,
    /// The last failure, while it lasts.
    pub(super) failure: Option<Failure>,
    /// The revision that was refused for good, and the reason.
    pub(super) refused: Option<(Revision, Failure)>,
    /// Damage that was told, while it is not repaired.
    pub(super) damage: Vec<Damage>,
    /// Repairs of damage in a row, and the time of the last one.
    pub(super) repairs: Option<(u32, Instant)>,
    /// Time at which every published file is read next, as far as that is known.
    pub(super) read_due: Option<Instant>,
    /// Time at which an earlier revision, or an output that left the spec, is removed next.
    pub(super) tidy_due: Option<Instant>,
    /// Removals that failed in a row.
    pub(super) tidy_failures: u32,
    /// Versions of the API objects at the outputs' places when the last pass ended.
    pub(super) versions: Option<Vec<Option<String>>>,
    /// Time at which the last pass ended.
    pub(super) ended: Option<Instant>,
    /// Records of status that are kept apart from what a pass decides.
    pub(super) written: Written,
    /// Reads in a row that the API server did not answer.
    pub(super) unanswered: u32,
    /// Its own ConfigMap was touched since the last look.
    pub(super) is_touched: bool,
}

/// Memory of the status that was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// The object's version at the last write, and its time; an object of an older version does not have that status yet.
    version: Option<(u64, Instant)>,
    /// A status that the API server refused: what is published all the same.
    unwritten: Option<Unwritten>,
}

/// A status that could not be written.
#[derive(Clone, Debug)]
struct Unwritten {
    status: OCIArtifactStatus,
    failures: u32,
    retry_at: Instant,
}

impl Remembered {
    /// True where no pass is due: it is not time yet, and nothing has changed.
    pub(super) fn is_early(&self, inputs: &Digest, now: Instant) -> bool {
        self.inputs.as_ref() == Some(inputs) && self.due.is_some_and(|due| now < due)
    }

    /// Time to the next look at the object: at Secrets and obstacles often, at registries when due.
    pub(super) fn next_look(&self, now: Instant) -> Duration {
        let until = |due: Instant| due.saturating_duration_since(now);
        let left = self.due.map_or(Duration::ZERO, until);
        let left = match &self.failure {
            // The end of this one wakes up every object.
            Some(failure) if matches!(failure.obstacle.as_deref(), Some(Obstacle::Volume(_))) => left,
            Some(failure) if failure.obstacle.is_some() => left.min(LOOK_AGAIN),
            Some(_) => left,
            None => self.read_due.map_or(left, |due| left.min(until(due))),
        };
        let left = self.tidy_due.map_or(left, |due| left.min(until(due)));
        self.written.unwritten.as_ref().map_or(left, |unwritten| left.min(until(unwritten.retry_at)))
    }

    /// True where there is nothing to look at: a wake-up before its time, and nothing that the object refers to has changed.
    /// Files are looked at each interval, whatever wakes the object in between.
    pub(super) fn is_at_rest(&self, inputs: &Digest, now: Instant) -> bool {
        let is_reading_due = self.read_due.is_some_and(|due| due <= now);
        self.is_early(inputs, now)
            && self.failure.is_none()
            && self.damage.is_empty()
            && !self.is_touched
            && !is_reading_due
    }

    /// True where something that the object names is in its way.
    pub(super) fn is_awaiting(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| lies_in_cluster(failure.reason))
    }

    /// Time left until damage may be repaired: at once for the first time, then with growing pauses, so that two writers
    /// do not spend a cluster's time on each other.
    pub(super) fn repair_pause(&self, now: Instant) -> Duration {
        let Some((repairs, last)) = self.repairs else { return Duration::ZERO };
        let since = now.saturating_duration_since(last);
        if since > REPAIR_FORGOTTEN {
            return Duration::ZERO;
        }
        REPAIR.pause(repairs).saturating_sub(since)
    }

    /// True where something was repaired a short time ago: another damage is the work of the same writer.
    pub(super) fn is_contested(&self, now: Instant) -> bool {
        self.repairs.is_some_and(|(_, last)| now.saturating_duration_since(last) <= REPAIR_FORGOTTEN)
    }

    /// Counts a repair.
    pub(super) fn repaired(&self, now: Instant) -> (u32, Instant) {
        let is_recent = |(_, last): &(u32, Instant)| now.saturating_duration_since(*last) <= REPAIR_FORGOTTEN;
        let before = self.repairs.filter(is_recent).map_or(0, |(repairs, _)| repairs);
        (before.saturating_add(1), now)
    }
}

/// Everything remembered, by uid.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<String, Remembered>>);

impl Memory {
    pub(super) fn get(&self, uid: &str) -> Remembered {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    /// True where `version` of the object is older than the status that was written last. Not for long: after a restored
    /// etcd versions begin again below.
    pub(super) fn is_behind(&self, uid: &str, version: u64, now: Instant) -> bool {
        const BELIEVED: Duration = Duration::from_secs(30);
        let written = self.lock().get(uid).and_then(|one| one.written.version);
        written.is_some_and(|(written, at)| version < written && now.saturating_duration_since(at) < BELIEVED)
    }

    /// The status that the object has in truth where the API server has refused to store it.
    pub(super) fn unwritten(&self, uid: &str) -> Option<OCIArtifactStatus> {
        Some(self.lock().get(uid)?.written.unwritten.as_ref()?.status.clone())
    }

    /// True where a refused status is to be written again now.
    pub(super) fn is_write_due(&self, uid: &str, now: Instant) -> bool {
        let lock = self.lock();
        let unwritten = lock.get(uid).and_then(|one| one.written.unwritten.as_ref());
        unwritten.is_some_and(|unwritten| unwritten.retry_at <= now)
    }

    /// Notes a status that was written.
    pub(super) fn wrote(&self, uid: &str, version: u64, now: Instant) {
        let written = Written { version: Some((version, now)), unwritten: None };
        self.lock().entry(uid.to_owned()).or_default().written = written;
    }

    /// Notes a status that is as it is stored.
    pub(super) fn is_stored(&self, uid: &str) {
        if let Some(one) = self.lock().get_mut(uid) {
            one.written.unwritten = None;
        }
    }

    /// Notes a status that the API server refused; answers the pause until it is tried again.
    pub(super) fn refused(&self, uid: &str, status: OCIArtifactStatus, now: Instant) -> Duration {
        let mut all = self.lock();
        let written = &mut all.entry(uid.to_owned()).or_default().written;
        let failures = written.unwritten.as_ref().map_or(0, |before| before.failures).saturating_add(1);
        let pause = WRITE.pause(failures);
        written.unwritten = Some(Unwritten { status, failures, retry_at: now + pause });
        pause
    }

    /// Counts a read that the API server did not answer; answers the pause until it is tried again. All else stays as it is.
    pub(super) fn unanswered(&self, uid: &str) -> Duration {
        let mut all = self.lock();
        let one = all.entry(uid.to_owned()).or_default();
        one.unanswered = one.unanswered.saturating_add(1);
        UNANSWERED.pause(one.unanswered)
    }

    /// Its own ConfigMap was touched: the next look is at what is there.
    pub(super) fn touch(&self, uid: &str) {
        if let Some(one) = self.lock().get_mut(uid) {
            one.is_touched = true;
        }
    }

    /// Notes that a look at what is there begins now. What touches it from now on is for the next one.
    pub(super) fn begin_look(&self, uid: &str) {
        if let Some(one) = self.lock().get_mut(uid) {
            one.is_touched = false;
        }
    }

    /// Remembers everything anew but what was written, and what was touched meanwhile.
    pub(super) fn set(&self, uid: &str, remembered: Remembered) -> Remembered {
        let mut all = self.lock();
        let (written, is_touched) =
            all.get(uid).map(|before| (before.written.clone(), before.is_touched)).unwrap_or_default();
        let remembered = Remembered { written, is_touched, unanswered: 0, ..remembered };
        all.insert(uid.to_owned(), remembered.clone());
        // An object goes without a word. Those that live are set again when due.
        if all.len().is_multiple_of(SWEEP_EVERY)
            && let Some(long_ago) = Instant::now().checked_sub(FORGOTTEN_AFTER)
        {
            all.retain(|_, one| one.due.map_or(one.failures > 0, |due| due > long_ago));
        }
        remembered
    }

    /// Makes a removal due: a switch has left something behind.
    pub(super) fn tidy_now(&self, uid: &str) {
        if let Some(one) = self.lock().get_mut(uid) {
            one.tidy_due = None;
        }
    }

    pub(super) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Remembered>> {
        // Each statement leaves the map whole.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// True where what is missing may change in the cluster: what the object names is read again then, and not by the object.
fn lies_in_cluster(reason: Reason) -> bool {
    use Reason::{Forbidden, SecretInvalid, SecretNotFound, TLSFailed, TrustRootInvalid, Unauthorized};
    [SecretNotFound, SecretInvalid, TrustRootInvalid, Unauthorized, Forbidden, TLSFailed].contains(&reason)
}

/// Pause between a failure and the next pass. `failures` counts this one.
pub(super) fn pause(failure: &Failure, failures: u32, interval: Duration) -> Duration {
    if let Some(wanted) = failure.retry_after {
        // Who comes before that time looks in vain: the registry would not be asked.
        return wanted.div_f64(EARLIEST);
    }
    match failure.class {
        Class::Retry | Class::Unanswered => RETRY.pause(failures),
        Class::Wait => WAIT.pause(failures),
        Class::Stalled => interval,
    }
}

/// Pause before a pass that is made because an obstacle changed. Short, so that an object heals soon after the obstacle is
/// gone, and not nothing, so that an obstacle that changes all the time costs little.
pub(super) fn obstacle_pause(failures: u32) -> Duration {
    const OBSTACLE: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
    if failures <= 1 { Duration::ZERO } else { OBSTACLE.pause(failures - 1) }
}

/// Pause before something that could not be removed is removed again. Short for some minutes, for a volume is often away for
/// no longer. `failures` counts this one.
pub(super) fn removal_pause(first: Duration, failures: u32) -> Duration {
    let longest = if failures <= REMOVAL_SOON_FOR { REMOVAL_SOON } else { REMOVAL_LONGEST };
    Backoff::new(first, longest).pause(failures)
}

/// The interval, a little longer or shorter for each object, so that they do not all ask at once.
pub(super) fn with_jitter(interval: Duration, uid: &str) -> Duration {
    // 90 % to 110 %, the same for an object as long as it lives.
    let byte =
        Digest::of(uid.as_bytes()).hex().bytes().fold(0_u32, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
    interval.mul_f64(EARLIEST + f64::from(byte % 1000) / 5000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_the_registry_may_name_its_own() {
        let interval = Duration::from_secs(600);
        let failure = |class, reason| Failure::new(class, reason, "x");
        let rows = [
            ("first retry", failure(Class::Retry, Reason::RegistryUnavailable), 1, 1),
            ("fourth retry", failure(Class::Retry, Reason::RegistryUnavailable), 4, 8),
            ("hundredth retry", failure(Class::Retry, Reason::RegistryUnavailable), 100, 120),
            ("first wait", failure(Class::Wait, Reason::ReferenceNotFound), 1, 5),
            ("long wait", failure(Class::Wait, Reason::ReferenceNotFound), 50, 60),
            ("stalled", failure(Class::Stalled, Reason::UnsafeArchive), 3, 600),
        ];
        for (label, failure, failures, want) in rows {
            assert_eq!(pause(&failure, failures, interval), Duration::from_secs(want), "{label}");
        }
        let told = Failure { retry_after: Some(Duration::from_secs(77)), ..failure(Class::Retry, Reason::RateLimited) };
        let pauses = (0..200).map(|uid| with_jitter(pause(&told, 1, interval), &format!("uid-{uid}")).as_secs_f64());
        assert!(pauses.into_iter().all(|pause| (76.999..95.0).contains(&pause)), "not before the registry's time");
    }

    #[test]
    fn removals_are_tried_often_for_some_minutes_and_then_less() {
        let rows = [(1, 1, 1), (1, 3, 4), (1, 50, 4), (1, 51, 300), (2, 1, 2), (2, 2, 4), (2, 50, 4), (2, 51, 300)];
        for (first, failures, want) in rows {
            let pause = removal_pause(Duration::from_secs(first), failures);
            assert_eq!(pause, Duration::from_secs(want), "{first}, {failures}");
        }
    }

    #[test]
    fn an_early_wake_up_looks_at_nothing_unless_something_is_to_be_seen() {
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
            ("something else is asked", Remembered { inputs: Some(Digest::of(b"b")), ..rest() }, false),
        ];
        for (label, remembered, wanted) in rows {
            assert_eq!(remembered.is_at_rest(&inputs, now), wanted, "{label}");
        }
        // Keys are read again by one task for all objects: no object is looked at for them.
        assert_eq!(rest().next_look(now).as_secs(), 3600);
    }

    #[test]
    fn a_read_without_an_answer_discards_nothing_and_grows() {
        let (memory, now) = (Memory::default(), Instant::now());
        let refused = Failure::new(Class::Stalled, Reason::IdentityMismatch, "x");
        memory.set("u", Remembered { failure: Some(refused.clone()), due: Some(now), ..Remembered::default() });
        let pauses: Vec<_> = (0..6).map(|_| memory.unanswered("u").as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15]);
        assert_eq!(memory.get("u").failure, Some(refused));
        memory.set("u", memory.get("u"));
        assert_eq!(memory.unanswered("u").as_secs(), 1, "an answer ends the row");
    }

    #[test]
    fn what_touches_it_during_a_look_is_for_the_next_one() {
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
    fn jitter_stays_near_the_interval() {
        let interval = Duration::from_secs(100);
        let all: Vec<u64> = (0..200).map(|n| with_jitter(interval, &format!("uid-{n}")).as_secs()).collect();
        assert!(all.iter().all(|seconds| (90..=110).contains(seconds)));
        assert!(all.iter().min() < Some(&95) && all.iter().max() > Some(&105), "spread: {all:?}");
    }

    #[test]
    fn nothing_is_asked_before_its_time_unless_something_changed() {
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
}
