//! Things in the cluster that objects and policies name: read once for all of them, and watched by reading them again.
//!
//! ```text
//! a look at an object ─▶ get ─▶ read less than 15 s ago? ─ no ─▶ one request, whoever else wants the answer
//! every 15 s ─▶ keys and roots once more ─▶ other content? ─▶ the objects that use them are woken
//! ```
//!
//! The operator may read Secrets by name and not list them, so nothing reports their changes. Here one request per Secret
//! finds them, not one per object, and no object is looked at for it. Of a Secret or ConfigMap only the keys are kept that
//! somebody names, up to a bound, and not longer than somebody needs them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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

/// Time for which an answer is good.
const GOOD_FOR: Duration = Duration::from_secs(15);
/// The same for the answer that there is nothing: what was applied together is there a moment later.
const ABSENT_FOR: Duration = Duration::from_secs(1);
/// The same for no answer: those who wanted the same do not all try it again.
const UNANSWERED_FOR: Duration = Duration::from_millis(500);
/// Pauses between two reads of what is not there.
const ABSENT: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
/// Most reads per second that look for changes. With more names than this allows, each is read less often.
const READS: usize = 10;
/// Most bytes of content that are kept. What does not fit is read again by the next look.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Everything that is named, and by whom.
pub(super) struct Named {
    client: Client,
    metrics: Arc<Metrics>,
    table: Mutex<Table>,
}

struct Table {
    slots: BTreeMap<Name, Slot>,
    /// Names that each object uses.
    uses: HashMap<ObjectRef<Stored>, BTreeSet<Name>>,
    scopes: Vec<Scope>,
    kept_bytes: usize,
    most_bytes: usize,
    /// Namespace that was read last, where several wait.
    turn: String,
}

/// Objects of one controller, and how to wake them.
struct Scope {
    objects: Store<Stored>,
    wake: UnboundedSender<ObjectRef<Stored>>,
}

struct Slot {
    /// Held while it is read: those who want the same wait for that.
    reading: Arc<tokio::sync::Mutex<()>>,
    last: Option<Last>,
    /// The objects that use it, and whether they are to be woken.
    users: HashMap<ObjectRef<Stored>, bool>,
    next: Instant,
    /// Reads in a row that found nothing.
    absent: u32,
}

/// The last read.
struct Last {
    at: Instant,
    /// Content, or the reason why there is none; `None` once nobody needs it.
    answer: Option<Result<Arc<Found>, Unanswered>>,
    bytes: usize,
    /// The same for the same content. Kept from before where there was no answer.
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

    /// Adds the objects of a controller. Those that are to be reconciled go to `wake`.
    pub(super) fn add_scope(&self, objects: Store<Stored>, wake: UnboundedSender<ObjectRef<Stored>>) {
        self.lock().scopes.push(Scope { objects, wake });
    }

