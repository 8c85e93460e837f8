//! The layer stores of all volumes.

use std::sync::Arc;
use std::time::Duration;

use super::key::Key;
use super::store::{CacheLimits, ContentStore};
use crate::metrics::Metrics;
use crate::storage::{Call, Mount};

/// Shortest and longest interval between two sweeps of expired layers.
const SWEEPS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// The kept layers, with one store per volume: layers are unpacked on the volume that they are published to.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    stores: Vec<Arc<ContentStore>>,
    limits: CacheLimits,
}

impl Cache {
    /// Creates the stores and scans the layers that earlier processes left on open volumes. If the limits keep
    /// nothing, all of them are removed. Blocking.
    pub fn open<'a>(
        volumes: impl IntoIterator<Item = &'a Arc<Mount>>,
        limits: CacheLimits,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let cache = Self::new(volumes, limits, metrics);
        cache.stores.iter().for_each(|store| store.look_through());
        cache
    }

    /// Creates the stores without scanning the volumes, which need not be open.
    pub fn new<'a>(
        volumes: impl IntoIterator<Item = &'a Arc<Mount>>,
        limits: CacheLimits,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let mut stores: Vec<Arc<ContentStore>> = Vec::new();
        for volume in volumes {
            if !stores.iter().any(|store| store.is_on(volume)) {
                stores.push(Arc::new(ContentStore::new(Arc::clone(volume), limits, Arc::clone(metrics))));
            }
        }
        Self { stores, limits }
    }

    /// Scans the layers that earlier processes left. A volume that is not usable now is scanned when a layer is
    /// added.
    pub async fn look_through(self) {
        futures::future::join_all(self.stores.iter().map(async |store| {
            let looked = Arc::clone(store);
            let _ = store.pool().run(Call::Upkeep, move || looked.look_through()).await;
        }))
        .await;
    }

    /// Returns the store of a volume.
    pub fn on(&self, volume: &Arc<Mount>) -> Option<&Arc<ContentStore>> {
        self.stores.iter().find(|store| store.is_on(volume))
    }

    /// Removes the kept layers on these volumes, except `own`, which are needed again at once; returns true if any
    /// were removed. A volume that could not free the missing `lacks` bytes keeps its layers, because removing them
    /// would not help.
    pub async fn make_room(&self, volumes: &[Arc<Mount>], lacks: u64, own: &[Key]) -> bool {
        let mut made = false;
        for store in volumes.iter().filter_map(|volume| self.on(volume)) {
            made |= store.give_up(lacks, own).await;
        }
        made
    }

    /// Removes expired layers periodically (four times per age limit, at least hourly) for as long as it is polled.
    pub async fn expire(self) {
        let mut ticks = tokio::time::interval(sweep_every(self.limits));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // In parallel, so that a volume that hangs does not delay the others.
            futures::future::join_all(self.stores.iter().map(ContentStore::expire)).await;
        }
    }
}

/// Returns the interval between two sweeps, so that a layer stays at most a quarter longer than its age limit.
fn sweep_every(limits: CacheLimits) -> Duration {
    (limits.age / 4).clamp(SWEEPS.0, SWEEPS.1)
}
