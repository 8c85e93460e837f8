//! Named steps at which a test kills the process (SIGKILL; the page cache survives, unlike in a power failure).
//!
//! With `SUPERCARGO_FAILPOINT=NAME` or `NAME:N` in its environment, the process is killed when it reaches step NAME for
//! the first or N-th time. `SUPERCARGO_PANIC=OBJECT` makes each reconcile of that object panic. Only test builds read
//! these variables: builds with debug assertions, or with the feature `failpoints`.

/// Does nothing in a release build.
#[cfg(not(any(feature = "failpoints", debug_assertions)))]
#[inline(always)]
pub(crate) fn reach(_name: &str) {}

/// Kills the process if the failpoint `name` is set and due.
#[cfg(any(feature = "failpoints", debug_assertions))]
pub(crate) fn reach(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static REACHED: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("SUPERCARGO_FAILPOINT").ok()?;
        let (name, number) = text.split_once(':').unwrap_or((text.as_str(), "1"));
        Some((name.to_owned(), number.parse().ok()?))
    });
    let Some((wanted, number)) = wanted else { return };
    if wanted == name && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *number {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Does nothing in a release build.
#[cfg(not(any(feature = "failpoints", debug_assertions)))]
#[inline(always)]
pub(crate) fn panic_at(_object: &str) {}

/// Panics for the object that `SUPERCARGO_PANIC` names.
#[cfg(any(feature = "failpoints", debug_assertions))]
pub(crate) fn panic_at(object: &str) {
    static WANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let wanted = WANTED.get_or_init(|| std::env::var("SUPERCARGO_PANIC").ok());
    assert!(wanted.as_deref() != Some(object), "wanted by SUPERCARGO_PANIC");
}
