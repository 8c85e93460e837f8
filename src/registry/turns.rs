//! Turns at a registry: how many passes may be busy with one host at a time.
//!
//! A registry that is slow or gone keeps only the objects of its own host waiting, and those that
//! wait hold nothing but their place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::oci::Repository;

/// Passes that are busy with one host.
const PER_HOST: usize = 32;
/// Hosts are named by tenants: from this many on, those that nobody is busy with are forgotten.
const MAX_IDLE_HOSTS: usize = 1024;

/// The hosts that passes are busy with.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<String, Arc<Semaphore>>>);

/// The right to be busy with a host, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    /// `None` only where the semaphore was closed, which nothing does.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Waits, first come first served.
    pub async fn wait(&self, repository: &Repository) -> Turn {
        let semaphore = {
            let mut hosts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if hosts.len() >= MAX_IDLE_HOSTS {
                hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            }
            let new = || Arc::new(Semaphore::new(PER_HOST));
            Arc::clone(hosts.entry(repository.api_host().to_owned()).or_insert_with(new))
        };
        Turn { _permit: semaphore.acquire_owned().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Reference;

    #[tokio::test]
    async fn a_busy_host_keeps_only_its_own_waiting() {
        let repository = |text: &str| text.parse::<Reference>().unwrap().repository;
        let (busy, other) = (repository("busy.example/a"), repository("other.example/a"));
        let turns = Turns::default();
        let mut held = Vec::new();
        for _ in 0..PER_HOST {
            held.push(turns.wait(&busy).await);
        }
        let next = turns.wait(&busy);
        tokio::pin!(next);
        assert!(futures::poll!(&mut next).is_pending());
        turns.wait(&other).await;
        held.pop();
        next.await;
    }
}
