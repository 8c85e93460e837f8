//! Reports to the user: result, error, exit code, progress.

use std::io::Write;

use complaint::Complaint;

use crate::api::Reason;

pub(crate) mod complaint;
pub(crate) mod exit;
pub(crate) mod progress;
pub(crate) mod table;

/// Writes the result of a command to standard output.
pub(crate) fn to_stdout(text: &str) -> Result<(), Complaint> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Complaint::new(Reason::StorageFailed, format!("standard output: {error}")))
}
