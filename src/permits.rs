//! Permits for work that namespaces share: processors, threads of a volume, requests to the API server.
//!
//! Unpacking, hashing, filtering tags and verifying signatures each saturate a core. A released permit goes to the
//! waiting namespace that holds the fewest, so that a thousand objects of one namespace do not delay twenty of
//! another. A permit is held for up to seconds, so a namespace that holds none need not wait for a release: some
//! permits more than processors are for the first permit of a namespace only, and the kernel divides the processors.
//! The time spent waiting for a permit depends on other objects only, so it does not count against `spec.timeout`:
//! [`Seat::within`].

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::counts::Counts;
use crate::mutex::lock;
use crate::waiting::Waiting as Queues;

/// Maximum number of permits, even with more processors: each layer being unpacked uses memory.
const MOST: usize = 8;
/// Maximum number of permits beyond the processors, each the only permit of its namespace.
const MOST_FIRST: usize = 4;
/// Shortest interval between two checks of the remaining time while the clock is stopped.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The pool of permits and the queue of waiters. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Number of permits that any namespace may take.
    permits: usize,
    /// Number of further permits, for namespaces that hold none.
    first: usize,
    /// Number of permits in use.
    held: usize,
    /// Number of permits held by each namespace.
    taken: Counts<Arc<str>>,
    /// Of the namespaces with equally few permits the first one is next.
    waiting: Queues<Arc<str>, Permit>,
}

type Waiter = oneshot::Sender<Permit>;

/// The right to keep one processor busy; released when dropped.
#[derive(Debug)]
pub struct Permit {
    processors: Permits,
    namespace: Arc<str>,
}

impl Default for Permits {
    /// Creates one permit per processor of the machine, at most eight, and as many first permits, at most four.
    fn default() -> Self {
        let permits = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST);
        Self::with_first(permits, permits.min(MOST_FIRST))
    }
}

impl Permits {
    /// Creates a pool of `permits` permits.
    pub fn new(permits: usize) -> Self {
        Self::with_first(permits, 0)
    }

    /// Creates a pool of `permits` permits, and of `first` more for namespaces that hold none.
    pub(crate) fn with_first(permits: usize, first: usize) -> Self {
        let (taken, waiting) = (Counts::default(), Queues::default());
        Self(Arc::new(Mutex::new(State { permits, first, held: 0, taken, waiting })))
    }

    /// Creates a seat for one task of `namespace`.
    pub fn seat(&self, namespace: &str) -> Seat {
        Seat { processors: self.clone(), namespace: namespace.into(), waits: Arc::default() }
    }

