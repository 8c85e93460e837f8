//! `supercargo crd`: the CRD, to standard output or into files.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Fatal;

/// Arguments of `supercargo crd`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Write to this file instead; may be given several times.
    #[arg(long = "out", value_name = "FILE")]
    out: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Fatal> {
    let yaml = crate::api::crd::yaml().map_err(Fatal::during("the CRD cannot be written as YAML"))?;
    for file in &arguments.out {
        fs_err::write(file, &yaml).map_err(Fatal::during("the CRD was not written"))?;
    }
    if arguments.out.is_empty() {
        std::io::stdout().write_all(yaml.as_bytes()).map_err(Fatal::during("standard output"))?;
    }
    Ok(ExitCode::SUCCESS)
}
