//! Informational lines on standard error, which `--quiet` leaves out.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// True if only errors and warnings are written. Set once, before the command runs.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves out every later note, and the bars of downloads.
pub(crate) fn silence() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

pub(crate) fn is_quiet() -> bool {
    IS_QUIET.load(Ordering::Relaxed)
}

/// Writes a line that a user may ignore to standard error, unless the command is quiet.
pub(crate) fn note(text: impl std::fmt::Display) {
    if !is_quiet() {
        warn(text);
    }
}

/// Writes a line that a user should read to standard error, also if the command is quiet.
pub(crate) fn warn(text: impl std::fmt::Display) {
    // If standard error is closed, the exit code is the only report.
    let _ = writeln!(std::io::stderr(), "{text}");
}
