//! Counts by name. Names with a count of zero are not stored.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A count per name.
#[derive(Clone, Debug)]
pub(crate) struct Counts<K>(HashMap<K, usize>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Counts<K> {
    /// Returns the count of a name, zero if the name is not stored.
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, name: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Increments the count of a name.
    pub(crate) fn increment(&mut self, name: K) {
        let count = self.0.entry(name).or_default();
        *count = count.saturating_add(1);
    }

    /// Decrements the count of a name and returns the remaining count.
    pub(crate) fn decrement<Q: Eq + Hash + ?Sized>(&mut self, name: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let Some(count) = self.0.get_mut(name) else { return 0 };
        *count = count.saturating_sub(1);
        let left = *count;
        if left == 0 {
            self.0.remove(name);
        }
        left
    }

    /// Returns true if every count is zero.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_count_of_zero_is_removed() {
        let mut counts = Counts::<String>::default();
        counts.increment("a".to_owned());
        counts.increment("a".to_owned());
        assert_eq!((counts.get("a"), counts.get("b")), (2, 0));
        assert_eq!([counts.decrement("a"), counts.decrement("a"), counts.decrement("a")], [1, 0, 0]);
        assert!(counts.is_empty());
    }
}