    /// Begins to look up what an object names.
    pub(super) fn look_up(&self, object: ObjectRef<Stored>) -> LookUp<'_> {
        LookUp { named: self, object, names: BTreeSet::new(), since: None }
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&self, object: &ObjectRef<Stored>) {
        self.lock().use_only(object, &BTreeSet::new());
    }

    /// Forgets the objects that are in no list.
    pub(super) fn forget_missing(&self) {
        let mut table = self.lock();
        let is_there =
            |object: &ObjectRef<Stored>| table.scopes.iter().any(|scope| scope.objects.get(object).is_some());
        let gone: Vec<_> = table.uses.keys().filter(|object| !is_there(object)).cloned().collect();
        for object in gone {
            table.use_only(&object, &BTreeSet::new());
        }
    }

    /// Wakes the users of something that a watch reports with this version.
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
                woken.extend(slot.users.keys().cloned());
            }
        }
        table.wake(woken);
    }

    /// Wakes the objects of a namespace.
    pub(super) fn wake_namespace(&self, namespace: &str) {
        let table = self.lock();
        for Scope { objects, wake } in &table.scopes {
            let all = objects.state();
            let inside = all.iter().filter(|object| object.metadata.namespace.as_deref() == Some(namespace));
            // A controller that has ended needs no news.
            inside.for_each(|object| drop(wake.send(ObjectRef::from_obj(object.as_ref()))));
        }
    }

    /// Reads again what objects are to be woken for. Ends never.
    pub(super) async fn keep(&self) -> std::convert::Infallible {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let due = self.lock().take_due(Instant::now(), self.client.default_namespace());
            futures::future::join_all(due.iter().map(|name| self.read_again(name))).await;
            self.lock().drop_unused(Instant::now());
        }
    }

    async fn read_again(&self, name: &Name) {
        let reading = self.lock().slots.get(name).map(|slot| Arc::clone(&slot.reading));
        let Some(reading) = reading else { return };
        // Somebody reads it just now.
        let Ok(_turn) = reading.try_lock() else { return };
        let answer = self.read(name).await;
        // Nobody waits for it, and those who use it are woken.
        let _ = self.lock().note(name, answer, false);
    }

    async fn get(
        &self,
        object: &ObjectRef<Stored>,
        name: &Name,
        is_woken: bool,
        since: Option<Instant>,
    ) -> Result<Arc<Found>, Unanswered> {
        let reading = self.lock().register(object, name, is_woken);
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
        // Each call leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn register(&mut self, object: &ObjectRef<Stored>, name: &Name, is_woken: bool) -> Arc<tokio::sync::Mutex<()>> {
        self.uses.entry(object.clone()).or_default().insert(name.clone());
        let new =
            || Slot { reading: Arc::default(), last: None, users: HashMap::new(), next: Instant::now(), absent: 0 };
        let slot = self.slots.entry(name.clone()).or_insert_with(new);
        slot.users.insert(object.clone(), is_woken);
        Arc::clone(&slot.reading)
    }

    /// Makes an object use these names and no others.
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

    /// Notes an answer, and wakes the users where it is another one than before.
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
        // The users that are woken want it at once.
        let bytes = answer.as_ref().map_or(0, |found| found.bytes);
        let is_kept = (is_wanted || is_other) && self.kept_bytes.saturating_add(bytes) <= self.most_bytes;
        let bytes = if is_kept { bytes } else { 0 };
        self.kept_bytes += bytes;
        let kept = is_kept.then(|| answer.clone());
        slot.last = Some(Last { at: now, answer: kept, bytes, mark, version });
        if is_other {
            let woken = slot.users.keys().cloned().collect();
            self.wake(woken);
        }
        answer
    }

    /// Names that are to be read again now: those of the operator's own namespace first, which policies name, and then
    /// one of each namespace in turn.
    fn take_due(&mut self, now: Instant, own: &str) -> Vec<Name> {
        let mut due: BTreeMap<&str, Vec<&Name>> = BTreeMap::new();
        let is_due = |slot: &Slot| slot.next <= now && slot.users.values().any(|is_woken| *is_woken);
        for (name, _) in self.slots.iter().filter(|(_, slot)| is_due(slot)) {
            due.entry(&name.namespace).or_default().push(name);
        }
        let mut taken: Vec<Name> = due.remove(own).into_iter().flatten().take(READS).cloned().collect();
        while taken.len() < READS && !due.is_empty() {
            let after = (std::ops::Bound::Excluded(self.turn.as_str()), std::ops::Bound::Unbounded);
            let next = due.range::<str, _>(after).next().or_else(|| due.iter().next()).map(|(namespace, _)| *namespace);
            let Some(namespace) = next else { break };
            let names = due.get_mut(namespace);
            taken.extend(names.and_then(Vec::pop).cloned());
            let is_empty = due.get(namespace).is_none_or(Vec::is_empty);
            let turn = namespace.to_owned();
            if is_empty {
                due.remove(turn.as_str());
            }
            self.turn = turn;
        }
        // One that is being read, or that fails, is not due again at once.
        for name in &taken {
            if let Some(slot) = self.slots.get_mut(name) {
                slot.next = now + GOOD_FOR;
            }
        }
        taken
    }

    /// Drops content that nobody may use any more.
    fn drop_unused(&mut self, now: Instant) {
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
                // A controller that has ended needs no news.
                let _ = scope.wake.send(object);
            }
        }
    }
}

/// One look at what an object names.
pub(super) struct LookUp<'a> {
    named: &'a Named,
    object: ObjectRef<Stored>,
    names: BTreeSet<Name>,
    /// Answers before this time are not good enough.
    since: Option<Instant>,
}

impl LookUp<'_> {
    /// The same look, which reads again what was read before now: somebody asks for it, perhaps because it has changed.
    pub(super) fn afresh(self) -> Self {
        Self { since: Some(Instant::now()), ..self }
    }

    /// Content under a name. `is_woken`: the object is woken when that changes.
    pub(super) async fn get(&mut self, name: Name, is_woken: bool) -> Result<Arc<Found>, Unanswered> {
        let found = self.named.get(&self.object, &name, is_woken, self.since).await;
        self.names.insert(name);
        found
    }

    /// Ends the look: the object uses no other names any more.
    pub(super) fn finish(self) {
        self.named.lock().use_only(&self.object, &self.names);
    }
}

#[cfg(test)]
mod tests;
