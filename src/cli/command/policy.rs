//! `supercargo policy`: tests of policies, offline, and the signatures that they need.

use std::process::ExitCode;

use clap::Subcommand;

mod bundles;
mod case;
mod file;
mod outcome;
mod record;
mod report;
mod test;

/// Arguments of `supercargo policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare the verdicts of policies with the expected ones, offline.
    Test(test::Arguments),
    /// Store the signatures of an image in a directory, for `policy test`.
    Record(Box<record::Arguments>),
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Test(arguments) => test::run(&arguments).await,
        Command::Record(arguments) => record::run(&arguments).await,
    }
}

#[cfg(test)]
mod tests;
