//! Parses flags, installs the TLS provider, runs a command. The only place that exits.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use supercargo::cli::{self, Cli};

/// How long threads get that nobody waits for any more: one that looks up a name may hang far beyond any timeout.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Most threads that may wait for something. A volume that hangs holds a few of them each, for as long as it hangs.
const MOST_THREADS: usize = 2048;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Two providers in one process make rustls panic when it has to choose; this is the choice.
    // Fails only where one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().max_blocking_threads(MOST_THREADS).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                // Where standard error is gone too, the code has to do.
                let _ = writeln!(std::io::stderr(), "error: no threads can be started: {error}");
                return ExitCode::FAILURE;
            }
        };
    let code = runtime.block_on(cli::run(cli));
    runtime.shutdown_timeout(LAST_WORK);
    code
}
