//! Hanging filesystems, simulated by the tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use futures::{FutureExt, poll};
use tokio::time::timeout;

use super::*;
use crate::storage::OnVolume;

const TIMEOUT: Duration = Duration::from_millis(300);
/// Timeout for operations that must not hang.
const SOON: Duration = Duration::from_secs(20);

/// Simulated server. Calls return while it does not hang.
#[derive(Default)]
struct Server {
    is_hanging: Mutex<bool>,
    changed: Condvar,
}

impl Server {
    fn set(&self, is_hanging: bool) {
        *self.is_hanging.lock().unwrap() = is_hanging;
        self.changed.notify_all();
    }

    fn call(&self) {
        drop(self.changed.wait_while(self.is_hanging.lock().unwrap(), |is_hanging| *is_hanging).unwrap());
    }
}

async fn pool(name: &str) -> (Pool, Arc<Server>) {
    let (pool, server) = (Pool::new(name), Arc::new(Server::default()));
    let probed = Arc::clone(&server);
    let probe = Box::new(move || {
        probed.call();
        Ok(())
    });
    pool.guard(Guard { timeout: TIMEOUT, probe, changed: Box::new(|_| {}) });
    assert!(pool.settled().await.is_none());
    (pool, server)
}

async fn call(pool: &Pool, server: &Arc<Server>) -> Result<(), StorageError> {
    let server = Arc::clone(server);
    pool.run(Call::Long("a"), move || server.call()).await
}

async fn soon<T>(waiting: impl Future<Output = T>) -> T {
    timeout(SOON, waiting).await.expect("hangs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_volume_blocks_few_threads_and_no_caller() {
    let ((bad, hanging), (good, answering)) = (pool("bad").await, pool("good").await);
    hanging.set(true);
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let (bad, hanging) = (bad.clone(), Arc::clone(&hanging));
            tokio::spawn(async move { call(&bad, &hanging).await })
        })
        .collect();
    for one in calls {
        let error = soon(one).await.unwrap().unwrap_err();
        assert_eq!(error.volume(), Some("bad"));
        assert!(error.to_string().contains("--volume-timeout"), "{error}");
    }
    assert!(soon(call(&bad, &hanging)).await.is_err(), "and a later one is refused");
    soon(call(&good, &answering)).await.unwrap();
    hanging.set(false);
    let mut state = bad.0.health.state.subscribe();
    soon(state.wait_for(Option::is_none)).await.unwrap();
    soon(call(&bad, &hanging)).await.unwrap();
    soon(bad.idle()).await;
}

#[tokio::test]
async fn long_work_is_awaited_while_probes_succeed() {
    let (pool, _) = pool("slow").await;
    let started = Instant::now();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let work = pool.run(Call::Long("a"), move || receiver.recv_timeout(TIMEOUT * 5));
    soon(work).await.unwrap().unwrap_err();
    assert!(started.elapsed() >= TIMEOUT * 5);
    drop(sender);
}

#[tokio::test]
async fn an_unusable_volume_is_probed_until_it_recovers() {
    let (broken, pool) = (Arc::new(AtomicBool::new(true)), Pool::new("broken"));
    let seen = Arc::clone(&broken);
    let probe = Box::new(move || {
        let error = || StorageError::unusable("broken", "it is broken");
        if seen.load(Ordering::Acquire) { Err(error()) } else { Ok(()) }
    });
    pool.guard(Guard { timeout: SOON, probe, changed: Box::new(|_| {}) });
    assert!(soon(pool.settled()).await.is_some());
    let error = pool.run(Call::Short, || ()).await.unwrap_err();
    assert_eq!(error.volume(), Some("broken"));
    broken.store(false, Ordering::Release);
    soon(pool.0.health.state.subscribe().wait_for(Option::is_none)).await.unwrap();
    pool.run(Call::Short, || ()).await.unwrap();
}

