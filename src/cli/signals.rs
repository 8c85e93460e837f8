//! Signals that end a command.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::files::parts;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::notes::{self, warn};
use crate::cli::output::to_stdout;
use crate::failure::Failure;

/// Listener for SIGHUP, Ctrl-C and SIGTERM, from its creation on.
pub(crate) struct Signals([(Option<Signal>, u8); 3]);

impl Signals {
    /// Starts to listen. A signal without a listener ends the process, as by default. One that the process was started
    /// to ignore, by `nohup` or as a background job of a script, is still ignored.
    pub(crate) fn listen() -> Self {
        let ignored = ignored();
        let listener = |kind: SignalKind| {
            let is_ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
            if is_ignored { None } else { signal(kind).ok() }
        };
        let kinds = [(SignalKind::hangup(), 129), (SignalKind::interrupt(), 130), (SignalKind::terminate(), 143)];
        Self(kinds.map(|(kind, code)| (listener(kind), code)))
    }

    /// Waits for a signal, and returns the exit code that shells report for it.
    pub(crate) async fn wait(&mut self) -> u8 {
        let Self([first, second, third]) = self;
        let one = async |(signal, code): &mut (Option<Signal>, u8)| match signal {
            Some(signal) => {
                signal.recv().await;
                *code
            }
            None => std::future::pending().await,
        };
        tokio::select! {
            code = one(first) => code,
            code = one(second) => code,
            code = one(third) => code,
        }
    }
}

/// Returns the signals that the process ignores, as a set of bits (proc(5), `SigIgn`); none if they cannot be read.
fn ignored() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Runs the work of a command until it ends or a signal comes, and reports the result. Signals are listened to before the
/// work begins, and so before anything exists that a signal would leave behind.
pub(crate) async fn until_signal(work: impl Future<Output = Result<(), Complaint>>) -> ExitCode {
    exit_unless_signal(async {
        match work.await {
            Ok(()) => Exit::Done.into(),
            Err(complaint) => complaint.report(),
        }
    })
    .await
}

/// As [`until_signal`], for work that reports its result itself and returns the exit code. Work that has put a file in
/// place is completed; a second signal does not wait for it.
pub(crate) async fn exit_unless_signal(work: impl Future<Output = ExitCode>) -> ExitCode {
    let mut signals = Signals::listen();
    let mut work = Box::pin(work);
    let code = tokio::select! {
        code = &mut work => return code,
        code = signals.wait() => code,
    };
    if parts::remove_all_unless_moved() {
        // Cancels the threads that work for it before the runtime ends.
        drop(work);
        return interrupted(code);
    }
    tokio::select! {
        code = work => code,
        code = signals.wait() => interrupted(code),
    }
}

/// Runs work that blocks on a thread, and prints its result. After a signal the thread ends with the process.
pub(crate) async fn until_signal_on_thread(
    work: impl FnOnce() -> Result<String, Complaint> + Send + 'static,
) -> ExitCode {
    // The result is not printed by the thread, which may end after the signal.
    until_signal(async { to_stdout(&tokio::task::spawn_blocking(work).await.map_err(Failure::internal)??) }).await
}

/// Removes unfinished files, reports the interruption, and returns the exit code.
pub(crate) fn interrupted(code: u8) -> ExitCode {
    parts::remove_all();
    // Threads may run for a moment. One that waits for the runtime, which is ending, panics.
    notes::silence();
    std::panic::set_hook(Box::new(|_| {}));
    warn("error: interrupted");
    ExitCode::from(code)
}
