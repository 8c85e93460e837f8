//! `supercargo catalog`: scaffolds of kubara's catalogs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::package::complain;
use crate::cli::output::exit::Exit;
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
    Create {
        /// Name of the catalog and of the directory: lower-case letters, digits and `-`.
        name: String,
    },
    /// Add a service to a catalog.
    Add {
        /// Name of the service: lower-case letters, digits and `-`.
        service: String,
        /// Directory of the catalog.
        #[arg(long, value_name = "DIR", default_value = ".")]
        catalog: PathBuf,
    },
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let result = match &arguments.command {
        Command::Create { name } => catalog::create(Path::new("."), name),
        Command::Add { service, catalog } => catalog::add(catalog, service),
    };
    match result {
        Ok(()) => Exit::Done.into(),
        Err(error) => complain(error).report(),
    }
}
