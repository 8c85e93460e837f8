//! Turns at registries: limits on the number of passes that are active at one host, and of one namespace.
//!
//! A slow or unreachable registry delays only objects of its own host. Namespaces that wait for one host are served
//! in rotation, so that a thousand objects of one namespace do not delay twenty of another. A waiting pass holds
//! nothing but its place in the queue. A turn may be held for all of `spec.timeout` and for the waits that do not count
//! against it, and is never revoked. So a namespace gets at most half of a host's turns, and some more turns are for
//! namespaces that hold none: neither one namespace nor two can occupy a host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::counts::Counts;
use crate::mutex::lock;
use crate::oci::Repository;
use crate::waiting::Waiting;

/// Maximum number of active passes at one host.
const PER_HOST: usize = 32;
/// Maximum number of active passes of one namespace at one host.
const PER_HOST_AND_NAMESPACE: usize = PER_HOST / 2;
/// Number of further active passes at one host, each the only one of its namespace there.
const FIRST_PER_HOST: usize = 16;
/// Maximum number of active passes of one namespace at all hosts, so that a thousand dead hosts do not take all
/// sockets.
const PER_NAMESPACE: usize = 64;

/// The active and waiting passes by host and namespace. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<State>>);

/// The right of a pass to be active at a host, until dropped.
#[derive(Debug)]
pub struct Turn {
    /// Released when dropped.
    _held: Held,
}

#[derive(Debug)]
struct Held {
    turns: Turns,
    host: String,
    namespace: String,
}

/// Contains only hosts and namespaces with active or waiting passes.
#[derive(Debug, Default)]
struct State {
    hosts: HashMap<String, HostTurns>,
    /// Number of turns held by each namespace.
    taken: Counts<String>,
}

#[derive(Debug, Default)]
struct HostTurns {
    taken: usize,
    /// Number of turns held at this host by each namespace.
    taken_by: Counts<String>,
    /// The next namespace first.
    waiting: Waiting<String, Turn>,
}

type Waiter = oneshot::Sender<Turn>;
/// Turns to hand over after the state is unlocked: if a waiter is gone, its turn is dropped, which locks the state
/// again.
type Granted = Vec<(Waiter, String, String)>;

impl Turns {
    /// Waits for a turn of `namespace` at the repository's host.
    pub async fn wait(&self, namespace: &str, repository: &Repository) -> Turn {
        let (waiter, turn) = oneshot::channel();
        let host = repository.canonical_host().to_string();
        let granted = {
            let mut state = self.lock();
            state.hosts.entry(host.clone()).or_default().waiting.push(&namespace.to_owned(), waiter);
            state.grant(&host)
        };
        self.hand_over(granted);
        match turn.await {
            Ok(turn) => turn,
            // Unreachable: a waiter's sender is kept until the receiver is gone.
            Err(_) => std::future::pending().await,
        }
    }

