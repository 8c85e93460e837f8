//! State shared by all reconciles.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::Client;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio_util::sync::CancellationToken;

use super::empty_dir::EmptyDirs;
use super::memory::{Memory, Remembered, SHORTEST};
use super::named::Named;
use super::on_revoked::OnRevoked;
use super::policies::PolicyBook;
use super::scans::Scans;
use crate::api::stored::Stored;
use crate::metrics::Metrics;
use crate::mutex::lock;
use crate::pass::Engine;
use crate::request::ObjectId;
use crate::trust::public_root::PublicRoot;

/// State shared by the reconciles of one watch.
pub(super) struct Context<R> {
    pub(super) client: Client,
    pub(super) engine: Arc<Engine<R>>,
    pub(super) memory: Memory,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: CancellationToken,
    /// Interval of scans that read every published file; zero for none.
    pub(super) full_scan: Duration,
    pub(super) on_revoked: OnRevoked,
    pub(super) policies: Arc<PolicyBook>,
    /// Cluster objects that artifacts and policies refer to.
    pub(super) named: Arc<Named>,
    /// Log state of unanswered reads: one line per outage.
    pub(super) outage: Arc<Outage>,
    /// Volumes that no other pod can mount.
    pub(super) empty_dirs: Arc<EmptyDirs>,
    /// Trusted root of requirements that name none.
    pub(super) public_root: Arc<PublicRoot>,
    /// Running scans of published files.
    pub(super) scans: Arc<Scans>,
    /// Current objects, while a pass works on an earlier state of one.
    pub(super) objects: Store<Stored>,
}

impl<R> Context<R> {
    /// Stores the memory of an object, and returns the time of its next look.
    pub(super) fn requeue(&self, uid: &str, remembered: Remembered) -> Action {
        let remembered = self.memory.set(uid, remembered);
        Action::requeue(remembered.next_look(Instant::now()).max(SHORTEST))
    }
}

/// A series of errors that is logged with one line.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// Records an error; returns true for the first one after a quiet period.
    pub(super) fn begins(&self, now: Instant) -> bool {
        const OVER: Duration = Duration::from_secs(60);
        let last = lock(&self.0).replace(now);
        last.is_none_or(|last| now.saturating_duration_since(last) >= OVER)
    }
}

/// True if the object exists with this uid and generation, and is not being deleted.
pub(super) fn is_current(objects: &Store<Stored>, id: &ObjectId, generation: Option<i64>) -> bool {
    let key = ObjectRef::<Stored>::new(&id.name).within(&id.namespace);
    objects.get(&key).is_some_and(|now| {
        now.metadata.generation == generation
            && now.metadata.uid.as_deref().unwrap_or_default() == id.uid
            && now.metadata.deletion_timestamp.is_none()
    })
}
