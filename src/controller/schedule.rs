//! Times of looks and passes: if a pass is due, and the pauses until the next one. No client.

use std::time::Duration;

use super::dereference::Inputs;
use super::memory::Remembered;
use super::subject::Subject;
use crate::backoff::Backoff;
use crate::failure::{Class, Failure};
use crate::oci::Digest;
use crate::pass::Look;
use crate::plan::Revision;

/// Longest pause of [`RETRY`], and of every other back-off here.
const LONGEST: Duration = Duration::from_secs(120);
/// Back-off after failures that may resolve themselves.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), LONGEST);
/// Back-off before a registry is queried again for absent or denied content.
const WAIT: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
/// Smallest and largest factor that jitter applies to a pause.
const EARLIEST: f64 = 0.9;
const LATEST: f64 = 1.1;
/// Maximum pause between the first retries of a removal, and the number of these retries.
pub(super) const REMOVAL_SOON: Duration = Duration::from_secs(4);
const REMOVAL_SOON_FOR: u32 = 50;
/// Maximum pause after more failures.
pub(super) const REMOVAL_LONGEST: Duration = Duration::from_secs(300);

/// Decision about a pass.
pub(super) enum Schedule {
    Pass,
    /// Not due: the last pass is recent, and the outputs are as it left them.
    Early,
    /// Not due, unless the obstacle of the last pass is gone.
    Obstructed,
}

/// Decides if a pass is due: by time, or because the outputs differ from the result of the last pass.
pub(super) fn decide(
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

/// Returns the pause between a failure and the next pass. `failures` includes this one.
pub(super) fn pause(failure: &Failure, failures: u32, interval: Duration) -> Duration {
    if let Some(wanted) = failure.retry_after {
        // An earlier pass would fail, because the host is closed until then; jitter must not shorten the pause.
        return wanted.div_f64(EARLIEST);
    }
    match failure.class {
        Class::Retry | Class::Unanswered => RETRY.pause(failures),
        Class::Wait => WAIT.pause(failures),
        Class::Stalled => interval,
    }
}

/// Returns the pause before a pass after a change of an obstacle. Short, so that an object recovers soon after the
/// obstacle is gone, but not zero, so that an obstacle that changes all the time costs little.
pub(super) fn obstacle_pause(failures: u32) -> Duration {
    const OBSTACLE: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
    if failures <= 1 { Duration::ZERO } else { OBSTACLE.pause(failures - 1) }
}

/// Returns the pause before a failed removal is retried. Short for some minutes, the usual duration of a volume's
/// outage. `failures` includes this one.
pub(super) fn removal_pause(first: Duration, failures: u32) -> Duration {
    let longest = if failures <= REMOVAL_SOON_FOR { REMOVAL_SOON } else { REMOVAL_LONGEST };
    Backoff::new(first, longest).pause(failures)
}

/// Returns the longest pause between two polls, with the jitter of any object.
pub(crate) fn longest_poll(interval: Duration) -> Duration {
    interval.mul_f64(LATEST)
}

/// Returns the longest pause before a pass is retried, unless the registry requests a longer one.
pub(crate) fn longest_retry() -> Duration {
    LONGEST.mul_f64(LATEST)
}

/// Returns the interval with jitter per object, so that objects do not all poll at once.
pub(super) fn with_jitter(interval: Duration, uid: &str) -> Duration {
    // 90 % to 110 %, constant for an object.
    let byte =
        Digest::of(uid.as_bytes()).hex().bytes().fold(0_u32, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
    interval.mul_f64(EARLIEST + f64::from(byte % 1000) / 5000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;

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
        let limited =
            Failure { retry_after: Some(Duration::from_secs(77)), ..failure(Class::Retry, Reason::RateLimited) };
        let pauses = (0..200).map(|uid| with_jitter(pause(&limited, 1, interval), &format!("uid-{uid}")).as_secs_f64());
        assert!(pauses.into_iter().all(|pause| (76.999..95.0).contains(&pause)), "not before the registry's time");
    }

    #[test]
    fn removals_are_retried_often_for_some_minutes_and_then_rarely() {
        let rows = [(1, 1, 1), (1, 3, 4), (1, 50, 4), (1, 51, 300), (2, 1, 2), (2, 2, 4), (2, 50, 4), (2, 51, 300)];
        for (first, failures, want) in rows {
            let pause = removal_pause(Duration::from_secs(first), failures);
            assert_eq!(pause, Duration::from_secs(want), "{first}, {failures}");
        }
    }

    #[test]
    fn jitter_stays_near_the_interval() {
        let interval = Duration::from_secs(100);
        let all: Vec<u64> = (0..200).map(|n| with_jitter(interval, &format!("uid-{n}")).as_secs()).collect();
        assert!(all.iter().all(|seconds| (90..=110).contains(seconds)));
        assert!(all.iter().min() < Some(&95) && all.iter().max() > Some(&105), "spread: {all:?}");
    }
}
