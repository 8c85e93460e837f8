//! Pauses that double after each failure.

use std::time::Duration;

/// A pause that doubles with each failure in a row, up to a bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// The pause after one failure.
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// Returns the pause after `failures` consecutive failures.
    pub(crate) fn pause(self, failures: u32) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_its_limit() {
        let backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));
        for (failures, want) in [(0, 2), (1, 2), (2, 4), (5, 32), (6, 60), (32, 60), (33, 60), (u32::MAX, 60)] {
            assert_eq!(backoff.pause(failures), Duration::from_secs(want), "{failures}");
        }
    }
}