    /// Waits for a permit for `namespace`.
    pub(crate) async fn permit(&self, namespace: &str) -> Permit {
        let (to, permit) = oneshot::channel();
        self.lock().waiting.push(&namespace.into(), to);
        self.grant();
        match permit.await {
            Ok(permit) => permit,
            // Unreachable: a waiter's sender is kept until the receiver is closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes a permit for `namespace` if one is free for it now.
    pub(crate) fn try_permit(&self, namespace: &str) -> Option<Permit> {
        let (to, mut permit) = oneshot::channel();
        self.lock().waiting.push(&namespace.into(), to);
        self.grant();
        permit.try_recv().ok()
    }

    /// Hands out all free permits. If a waiter was cancelled, the send fails and drops the permit, whose `Drop` calls
    /// this function again.
    fn grant(&self) {
        loop {
            let Some((namespace, to)) = self.lock().next() else { return };
            // Outside the lock, because a failed send drops the permit, which takes the lock.
            let _ = to.send(Permit { processors: self.clone(), namespace });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is safe to use: every statement leaves the counts consistent.
        lock(&self.0)
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        let state = self.lock();
        state.permits.saturating_sub(state.held)
    }
}

impl State {
    /// Takes the first waiter of the namespace with the fewest permits, if a permit is free for it, and counts the permit
    /// as taken.
    fn next(&mut self) -> Option<(Arc<str>, Waiter)> {
        while self.held < self.permits.saturating_add(self.first) {
            let taken = self.waiting.namespaces().map(|namespace| self.taken.get(&**namespace));
            let (index, fewest) = taken.enumerate().min_by_key(|(_, count)| *count)?;
            if self.held >= self.permits && fewest > 0 {
                return None;
            }
            if let Some((namespace, waiter)) = self.waiting.take(index) {
                self.held = self.held.saturating_add(1);
                self.taken.increment(Arc::clone(&namespace));
                return Some((namespace, waiter));
            }
        }
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        {
            let mut state = self.processors.lock();
            state.held = state.held.saturating_sub(1);
            state.taken.decrement(&*self.namespace);
        }
        self.processors.grant();
    }
}

/// A task's access to the permits; adds up the time that the task waits for permits. Clones share the sum.
#[derive(Clone, Debug)]
pub struct Seat {
    processors: Permits,
    namespace: Arc<str>,
    waits: Arc<Mutex<Waits>>,
}

#[derive(Debug, Default)]
struct Waits {
    /// Number of parts of the task that wait now; `since` is the time at which the first of them began to wait.
    now: usize,
    since: Option<Instant>,
    /// Total of the earlier waits.
    before: Duration,
}

impl Seat {
    /// Waits for a permit.
    pub async fn permit(&self) -> Permit {
        self.permit_of(&self.processors).await
    }

    /// Waits for a permit of something else that namespaces share.
    pub(crate) async fn permit_of(&self, shared: &Permits) -> Permit {
        let _waiting = Waiting::begin(&self.waits);
        shared.permit(&self.namespace).await
    }

    /// Returns the namespace of the task.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs `work`, which waits for its permits on this seat, with a time limit. Returns `None` if the work took
    /// longer than `limit`, not counting those waits.
    pub async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let (started, before) = (Instant::now(), self.waited());
        let mut left = limit;
        loop {
            if let Ok(done) = tokio::time::timeout(left, work.as_mut()).await {
                return Some(done);
            }
            let waited = self.waited().saturating_sub(before);
            left = limit.saturating_add(waited).saturating_sub(started.elapsed());
            if left.is_zero() {
                return None;
            }
            left = left.max(LOOK_AGAIN);
        }
    }

    fn waited(&self) -> Duration {
        let waits = lock(&self.waits);
        waits.before.saturating_add(waits.since.map_or(Duration::ZERO, |since| since.elapsed()))
    }
}

/// One part of a task that is waiting, until dropped.
struct Waiting<'a>(&'a Mutex<Waits>);

impl<'a> Waiting<'a> {
    fn begin(waits: &'a Mutex<Waits>) -> Self {
        let mut all = lock(waits);
        all.now = all.now.saturating_add(1);
        all.since.get_or_insert_with(Instant::now);
        Self(waits)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut all = lock(self.0);
        all.now = all.now.saturating_sub(1);
        if all.now == 0 {
            let more = all.since.take().map_or(Duration::ZERO, |since| since.elapsed());
            all.before = all.before.saturating_add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn a_permit_goes_to_the_namespace_with_the_fewest() {
        let processors = Permits::new(4);
        let (greedy, modest) = (processors.seat("greedy"), processors.seat("modest"));
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(greedy.permit().await);
        }
        let mut many: Vec<_> = (0..1000).map(|_| Box::pin(greedy.permit())).collect();
        for waiting in &mut many {
            assert!(poll!(waiting).is_pending());
        }
        let mut few: Vec<_> = (0..3).map(|_| Box::pin(modest.permit())).collect();
        for waiting in &mut few {
            assert!(poll!(waiting).is_pending());
        }
        held.truncate(2);
        let mut served = Vec::new();
        for waiting in &mut few {
            if let std::task::Poll::Ready(permit) = poll!(waiting) {
                served.push(permit);
            }
        }
        assert_eq!(served.len(), 2, "both that were given back");
        // The namespaces now hold half of the permits each, so grants alternate.
        held.truncate(1);
        assert!(poll!(&mut many[0]).is_ready() && poll!(&mut few[2]).is_pending());
        drop((held, many, few, served));
        assert_eq!(processors.free(), 4);
        assert!(processors.lock().taken.is_empty() && processors.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn the_first_permit_of_a_namespace_waits_for_no_other_namespace() {
        let processors = Permits::with_first(2, 2);
        let seats: Vec<_> = ["hog", "a", "b", "c"].map(|namespace| processors.seat(namespace)).into();
        let [hog, a, b, c] = seats.as_slice() else { unreachable!() };
        let hogged = (hog.permit().await, hog.permit().await);
        assert!(poll!(Box::pin(hog.permit())).is_pending(), "two processors");
        let first = a.permit().await;
        assert!(poll!(Box::pin(a.permit())).is_pending(), "only the first");
        let _second = b.permit().await;
        let mut last = Box::pin(c.permit());
        assert!(poll!(&mut last).is_pending(), "four at most");
        // The permit of a is now the third in use, so only a namespace without one may take it.
        let mut more = Box::pin(hog.permit());
        assert!(poll!(&mut more).is_pending());
        drop(first);
        assert!(poll!(&mut last).is_ready() && poll!(&mut more).is_pending());
        drop(hogged);
        assert!(poll!(&mut more).is_ready());
    }

    #[tokio::test]
    async fn a_cancelled_wait_loses_no_permit() {
        let processors = Permits::new(1);
        let seat = processors.seat("a");
        let held = seat.permit().await;
        let mut gone = Box::pin(seat.permit());
        let mut next = Box::pin(seat.permit());
        assert!(poll!(&mut gone).is_pending() && poll!(&mut next).is_pending());
        // `gone` received its permit and is dropped without having been polled.
        drop(held);
        drop(gone);
        drop(next.await);
        assert_eq!(processors.free(), 1);
    }

    #[tokio::test]
    async fn waiting_for_a_permit_does_not_count_against_the_timeout() {
        let processors = Permits::new(1);
        let (hog, seat) = (processors.seat("hog"), processors.seat("a"));
        let (limit, held) = (Duration::from_millis(100), hog.permit().await);
        let hogging = async {
            // Longer than the seat's limit.
            assert!(hog.within(4 * limit, std::future::pending::<()>()).await.is_none());
            drop(held);
        };
        let ((), worked) = futures::join!(hogging, seat.within(limit, seat.permit()));
        assert!(worked.is_some());
        drop(worked);
        let idle = seat.within(limit, std::future::pending::<()>());
        assert!(tokio::time::timeout(Duration::from_secs(20), idle).await.unwrap().is_none(), "its own time counts");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_costs_no_memory_behind_one_that_waits() {
        let processors = Permits::new(1);
        let seat = processors.seat("a");
        let _held = seat.permit().await;
        let mut patient = Box::pin(seat.permit());
        assert!(poll!(&mut patient).is_pending());
        for _ in 0..10_000 {
            assert!(poll!(&mut Box::pin(seat.permit())).is_pending());
        }
        let waiting = processors.lock().waiting.len();
        assert!(waiting < 100, "{waiting} places in the queue, of which one is in use");
    }
}
