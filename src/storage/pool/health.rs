//! Usability of one volume: callers wait only while it responds, and probes find out that it does again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::thread::on_pool;
use crate::backoff::Backoff;
use crate::storage::error::StorageError;

/// Back-off between attempts to use an unusable volume.
const AGAIN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));

/// Detection of an unusable volume. Without a guard, calls have no timeout.
pub(in crate::storage) struct Guard {
    /// Timeout after which a volume counts as not responding.
    pub(in crate::storage) timeout: Duration,
    /// Makes a few calls on the volume; fails if it cannot be used.
    pub(in crate::storage) probe: Box<dyn Fn() -> Result<(), StorageError> + Send + Sync>,
    /// Callback for each new state.
    pub(in crate::storage) changed: Changed,
}

/// Callback with the reason for a volume being unusable; `None` if it can be used.
type Changed = Box<dyn Fn(Option<&StorageError>) + Send + Sync>;

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// State of a volume, and its probe.
#[derive(Debug)]
pub(super) struct Health {
    /// Name of the volume.
    name: String,
    /// Reason for the volume being unusable; `None` if it can be used.
    pub(super) state: watch::Sender<Option<StorageError>>,
    guard: OnceLock<Guard>,
    is_probing: AtomicBool,
}

impl Health {
    /// Creates the state of a volume without a guard, which counts as usable.
    pub(super) fn new(name: &str) -> Arc<Self> {
        let (state, guard, is_probing) = (watch::Sender::new(None), OnceLock::new(), AtomicBool::new(false));
        Arc::new(Self { name: name.to_owned(), state, guard, is_probing })
    }

    /// Sets the guard. The volume counts as unusable until a probe has succeeded.
    pub(super) fn guard(self: &Arc<Self>, guard: Guard) {
        if self.guard.set(guard).is_ok() {
            self.state.send_replace(Some(StorageError::unopened(&self.name)));
            self.suspect();
        }
    }

    /// Returns the name of the volume.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the reason for the volume being unusable; `None` if it can be used.
    pub(super) fn state(&self) -> Option<StorageError> {
        self.state.borrow().clone()
    }

    /// Waits until the first probe has ended or timed out; returns the state.
    pub(super) async fn settled(&self) -> Option<StorageError> {
        let mut state = self.state.subscribe();
        let guard = self.guard.get()?;
        let is_settled = |state: &Option<StorageError>| !state.as_ref().is_some_and(StorageError::is_unopened);
        let _ = timeout(guard.timeout.saturating_mul(2), state.wait_for(is_settled)).await;
        self.state()
    }

    /// Waits for a future that depends on the volume, as long as the volume responds.
    pub(super) async fn unless_down<T>(self: &Arc<Self>, waiting: impl Future<Output = T>) -> Result<T, StorageError> {
        if let Some(error) = self.state() {
            return Err(error);
        }
        let mut state = self.state.subscribe();
        let either = async {
            tokio::select! {
                biased;
                done = waiting => Ok(done),
                down = state.wait_for(Option::is_some) => {
                    // The sender lives as long as the pool.
                    Err(down.ok().and_then(|down| down.clone()).unwrap_or_else(StorageError::panicked))
                }
            }
        };
        let mut either = std::pin::pin!(either);
        let Some(guard) = self.guard.get() else { return either.await };
        loop {
            match timeout(guard.timeout / 3, either.as_mut()).await {
                Ok(ended) => return ended,
                Err(_) => self.suspect(),
            }
        }
    }

    /// Probes the volume, unless a probe is running, and repeats until it can be used.
    pub(super) fn suspect(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.guard.get().is_none() || self.is_probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let health = Arc::clone(self);
        runtime.spawn(async move {
            health.probe().await;
            health.is_probing.store(false, Ordering::Release);
        });
    }

    #[expect(clippy::disallowed_methods, reason = "this is the timer")]
    async fn probe(self: &Arc<Self>) {
        let mut failures = 0;
        loop {
            let Some(guard) = self.guard.get() else { return };
            let shared = Arc::clone(self);
            // Not one of the pool's threads, because all of them may hang.
            let mut probe = tokio::task::spawn_blocking(move || {
                on_pool((), || shared.guard.get().map_or(Ok(()), |guard| (guard.probe)()))
            });
            let ended = if let Ok(ended) = timeout(guard.timeout.saturating_sub(guard.timeout / 3), &mut probe).await {
                ended
            } else {
                self.change(guard, Some(StorageError::unresponsive(&self.name, guard.timeout)));
                probe.await
            };
            match ended.unwrap_or_else(|_| Err(StorageError::unusable(&self.name, "a thread panicked"))) {
                Ok(()) => return self.change(guard, None),
                Err(error) => {
                    failures += 1;
                    self.change(guard, Some(error));
                    tokio::time::sleep(AGAIN.pause(failures)).await;
                }
            }
        }
    }

    fn change(&self, guard: &Guard, new: Option<StorageError>) {
        let shown = |state: &Option<StorageError>| state.as_ref().map(ToString::to_string);
        let is_new = shown(&self.state.borrow()) != shown(&new);
        if is_new {
            (guard.changed)(new.as_ref());
            self.state.send_replace(new);
        }
    }
}
