//! `supercargo catalog`: scaffolds of kubara's catalogs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::package::complain;
use crate::cli::options::format::{Format, FormatArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::to_stdout;
use crate::cli::signals::Signals;
use crate::pack::catalog;

/// Arguments of `supercargo catalog`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create a catalog in a new directory.
    #[command(after_help = "Example: supercargo catalog create team-catalog")]
    Create {
        /// Name of the catalog and of the directory: lower-case letters, digits and `-`.
        name: String,
        #[command(flatten)]
        format: FormatArguments,
    },
    /// Add a service to a catalog.
    #[command(after_help = "Example: supercargo catalog add database --catalog team-catalog")]
    Add {
        /// Name of the service: lower-case letters, digits and `-`.
        service: String,
        /// Directory of the catalog.
        #[arg(long, value_name = "DIR", default_value = ".")]
        catalog: PathBuf,
        #[command(flatten)]
        format: FormatArguments,
    },
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
struct Created {
    /// File that was created: the description of the catalog or of the service.
    file: String,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    // A few small files are written in a moment: a signal does not end the command between two of them.
    let _signals = Signals::listen();
    match create(&arguments.command) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

fn create(command: &Command) -> Result<(), Complaint> {
    let (format, file) = match command {
        Command::Create { name, format } => (format, catalog::create(Path::new(""), name)),
        Command::Add { service, catalog, format } => (format, catalog::add(catalog, service)),
    };
    let created = Created { file: file.map_err(complain)?.display().to_string() };
    to_stdout(&shown(format.format, &created)?)
}

fn shown(format: Format, created: &Created) -> Result<String, Complaint> {
    format.show(|| format!("{}\n", created.file), created)
}
