//! Parses flags, installs the TLS provider, runs a command. The only place that exits.

use std::process::ExitCode;

use clap::Parser;
use supercargo::cli::{self, Cli};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // Two providers in one process make rustls panic when it has to choose; this is the choice.
    // Fails only where one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    cli::run(cli).await
}
