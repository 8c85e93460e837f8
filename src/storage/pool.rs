//! Threads of one volume, and detection of a volume that does not respond.
//!
//! A call on a filesystem whose server is away does not return, and its thread is lost until the server is back. So a
//! volume's calls are made by a few threads that no other volume uses, and callers wait only while the volume responds:
//!
//! ```text
//! a call takes long ─▶ one probe ─ returns ─▶ wait on
//!                          │ not in time
//!                          ▼
//!              does not respond: every waiter gets that, and every new call, until the probe returns
//! ```
//!
//! The probe is what tells a volume that hangs from a tree that is large: work may take hours while probes return. Work that
//! nobody waits for any more goes on in its thread, which is one of the few until it ends.
//!
//! Work that holds a thread while it waits for a processor could occupy all threads. It gets only some of them, shared
//! between namespaces, so that a look or a removal always finds a thread. Some of these are for namespaces that hold
//! none: unpacking a bomb takes seconds, and the next thread would be free only after that (4.8 s instead of 1.5 s at
//! worst, beside 1000 hostile objects on two cores).

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::StorageError;
use crate::backoff::Backoff;
use crate::permits::{Permit, Permits, Seat};

/// Minimum number of threads of a volume.
const THREADS: usize = 20;
/// Threads reserved for short calls.
const RESERVED: usize = 4;
/// Number of threads that work with a processor permit leaves to other long work.
const UNSEATED: usize = 4;
/// Number of threads that work with a processor permit leaves to namespaces without such work.
const FIRST: usize = 4;
/// Maximum number of concurrent scans of whole trees.
const SCANS: usize = 2;
/// Back-off between attempts to use an unusable volume.
const AGAIN: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));

thread_local! {
    /// True on a pool's threads, which may wait for a filesystem.
    static IS_OF_POOL: Cell<bool> = const { Cell::new(false) };
}

/// Kind of work, which decides about the threads that it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A few filesystem calls.
    Short,
    /// A whole tree or layer.
    Long,
}

/// Threads of one volume. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    threads: Arc<Semaphore>,
    long: Arc<Semaphore>,
    /// Of these, for work that takes a processor too.
    seats: Permits,
    scans: Permits,
    /// Reason for the volume being unusable; `None` if it can be used.
    state: watch::Sender<Option<StorageError>>,
    guard: OnceLock<Guard>,
    is_probing: AtomicBool,
}

/// Detection of an unusable volume. Without a guard, calls have no timeout.
pub(super) struct Guard {
    /// Timeout after which a volume counts as not responding.
    pub(super) timeout: Duration,
    /// Makes a few calls on the volume; fails if it cannot be used.
    pub(super) probe: Box<dyn Fn() -> Result<(), StorageError> + Send + Sync>,
    /// Callback for each new state.
    pub(super) changed: Changed,
}

/// Callback with the reason for a volume being unusable; `None` if it can be used.
type Changed = Box<dyn Fn(Option<&StorageError>) + Send + Sync>;

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A reserved thread.
#[derive(Debug)]
pub(crate) struct Slot {
    pool: Pool,
    permits: Threads,
    seat: Option<Permit>,
}

/// Permits for a long-work thread, if it is one, and for a thread.
type Threads = (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>);

