//! Format of a result on standard output.

use serde::Serialize;

use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;

/// Option for the format of a result.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct FormatArguments {
    /// Format of the result on standard output: text or json.
    ///
    /// JSON is one object on one line; docs/reference/json.md lists its names.
    #[arg(hide_possible_values = true, long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// Format of a result on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Lines for people and shells.
    Text,
    /// One JSON object with stable names.
    Json,
}

impl Format {
    /// Returns a result for standard output: the text, or the value as one line of JSON.
    pub(crate) fn show(self, text: impl FnOnce() -> String, json: &impl Serialize) -> Result<String, Complaint> {
        match self {
            Self::Text => Ok(text()),
            Self::Json => Ok(serde_json::to_string(json).map_err(Failure::internal)? + "\n"),
        }
    }

    /// Returns a result whose text has a line for each item.
    pub(crate) fn show_lines(self, lines: &[String], json: &impl Serialize) -> Result<String, Complaint> {
        self.show(|| lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect(), json)
    }
}
