//! Table of referenced objects: the last answer for each, its users, and the time of its next read.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::reflector::ObjectRef;

use super::read::{Answer, Found, Kind, Name, Unanswered};
use super::scopes::Scopes;
use crate::api::stored::Stored;
use crate::backoff::Backoff;
use crate::oci::Digest;

/// Time for which an answer is reused.
pub(super) const GOOD_FOR: Duration = Duration::from_secs(15);
/// The same for an absent object: objects that are applied together appear a moment later.
const ABSENT_FOR: Duration = Duration::from_secs(1);
/// The same for an unanswered read, so that concurrent users do not all retry at once.
const UNANSWERED_FOR: Duration = Duration::from_millis(500);
/// Back-off between two reads of an absent object.
const ABSENT: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
/// Maximum reads per second to detect changes. With more names, each is read less often.
pub(super) const READS: usize = 10;
/// Maximum size of the kept content, in bytes. Content beyond it is read again by the next look.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// All names with their users.
pub(super) struct Table {
    pub(super) slots: BTreeMap<Name, Slot>,
    /// Names that each artifact uses.
    pub(super) uses: HashMap<ObjectRef<Stored>, BTreeSet<Name>>,
    pub(super) scopes: Scopes,
    pub(super) kept_bytes: usize,
    pub(super) most_bytes: usize,
    /// Namespace of the last read, for the rotation between namespaces.
    turn: String,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            uses: HashMap::new(),
            scopes: Scopes::default(),
            kept_bytes: 0,
            most_bytes: MOST_BYTES,
            turn: String::new(),
        }
    }
}

/// One name.
pub(super) struct Slot {
    /// Held during a read; other users of the name wait for its result.
    reading: Arc<tokio::sync::Mutex<()>>,
    pub(super) last: Option<Last>,
    /// Artifacts that use the name; true if a change wakes them.
    users: HashMap<ObjectRef<Stored>, bool>,
    pub(super) next: Instant,
    /// Consecutive reads that found nothing.
    absent: u32,
}

/// Result of the last read.
pub(super) struct Last {
    pub(super) at: Instant,
    /// Content, or the failure to read it; `None` once it is no longer needed.
    answer: Option<Result<Arc<Found>, Unanswered>>,
    bytes: usize,
    /// Digest of the content. Carried over if a read was unanswered.
    mark: Option<Digest>,
    pub(super) version: Option<String>,
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

    /// Drops the kept answer, and returns its size in bytes.
    fn drop_answer(&mut self) -> usize {
        self.answer = None;
        std::mem::take(&mut self.bytes)
    }
}

impl Table {
    /// Forgets the artifacts that are in no list.
    pub(super) fn forget_missing(&mut self) {
        let gone: Vec<_> = self.uses.keys().filter(|object| !self.scopes.contains(object)).cloned().collect();
        for object in gone {
            self.use_only(&object, &BTreeSet::new());
        }
    }

    /// Wakes the users of an object that a watch reports with this version.
    pub(super) fn changed(&mut self, kind: Kind, namespace: &str, name: &str, version: Option<&str>) {
        let first = Name::first(kind, namespace, name);
        let mut woken = Vec::new();
        let is_it = |one: &Name| (one.kind, one.namespace.as_str(), one.name.as_str()) == (kind, namespace, name);
        for (_, slot) in self.slots.range_mut(first..).take_while(|(one, _)| is_it(one)) {
            let is_known = |last: &Last| version.is_some() && last.version.as_deref() == version;
            if !slot.last.as_ref().is_some_and(is_known) {
                if let Some(last) = &mut slot.last {
                    self.kept_bytes = self.kept_bytes.saturating_sub(last.drop_answer());
                }
                // A pass in progress looks at the mark only, which the next read renews.
                slot.next = Instant::now();
                woken.extend(slot.users.keys().cloned());
            }
        }
        self.scopes.wake(woken);
    }