impl Pool {
    pub(super) fn new(name: &str) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = THREADS.max(processors.saturating_mul(2));
        Self(Arc::new(Shared {
            name: name.to_owned(),
            threads: Arc::new(Semaphore::new(threads)),
            long: Arc::new(Semaphore::new(threads.saturating_sub(RESERVED))),
            seats: Permits::with_first(threads.saturating_sub(RESERVED + UNSEATED + FIRST), FIRST),
            scans: Permits::new(SCANS),
            state: watch::Sender::new(None),
            guard: OnceLock::new(),
            is_probing: AtomicBool::new(false),
        }))
    }

    /// Creates a pool without a guard.
    pub(crate) fn of(path: &Path) -> Self {
        Self::new(&path.display().to_string())
    }

    /// Sets the guard. The volume counts as unusable until a probe has succeeded.
    pub(super) fn guard(&self, guard: Guard) {
        if self.0.guard.set(guard).is_ok() {
            self.0.state.send_replace(Some(StorageError::unopened(&self.0.name)));
            self.suspect();
        }
    }

    /// Returns the name of the volume.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the reason for the volume being unusable; `None` if it can be used.
    pub(crate) fn state(&self) -> Option<StorageError> {
        self.0.state.borrow().clone()
    }

    /// Waits until the first probe has ended or timed out; returns the state.
    pub(super) async fn settled(&self) -> Option<StorageError> {
        let mut state = self.0.state.subscribe();
        let guard = self.0.guard.get()?;
        let is_settled = |state: &Option<StorageError>| !state.as_ref().is_some_and(StorageError::is_unopened);
        let _ = timeout(guard.timeout.saturating_mul(2), state.wait_for(is_settled)).await;
        self.state()
    }

    /// Runs `job` on a thread of the volume, and waits as long as the volume responds. Started work continues if the
    /// caller gives up.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: Call,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        self.slot(work).await?.run(job).await
    }

    /// Waits for a free thread.
    pub(crate) async fn slot(&self, work: Call) -> Result<Slot, StorageError> {
        let permits = self.unless_down(self.permits(work)).await?;
        Ok(Slot { pool: self.clone(), permits, seat: None })
    }

    /// Waits for a free thread for long work that takes a processor too. A namespace that has many such waits itself.
    pub(crate) async fn slot_for(&self, seat: &Seat) -> Result<Slot, StorageError> {
        let seat = self.unless_down(seat.permit_of(&self.0.seats)).await?;
        Ok(Slot { seat: Some(seat), ..self.slot(Call::Long).await? })
    }

    /// Waits for one of the permits for scans. A namespace with many large trees delays its own scans.
    pub(crate) async fn scan_turn(&self, seat: &Seat) -> Result<Permit, StorageError> {
        self.unless_down(seat.permit_of(&self.0.scans)).await
    }

    /// Waits for a future that depends on the volume, as long as the volume responds.
    pub(crate) async fn unless_down<T>(&self, waiting: impl Future<Output = T>) -> Result<T, StorageError> {
        if let Some(error) = self.state() {
            return Err(error);
        }
        let mut state = self.0.state.subscribe();
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
        let Some(guard) = self.0.guard.get() else { return either.await };
        loop {
            match timeout(guard.timeout / 3, either.as_mut()).await {
                Ok(ended) => return ended,
                Err(_) => self.suspect(),
            }
        }
    }

    /// Runs `job` on a thread of the volume without waiting for it. On a pool's thread, runs it there.
    pub(crate) fn detach<T: Send + 'static>(&self, value: T, job: impl FnOnce(T) + Send + 'static) {
        if IS_OF_POOL.get() { job(value) } else { self.later(value, job) }
    }

    /// As [`Self::detach`], but always on another thread.
    pub(super) fn later<T: Send + 'static>(&self, value: T, job: impl FnOnce(T) + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return job(value) };
        let now = |semaphore: &Arc<Semaphore>| Arc::clone(semaphore).try_acquire_owned().ok();
        if let Some(long) = now(&self.0.long)
            && let Some(thread) = now(&self.0.threads)
        {
            runtime.spawn_blocking(move || on_pool((Some(long), Some(thread)), || job(value)));
            return;
        }
        let (pool, queued) = (self.clone(), Queued(Some(value)));
        runtime.spawn(async move {
            let permits = pool.permits(Call::Long).await;
            tokio::task::spawn_blocking(move || {
                let mut queued = queued;
                on_pool(permits, || queued.0.take().map(job));
            });
        });
    }

    /// Probes the volume, unless a probe is running, and repeats until it can be used.
    pub(super) fn suspect(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.0.guard.get().is_none() || self.0.is_probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = self.clone();
        runtime.spawn(async move {
            pool.probe().await;
            pool.0.is_probing.store(false, Ordering::Release);
        });
    }

    #[expect(clippy::disallowed_methods, reason = "this is the timer")]
    async fn probe(&self) {
        let mut failures = 0;
        loop {
            let Some(guard) = self.0.guard.get() else { return };
            let shared = Arc::clone(&self.0);
            // Not one of the pool's threads, because all of them may hang.
            let mut probe = tokio::task::spawn_blocking(move || {
                on_pool((None, None), || shared.guard.get().map_or(Ok(()), |guard| (guard.probe)()))
            });
            let ended = if let Ok(ended) = timeout(guard.timeout.saturating_sub(guard.timeout / 3), &mut probe).await {
                ended
            } else {
                self.change(guard, Some(StorageError::unresponsive(&self.0.name, guard.timeout)));
                probe.await
            };
            match ended.unwrap_or_else(|_| Err(StorageError::unusable(&self.0.name, "a thread panicked"))) {
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
        let told = |state: &Option<StorageError>| state.as_ref().map(ToString::to_string);
        let is_new = told(&self.0.state.borrow()) != told(&new);
        if is_new {
            (guard.changed)(new.as_ref());
            self.0.state.send_replace(new);
        }
    }

    async fn permits(&self, work: Call) -> Threads {
        // The semaphores are never closed.
        let one = async |semaphore: &Arc<Semaphore>| Arc::clone(semaphore).acquire_owned().await.ok();
        let long = if work == Call::Long { one(&self.0.long).await } else { None };
        (long, one(&self.0.threads).await)
    }

    /// Waits until all threads are idle.
    #[cfg(test)]
    pub(crate) async fn idle(&self) {
        let processors = std::thread::available_parallelism().unwrap().get();
        let all = u32::try_from(THREADS.max(processors * 2)).unwrap();
        drop(Arc::clone(&self.0.threads).acquire_many_owned(all).await.unwrap());
    }
}

impl Slot {
    /// As [`Pool::run`].
    pub(crate) async fn run<T: Send + 'static>(
        self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        let Self { pool, permits, seat } = self;
        if let Some(error) = pool.state() {
            return Err(error);
        }
        let job = move || {
            // It ends with the job, also where nobody waits for that any more.
            let _seat = seat;
            job()
        };
        let work = tokio::task::spawn_blocking(move || on_pool(permits, job));
        pool.unless_down(work).await?.map_err(|_| StorageError::panicked())
    }
}

/// Runs a job on this thread, marked as a pool's thread.
fn on_pool<T>(permits: Threads, job: impl FnOnce() -> T) -> T {
    /// Unmarks the thread before it returns to the runtime, even after a panic.
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            IS_OF_POOL.set(false);
        }
    }
    IS_OF_POOL.set(true);
    let _leave = Leave;
    let done = job();
    drop(permits);
    done
}

/// A value in the queue for a thread. If the runtime ends first, it is leaked, because dropping it could block.
struct Queued<T>(Option<T>);

impl<T> Drop for Queued<T> {
    fn drop(&mut self) {
        if !IS_OF_POOL.get() {
            std::mem::forget(self.0.take());
        }
    }
}

#[cfg(test)]
mod tests;
