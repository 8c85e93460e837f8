//! One at a time: who wants what another object is fetching from the same repository waits for that, within bounds.
//!
//! The leader of a flight may be slow by intent, or because its account is: its followers give up on it as soon as the
//! layer would take it minutes at its pace, and fetch the layer themselves.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::store::Key;
use crate::oci::Repository;

/// Time between two looks at a leader.
const LOOK: Duration = Duration::from_secs(10);
/// Looks in which the leader must bring the whole layer, each one its share. Nobody waits for more of them.
const LOOKS: u64 = 30;

/// A layer that is fetched from a repository.
type Target = (Key, String);

/// What is being fetched. There is an entry only as long as somebody takes part.
#[derive(Debug)]
pub(super) struct Flights {
    parties: Mutex<HashMap<Target, Party>>,
    /// Time between two looks at a leader.
    look: Duration,
}

impl Default for Flights {
    fn default() -> Self {
        Self { parties: Mutex::default(), look: LOOK }
    }
}

#[derive(Debug, Default)]
struct Party {
    members: usize,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    turn: tokio::sync::Mutex<()>,
    /// Bytes that have come.
    done: AtomicU64,
}

/// Taking part in fetching one thing, until it is dropped.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    target: Target,
    shared: Arc<Shared>,
}

impl Flights {
    /// Takes part in fetching `key` from `repository`.
    pub(super) fn join(&self, key: &Key, repository: &Repository) -> Flight<'_> {
        let target = (key.clone(), repository.to_string());
        let mut parties = self.parties();
        let party = parties.entry(target.clone()).or_default();
        party.members += 1;
        let shared = Arc::clone(&party.shared);
        Flight { flights: self, target, shared }
    }

    fn parties(&self) -> MutexGuard<'_, HashMap<Target, Party>> {
        self.parties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parties().len()
    }
}

impl Flight<'_> {
    /// Waits, first come first served, until nobody else of the party has the turn. Dropped, it passes on. `None` where
    /// those who had it have not brought the layer, of `size` bytes, at the pace that is asked of them.
    pub(super) async fn turn(&self, size: u64) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let mut turn = pin!(self.shared.turn.lock());
        let mut seen = self.shared.done.load(Ordering::Relaxed);
        for _ in 0..LOOKS {
            if let Ok(turn) = tokio::time::timeout(self.flights.look, turn.as_mut()).await {
                self.progressed(0);
                return Some(turn);
            }
            let done = self.shared.done.load(Ordering::Relaxed);
            if !keeps_pace(seen, done, size) {
                return None;
            }
            seen = done;
        }
        None
    }

    /// Tells those who wait how many bytes are there.
    pub(super) fn progressed(&self, done: u64) {
        self.shared.done.store(done, Ordering::Relaxed);
    }
}

/// True where a leader will have brought `size` bytes in time. Fewer than before are another leader's.
fn keeps_pace(seen: u64, done: u64, size: u64) -> bool {
    done.checked_sub(seen).is_none_or(|more| more > size / LOOKS)
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut parties = self.flights.parties();
        if let Some(party) = parties.get_mut(&self.target) {
            party.members -= 1;
            if party.members == 0 {
                parties.remove(&self.target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Digest, Reference};

    const SIZE: u64 = 3000;

    fn repository(image: &str) -> Repository {
        image.parse::<Reference>().unwrap().repository
    }

    fn flights() -> (Flights, Key) {
        let flights = Flights { look: Duration::from_millis(1), ..Flights::default() };
        (flights, Key::new("o", &Digest::of(b"x")))
    }

    #[tokio::test]
    async fn nobody_waits_without_bound_for_the_download_of_another() {
        let (flights, key) = flights();
        let repository = repository("r.example/a");
        let leader = flights.join(&key, &repository);
        let _turn = leader.turn(SIZE).await.unwrap();
        assert!(flights.join(&key, &repository).turn(SIZE).await.is_none(), "it brings nothing");
        // However fast it is, there is an end.
        let follower = flights.join(&key, &repository);
        let goes_on = async {
            for done in 0.. {
                leader.progressed(done * SIZE);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = goes_on => unreachable!("it never ends"),
            turn = follower.turn(SIZE) => assert!(turn.is_none()),
        }
    }

    #[tokio::test]
    async fn a_download_from_another_repository_holds_nobody_up() {
        let (flights, key) = flights();
        let leader = flights.join(&key, &repository("r.example/slow"));
        let _turn = leader.turn(SIZE).await.unwrap();
        assert!(flights.join(&key, &repository("r.example/a")).turn(SIZE).await.is_some());
    }

    #[test]
    fn a_leader_brings_its_share_between_two_looks() {
        // Bytes before and after → whether it is worth waiting for.
        for (seen, done, is_fast) in
            [(0, 0, false), (0, 100, false), (0, 101, true), (500, 600, false), (500, 601, true)]
        {
            assert_eq!(keeps_pace(seen, done, SIZE), is_fast, "{seen} {done}");
        }
        assert!(keeps_pace(500, 0, SIZE), "another leader has begun");
        assert!(keeps_pace(0, 1, 10) && !keeps_pace(1, 1, 10));
    }
}
