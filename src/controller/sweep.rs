//! Removal of directories whose object is deleted.
//!
//! There is no finalizer: deletion of an object or namespace depends neither on volumes or rights, nor on this
//! operator.
//!
//! ```text
//! the watch reports a deletion ─────────────────────────────┐
//! every watch has listed ─▶ directories on all volumes      ├─▶ remove, retried with back-off after a failure
//!        └─▶ uid in no list ─▶ grace ─▶ read by name ───────┘
//! ```
//!
//! A sweep covers only watched namespaces, only after each was listed completely, and only directories with the uid of
//! an object. A directory of an existing uid is never touched, and the removal compares the uid once more.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::reflector::Store;
use kube::{Api, Client, Resource};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::health::Health;
use super::schedule::{REMOVAL_SOON, removal_pause};
use crate::api::stored::Stored;
use crate::failure::causes;
use crate::metrics::Metrics;
use crate::output::OutputError;
use crate::pass::Engine;
use crate::request::ObjectId;

/// Interval of sweeps without another cause.
const INTERVAL: Duration = Duration::from_secs(600);
/// Time between the first sweep that misses an object and its removal: a watch may lag a moment behind.
const GRACE: Duration = Duration::from_secs(2);
/// First pause after a failed removal.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
/// Maximum concurrent removals.
const AT_A_TIME: usize = 8;

/// Sending half: reports from the watches.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    deleted: mpsc::UnboundedSender<ObjectId>,
    listed: Arc<Notify>,
}

impl Reports {
    /// Reports the deletion of an object.
    pub(super) fn deleted(&self, object: &Stored) {
        // The receiver lives as long as the controller.
        let _ = self.deleted.send(ObjectId::from(object));
    }

    /// Reports a complete list of a watch, perhaps after an interruption.
    pub(super) fn listed(&self) {
        self.listed.notify_one();
    }
}

/// Receiving half, with the means to remove directories.
pub(super) struct Sweeper<R> {
    pub(super) client: Client,
    pub(super) engine: Arc<Engine<R>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    /// Watched namespaces; empty for all.
    pub(super) namespaces: Vec<String>,
    /// Objects of each watch.
    pub(super) stores: Vec<Store<Stored>>,
    deleted: mpsc::UnboundedReceiver<ObjectId>,
    listed: Arc<Notify>,
    /// Directories to be removed.
    pending: BTreeMap<ObjectId, Pending>,
    /// Running removals. A slow volume, or an object that is being written, does not delay the others.
    removing: JoinSet<(ObjectId, Vec<(String, OutputError)>)>,
    /// Running searches of the volumes. A hanging volume does not delay removals on others.
    looking: JoinSet<Vec<ObjectId>>,
    /// Notifications of volumes that can be used again.
    recovered: watch::Receiver<()>,
    /// Directories whose object was missed by a sweep, with the time of the first miss.
    missed: BTreeMap<ObjectId, Instant>,
    next_sweep: Instant,
}

/// A directory that is not removed yet.
struct Pending {
    failures: u32,
    due: Instant,
    is_running: bool,
}

