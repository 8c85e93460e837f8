//! Waiting for a condition, with a timeout and the last error in its message.

use std::time::Duration;

use anyhow::{Error, Result, bail};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Error that ends a wait at once.
#[derive(Debug)]
pub struct Permanent(pub String);

impl std::fmt::Display for Permanent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Permanent {}

/// Calls `probe` repeatedly until it returns `Ok(Some(value))`. `Ok(None)` and `Err` mean "not yet", except for
/// [`Permanent`]; the last error is part of the message of the timeout.
pub async fn until<T>(limit: Duration, what: &str, probe: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    until_with_pace(limit, Duration::from_millis(25), what, probe).await
}

/// Calls `probe` like [`until`], but once per `pace`.
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
            Ok(Err(error)) if error.is::<Permanent>() => {
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

/// Calls `probe` like [`until`], until it returns true.
pub async fn until_true(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    until(limit, what, || std::future::ready(probe().map(|answer| answer.then_some(())))).await
}

/// Waits until `probe` has returned true without interruption for `lasting`. An error counts as false.
pub async fn until_lasting(
    limit: Duration,
    lasting: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let mut since = None;
    until(limit, &format!("{what}, for {lasting:?}"), async || match probe().await {
        Ok(true) => Ok((since.get_or_insert_with(Instant::now).elapsed() >= lasting).then_some(())),
        Ok(false) => {
            since = None;
            Ok(None)
        }
        Err(error) => {
            since = None;
            Err(error)
        }
    })
    .await
}

/// Requires that `check` succeeds repeatedly for this duration.
pub async fn holds(duration: Duration, mut check: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + duration;
    let mut ticks = interval(Duration::from_millis(100));
    while Instant::now() < end {
        ticks.tick().await;
        check().await?;
    }
    Ok(())
}
