//! `supercargo version`: the version of this program, for reports of bugs.

use std::fmt::Write;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::options::format::FormatArguments;
use crate::cli::output::exit::Exit;
use crate::cli::output::to_stdout;

/// Commit of this build; absent in a build for development, and from source without a repository.
pub(crate) const COMMIT: Option<&str> = given(option_env!("SUPERCARGO_COMMIT"));

/// Date of that commit.
pub(crate) const DATE: Option<&str> = given(option_env!("SUPERCARGO_COMMIT_DATE"));

/// Leaves out an empty text: a build argument that is not set.
const fn given(text: Option<&'static str>) -> Option<&'static str> {
    match text {
        Some(text) if !text.is_empty() => Some(text),
        Some(_) | None => None,
    }
}

/// Arguments of `supercargo version`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo version --format json")]
#[command(after_long_help = "\
Standard output has the version, the commit and its date, the platform, and the version of the
compiler. A build for development has no commit.

Example:
  supercargo version --format json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    format: FormatArguments,
}

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Build {
    version: &'static str,
    /// Commit, with `-modified` if the source was another.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'static str>,
    /// Date of the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<&'static str>,
    /// Platform that the program runs on.
    target: &'static str,
    /// Compiler.
    rust: &'static str,
    /// True for a build for development, without optimization.
    debug: bool,
}

impl Build {
    fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: COMMIT,
            date: DATE,
            target: option_env!("SUPERCARGO_TARGET").unwrap_or("unknown"),
            rust: option_env!("SUPERCARGO_RUST").unwrap_or("unknown"),
            debug: cfg!(debug_assertions),
        }
    }

    fn text(&self) -> String {
        let Self { version, commit, date, target, rust, debug } = self;
        let kind = if *debug { " (debug build)" } else { "" };
        let mut text = format!("supercargo {version}{kind}\n");
        for (name, value) in [("commit", commit), ("date", date), ("target", &Some(*target)), ("rust", &Some(*rust))] {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<8}{}", format!("{name}:"), value.unwrap_or("unknown"));
        }
        text
    }
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let build = Build::this();
    match arguments.format.format.show(|| build.text(), &build).and_then(|text| to_stdout(&text)) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_names_its_commit_or_says_that_it_is_unknown() {
        let released = Build { commit: Some("0123abc"), date: Some("2026-01-31"), debug: false, ..Build::this() };
        let text = released.text();
        assert!(text.contains("commit: 0123abc\n") && text.contains("date:   2026-01-31\n"), "{text}");
        assert!(!text.contains("debug"), "{text}");
        let text = Build { commit: None, date: None, debug: true, ..released }.text();
        assert!(text.contains("(debug build)") && text.contains("commit: unknown\n"), "{text}");
    }
}