    /// True unless a read has found another content of one of these names.
    pub(super) fn are_unchanged(&self, names: &[(Name, Digest)]) -> bool {
        let now = |name| self.slots.get(name)?.last.as_ref()?.mark.as_ref();
        names.iter().all(|(name, before)| now(name).is_none_or(|now| now == before))
    }

    /// Returns the lock of a read.
    pub(super) fn reading(&self, name: &Name) -> Option<Arc<tokio::sync::Mutex<()>>> {
        self.slots.get(name).map(|slot| Arc::clone(&slot.reading))
    }

    /// Adds an artifact to the users of a name, and returns the lock of its read.
    pub(super) fn register(
        &mut self,
        object: &ObjectRef<Stored>,
        name: &Name,
        wakes: bool,
    ) -> Arc<tokio::sync::Mutex<()>> {
        self.uses.entry(object.clone()).or_default().insert(name.clone());
        let new =
            || Slot { reading: Arc::default(), last: None, users: HashMap::new(), next: Instant::now(), absent: 0 };
        let slot = self.slots.entry(name.clone()).or_insert_with(new);
        slot.users.insert(object.clone(), wakes);
        Arc::clone(&slot.reading)
    }

    /// Sets the names that an artifact uses.
    pub(super) fn use_only(&mut self, object: &ObjectRef<Stored>, names: &BTreeSet<Name>) {
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

    /// Returns the last answer if it may be reused, and is not older than `since`.
    pub(super) fn good(
        &self,
        name: &Name,
        now: Instant,
        since: Option<Instant>,
    ) -> Option<Result<Arc<Found>, Unanswered>> {
        let last = self.slots.get(name)?.last.as_ref().filter(|last| last.is_good(now))?;
        last.answer.clone().filter(|_| since.is_none_or(|since| last.at >= since))
    }

    /// Stores an answer, and wakes the users if the content has changed.
    pub(super) fn note(
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
        self.scopes.wake(woken);
        answer
    }

    /// Makes room for content of a namespace, at the expense of namespaces that keep more than it: a tenant must not
    /// cause a read for each look at an object of another tenant. Returns false if there is no room.
    fn make_room(&mut self, namespace: &str, bytes: usize) -> bool {
        if self.kept_bytes.saturating_add(bytes) <= self.most_bytes {
            return true;
        }
        let mut kept: BTreeMap<String, usize> = BTreeMap::new();
        for (name, last) in self.slots.iter().filter_map(|(name, slot)| Some((name, slot.last.as_ref()?))) {
            *kept.entry(name.namespace.clone()).or_default() += last.bytes;
        }
        let own = kept.get(namespace).copied().unwrap_or_default().saturating_add(bytes);
        while self.kept_bytes.saturating_add(bytes) > self.most_bytes {
            let most = kept.iter_mut().max_by_key(|(_, kept)| **kept).filter(|(_, kept)| **kept > own);
            let Some((greedy, of_greedy)) = most else { return false };
            let lasts = self.slots.iter_mut().filter(|(name, _)| name.namespace == *greedy);
            let lasts = lasts.filter_map(|(_, slot)| slot.last.as_mut().filter(|last| last.bytes > 0));
            let Some(oldest) = lasts.min_by_key(|last| last.at) else { return false };
            let freed = oldest.drop_answer();
            *of_greedy = of_greedy.saturating_sub(freed);
            self.kept_bytes = self.kept_bytes.saturating_sub(freed);
        }
        true
    }

    /// Returns the names that are due for another read: those in the operator's own namespace (for policies) first,
    /// then one of each namespace in rotation.
    pub(super) fn take_due(&mut self, now: Instant, own: &str) -> Vec<Name> {
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
    pub(super) fn drop_expired(&mut self, now: Instant) {
        for slot in self.slots.values_mut() {
            let Some(last) = &mut slot.last else { continue };
            if last.answer.is_some() && !last.is_good(now) {
                self.kept_bytes = self.kept_bytes.saturating_sub(last.drop_answer());
            }
        }
    }
}
