//! What the operator remembers of each object between two passes, and how long it waits.
//!
//! Memory only: after a restart every object simply gets a pass. A wake-up before its time, with
//! nothing changed in what the object says, costs no request to a registry.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::api::Reason;
use crate::failure::{Class, Failure};
use crate::oci::Digest;
use crate::output::integrity::Damage;
use crate::plan::Revision;

/// First pause after a failure that time may heal; doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest such pause.
const RETRY_LONGEST: Duration = Duration::from_secs(120);
/// First pause before a registry is asked again for what it did not have or give.
const WAIT_FIRST: Duration = Duration::from_secs(5);
/// Longest such pause.
const WAIT_LONGEST: Duration = Duration::from_secs(60);
/// How often what the object refers to in the cluster is looked at while it waits: Secrets, and
/// whatever is in the way of an output.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How often keys and trusted roots are looked at, also while what they do not accept is refused: it may be accepted by
/// others. A watch would need the right to list every Secret.
const LOOK_AT_KEYS: Duration = Duration::from_secs(15);

/// How often, in new objects, those that are gone are looked for, and how long after their time.
const SWEEP_EVERY: usize = 256;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// What is remembered of one object.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    /// Over everything that the last pass was given; another value makes another pass due at once.
    pub(super) inputs: Option<Digest>,
    /// When the next pass is due.
    pub(super) due: Option<Instant>,
    /// Passes that failed in a row.
    pub(super) failures: u32,
    /// The last failure, while it lasts.
    pub(super) failure: Option<Failure>,
    /// The revision that was refused for good, and why.
    pub(super) refused: Option<(Revision, Failure)>,
    /// The object's version when its status was written last; what is older does not have that status.
    pub(super) written: u64,
    /// Damage that was told, while it is not repaired.
    pub(super) damage: Vec<Damage>,
    /// Keys and trusted roots are in Secrets and ConfigMaps, which nobody tells us of.
    pub(super) asks_secrets: bool,
    /// When every published file is to be read next, as far as that is known.
    pub(super) read_due: Option<Instant>,
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
            Some(failure) if lies_in_cluster(failure.reason) => left.min(LOOK_AGAIN),
            Some(_) => left,
            None => self.read_due.map_or(left, |due| left.min(until(due))),
        };
        if self.asks_secrets { left.min(LOOK_AT_KEYS) } else { left }
    }
}

/// Everything remembered, by uid.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<String, Remembered>>);

impl Memory {
    pub(super) fn get(&self, uid: &str) -> Remembered {
        self.lock().get(uid).cloned().unwrap_or_default()
    }

    /// The object's version when its status was written last; 0 where it was not.
    pub(super) fn written(&self, uid: &str) -> u64 {
        self.lock().get(uid).map_or(0, |one| one.written)
    }

    pub(super) fn wrote(&self, uid: &str, version: u64) {
        self.lock().entry(uid.to_owned()).or_default().written = version;
    }

    /// Remembers everything anew but the version that was written.
    pub(super) fn set(&self, uid: &str, remembered: Remembered) {
        let mut all = self.lock();
        let written = all.get(uid).map_or(0, |before| before.written);
        all.insert(uid.to_owned(), Remembered { written, ..remembered });
        // An object without a finalizer goes without a word. Those that live are set again when due.
        if all.len().is_multiple_of(SWEEP_EVERY)
            && let Some(long_ago) = Instant::now().checked_sub(FORGOTTEN_AFTER)
        {
            all.retain(|_, one| one.due.map_or(one.failures > 0, |due| due > long_ago));
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

/// True where what is missing or in the way may change in the cluster without any event to us: the
/// operator may read Secrets by name but not watch them.
fn lies_in_cluster(reason: Reason) -> bool {
    use Reason::{Forbidden, OutputConflict, SecretInvalid, SecretNotFound, TLSFailed, TrustRootInvalid, Unauthorized};
    let those = [SecretNotFound, SecretInvalid, TrustRootInvalid, Unauthorized, Forbidden, TLSFailed, OutputConflict];
    those.contains(&reason)
}

/// How long after a failure the next pass is due. `failures` counts this one.
pub(super) fn pause(failure: &Failure, failures: u32, interval: Duration) -> Duration {
    let doubled = |first: Duration, longest: Duration| {
        first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(longest)
    };
    if let Some(wanted) = failure.retry_after {
        return wanted;
    }
    match failure.class {
        Class::Retry => doubled(RETRY_FIRST, RETRY_LONGEST),
        Class::Wait => doubled(WAIT_FIRST, WAIT_LONGEST),
        // Nobody tells when an obstacle is gone, and looking costs no request to a registry.
        Class::Stalled if failure.reason == Reason::OutputConflict => LOOK_AGAIN,
        Class::Stalled => interval,
    }
}

/// The interval, a little longer or shorter for each object, so that they do not all ask at once.
pub(super) fn with_jitter(interval: Duration, uid: &str) -> Duration {
    // 90 % to 110 %, the same for an object as long as it lives.
    let byte =
        Digest::of(uid.as_bytes()).hex().bytes().fold(0_u32, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
    interval.mul_f64(0.9 + f64::from(byte % 1000) / 5000.0)
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
            ("obstacle", failure(Class::Stalled, Reason::OutputConflict), 9, 5),
        ];
        for (label, failure, failures, want) in rows {
            assert_eq!(pause(&failure, failures, interval), Duration::from_secs(want), "{label}");
        }
        let told = Failure { retry_after: Some(Duration::from_secs(77)), ..failure(Class::Retry, Reason::RateLimited) };
        assert_eq!(pause(&told, 1, interval), Duration::from_secs(77));
    }

    #[test]
    fn keys_are_looked_at_while_all_is_well_and_while_it_is_not() {
        let now = Instant::now();
        let left = |failure: Option<Failure>, asks_secrets| {
            let due = Some(now + Duration::from_secs(600));
            Remembered { due, failure, asks_secrets, ..Remembered::default() }.next_look(now).as_secs()
        };
        let failure = |class, reason| Some(Failure::new(class, reason, "x"));
        let rows = [
            ("all is well", None, 600, 15),
            ("refused by those that are there", failure(Class::Stalled, Reason::IdentityMismatch), 600, 15),
            ("a policy's key is missing", failure(Class::Wait, Reason::PolicyDenied), 600, 15),
            ("one of its own is missing", failure(Class::Wait, Reason::SecretNotFound), 5, 5),
            ("its trusted root is broken", failure(Class::Wait, Reason::TrustRootInvalid), 5, 5),
        ];
        for (label, failure, without, with) in rows {
            assert_eq!((left(failure.clone(), false), left(failure, true)), (without, with), "{label}");
        }
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
