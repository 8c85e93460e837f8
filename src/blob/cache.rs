//! The stores of all volumes.

use std::sync::Arc;
use std::time::Duration;

use super::{ContentStore, Key};
use crate::metrics::Metrics;
use crate::storage::{Call, Mount};

/// Shortest and longest time between two looks for layers that were not used for too long.
const SWEEPS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// How much is kept on each volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes together. With 0 nothing is kept.
    pub bytes: u64,
    /// Time since the last use. With 0 nothing is kept.
    pub age: Duration,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { bytes: 2 << 30, age: Duration::from_secs(24 * 3600) }
    }
}

impl CacheLimits {
    /// Time between two sweeps: a layer stays no longer than a quarter more than its age.
    fn sweep_every(&self) -> Duration {
        (self.age / 4).clamp(SWEEPS.0, SWEEPS.1)
    }
}

/// The layers that are kept, on each volume apart: what is unpacked is on the volume that it goes to.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    stores: Vec<Arc<ContentStore>>,
    limits: CacheLimits,
}

impl Cache {
    /// Looks through what earlier processes left on volumes that are open. With nothing to be kept, all of it goes.
    /// Blocking.
    pub fn open<'a>(
        volumes: impl IntoIterator<Item = &'a Arc<Mount>>,
        limits: CacheLimits,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let cache = Self::new(volumes, limits, metrics);
        cache.stores.iter().for_each(|store| store.look_through());
        cache
    }

    /// Stores that know nothing yet of what is on their volumes, which need not be open.
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

    /// Looks through what earlier processes left. A volume that cannot be used is looked through when a layer is added.
    pub async fn look_through(self) {
        futures::future::join_all(self.stores.iter().map(async |store| {
            let looked = Arc::clone(store);
            let _ = store.pool().run(Call::Long, move || looked.look_through()).await;
        }))
        .await;
    }

    /// The store on that volume.
    pub fn on(&self, volume: &Arc<Mount>) -> Option<&Arc<ContentStore>> {
        self.stores.iter().find(|store| store.is_on(volume))
    }

    /// Gives up what is kept on these volumes, but not `own`, which are wanted again at once; true where that was
    /// something. A volume that could not give the `lacks` bytes that are missing keeps what it has: nothing would be won.
    pub async fn make_room(&self, volumes: &[Arc<Mount>], lacks: u64, own: &[Key]) -> bool {
        let mut made = false;
        for store in volumes.iter().filter_map(|volume| self.on(volume)) {
            made |= store.give_up(lacks, own).await;
        }
        made
    }

    /// Removes what has not been used for too long, every quarter of that time, for as long as it is polled.
    pub async fn expire(self) {
        let mut ticks = tokio::time::interval(self.limits.sweep_every());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // One that hangs does not keep the others.
            futures::future::join_all(self.stores.iter().map(ContentStore::expire)).await;
        }
    }
}
