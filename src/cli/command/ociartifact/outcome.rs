//! Result of a command about objects: standard output, errors of single objects, and the exit code.

use std::process::ExitCode;

use crate::cli::options::format::Format;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::notes;
use crate::cli::output::to_stdout;
use crate::failure::printable;

/// Result of a command.
pub(super) struct Outcome {
    /// Standard output.
    pub(super) text: String,
    /// Errors of single objects.
    pub(super) failures: Vec<Complaint>,
    /// Exit code if there is no failure.
    pub(super) exit: Exit,
}

impl From<String> for Outcome {
    fn from(text: String) -> Self {
        Self { text, failures: Vec::new(), exit: Exit::Done }
    }
}

impl Outcome {
    /// Writes the result, and returns the exit code: that of the failures if they have one in common.
    pub(super) fn report(self) -> ExitCode {
        if let Err(complaint) = to_stdout(&self.text) {
            return complaint.report();
        }
        for failure in &self.failures {
            failure.report();
        }
        match self.failures.as_slice() {
            [] => self.exit.into(),
            failures => Exit::of_all(failures.iter().map(Complaint::reason)).into(),
        }
    }
}

/// Notes that there is no object, for people, as kubectl does. `None` stands for all namespaces.
pub(super) fn note_none(format: Format, namespace: Option<&str>) {
    if format == Format::Text {
        let place = namespace.map(|name| format!(" in {name} namespace.")).unwrap_or_default();
        notes::note(format_args!("No OCIArtifacts found{}", printable(&place)));
    }
}

/// Writes warnings to standard error, for people; JSON has them as a field.
pub(super) fn warn(format: Format, warnings: &[String]) {
    if format == Format::Text {
        for warning in warnings {
            notes::warn(format_args!("warning: {}", printable(warning)));
        }
    }
}
