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
//! The probe distinguishes a volume that hangs from a large tree: work may take hours while probes return. Work whose
//! caller has given up continues in its thread, which is one of the few until the work ends.
//!
//! Work on whole trees gets only some of the threads, shared between namespaces: the files of one namespace may be slow
//! while the volume responds. Some threads are for namespaces that hold none: unpacking a bomb takes seconds, and the
//! next thread would be free only after that (4.8 s instead of 1.5 s at worst, beside 1000 hostile objects on two cores).
//! Work that holds a thread while it waits for a processor gets fewer, so that a look or a removal always finds one.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::StorageError;
use crate::permits::{Permit, Permits, Seat};

mod health;
mod thread;

pub(super) use health::Guard;
use health::Health;
use thread::{Queued, is_of_pool, on_pool};

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
/// Kind of work, which decides about the threads that it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// A few filesystem calls.
    Short,
    /// A whole tree or layer of an object in this namespace.
    Long(&'a str),
    /// A tree of no single namespace, such as the cache or leftovers.
    Upkeep,
}

impl<'a> Call<'a> {
    /// Returns the namespace whose share of the threads for long work is used. Upkeep has a share of its own: no
    /// namespace has an empty name.
    fn share(self) -> Option<&'a str> {
        match self {
            Self::Short => None,
            Self::Long(namespace) => Some(namespace),
            Self::Upkeep => Some(""),
        }
    }
}

/// Threads of one volume. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    health: Arc<Health>,
    threads: Arc<Semaphore>,
    long: Permits,
    /// Of these, for work that takes a processor too.
    seats: Permits,
    scans: Permits,
}

/// A reserved thread.
#[derive(Debug)]
pub(crate) struct Slot {
    pool: Pool,
    permits: Threads,
    seat: Option<Permit>,
}

/// Permits for a long-work thread, if it is one, and for a thread.
type Threads = (Option<Permit>, Option<OwnedSemaphorePermit>);

/// Returns the number of threads of a volume.
fn threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    THREADS.max(processors.saturating_mul(2))
}

impl Pool {
    pub(super) fn new(name: &str) -> Self {
        let threads = threads();
        Self(Arc::new(Shared {
            health: Health::new(name),
            threads: Arc::new(Semaphore::new(threads)),
            long: Permits::with_first(threads.saturating_sub(RESERVED + FIRST), FIRST),
            seats: Permits::with_first(threads.saturating_sub(RESERVED + UNSEATED + FIRST), FIRST),
            scans: Permits::new(SCANS),
        }))
    }

    /// Creates a pool without a guard.
    pub(crate) fn of(path: &Path) -> Self {
        Self::new(&path.display().to_string())
    }

    /// Sets the guard. The volume counts as unusable until a probe has succeeded.
    pub(super) fn guard(&self, guard: Guard) {
        self.0.health.guard(guard);
    }

    /// Returns the name of the volume.
    pub(super) fn name(&self) -> &str {
        self.0.health.name()
    }

    /// Returns the reason for the volume being unusable; `None` if it can be used.
    pub(crate) fn state(&self) -> Option<StorageError> {
        self.0.health.state()
    }

    /// Waits until the first probe has ended or timed out; returns the state.
    pub(super) async fn settled(&self) -> Option<StorageError> {
        self.0.health.settled().await
    }

    /// Probes the volume, unless a probe is running, and repeats until it can be used.
    pub(super) fn suspect(&self) {
        self.0.health.suspect();
    }

    /// Waits for a future that depends on the volume, as long as the volume responds.
    pub(crate) async fn unless_down<T>(&self, waiting: impl Future<Output = T>) -> Result<T, StorageError> {
        self.0.health.unless_down(waiting).await
    }

    /// Runs `job` on a thread of the volume, and waits as long as the volume responds. Started work continues if the
    /// caller gives up.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: Call<'_>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        self.slot(work).await?.run(job).await
    }

    /// Waits for a free thread.
    pub(crate) async fn slot(&self, work: Call<'_>) -> Result<Slot, StorageError> {
        let permits = self.unless_down(self.permits(work)).await?;
        Ok(Slot { pool: self.clone(), permits, seat: None })
    }

    /// Waits for a free thread for long work that takes a processor too. A namespace with many such threads waits longer.
    pub(crate) async fn slot_for(&self, seat: &Seat) -> Result<Slot, StorageError> {
        let namespace = seat.namespace();
        let seat = self.unless_down(seat.permit_of(&self.0.seats)).await?;
        Ok(Slot { seat: Some(seat), ..self.slot(Call::Long(namespace)).await? })
    }

    /// Waits for one of the permits for scans. A namespace with many large trees delays its own scans.
    pub(crate) async fn scan_turn(&self, seat: &Seat) -> Result<Permit, StorageError> {
        self.unless_down(seat.permit_of(&self.0.scans)).await
    }

    /// Runs `job` on a thread of the volume without waiting for it. On a pool's thread, runs it there.
    pub(crate) fn detach<T: Send + 'static>(&self, value: T, job: impl FnOnce(T) + Send + 'static) {
        if is_of_pool() { job(value) } else { self.later(value, job) }
    }

    /// As [`Self::detach`], but always on another thread.
    pub(super) fn later<T: Send + 'static>(&self, value: T, job: impl FnOnce(T) + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else { return job(value) };
        let now = self.0.long.try_permit(Call::Upkeep.share().unwrap_or_default());
        if let Some(long) = now
            && let Ok(thread) = Arc::clone(&self.0.threads).try_acquire_owned()
        {
            runtime.spawn_blocking(move || on_pool((Some(long), Some(thread)), || job(value)));
            return;
        }
        let (pool, queued) = (self.clone(), Queued(Some(value)));
        runtime.spawn(async move {
            let permits = pool.permits(Call::Upkeep).await;
            tokio::task::spawn_blocking(move || {
                let mut queued = queued;
                on_pool(permits, || queued.0.take().map(job));
            });
        });
    }

    async fn permits(&self, work: Call<'_>) -> Threads {
        let long = match work.share() {
            Some(namespace) => Some(self.0.long.permit(namespace).await),
            None => None,
        };
        // The semaphore is never closed.
        (long, Arc::clone(&self.0.threads).acquire_owned().await.ok())
    }

    /// Waits until all threads are idle.
    #[cfg(test)]
    pub(crate) async fn idle(&self) {
        let all = u32::try_from(threads()).unwrap();
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
            // Ends with the job, even if the caller has given up.
            let _seat = seat;
            job()
        };
        let work = tokio::task::spawn_blocking(move || on_pool(permits, job));
        pool.unless_down(work).await?.map_err(|_| StorageError::panicked())
    }
}

#[cfg(test)]
mod tests;
