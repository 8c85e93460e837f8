//! The command line: commands call the library, options are parsed once for all commands, output reports to the user.

use std::process::ExitCode;

use clap::Parser;

pub use output::complaint::{remedy, remedy_in_files};
pub use plugin::arguments;

use crate::telemetry::{LogFormat, LogLevel};

mod artifacts;
mod caching;
mod checkout;
mod command;
mod files;
mod locking;
mod options;
mod output;
mod placing;
mod plugin;
mod signals;
mod terminal;

/// Publish OCI artifacts, verified and unpacked, where workloads read them.
///
/// `controller` does so in a Kubernetes cluster for OCIArtifact objects. `sync` does the same once, without a cluster,
/// for the same YAML files. `pull`, `resolve` and `verify` read one artifact without an object. `package`, `push`,
/// `sign`, `attach` and `promote` publish artifacts. `verify-bundle` and `unpack` handle single files.
#[derive(Debug, Parser)]
#[command(name = "supercargo", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: command::Command,
    /// Log level; `RUST_LOG`, if set, overrides it and can filter by module.
    #[arg(hide_short_help = true, long, global = true, value_enum, default_value_t = LogLevel::Info, env = "SUPERCARGO_LOG_LEVEL")]
    log_level: LogLevel,
    /// Format of log lines.
    #[arg(hide_short_help = true, long, global = true, value_enum, default_value_t = LogFormat::Text, env = "SUPERCARGO_LOG_FORMAT")]
    log_format: LogFormat,
}

/// Runs the command and returns the exit code, one of `output::exit`. Every command reports its error in one line on
/// standard error, which is no log line: neither `RUST_LOG` nor the format of the log changes it.
pub async fn run(cli: Cli) -> ExitCode {
    crate::telemetry::init(cli.log_format, cli.log_level);
    cli.command.run().await.unwrap_or_else(|complaint| complaint.report())
}
