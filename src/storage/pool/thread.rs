//! Marks of threads that may wait for a filesystem.

use std::cell::Cell;

thread_local! {
    /// True on a pool's threads, which may wait for a filesystem.
    static IS_OF_POOL: Cell<bool> = const { Cell::new(false) };
}

/// True on a pool's thread.
pub(super) fn is_of_pool() -> bool {
    IS_OF_POOL.get()
}

/// Runs a job on this thread, marked as a pool's thread. `permits` are released when it has ended.
pub(super) fn on_pool<P, T>(permits: P, job: impl FnOnce() -> T) -> T {
    /// Unmarks the thread before it returns to the runtime, even after a panic.
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            IS_OF_POOL.set(false);
        }
    }
    IS_OF_POOL.set(true);
    let _leave = Leave;
    let done = job();
    drop(permits);
    done
}

/// A value in the queue for a thread. If the runtime ends first, it is leaked, because dropping it could block.
pub(super) struct Queued<T>(pub(super) Option<T>);

impl<T> Drop for Queued<T> {
    fn drop(&mut self) {
        if !IS_OF_POOL.get() {
            std::mem::forget(self.0.take());
        }
    }
}
