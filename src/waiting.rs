//! Tasks that wait for something that namespaces share, in the order of arrival within their namespace.

use std::collections::VecDeque;

use tokio::sync::oneshot::Sender;

/// Length from which a queue is searched for cancelled waiters, whenever it has doubled.
const LONG: usize = 16;

/// Waiting tasks by namespace; each waits for a `T`. A namespace whose task was taken goes to the end.
#[derive(Debug)]
pub(crate) struct Waiting<K, T>(VecDeque<(K, VecDeque<Sender<T>>)>);

impl<K, T> Default for Waiting<K, T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: Clone + PartialEq, T> Waiting<K, T> {
    pub(crate) fn push(&mut self, namespace: &K, waiter: Sender<T>) {
        let Some((_, queue)) = self.0.iter_mut().find(|(waiting, _)| waiting == namespace) else {
            self.0.push_back((namespace.clone(), VecDeque::from([waiter])));
            return;
        };
        queue.push_back(waiter);
        // Cancelled waiters must not accumulate behind one that waits for long.
        if queue.len() >= LONG && queue.len().is_power_of_two() {
            queue.retain(|waiter| !waiter.is_closed());
        }
    }

    /// Returns the namespaces in their order. Tasks of some may have been cancelled.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(namespace, _)| namespace)
    }

    /// Takes the first live task of the namespace at `index` of [`Self::namespaces`]. Returns `None` and removes the
    /// namespace if all its tasks were cancelled.
    pub(crate) fn take(&mut self, index: usize) -> Option<(K, Sender<T>)> {
        let (namespace, mut queue) = self.0.remove(index)?;
        let waiter = std::iter::from_fn(|| queue.pop_front()).find(|waiter| !waiter.is_closed());
        if !queue.is_empty() {
            self.0.push_back((namespace.clone(), queue));
        }
        waiter.map(|waiter| (namespace, waiter))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of places in the queues.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|(_, queue)| queue.len()).sum()
    }
}
