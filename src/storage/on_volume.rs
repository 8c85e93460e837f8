//! Values whose drop may hang.

use super::Pool;

/// A value whose drop may wait for a volume, as that of the last handle of a file without a name does: a thread of the
/// volume drops it.
#[derive(Debug)]
pub struct OnVolume<T: Send + 'static> {
    value: Option<T>,
    pool: Pool,
}

impl<T: Send + 'static> OnVolume<T> {
    pub(crate) fn new(pool: &Pool, value: T) -> Self {
        Self { value: Some(value), pool: pool.clone() }
    }

    /// The value, until it is taken.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// The value. To be taken where it is used or dropped by a thread that may wait.
    pub(crate) fn take(mut self) -> Option<T> {
        self.value.take()
    }

    /// The threads of its volume.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl<T: Send + 'static> Drop for OnVolume<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.pool.detach(value, drop);
        }
    }
}
