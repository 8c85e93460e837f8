//! Reports to the user: result, error, exit code, progress.

use std::io::Write;

use complaint::Complaint;

use crate::api::Reason;

pub(crate) mod complaint;
pub(crate) mod exit;
pub(crate) mod progress;
pub(crate) mod table;

/// Error that ends the program, as one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fatal(pub(crate) String);

impl Fatal {
    /// Returns a conversion that prefixes an error with the attempted action.
    pub(crate) fn during<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

/// Writes the result of a command to standard output.
pub(crate) fn to_stdout(text: &str) -> Result<(), Complaint> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Complaint::new(Reason::StorageFailed, format!("standard output: {error}")))
}
