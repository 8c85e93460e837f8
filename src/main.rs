//! Parses flags, installs the TLS provider, runs a command and exits with its code.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use supercargo::cli;

/// Grace period at exit for threads that no task awaits any more: a name lookup may hang far beyond any timeout.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Maximum number of blocking threads. A volume that hangs occupies a few of them for as long as it hangs.
const MOST_THREADS: usize = 2048;

fn main() -> ExitCode {
    let cli = match cli::parse(&cli::arguments(std::env::args_os())) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    // With two providers in one process and no default, rustls panics. Fails only if a default is already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().max_blocking_threads(MOST_THREADS).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                // If standard error is unusable too, the exit code is the only report.
                let _ = writeln!(std::io::stderr(), "error: threads cannot be started: {error}");
                return ExitCode::FAILURE;
            }
        };
    let code = runtime.block_on(cli::run(cli));
    runtime.shutdown_timeout(LAST_WORK);
    code
}
