//! Directories of deleted objects, on all volumes.

use std::time::Duration;

use super::error::OutputError;
use super::outputs::{Outputs, holding};
use super::volume;
use crate::request::ObjectId;
use crate::storage::{Call, Volume};

/// Timeout for the lock before a deleted object's directories are removed; the removal is retried.
const LONGEST_REMOVAL_LOCK: Duration = Duration::from_secs(5);

/// Removes the directory that a command without a cluster has made for an object. Another one is left alone. Blocking.
pub fn remove_owned(volume: &Volume, object: &ObjectId) -> Result<(), OutputError> {
    volume::remove(volume, object)
}

impl Outputs {
    /// Removes the directories of a deleted object from every volume. Tries all, and returns those that failed.
    pub async fn remove_object(&self, object: &ObjectId) -> Vec<(String, OutputError)> {
        let removals = self.volumes.iter().map(async |(name, mount)| {
            let id = object.clone();
            let removal = async {
                let acquired = mount.pool().unless_down(self.locks.acquire(object));
                let lock = tokio::time::timeout(LONGEST_REMOVAL_LOCK, acquired).await;
                let lock = lock.map_err(|_| OutputError::Busy(object.to_string()))??;
                mount
                    .run(Call::Long(&object.namespace), move |volume| holding(lock, || volume::remove(volume, &id)))
                    .await
            };
            Some((name.clone(), removal.await.err()?))
        });
        futures::future::join_all(removals).await.into_iter().flatten().collect()
    }

    /// Returns the objects that have a directory on any volume, with their uids.
    pub async fn owners(&self, namespaces: &[String]) -> Vec<ObjectId> {
        let looks = self.volumes.iter().map(async |(name, mount)| {
            let watched = namespaces.to_vec();
            let is_watched = move |namespace: &str| watched.is_empty() || watched.iter().any(|one| one == namespace);
            let owners: Result<_, OutputError> =
                mount.run(Call::Upkeep, move |volume| volume::owners(volume, is_watched)).await;
            owners.unwrap_or_else(|error| {
                tracing::warn!(volume = %name, %error, "a volume cannot be searched for leftovers");
                Vec::new()
            })
        });
        let mut found: Vec<_> = futures::future::join_all(looks).await.concat();
        found.sort_unstable();
        found.dedup();
        found
    }
}
