//! Repetition of requests whose failure may be temporary, for commands: a pass of the operator is repeated as a whole.

use std::time::Duration;

use super::RegistryError;
use crate::backoff::Backoff;

/// Maximum number of repetitions in a row without progress.
const MAX_REPETITIONS: u32 = 5;
/// Pauses before a repetition, if the registry names none.
const PAUSE: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(16));
/// Longest pause that is waited for. After a longer one, the command is better repeated by its user.
const LONGEST: Duration = Duration::from_secs(120);
/// A pause is longer by up to this share of it, in percent, so that clients that failed together do not return together.
const JITTER: u64 = 25;

/// Repetitions of one request, or of one upload.
#[derive(Debug, Default)]
pub struct Repetitions {
    /// Failures in a row.
    failures: u32,
}

impl Repetitions {
    /// Waits before the next repetition. Returns the error if no repetition is left, or none can help.
    pub async fn after(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.failures = self.failures.saturating_add(1);
        let Some(pause) = pause(&error, self.failures, random()) else { return Err(error) };
        // One failure is soon forgotten; a user who waits longer wants to know for what.
        if self.failures == 1 {
            tracing::debug!(%error, ?pause, "the request is repeated");
        } else {
            tracing::warn!(%error, ?pause, "the request failed again, and is repeated");
        }
        wait(pause).await;
        Ok(())
    }

    /// Begins to count again, because a request made progress.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Repeats `request` while it may succeed later.
pub async fn repeated<T, F: Future<Output = Result<T, RegistryError>> + Send>(
    request: impl Fn() -> F + Send,
) -> Result<T, RegistryError> {
    let mut repetitions = Repetitions::default();
    loop {
        match request().await {
            Ok(result) => return Ok(result),
            Err(error) => repetitions.after(error).await?,
        }
    }
}

/// Returns the pause before a repetition after `failures` in a row: at least the registry's. `None` if the error is
/// final, the pause too long, or the last repetition has failed.
fn pause(error: &RegistryError, failures: u32, random: u64) -> Option<Duration> {
    let named = match error {
        RegistryError::RateLimited { retry_after, .. } => retry_after.unwrap_or_default(),
        RegistryError::HeldBack { retry_after, .. } => *retry_after,
        RegistryError::Unavailable { .. } => Duration::ZERO,
        RegistryError::NotFound(_)
        | RegistryError::NoMatchingTag { .. }
        | RegistryError::Unauthorized { .. }
        | RegistryError::Forbidden { .. }
        | RegistryError::Refused { .. }
        | RegistryError::AddressDenied { .. }
        | RegistryError::PortDenied { .. }
        | RegistryError::PlainHttpDenied { .. }
        | RegistryError::Tls { .. }
        | RegistryError::TooLarge { .. }
        | RegistryError::TooMany { .. }
        | RegistryError::LongerThanNamed { .. }
        | RegistryError::DigestMismatch { .. }
        | RegistryError::Local { .. }
        | RegistryError::Manifest(_)
        | RegistryError::Protocol { .. } => return None,
    };
    if failures > MAX_REPETITIONS || named > LONGEST {
        return None;
    }
    let pause = named.max(PAUSE.pause(failures));
    let share = u32::try_from(random % (JITTER + 1)).unwrap_or_default();
    Some(pause.saturating_add(pause.saturating_mul(share) / 100))
}

/// Waits between half of `pause` and one and a half, so that clients that met do not meet again.
pub(crate) async fn spread(pause: Duration) {
    let share = u32::try_from(50 + random() % 101).unwrap_or_default();
    wait(pause.saturating_mul(share) / 100).await;
}

#[expect(clippy::disallowed_methods, reason = "this is the pause between two requests")]
async fn wait(pause: Duration) {
    tokio::time::sleep(pause).await;
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without random bytes the pause has no jitter.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_succeed_later_is_repeated_and_not_for_ever() {
        let host = || "r.example".to_owned();
        let limited =
            |seconds: u64| RegistryError::RateLimited { host: host(), retry_after: Some(Duration::from_secs(seconds)) };
        let unavailable = || RegistryError::Unavailable { host: host(), problem: host() };
        let held = RegistryError::HeldBack { host: host(), problem: host(), retry_after: Duration::from_secs(9) };
        let refused = RegistryError::Refused { host: host(), what: host(), answer: host() };
        let rows = [
            (unavailable(), 1, 0, Some(1000)),
            (unavailable(), 1, 25, Some(1250)),
            (unavailable(), 5, 0, Some(16_000)),
            (unavailable(), 6, 0, None),
            (limited(20), 1, 0, Some(20_000)),
            (limited(20), 1, 51, Some(25_000)),
            (limited(120), 1, 0, Some(120_000)),
            (limited(121), 1, 0, None),
            (held, 1, 0, Some(9000)),
            (refused, 1, 0, None),
            (RegistryError::NotFound(host()), 1, 0, None),
            (RegistryError::DigestMismatch { what: host(), host: host() }, 1, 0, None),
        ];
        for (error, failures, random, want) in rows {
            assert_eq!(pause(&error, failures, random), want.map(Duration::from_millis), "{error:?} {failures}");
        }
    }
}
