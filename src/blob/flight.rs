//! Shared downloads: an object that needs a layer which another object is downloading from the same repository waits
//! for that download, within bounds.
//!
//! At most one member of a party holds the turn, so a layer is downloaded once while the others wait. The wait is
//! bounded by the leader's pace: in every interval of [`LOOK`] it must deliver 1/[`LOOKS`] of the layer, and a
//! follower waits for at most [`LOOKS`] intervals (5 minutes). A follower that gives up downloads the layer for
//! itself. Without the bound a tenant could delay all other objects with the same layer: the leader may be slow by
//! intent, or because its account is throttled. For the same reason a party is bound to one repository as well as to
//! the key of the layer. A cancelled leader drops its turn, which passes to the next follower; a party without
//! members is removed, so the table stays small.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::key::Key;
use crate::mutex::lock;
use crate::oci::Repository;

/// Interval between two checks of the leader's progress.
const LOOK: Duration = Duration::from_secs(10);
/// Number of checks in which the leader must deliver the whole layer, an equal share in each; also the maximum number
/// of checks that a follower waits for.
const LOOKS: u64 = 30;

/// A layer and the repository it is fetched from.
type Target = (Key, String);

/// The downloads in progress. An entry exists only while it has members.
#[derive(Debug)]
pub(super) struct Flights {
    parties: Mutex<HashMap<Target, Party>>,
    /// Interval between two checks of the leader's progress.
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
    /// Bytes received by the leader.
    done: AtomicU64,
}

/// Membership in a party, until dropped.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    target: Target,
    shared: Arc<Shared>,
}

impl Flights {
    /// Joins the party that fetches `key` from `repository`.
    pub(super) fn join(&self, key: &Key, repository: &Repository) -> Flight<'_> {
        let target = (key.clone(), repository.to_string());
        let mut parties = self.parties();
        let party = parties.entry(target.clone()).or_default();
        party.members += 1;
        let shared = Arc::clone(&party.shared);
        Flight { flights: self, target, shared }
    }

    fn parties(&self) -> MutexGuard<'_, HashMap<Target, Party>> {
        lock(&self.parties)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parties().len()
    }
}

impl Flight<'_> {
    /// Waits in order of arrival until no other member holds the turn. Dropping the guard passes the turn on. Returns
    /// `None` if the leaders did not deliver the layer of `size` bytes at the required pace.
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

    /// Publishes the number of bytes received to the followers.
    pub(super) fn progressed(&self, done: u64) {
        self.shared.done.store(done, Ordering::Relaxed);
    }
}

/// Returns true if a leader at this pace delivers `size` bytes in time. A lower count than before is that of a new
/// leader.
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
    async fn the_wait_for_another_download_is_bounded() {
        let (flights, key) = flights();
        let repository = repository("r.example/a");
        let leader = flights.join(&key, &repository);
        let _turn = leader.turn(SIZE).await.unwrap();
        assert!(flights.join(&key, &repository).turn(SIZE).await.is_none(), "it brings nothing");
        // The wait ends even if the leader is fast.
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
    async fn a_download_from_another_repository_delays_no_object() {
        let (flights, key) = flights();
        let leader = flights.join(&key, &repository("r.example/slow"));
        let _turn = leader.turn(SIZE).await.unwrap();
        assert!(flights.join(&key, &repository("r.example/a")).turn(SIZE).await.is_some());
    }

    #[test]
    fn a_leader_must_deliver_its_share_in_each_interval() {
        // Bytes before and after, and true if a follower keeps waiting.
        for (seen, done, is_fast) in
            [(0, 0, false), (0, 100, false), (0, 101, true), (500, 600, false), (500, 601, true)]
        {
            assert_eq!(keeps_pace(seen, done, SIZE), is_fast, "{seen} {done}");
        }
        assert!(keeps_pace(500, 0, SIZE), "another leader has begun");
        assert!(keeps_pace(0, 1, 10) && !keeps_pace(1, 1, 10));
    }
}
