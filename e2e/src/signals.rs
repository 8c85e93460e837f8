//! Ctrl-C and SIGTERM for the programs of the harness.

use tokio::signal::unix::{SignalKind, signal};

/// Waits until the program is asked to end and answers the exit code that says so. Where the handlers cannot be set,
/// it waits forever and the signals do what they do by default; the guardian cleans up in either case.
pub async fn asked_to_end() -> i32 {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
}
