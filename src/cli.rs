//! The command line: commands call the library, options are parsed once for all commands, output reports to the user.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};

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
mod overview;
mod placing;
mod plugin;
mod signals;
mod steps;
mod terminal;

/// Publish OCI artifacts, verified and unpacked, where workloads read them.
///
/// `controller` does so in a Kubernetes cluster for OCIArtifact objects. `sync` does the same once, without a cluster,
/// for the same YAML files, and `lock` writes down their digests. `ociartifact` shows and changes the objects of a
/// cluster. `pull`, `resolve` and `verify` read one artifact without an object, and `diff` compares two. `package`,
/// `push`, `sign`, `attach` and `promote` publish artifacts. `verify-bundle` and `unpack` handle single files.
#[derive(Debug, Parser)]
#[command(name = "supercargo", version, max_term_width = 100, help_template = overview::TEMPLATE)]
pub struct Cli {
    #[command(subcommand)]
    command: command::Command,
    /// Print only errors and warnings on standard error: no summaries and no progress.
    #[arg(hide_short_help = true, short, long, global = true, conflicts_with = "verbose", help_heading = LOGGING)]
    quiet: bool,
    /// Log more: once requests and decisions, twice everything, also of libraries.
    #[arg(hide_short_help = true, short, long, global = true, action = ArgAction::Count, help_heading = LOGGING)]
    verbose: u8,
    /// Log level; `RUST_LOG`, if set, overrides it and can filter by module.
    #[arg(hide_short_help = true, long, global = true, value_enum, default_value_t = LogLevel::Info, help_heading = LOGGING, env = "SUPERCARGO_LOG_LEVEL")]
    log_level: LogLevel,
    /// Format of log lines.
    #[arg(hide_short_help = true, long, global = true, value_enum, default_value_t = LogFormat::Text, help_heading = LOGGING, env = "SUPERCARGO_LOG_FORMAT")]
    log_format: LogFormat,
}

impl Cli {
    /// Returns the description of the command line, whose help has an overview of the commands.
    pub fn program() -> clap::Command {
        overview::add(Self::command())
    }
}

/// Heading of the options that every command has.
const LOGGING: &str = "Logging";

/// Parses the arguments of the process, which begin with its name. Help and versions are printed; an error is reported,
/// with the exit code.
pub fn parse(arguments: &[OsString]) -> Result<Cli, ExitCode> {
    let mut program = Cli::program();
    let matches = program.try_get_matches_from_mut(arguments);
    let parsed = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| output::usage::report(error.format(&mut program), &program, arguments))
}

/// Runs the command and returns the exit code, one of `output::exit`. Every command reports its error in one line on
/// standard error, which is no log line: neither `RUST_LOG` nor the format of the log changes it.
pub async fn run(cli: Cli) -> ExitCode {
    crate::telemetry::init(cli.log_format, cli.log_level.adjusted(cli.verbose, cli.quiet));
    if cli.quiet {
        output::notes::silence();
    }
    cli.command.run(Cli::program).await.unwrap_or_else(|complaint| complaint.report())
}
