//! Waiting for something to become true, with a deadline and an answer to "what was it instead?".

use std::time::Duration;

use anyhow::{Error, Result, bail};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// An error after which waiting is of no use.
#[derive(Debug)]
pub struct Hopeless(pub String);

impl std::fmt::Display for Hopeless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

/// Asks `probe` again and again until it answers `Ok(Some(value))`. `Ok(None)` and `Err` mean "not yet", except for
/// [`Hopeless`]; the last error is part of the message when the time is up.
pub async fn until<T>(limit: Duration, what: &str, probe: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    until_with_pace(limit, Duration::from_millis(25), what, probe).await
}

/// The same, asking less often.
pub async fn until_with_pace<T>(
    limit: Duration,
    pace: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        ticks.tick().await;
        match tokio::time::timeout_at(deadline, probe()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => last = None,
            Ok(Err(error)) if error.is::<Hopeless>() => {
                return Err(Error::context(error, format!("waiting for {what}")));
            }
            Ok(Err(error)) => last = Some(error),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            match last {
                Some(error) => bail!("waited {limit:?} in vain for {what}: {error:#}"),
                None => bail!("waited {limit:?} in vain for {what}"),
            }
        }
    }
}

/// The same for a question without a value.
pub async fn until_true(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    until(limit, what, || std::future::ready(probe().map(|answer| answer.then_some(())))).await
}
