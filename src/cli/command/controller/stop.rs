//! The end of the process at a signal.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Longest time from a signal to the end of the process: less than the 30 s that the kubelet grants.
const STOP_WITHIN: Duration = Duration::from_secs(25);
/// Cancels at the first SIGTERM or interrupt.
pub(super) async fn cancel_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            tracing::info!("stopping: no new passes; passes in progress are cancelled");
            shutdown.cancel();
            end_in_time();
        }
        Err(error) => tracing::warn!(%error, "no handler for SIGTERM: stopping will not be graceful"),
    }
}

/// Ends the process if something keeps it from stopping, such as a filesystem that does not respond. Uses a thread of
/// its own, because the runtime may be blocked.
fn end_in_time() {
    #[expect(clippy::disallowed_methods, reason = "there is nothing to wait for")]
    let last = || {
        std::thread::sleep(STOP_WITHIN);
        tracing::error!(after = ?STOP_WITHIN, "not stopped in time; ending the process");
        std::process::exit(1);
    };
    if let Err(error) = std::thread::Builder::new().name("stop".to_owned()).spawn(last) {
        tracing::warn!(%error, "the thread that ends the process in time cannot be started");
    }
}