impl<R: Sync + Send + 'static> Sweeper<R> {
    /// Creates a sweeper, and the sending half for the watches.
    pub(super) fn new(
        client: Client,
        engine: Arc<Engine<R>>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        namespaces: Vec<String>,
    ) -> (Self, Reports) {
        let (sender, deleted) = mpsc::unbounded_channel();
        let listed = Arc::new(Notify::new());
        let reports = Reports { deleted: sender, listed: Arc::clone(&listed) };
        let (pending, missed, next_sweep) = (BTreeMap::new(), BTreeMap::new(), Instant::now());
        let (stores, removing, looking) = (Vec::new(), JoinSet::new(), JoinSet::new());
        let recovered = engine.outputs.recovered();
        let sweeper = Self {
            client,
            engine,
            metrics,
            health,
            namespaces,
            stores,
            deleted,
            listed,
            pending,
            removing,
            looking,
            recovered,
            missed,
            next_sweep,
        };
        (sweeper, reports)
    }

    /// Removes directories until `shutdown`.
    #[expect(clippy::disallowed_methods, reason = "this is the timer")]
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let waiting = self.pending.values().filter(|pending| !pending.is_running);
            let next = waiting.map(|pending| pending.due).chain([self.next_sweep]).min();
            let wait = next.map_or(INTERVAL, |next| next.saturating_duration_since(Instant::now()));
            tokio::select! {
                Some(object) = self.deleted.recv() => self.add(object),
                Some(removed) = self.removing.join_next() => self.removed(removed.ok()),
                Some(owners) = self.looking.join_next() => self.compare(owners.unwrap_or_default()).await,
                Ok(()) = self.recovered.changed() => self.retry_now(),
                () = self.listed.notified() => self.next_sweep = Instant::now(),
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => return,
            }
            while let Ok(object) = self.deleted.try_recv() {
                self.add(object);
            }
            if self.next_sweep <= Instant::now() {
                self.sweep();
            }
            self.remove_due();
        }
    }

    fn add(&mut self, object: ObjectId) {
        self.pending.entry(object).or_insert(Pending { failures: 0, due: Instant::now(), is_running: false });
    }

    /// Retries failed removals at once and sweeps, because a volume can be used again.
    fn retry_now(&mut self) {
        let now = Instant::now();
        self.next_sweep = now;
        for pending in self.pending.values_mut() {
            (pending.failures, pending.due) = (0, now);
        }
    }

    /// Starts a search for directories whose deletion was not reported.
    fn sweep(&mut self) {
        let now = Instant::now();
        self.next_sweep = now + INTERVAL;
        if !self.engine.outputs.is_owner() {
            // A directory of another uid may belong to another installation.
            return;
        }
        if !self.health.is_ready() {
            // Readiness depends on other lists too, whose end is not reported here, so it is checked again soon.
            self.next_sweep = now + AGAIN_FIRST;
            return;
        }
        if self.looking.is_empty() {
            let (engine, namespaces) = (Arc::clone(&self.engine), self.namespaces.clone());
            self.looking.spawn(async move { engine.outputs.owners(&namespaces).await });
        }
    }

    /// Finds the directories whose object is deleted.
    async fn compare(&mut self, owners: Vec<ObjectId>) {
        let now = Instant::now();
        let living: HashSet<String> =
            self.stores.iter().flat_map(Store::state).filter_map(|object| object.meta().uid.clone()).collect();
        let orphans: Vec<_> = owners.into_iter().filter(|owner| !living.contains(&owner.uid)).collect();
        self.missed.retain(|object, _| orphans.contains(object));
        for object in orphans {
            let since = *self.missed.entry(object.clone()).or_insert(now);
            if now.saturating_duration_since(since) < GRACE {
                self.next_sweep = self.next_sweep.min(since + GRACE);
                continue;
            }
            match self.exists(&object).await {
                Ok(false) => {
                    tracing::info!(namespace = %object.namespace, name = %object.name, uid = %object.uid, "removed the directory of a deleted object");
                    self.missed.remove(&object);
                    self.add(object);
                }
                Ok(true) => {}
                Err(error) => {
                    tracing::warn!(namespace = %object.namespace, name = %object.name, error = causes(&error), "cannot read the owner of a directory; the next sweep tries again");
                    self.next_sweep = self.next_sweep.min(now + REMOVAL_SOON);
                }
            }
        }
    }

    /// True if the API server has an object of this name with this uid.
    async fn exists(&self, object: &ObjectId) -> Result<bool, kube::Error> {
        let objects: Api<Stored> = Api::namespaced(self.client.clone(), &object.namespace);
        let found = objects.get_metadata_opt(&object.name).await?;
        Ok(found.is_some_and(|found| found.metadata.uid.as_deref() == Some(&object.uid)))
    }

    fn remove_due(&mut self) {
        let now = Instant::now();
        let due = self.pending.iter_mut().filter(|(_, pending)| pending.due <= now && !pending.is_running);
        for (object, pending) in due {
            if self.removing.len() >= AT_A_TIME {
                // Retried when a running removal has ended.
                pending.due = now + AGAIN_FIRST;
                continue;
            }
            pending.is_running = true;
            let (engine, object) = (Arc::clone(&self.engine), object.clone());
            self.removing.spawn(async move {
                let failed = engine.outputs.remove_object(&object).await;
                (object, failed)
            });
        }
        self.metrics.leftovers(self.pending.len());
    }

    /// Handles the end of a removal; `None` for a panic, after which the removal is retried.
    fn removed(&mut self, removed: Option<(ObjectId, Vec<(String, OutputError)>)>) {
        let Some((object, failed)) = removed else {
            // It is unknown which removal panicked; a second removal next to a running one is harmless.
            for pending in self.pending.values_mut().filter(|pending| pending.is_running) {
                (pending.is_running, pending.due) = (false, Instant::now() + REMOVAL_SOON);
            }
            return;
        };
        if failed.is_empty() {
            self.pending.remove(&object);
            return;
        }
        self.metrics.removal_failed();
        for (volume, error) in failed {
            tracing::warn!(namespace = %object.namespace, name = %object.name, %volume, %error, "cannot remove the directory of a deleted object; retried after a pause");
        }
        if let Some(pending) = self.pending.get_mut(&object) {
            pending.failures = pending.failures.saturating_add(1);
            pending.due = Instant::now() + removal_pause(AGAIN_FIRST, pending.failures);
            pending.is_running = false;
        }
    }
}
