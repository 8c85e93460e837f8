//! Values whose drop may hang.

use super::pool::Pool;

/// A value that is dropped on a thread of the volume, because its drop may wait for the volume: for example the last
/// handle of a nameless file.
#[derive(Debug)]
pub struct OnVolume<T: Send + 'static> {
    value: Option<T>,
    pool: Pool,
}

impl<T: Send + 'static> OnVolume<T> {
    pub(crate) fn new(pool: &Pool, value: T) -> Self {
        Self { value: Some(value), pool: pool.clone() }
    }

    /// Returns the value, until it is taken.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Takes the value. The caller must use and drop it on a thread that may block.
    pub(crate) fn take(mut self) -> Option<T> {
        self.value.take()
    }

    /// Returns the thread pool of the volume.
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
