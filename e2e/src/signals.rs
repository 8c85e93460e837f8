//! Ctrl-C and SIGTERM for the programs of the harness.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGINT or SIGTERM and returns the matching exit code. If the handlers cannot be installed, it waits
/// forever and the signals keep their default effect; the guardian cleans up in either case.
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
