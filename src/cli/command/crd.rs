//! `supercargo crd`: the CRDs, to standard output or into files.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::files;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::to_stdout;
use crate::failure::Failure;

/// Arguments of `supercargo crd`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo crd | kubectl apply --server-side -f -")]
pub(crate) struct Arguments {
    /// Write each CRD to a file in this directory instead of standard output; may be given several times.
    #[arg(long = "out-dir", value_name = "DIR")]
    directories: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Complaint> {
    let all = crate::api::crd::all().map_err(Failure::internal)?;
    for (directory, (name, yaml)) in arguments.directories.iter().flat_map(|dir| all.iter().map(move |one| (dir, one)))
    {
        files::replace_by("--out-dir", &directory.join(format!("{name}.yaml")), yaml.as_bytes())?;
    }
    if arguments.directories.is_empty() {
        let documents: Vec<&str> = all.iter().map(|(_, yaml)| yaml.as_str()).collect();
        to_stdout(&documents.join("---\n"))?;
    }
    Ok(Exit::Done.into())
}
