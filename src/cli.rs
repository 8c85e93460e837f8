//! The command line: commands call the library, options are parsed once for all commands, output reports to the user.

use std::process::ExitCode;

use clap::Parser;

use crate::telemetry::{LogFormat, LogLevel};

mod command;
mod files;
mod options;
mod output;
mod placing;
mod signals;
mod terminal;

/// Publish OCI artifacts, verified and unpacked, where workloads read them.
///
/// `controller` does so in a Kubernetes cluster for OCIArtifact objects. `sync` does the same once, without a cluster,
/// for the same YAML files. `pull` and `resolve` handle one artifact without an object. `verify` prints the signer of
/// an artifact, `verify-bundle` that of a file. `unpack` treats a file as the other commands treat a layer.
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

/// Runs the command and returns the exit code: 0 for success, 1 for a failure. Commands for one artifact use the codes
/// of `output::exit`.
pub async fn run(cli: Cli) -> ExitCode {
    crate::telemetry::init(cli.log_format, cli.log_level);
    let result = cli.command.run().await;
    result.unwrap_or_else(|error| {
        tracing::error!("{error}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Lines and columns of the screen that `-h` of each command must fit.
    const SCREEN: (usize, usize) = (40, 100);

    #[test]
    fn short_help_fits_one_screen_and_long_help_has_every_option() {
        let mut cli = Cli::command().term_width(SCREEN.1);
        cli.build();
        let mut wrong = Vec::new();
        for command in cli.get_subcommands_mut() {
            let (short, long) = (command.render_help().to_string(), command.render_long_help().to_string());
            let own = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let lines = short.lines().count();
            let columns = short.lines().chain(own.lines()).map(|line| line.chars().count()).max().unwrap_or_default();
            if lines > SCREEN.0 || columns > SCREEN.1 {
                wrong.push(format!("{}: {lines} lines, {columns} columns:\n{short}{own}", command.get_name()));
            }
            for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(long.contains(&format!("--{option}")), "{}: --{option}", command.get_name());
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }
}
