//! State shared by all passes.

use std::sync::Arc;

use super::turns::{Turn, Turns};
use crate::blob::{Cache, Progress};
use crate::output::Outputs;
use crate::permits::Permits;
use crate::request::{Limits, Request};

/// State shared by all passes.
pub struct Engine<R> {
    /// Source of artifacts.
    pub registry: R,
    /// Destinations of files.
    pub outputs: Outputs,
    /// The operator's limits.
    pub limits: Limits,
    /// Cache of layers.
    pub cache: Cache,
    /// Limits for concurrent passes per registry host.
    pub turns: Turns,
    /// Permits for CPU-bound work.
    pub processors: Permits,
    /// Receiver of download progress.
    pub progress: Option<Arc<dyn Progress>>,
}

impl<R> std::fmt::Debug for Engine<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("outputs", &self.outputs).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<R> Engine<R> {
    /// Waits for a turn at the request's registry. The wait does not count against `spec.timeout`.
    pub async fn turn(&self, request: &Request) -> Turn {
        self.turns.wait(&request.object.namespace, &request.reference.repository).await
    }
}
