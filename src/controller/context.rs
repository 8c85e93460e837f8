//! Everything that reconciles share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio_util::sync::CancellationToken;

use super::OnRevoked;
use super::policies::PolicyBook;
use super::scans::Scans;
use super::schedule::Memory;
use super::stored::Stored;
use crate::metrics::Metrics;
use crate::pass::Engine;
use crate::request::ObjectId;
use crate::trust::public_root::PublicRoot;

/// Readiness of the operator: the CRD is current, and every watch has listed its objects.
#[derive(Debug, Default)]
pub struct Readiness {
    waiting: AtomicUsize,
    started: AtomicBool,
    /// The reason why the watches have not begun.
    held_back: Mutex<Option<String>>,
}

impl Readiness {
    /// True once every watch has delivered its first full list.
    pub fn is_ready(&self) -> bool {
        self.started.load(Ordering::Acquire) && self.waiting.load(Ordering::Acquire) == 0
    }

    /// The reason why the operator is not ready; `None` where it is.
    pub fn obstacle(&self) -> Option<String> {
        let held_back = self.held_back.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waiting = || "waiting for the first list of OCIArtifacts".to_owned();
        (!self.is_ready()).then(|| held_back.unwrap_or_else(waiting))
    }

    /// The watches cannot begin yet.
    pub(super) fn hold_back(&self, reason: &str) {
        *self.held_back.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    /// Waits for so many lists from now on.
    pub(super) fn await_lists(&self, number: usize) {
        *self.held_back.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.waiting.store(number, Ordering::Release);
        self.started.store(true, Ordering::Release);
    }

    /// One watch has delivered its first full list.
    pub(super) fn listed(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// State that reconciles of one watch share.
pub(super) struct Context<R> {
    pub(super) client: Client,
    pub(super) engine: Arc<Engine<R>>,
    pub(super) memory: Memory,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: CancellationToken,
    /// Time between two scans that read every published file; zero for none.
    pub(super) full_scan: Duration,
    pub(super) on_revoked: OnRevoked,
    pub(super) policies: Arc<PolicyBook>,
    /// The root of requirements that name none.
    pub(super) public_root: Arc<PublicRoot>,
    /// Scans of published files that are under way.
    pub(super) scans: Arc<Scans>,
    /// The objects as they are now, while a pass works on one as it was.
    pub(super) objects: Store<Stored>,
}

/// True while the object exists with this uid and generation, and is not being deleted.
pub(super) fn is_current(objects: &Store<Stored>, id: &ObjectId, generation: Option<i64>) -> bool {
    let key = ObjectRef::<Stored>::new(&id.name).within(&id.namespace);
    objects.get(&key).is_some_and(|now| {
        now.metadata.generation == generation
            && now.metadata.uid.as_deref().unwrap_or_default() == id.uid
            && now.metadata.deletion_timestamp.is_none()
    })
}