    fn hand_over(&self, granted: Granted) {
        for (waiter, host, namespace) in granted {
            // If the waiter is gone, the turn is dropped, which passes it on.
            let _ = waiter.send(Turn { _held: Held { turns: self.clone(), host, namespace } });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is safe to use: the counts are consistent wherever a panic is possible.
        lock(&self.0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let granted = self.turns.lock().release(&self.host, &self.namespace);
        self.turns.hand_over(granted);
    }
}

impl State {
    /// Grants the free turns of a host.
    fn grant(&mut self, name: &str) -> Granted {
        let mut granted = Granted::new();
        let Some(host) = self.hosts.get_mut(name) else { return granted };
        loop {
            let may = |namespace: &str| self.taken.get(namespace) < PER_NAMESPACE;
            let Some((namespace, waiter)) = host.next(may) else { break };
            host.taken += 1;
            host.taken_by.increment(namespace.clone());
            self.taken.increment(namespace.clone());
            granted.push((waiter, name.to_owned(), namespace));
        }
        if host.taken == 0 && host.waiting.is_empty() {
            self.hosts.remove(name);
        }
        granted
    }

    fn release(&mut self, name: &str, namespace: &str) -> Granted {
        if let Some(host) = self.hosts.get_mut(name) {
            host.taken = host.taken.saturating_sub(1);
            host.taken_by.decrement(namespace);
        }
        let left = self.taken.decrement(namespace);
        let mut granted = self.grant(name);
        // The namespace may have waited at other hosts only because of its own limit.
        if left + 1 == PER_NAMESPACE {
            let waits = |host: &HostTurns| host.waiting.namespaces().any(|waiting| waiting == namespace);
            let others: Vec<_> =
                self.hosts.iter().filter(|(_, host)| waits(host)).map(|(name, _)| name.clone()).collect();
            for other in others {
                granted.extend(self.grant(&other));
            }
        }
        granted
    }
}

impl HostTurns {
    /// Takes the first live waiter of the first namespace that may have a turn, and moves this namespace to the end.
    fn next(&mut self, may: impl Fn(&str) -> bool) -> Option<(String, Waiter)> {
        loop {
            let is_free = |namespace: &String| {
                let taken = self.taken_by.get(namespace);
                let first = if taken == 0 { FIRST_PER_HOST } else { 0 };
                taken < PER_HOST_AND_NAMESPACE && self.taken < PER_HOST + first
            };
            let index = self.waiting.namespaces().position(|namespace| may(namespace) && is_free(namespace))?;
            if let Some(next) = self.waiting.take(index) {
                return Some(next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;
    use crate::oci::Reference;

    fn host(name: &str) -> Repository {
        format!("{name}.example/a").parse::<Reference>().unwrap().repository
    }

    async fn take(turns: &Turns, namespace: &str, host: &Repository, count: usize) -> Vec<Turn> {
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(turns.wait(namespace, host).await);
        }
        held
    }

    #[tokio::test]
    async fn a_busy_host_delays_only_its_own_passes() {
        let (busy, other) = (host("busy"), host("other"));
        let turns = Turns::default();
        let mut held = take(&turns, "a", &busy, PER_HOST_AND_NAMESPACE).await;
        let mut next = Box::pin(turns.wait("a", &busy));
        assert!(poll!(&mut next).is_pending());
        drop(turns.wait("a", &other).await);
        held.pop();
        next.await;
    }

    #[tokio::test]
    async fn namespaces_that_wait_are_served_in_rotation() {
        let (turns, busy) = (Turns::default(), host("busy"));
        let mut held = take(&turns, "greedy", &busy, PER_HOST_AND_NAMESPACE).await;
        let others = take(&turns, "third", &busy, PER_HOST_AND_NAMESPACE).await;
        let mut greedy: Vec<_> = (0..1000).map(|_| Box::pin(turns.wait("greedy", &busy))).collect();
        for waiting in &mut greedy {
            assert!(poll!(waiting).is_pending());
        }
        let _first = turns.wait("modest", &busy).await;
        let mut modest: Vec<_> = (0..20).map(|_| Box::pin(turns.wait("modest", &busy))).collect();
        for waiting in &mut modest {
            assert!(poll!(waiting).is_pending());
        }
        // Released turns go to the two namespaces alternately, however many passes wait. The first of "modest" was one more
        // than the host's.
        held.truncate(PER_HOST_AND_NAMESPACE - 9);
        let mut served = Vec::new();
        for waiting in &mut modest {
            if let std::task::Poll::Ready(turn) = poll!(waiting) {
                served.push(turn);
            }
        }
        assert_eq!(served.len(), 4);
        drop(others);
    }

    #[tokio::test]
    async fn a_namespace_never_has_more_than_half_of_a_host() {
        let (turns, busy) = (Turns::default(), host("busy"));
        let _greedy = take(&turns, "greedy", &busy, PER_HOST_AND_NAMESPACE).await;
        let mut more: Vec<_> = (0..1000).map(|_| Box::pin(turns.wait("greedy", &busy))).collect();
        for waiting in &mut more {
            assert!(poll!(waiting).is_pending(), "the next pass would wait for it");
        }
        let modest = take(&turns, "modest", &busy, PER_HOST_AND_NAMESPACE).await;
        drop(modest);
        assert!(poll!(&mut more[0]).is_pending());
    }

    #[tokio::test]
    async fn one_namespace_cannot_occupy_every_host() {
        let turns = Turns::default();
        let mut held = Vec::new();
        for name in ["one", "two", "four", "five"] {
            held.extend(take(&turns, "a", &host(name), PER_HOST_AND_NAMESPACE).await);
        }
        let three = host("three");
        let mut next = Box::pin(turns.wait("a", &three));
        assert!(poll!(&mut next).is_pending(), "its share is used up");
        drop(turns.wait("b", &three).await);
        held.pop();
        next.await;
    }

    #[tokio::test]
    async fn a_cancelled_waiter_loses_no_turn() {
        let (turns, busy) = (Turns::default(), host("busy"));
        let held = take(&turns, "a", &busy, PER_HOST_AND_NAMESPACE).await;
        let mut gone: Vec<_> = (0..100).map(|_| Box::pin(turns.wait("a", &busy))).collect();
        for waiting in &mut gone {
            assert!(poll!(waiting).is_pending());
        }
        let mut patient = Box::pin(turns.wait("a", &busy));
        assert!(poll!(&mut patient).is_pending());
        drop(gone);
        drop(held);
        drop(patient.await);
        assert!(turns.lock().hosts.is_empty() && turns.lock().taken.is_empty(), "nothing is left behind");
        // A waiter that received a turn and is dropped without having been polled.
        let held = take(&turns, "a", &busy, PER_HOST_AND_NAMESPACE).await;
        let mut unlucky = Box::pin(turns.wait("a", &busy));
        assert!(poll!(&mut unlucky).is_pending());
        drop(held);
        drop(unlucky);
        assert!(turns.lock().hosts.is_empty() && turns.lock().taken.is_empty());
    }

    #[tokio::test]
    async fn two_namespaces_do_not_occupy_a_host_either() {
        let (turns, busy) = (Turns::default(), host("busy"));
        let _one = take(&turns, "one", &busy, PER_HOST_AND_NAMESPACE).await;
        let _two = take(&turns, "two", &busy, PER_HOST_AND_NAMESPACE).await;
        let mut third = Box::pin(turns.wait("third", &busy));
        assert!(poll!(&mut third).is_ready(), "it waits for as long as the two hold their turns");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_costs_no_memory_behind_one_that_waits() {
        let (turns, busy) = (Turns::default(), host("busy"));
        let _held = take(&turns, "a", &busy, PER_HOST_AND_NAMESPACE).await;
        let mut patient = Box::pin(turns.wait("a", &busy));
        assert!(poll!(&mut patient).is_pending());
        for _ in 0..10_000 {
            assert!(poll!(&mut Box::pin(turns.wait("a", &busy))).is_pending());
        }
        let state = turns.lock();
        let waiting: usize = state.hosts.values().map(|host| host.waiting.len()).sum();
        assert!(waiting < 100, "{waiting} places in the queue, of which one is in use");
    }
}
