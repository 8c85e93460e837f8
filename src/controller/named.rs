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

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::mpsc::UnboundedSender;

use self::read::Answer;
use super::stored::Stored;
use crate::backoff::Backoff;
use crate::metrics::Metrics;
use crate::oci::Digest;

mod read;

pub(super) use read::{Found, Kind, Name, Unanswered, Value};

/// Time for which an answer is reused.
const GOOD_FOR: Duration = Duration::from_secs(15);
/// The same for an absent object: objects that are applied together appear a moment later.
const ABSENT_FOR: Duration = Duration::from_secs(1);
/// The same for an unanswered read, so that concurrent users do not all retry at once.
const UNANSWERED_FOR: Duration = Duration::from_millis(500);
/// Back-off between two reads of an absent object.
const ABSENT: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
/// Maximum reads per second to detect changes. With more names, each is read less often.
const READS: usize = 10;
/// Maximum size of the kept content, in bytes. Content beyond it is read again by the next look.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// All referenced objects, with their users.
pub(super) struct Named {
    client: Client,
    metrics: Arc<Metrics>,
    table: Mutex<Table>,
}

struct Table {
    slots: BTreeMap<Name, Slot>,
    /// Names that each artifact uses.
    uses: HashMap<ObjectRef<Stored>, BTreeSet<Name>>,
    scopes: Vec<Scope>,
    kept_bytes: usize,
    most_bytes: usize,
    /// Namespace of the last read, for the rotation between namespaces.
    turn: String,
}

/// Artifacts of one controller, with the channel that wakes them.
struct Scope {
    objects: Store<Stored>,
    wake: UnboundedSender<ObjectRef<Stored>>,
}

struct Slot {
    /// Held during a read; other users of the name wait for its result.
    reading: Arc<tokio::sync::Mutex<()>>,
    last: Option<Last>,
    /// Artifacts that use the name; true if a change wakes them.
    users: HashMap<ObjectRef<Stored>, bool>,
    next: Instant,
    /// Consecutive reads that found nothing.
    absent: u32,
}

/// Result of the last read.
struct Last {
    at: Instant,
    /// Content, or the failure to read it; `None` once it is no longer needed.
    answer: Option<Result<Arc<Found>, Unanswered>>,
    bytes: usize,
    /// Digest of the content. Carried over if a read was unanswered.
    mark: Option<Digest>,
    version: Option<String>,
}

impl Last {
    fn is_good(&self, now: Instant) -> bool {
        let good_for = match &self.answer {
            Some(Ok(found)) if found.is_absent() => ABSENT_FOR,
            Some(Ok(_)) => GOOD_FOR,
            Some(Err(_)) => UNANSWERED_FOR,
            None => Duration::ZERO,
        };
        now.saturating_duration_since(self.at) < good_for
    }
}

