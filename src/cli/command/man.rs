//! `supercargo man`: manual pages, one for each command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::Resettable;
use serde::Serialize;

use crate::cli::files;
use crate::cli::options::format::FormatArguments;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::to_stdout;
use crate::failure::Failure;

mod page;

/// Last section of a page of the program.
const VERSION: &str = ".SH VERSION";

/// Arguments of `supercargo man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo man --out-dir /usr/local/share/man/man1")]
#[command(after_long_help = "\
Writes supercargo.1 and a page for each command, such as supercargo-pull.1. Existing pages are
replaced, each in one step. Standard output has the paths of the pages.

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
    let (mut next, mut files) = (vec![program], Vec::new());
    while let Some(command) = next.pop() {
        next.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
        files.push(write(&arguments.out_dir, command)?.display().to_string());
    }
    files.sort_unstable();
    let report = Report { files };
    to_stdout(&arguments.format.format.show_lines(&report.files, &report)?)
}

fn write(directory: &Path, command: clap::Command) -> Result<PathBuf, Complaint> {
    let help = command.get_after_long_help().or_else(|| command.get_after_help()).map(ToString::to_string);
    let sections = page::sections(&help.unwrap_or_default(), !command.has_subcommands());
    let command = command.after_help(Resettable::Reset).after_long_help(Resettable::Reset);
    // Values of this machine's environment are no defaults of a page, and a page has the options that -h leaves out.
    let page =
        clap_mangen::Man::new(command.mut_args(|argument| argument.hide_env_values(true).hide_short_help(false)));
    let path = directory.join(page.get_filename());
    let mut text = Vec::new();
    page.render(&mut text).map_err(Failure::internal)?;
    let text = String::from_utf8(text).map_err(Failure::internal)?;
    let end = text.find(VERSION).unwrap_or(text.len());
    let (before, after) = text.split_at_checked(end).unwrap_or((&text, ""));
    files::replace_by("--out-dir", &path, format!("{before}{sections}{after}").as_bytes())?;
    Ok(path)
}
