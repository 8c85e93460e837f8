//! One lock per object for all changes of its outputs.
//!
//! A thread cannot be cancelled, so the lock is moved into the thread. A pass that was given up while its thread writes
//! keeps the lock until that thread has ended, and the next pass, or the removal of the object, starts after it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use crate::mutex::lock;
use crate::request::ObjectId;

/// Check that an object is unchanged since its pass began. Called under the object's lock: an output created after the
/// removal of its object would never be removed.
#[derive(Clone)]
pub struct Wanted(Arc<dyn Fn() -> bool + Send + Sync>);

impl Wanted {
    /// Creates the check from a function, which must not block.
    pub fn new(is_wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_wanted))
    }

    /// Always wanted, for objects that nothing else changes.
    pub fn always() -> Self {
        Self::new(|| true)
    }

    pub(crate) fn is_wanted(&self) -> bool {
        (self.0)()
    }
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wanted")
    }
}

/// Number of locks above which unused locks are removed.
const SWEEP_ABOVE: usize = 1024;

/// Exclusive right to change the outputs of one object. Clones share it; dropping the last one releases it.
#[derive(Clone, Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] Arc<OwnedMutexGuard<()>>);

/// Locks by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<HashMap<Name, Arc<tokio::sync::Mutex<()>>>>);

/// Namespace and name of an object.
type Name = (String, String);

impl Locks {
    /// Waits until nothing else changes the outputs of `object`, or of another object of the same name.
    pub(super) async fn acquire(&self, object: &ObjectId) -> Lock {
        Lock(Arc::new(self.of(object).lock_owned().await))
    }

    fn of(&self, object: &ObjectId) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = lock(&self.0);
        if all.len() > SWEEP_ABOVE {
            all.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(all.entry((object.namespace.clone(), object.name.clone())).or_default())
    }
}