#[tokio::test]
async fn values_whose_drop_may_hang_are_dropped_on_a_thread_of_the_volume() {
    struct Told(std::sync::mpsc::Sender<ThreadId>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }
    let (pool, server) = pool("v").await;
    let (sender, receiver) = std::sync::mpsc::channel();
    drop(OnVolume::new(&pool, Told(sender.clone())));
    soon(pool.idle()).await;
    assert_ne!(receiver.try_recv().unwrap(), std::thread::current().id());
    server.set(true);
    let hanging: Vec<_> = (0..THREADS * 8)
        .map(|_| {
            pool.run(Call::Long("a"), {
                let server = Arc::clone(&server);
                move || server.call()
            })
        })
        .collect();
    assert!(futures::future::join_all(hanging).await.iter().all(Result::is_err));
    drop(OnVolume::new(&pool, Told(sender)));
    assert!(receiver.try_recv().is_err(), "not before there is a thread");
    server.set(false);
    soon(async {
        while receiver.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_panicking_job_is_an_error_and_releases_its_thread() {
    let (pool, _) = pool("v").await;
    let ended: Result<(), _> = pool.run(Call::Long("a"), || panic!("on purpose")).await;
    assert!(ended.unwrap_err().is_panic());
    soon(pool.idle()).await;
}

/// A21.
#[tokio::test]
async fn threads_for_processor_work_go_to_the_namespace_with_the_fewest() {
    let (pool, processors) = (Pool::new("shared"), crate::permits::Permits::new(1));
    let (greedy, modest) = (processors.seat("greedy"), processors.seat("modest"));
    let mut held = Vec::new();
    while let Some(slot) = pool.slot_for(&greedy).now_or_never() {
        held.push(slot.unwrap());
    }
    let mut more: Vec<_> = (0..10).map(|_| Box::pin(pool.slot_for(&greedy))).collect();
    for waiting in &mut more {
        assert!(poll!(waiting).is_pending());
    }
    let first = soon(pool.slot_for(&modest)).await.unwrap();
    let mut next = Box::pin(pool.slot_for(&modest));
    assert!(poll!(&mut next).is_pending());
    soon(pool.run(Call::Long("greedy"), || ())).await.unwrap();
    // The first one counts too.
    held.truncate(held.len() - 2);
    let _next = soon(next).await.unwrap();
    assert!(poll!(&mut more[0]).is_pending());
    drop(first);
}

/// Number 14.
#[tokio::test]
async fn slow_looks_of_one_namespace_leave_a_thread_to_each_other_namespace() {
    let pool = Pool::new("shared");
    let mut held = Vec::new();
    while let Some(slot) = pool.slot(Call::Long("greedy")).now_or_never() {
        held.push(slot.unwrap());
    }
    let mut more = Box::pin(pool.slot(Call::Long("greedy")));
    assert!(poll!(&mut more).is_pending());
    let first = soon(pool.slot(Call::Long("modest"))).await.unwrap();
    soon(pool.run(Call::Upkeep, || ())).await.unwrap();
    let mut next = Box::pin(pool.slot(Call::Long("modest")));
    assert!(poll!(&mut next).is_pending());
    held.truncate(held.len() - 2);
    let _next = soon(next).await.unwrap();
    assert!(poll!(&mut more).is_pending());
    drop((first, held));
    let _more = soon(more).await.unwrap();
    soon(pool.run(Call::Short, || ())).await.unwrap();
}

/// A24.
#[tokio::test]
async fn a_scan_of_the_namespace_that_has_the_fewest_is_next() {
    let (pool, processors) = (Pool::new("shared"), crate::permits::Permits::new(1));
    let (greedy, modest) = (processors.seat("greedy"), processors.seat("modest"));
    let mut held = Vec::new();
    for _ in 0..SCANS {
        held.push(soon(pool.scan_turn(&greedy)).await.unwrap());
    }
    let mut more: Vec<_> = (0..100).map(|_| Box::pin(pool.scan_turn(&greedy))).collect();
    for waiting in &mut more {
        assert!(poll!(waiting).is_pending());
    }
    let mut next = Box::pin(pool.scan_turn(&modest));
    assert!(poll!(&mut next).is_pending());
    held.pop();
    let _turn = soon(next).await.unwrap();
    assert!(poll!(&mut more[0]).is_pending());
}
