//! Cluster objects that artifacts and policies refer to: read once for all users, and read again to detect changes.
//!
//! ```text
//! a look at an object ─▶ get ─▶ read less than 15 s ago? ─ no ─▶ one request, shared by all that need the answer
//! every 15 s ─▶ keys and roots once more ─▶ other content? ─▶ the objects that use them are woken
//! ```
//!
//! The operator may read Secrets by name but not list them, so no watch reports changes. Here one request per Secret,
//! not per artifact, detects them, and no artifact is reconciled for it. Of a Secret or ConfigMap only the referenced
//! keys are kept, up to a limit, and only while they are needed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kube::Client;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::mpsc::UnboundedSender;

use self::read::Answer;
use self::table::Table;
use crate::api::stored::Stored;
use crate::metrics::Metrics;
use crate::mutex::lock;
use crate::oci::Digest;

mod read;
mod scopes;
mod table;

pub(super) use read::{Found, Kind, Name, Unanswered, Value};

/// All referenced objects, with their users.
pub(super) struct Named {
    client: Client,
    metrics: Arc<Metrics>,
    table: Mutex<Table>,
}

impl Named {
    pub(super) fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics, table: Mutex::default() }
    }

    /// Adds the artifacts of a controller. Artifacts to be reconciled are sent to `wake`.
    pub(super) fn add_scope(&self, objects: Store<Stored>, wake: UnboundedSender<ObjectRef<Stored>>) {
        self.lock().scopes.add(objects, wake);
    }

    /// Starts a lookup of the names that an artifact uses.
    pub(super) fn look_up(&self, object: ObjectRef<Stored>) -> LookUp<'_> {
        LookUp { named: self, object, names: BTreeSet::new(), since: None }
    }

    /// Forgets a deleted artifact.
    pub(super) fn forget(&self, object: &ObjectRef<Stored>) {
        self.lock().use_only(object, &BTreeSet::new());
    }

    /// Forgets the artifacts that are in no list.
    pub(super) fn forget_missing(&self) {
        self.lock().forget_missing();
    }

    /// Wakes the users of an object that a watch reports with this version.
    pub(super) fn changed(&self, kind: Kind, namespace: &str, name: &str, version: Option<&str>) {
        self.lock().changed(kind, namespace, name, version);
    }

    /// True unless a read has found another content of one of these names.
    pub(super) fn are_unchanged(&self, names: &[(Name, Digest)]) -> bool {
        self.lock().are_unchanged(names)
    }

    /// Wakes the artifacts of a namespace.
    pub(super) fn wake_namespace(&self, namespace: &str) {
        self.lock().scopes.wake_namespace(namespace);
    }

    /// Repeats the reads of names that wake artifacts. Never returns.
    pub(super) async fn keep(&self) -> std::convert::Infallible {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let due = self.lock().take_due(Instant::now(), self.client.default_namespace());
            futures::future::join_all(due.iter().map(|name| self.read_again(name))).await;
            self.lock().drop_expired(Instant::now());
        }
    }

    async fn read_again(&self, name: &Name) {
        let reading = self.lock().reading(name);
        let Some(reading) = reading else { return };
        // Another task reads it now.
        let Ok(_turn) = reading.try_lock() else { return };
        let answer = self.read(name).await;
        // No caller waits for the result; a change wakes the users.
        let _ = self.lock().note(name, answer, false);
    }

    async fn get(
        &self,
        object: &ObjectRef<Stored>,
        name: &Name,
        wakes: bool,
        since: Option<Instant>,
    ) -> Result<Arc<Found>, Unanswered> {
        let reading = self.lock().register(object, name, wakes);
        let _turn = reading.lock().await;
        if let Some(answer) = self.lock().good(name, Instant::now(), since) {
            return answer;
        }
        let answer = self.read(name).await;
        self.lock().note(name, answer, true)
    }

    async fn read(&self, name: &Name) -> Result<Answer, Unanswered> {
        self.metrics.api_read();
        let answer = read::read(&self.client, name).await;
        if answer.is_err() {
            self.metrics.api_read_failed();
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each call leaves the table consistent.
        lock(&self.table)
    }
}

/// One lookup of the names that an artifact uses.
pub(super) struct LookUp<'a> {
    named: &'a Named,
    object: ObjectRef<Stored>,
    names: BTreeSet<Name>,
    /// Answers from before this time are not reused.
    since: Option<Instant>,
}

impl LookUp<'_> {
    /// Requires answers from now on, because a reconcile was requested, perhaps after a change.
    pub(super) fn afresh(mut self) -> Self {
        self.since = Some(Instant::now());
        self
    }

    /// Returns the content under a name. With `wakes`, a change wakes the artifact.
    pub(super) async fn get(&mut self, name: Name, wakes: bool) -> Result<Arc<Found>, Unanswered> {
        let found = self.named.get(&self.object, &name, wakes, self.since).await;
        self.names.insert(name);
        found
    }

    /// Ends the lookup: the artifact uses only the names that were looked up.
    pub(super) fn finish(self) {
        self.named.lock().use_only(&self.object, &self.names);
    }
}

impl Drop for LookUp<'_> {
    /// Forgets an artifact that was deleted during the lookup, after the watch has forgotten it.
    fn drop(&mut self) {
        let mut table = self.named.lock();
        if !table.scopes.contains(&self.object) {
            table.use_only(&self.object, &BTreeSet::new());
        }
    }
}

#[cfg(test)]
mod tests;