impl Named {
    pub(super) fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        let table = Table {
            slots: BTreeMap::new(),
            uses: HashMap::new(),
            scopes: Vec::new(),
            kept_bytes: 0,
            most_bytes: MOST_BYTES,
            turn: String::new(),
        };
        Self { client, metrics, table: Mutex::new(table) }
    }

    /// Adds the artifacts of a controller. Artifacts to be reconciled are sent to `wake`.
    pub(super) fn add_scope(&self, objects: Store<Stored>, wake: UnboundedSender<ObjectRef<Stored>>) {
        self.lock().scopes.push(Scope { objects, wake });
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
        let mut table = self.lock();
        let gone: Vec<_> = table.uses.keys().filter(|object| !table.is_there(object)).cloned().collect();
        for object in gone {
            table.use_only(&object, &BTreeSet::new());
        }
    }

    /// Wakes the users of an object that a watch reports with this version.
    pub(super) fn changed(&self, kind: Kind, namespace: &str, name: &str, version: Option<&str>) {
        let table = &mut *self.lock();
        let first = Name::first(kind, namespace, name);
        let mut woken = Vec::new();
        let is_it = |one: &Name| (one.kind, one.namespace.as_str(), one.name.as_str()) == (kind, namespace, name);
        for (_, slot) in table.slots.range_mut(first..).take_while(|(one, _)| is_it(one)) {
            let is_known = |last: &Last| version.is_some() && last.version.as_deref() == version;
            if !slot.last.as_ref().is_some_and(is_known) {
                if let Some(last) = &mut slot.last {
                    last.answer = None;
                    table.kept_bytes = table.kept_bytes.saturating_sub(std::mem::take(&mut last.bytes));
                }
                // A pass in progress looks at the mark only, which the next read renews.
                slot.next = Instant::now();
                woken.extend(slot.users.keys().cloned());
            }
        }
        table.wake(woken);
    }

    /// True unless a read has found another content of one of these names.
    pub(super) fn are_unchanged(&self, names: &[(Name, Digest)]) -> bool {
        let table = self.lock();
        let now = |name| table.slots.get(name)?.last.as_ref()?.mark.as_ref();
        names.iter().all(|(name, before)| now(name).is_none_or(|now| now == before))
    }

    /// Wakes the artifacts of a namespace.
    pub(super) fn wake_namespace(&self, namespace: &str) {
        let table = self.lock();
        for Scope { objects, wake } in &table.scopes {
            let all = objects.state();
            let inside = all.iter().filter(|object| object.metadata.namespace.as_deref() == Some(namespace));
            // A controller that has ended needs no notification.
            inside.for_each(|object| drop(wake.send(ObjectRef::from_obj(object.as_ref()))));
        }
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
        let reading = self.lock().slots.get(name).map(|slot| Arc::clone(&slot.reading));
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
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn register(&mut self, object: &ObjectRef<Stored>, name: &Name, wakes: bool) -> Arc<tokio::sync::Mutex<()>> {
        self.uses.entry(object.clone()).or_default().insert(name.clone());
        let new =
            || Slot { reading: Arc::default(), last: None, users: HashMap::new(), next: Instant::now(), absent: 0 };
        let slot = self.slots.entry(name.clone()).or_insert_with(new);
        slot.users.insert(object.clone(), wakes);
        Arc::clone(&slot.reading)
    }

    fn is_there(&self, object: &ObjectRef<Stored>) -> bool {
        self.scopes.iter().any(|scope| scope.objects.get(object).is_some())
    }

    /// Sets the names that an artifact uses.
    fn use_only(&mut self, object: &ObjectRef<Stored>, names: &BTreeSet<Name>) {
        let before = self.uses.remove(object).unwrap_or_default();
        for name in before.difference(names) {
            let Some(slot) = self.slots.get_mut(name) else { continue };
            slot.users.remove(object);
            if slot.users.is_empty()
                && let Some(slot) = self.slots.remove(name)
            {
                self.kept_bytes = self.kept_bytes.saturating_sub(slot.last.map_or(0, |last| last.bytes));
            }
        }
        if !names.is_empty() {
            self.uses.insert(object.clone(), names.clone());
        }
    }

    fn good(&self, name: &Name, now: Instant, since: Option<Instant>) -> Option<Result<Arc<Found>, Unanswered>> {
        let last = self.slots.get(name)?.last.as_ref().filter(|last| last.is_good(now))?;
        last.answer.clone().filter(|_| since.is_none_or(|since| last.at >= since))
    }

    /// Stores an answer, and wakes the users if the content has changed.
    fn note(
        &mut self,
        name: &Name,
        answer: Result<Answer, Unanswered>,
        is_wanted: bool,
    ) -> Result<Arc<Found>, Unanswered> {
        let now = Instant::now();
        let (answer, version) = match answer {
            Ok(Answer { found, version }) => (Ok(Arc::new(found)), version),
            Err(unanswered) => (Err(unanswered), None),
        };
        let Some(slot) = self.slots.get_mut(name) else { return answer };
        let before = slot.last.take();
        self.kept_bytes = self.kept_bytes.saturating_sub(before.as_ref().map_or(0, |last| last.bytes));
        let before_mark = before.as_ref().and_then(|last| last.mark.clone());
        let (mark, is_absent) = match &answer {
            Ok(found) => (Some(found.mark.clone()), found.is_absent()),
            Err(_) => (before_mark.clone(), slot.absent > 0),
        };
        let is_other = before_mark.is_some() && before_mark != mark;
        slot.absent = if is_absent { slot.absent.saturating_add(1) } else { 0 };
        slot.next = now + if is_absent { ABSENT.pause(slot.absent) } else { GOOD_FOR };
        // Kept after a change too, because the woken users need it at once.
        let bytes = answer.as_ref().map_or(0, |found| found.bytes);
        slot.last = Some(Last { at: now, answer: None, bytes: 0, mark, version });
        let woken: Vec<_> = if is_other { slot.users.keys().cloned().collect() } else { Vec::new() };
        if (is_wanted || is_other) && self.make_room(&name.namespace, bytes) {
            self.kept_bytes += bytes;
            if let Some(last) = self.slots.get_mut(name).and_then(|slot| slot.last.as_mut()) {
                (last.answer, last.bytes) = (Some(answer.clone()), bytes);
            }
        }
        self.wake(woken);
        answer
    }

    /// Makes room for content of a namespace, at the expense of namespaces that keep more than it: a tenant must not
    /// cause a read for each look at an object of another tenant. Returns false if there is no room.
    fn make_room(&mut self, namespace: &str, bytes: usize) -> bool {
        while self.kept_bytes.saturating_add(bytes) > self.most_bytes {
            let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
            for (name, slot) in &self.slots {
                *kept.entry(&name.namespace).or_default() += slot.last.as_ref().map_or(0, |last| last.bytes);
            }
            let own = kept.get(namespace).copied().unwrap_or_default().saturating_add(bytes);
            let most = kept.into_iter().max_by_key(|(_, kept)| *kept).filter(|(_, kept)| *kept > own);
            let Some(greedy) = most.map(|(greedy, _)| greedy.to_owned()) else { return false };
            let lasts = self.slots.iter_mut().filter(|(name, _)| name.namespace == greedy);
            let lasts = lasts.filter_map(|(_, slot)| slot.last.as_mut().filter(|last| last.bytes > 0));
            let Some(oldest) = lasts.min_by_key(|last| last.at) else { return false };
            oldest.answer = None;
            self.kept_bytes = self.kept_bytes.saturating_sub(std::mem::take(&mut oldest.bytes));
        }
        true
    }

    /// Returns the names that are due for another read: those in the operator's own namespace (for policies) first,
    /// then one of each namespace in rotation.
    fn take_due(&mut self, now: Instant, own: &str) -> Vec<Name> {
        let mut due: BTreeMap<&str, VecDeque<&Name>> = BTreeMap::new();
        let is_due = |slot: &Slot| slot.next <= now && slot.users.values().any(|wakes| *wakes);
        let mut all: Vec<_> = self.slots.iter().filter(|(_, slot)| is_due(slot)).collect();
        // The longest due first, or of many names the same few would be read again and again.
        all.sort_by_key(|(_, slot)| slot.next);
        for (name, _) in all {
            due.entry(&name.namespace).or_default().push_back(name);
        }
        let mut taken: Vec<Name> = due.remove(own).into_iter().flatten().take(READS).cloned().collect();
        while taken.len() < READS && !due.is_empty() {
            let after = (std::ops::Bound::Excluded(self.turn.as_str()), std::ops::Bound::Unbounded);
            let next = due.range::<str, _>(after).next().or_else(|| due.iter().next()).map(|(namespace, _)| *namespace);
            let Some(namespace) = next else { break };
            let names = due.get_mut(namespace);
            taken.extend(names.and_then(VecDeque::pop_front).cloned());
            let is_empty = due.get(namespace).is_none_or(VecDeque::is_empty);
            let turn = namespace.to_owned();
            if is_empty {
                due.remove(turn.as_str());
            }
            self.turn = turn;
        }
        // A name that is being read, or that fails, must not be due again at once.
        for name in &taken {
            if let Some(slot) = self.slots.get_mut(name) {
                slot.next = now + GOOD_FOR;
            }
        }
        taken
    }

    /// Drops content that is too old to be used.
    fn drop_expired(&mut self, now: Instant) {
        for slot in self.slots.values_mut() {
            let Some(last) = &mut slot.last else { continue };
            if last.answer.is_some() && !last.is_good(now) {
                last.answer = None;
                self.kept_bytes = self.kept_bytes.saturating_sub(std::mem::take(&mut last.bytes));
            }
        }
    }

    fn wake(&self, objects: Vec<ObjectRef<Stored>>) {
        for object in objects {
            let of_it = self.scopes.iter().find(|scope| scope.objects.get(&object).is_some());
            if let Some(scope) = of_it {
                // A controller that has ended needs no notification.
                let _ = scope.wake.send(object);
            }
        }
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
        if !table.is_there(&self.object) {
            table.use_only(&self.object, &BTreeSet::new());
        }
    }
}

#[cfg(test)]
mod tests;
