//! `supercargo man`: manual pages, one for each command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::command::version;
use crate::cli::files;
use crate::cli::options::format::FormatArguments;
use crate::cli::options::packaging::source_date;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::to_stdout;

mod options;
mod page;
mod roff;

use page::Place;

/// Page of the commands that are a plugin of kubectl too, and its name there.
const PLUGIN: &str = "supercargo-ociartifact";
const ALIAS: &str = "kubectl-ociartifact";
const AS_PLUGIN: &str = "kubectl ociartifact";
const USAGE: &str = "kubectl ociartifact [OPTIONS] <COMMAND>";
/// Date of the pages of a build for development.
const UNKNOWN: &str = "1970-01-01";
/// Length of a date at the beginning of a time.
const DATE: usize = UNKNOWN.len();

/// Arguments of `supercargo man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo man --out-dir /usr/local/share/man/man1")]
#[command(after_long_help = "\
Writes supercargo.1 and a page for each command, such as supercargo-pull.1. Existing pages are
replaced, each in one step. Standard output has the paths of the pages. Their date is that of
SOURCE_DATE_EPOCH, else that of the commit of this build.

Example:
  supercargo man --out-dir /usr/local/share/man/man1")]
pub(crate) struct Arguments {
    /// Directory for the pages, which must exist.
    #[arg(long, value_name = "DIR")]
    out_dir: PathBuf,
    #[command(flatten)]
    format: FormatArguments,
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
struct Report {
    /// Pages that were written.
    files: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments, program: clap::Command) -> ExitCode {
    match pages(arguments, program) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

fn pages(arguments: &Arguments, mut program: clap::Command) -> Result<(), Complaint> {
    // A page for `help` would only repeat the others.
    program = program.disable_help_subcommand(true);
    program.build();
    let date = source_date()?;
    let date = date.as_deref().or(version::DATE).and_then(|time| time.get(..DATE)).unwrap_or(UNKNOWN);
    let (mut next, mut files) = (vec![(program, None)], Vec::new());
    while let Some((mut command, parent)) = next.pop() {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let below = command.get_subcommands().filter(|command| !command.is_hide_set());
        next.extend(below.map(|command| (command.clone(), Some(name.clone()))));
        let place = Place { name: &name, parent: parent.as_deref(), below: &name, date };
        files.push(write(&arguments.out_dir, &mut command, &place)?);
        if name == PLUGIN {
            let place = Place { name: ALIAS, ..place };
            files.push(write(&arguments.out_dir, &mut command.bin_name(AS_PLUGIN).override_usage(USAGE), &place)?);
        }
    }
    files.sort_unstable();
    let report = Report { files };
    to_stdout(&arguments.format.format.show_lines(&report.files, &report)?)
}

fn write(directory: &Path, command: &mut clap::Command, place: &Place<'_>) -> Result<String, Complaint> {
    let path = directory.join(format!("{}.1", place.name));
    files::replace_by("--out-dir", &path, page::page(command, place).as_bytes())?;
    Ok(path.display().to_string())
}
