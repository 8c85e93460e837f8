//! Everything needed to fetch the layers of one artifact.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::BlobError;
use super::store::ContentStore;
use crate::permits::Seat;
use crate::registry::Access;
use crate::request::Limit;
use crate::storage::Scratch;
use crate::trust::Approved;

/// Receiver of download progress, for display only; a pass does not depend on it.
pub trait Progress: Send + Sync {
    /// Reports that `done` of `total` bytes of all layers of the object are available.
    fn downloaded(&self, object: &str, done: u64, total: u64);
}

/// Everything needed to fetch the layers of one artifact.
pub struct Source<'a, R> {
    /// The registry.
    pub registry: &'a R,
    /// Credentials and connection settings of the object.
    pub access: &'a Access,
    /// The approved manifest.
    pub approved: &'a Approved,
    /// Directory to which layers are written.
    pub scratch: &'a Arc<Scratch>,
    /// Store of kept layers on the filesystem of `scratch`.
    pub store: Option<&'a Arc<ContentStore>>,
    /// Seat for processor permits, used when hashing kept layers.
    pub seat: &'a Seat,
    /// Maximum size of a layer.
    pub limit: Limit,
}

impl<R> std::fmt::Debug for Source<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("approved", self.approved).field("store", &self.store).finish_non_exhaustive()
    }
}

impl<R> Source<'_, R> {
    /// Runs `job` on a thread of the volume, with a processor permit if it `hashes`. The permit is held by this
    /// future, not by the thread, which may hang with its volume. Dropping this future, as a cancelled pass does,
    /// stops the job.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        hashes: bool,
        job: impl FnOnce(&Arc<Scratch>, &CancellationToken) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let slot = self.scratch.pool().slot_for(self.seat).await?;
        let _permit = if hashes { Some(self.seat.permit().await) } else { None };
        let (scratch, stop) = (Arc::clone(self.scratch), CancellationToken::new());
        let _guard = stop.clone().drop_guard();
        slot.run(move || job(&scratch, &stop)).await?
    }
}
