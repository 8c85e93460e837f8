//! One at a time: whoever wants what somebody else is fetching waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::store::Key;

/// What is being fetched. There is an entry only as long as somebody takes part.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Key, Party>>);

#[derive(Debug, Default)]
struct Party {
    members: usize,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Taking part in fetching one thing, until it is dropped.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    key: &'a Key,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Flights {
    /// Takes part in fetching `key`.
    pub(super) fn join<'a>(&'a self, key: &'a Key) -> Flight<'a> {
        let mut parties = self.parties();
        let party = parties.entry(key.clone()).or_default();
        party.members += 1;
        Flight { flights: self, key, turn: Arc::clone(&party.turn) }
    }

    fn parties(&self) -> MutexGuard<'_, HashMap<Key, Party>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parties().len()
    }
}

impl Flight<'_> {
    /// Waits, first come first served, until nobody else of the party has the turn. Dropped, it passes on.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut parties = self.flights.parties();
        if let Some(party) = parties.get_mut(self.key) {
            party.members -= 1;
            if party.members == 0 {
                parties.remove(self.key);
            }
        }
    }
}
