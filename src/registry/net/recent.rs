//! A bounded table with least-recently-used eviction, for keys that tenants and registries choose.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A map with a maximum number of entries. A new entry beyond it replaces the least recently used one, without a walk
/// over all entries.
#[derive(Debug)]
pub(in crate::registry) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// Keys by the time of their last use, which is unique.
    uses: BTreeMap<u64, K>,
    clock: u64,
    room: usize,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub(in crate::registry) fn new(room: usize) -> Self {
        Self { entries: HashMap::new(), uses: BTreeMap::new(), clock: 0, room: room.max(1) }
    }

    /// Returns the entry of `key`, creating it if absent, and the entry that was evicted for it.
    pub(in crate::registry) fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> (&mut V, Option<V>) {
        self.clock += 1;
        let is_new = !self.entries.contains_key(&key);
        let evicted = if is_new && self.entries.len() >= self.room { self.evict() } else { None };
        self.uses.insert(self.clock, key.clone());
        let (used, value) = self.entries.entry(key).or_insert_with(|| (self.clock, make()));
        if *used != self.clock {
            self.uses.remove(used);
            *used = self.clock;
        }
        (value, evicted)
    }

    /// Returns the entry of `key`, and counts that as a use.
    pub(in crate::registry) fn get(&mut self, key: &K) -> Option<&mut V> {
        let (used, value) = self.entries.get_mut(key)?;
        self.clock += 1;
        self.uses.remove(used);
        self.uses.insert(self.clock, key.clone());
        *used = self.clock;
        Some(value)
    }

    fn evict(&mut self) -> Option<V> {
        let (_, key) = self.uses.pop_first()?;
        self.entries.remove(&key).map(|(_, value)| value)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.uses.len(), "each entry has one last use");
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_recently_used_entries_stay() {
        let mut recent = Recent::new(3);
        for key in ["a", "b", "c", "a", "d", "a", "e"] {
            recent.entry(key, || key);
        }
        assert_eq!(recent.len(), 3);
        let missing: Vec<_> =
            ["a", "d", "e"].into_iter().filter(|key| recent.entry(*key, || "new").0 == &"new").collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(recent.entry("f", || "f").1, Some("a"), "the one that was not used for longest goes");
    }

    #[test]
    fn a_flood_of_new_keys_is_bounded() {
        let mut recent = Recent::new(10);
        let evicted = (0..100_000).filter(|key| recent.entry(*key, || ()).1.is_some()).count();
        assert_eq!((recent.len(), evicted), (10, 99_990));
    }
}
