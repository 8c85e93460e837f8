//! `supercargo crd`: the CRDs, to standard output or into files.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::output::Fatal;

/// Arguments of `supercargo crd`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write each CRD to a file in this directory instead of standard output; may be given several times.
    #[arg(long = "out-dir", value_name = "DIR")]
    directories: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Fatal> {
    let all = crate::api::crd::all().map_err(Fatal::during("the CRDs cannot be written as YAML"))?;
    for (directory, (name, yaml)) in arguments.directories.iter().flat_map(|dir| all.iter().map(move |one| (dir, one)))
    {
        fs_err::write(directory.join(format!("{name}.yaml")), yaml).map_err(Fatal::during("a CRD was not written"))?;
    }
    if arguments.directories.is_empty() {
        let documents: Vec<&str> = all.iter().map(|(_, yaml)| yaml.as_str()).collect();
        let text = documents.join("---\n");
        std::io::stdout().write_all(text.as_bytes()).map_err(Fatal::during("standard output"))?;
    }
    Ok(ExitCode::SUCCESS)
}
