//! Reports to the user: result, error, exit code, progress.

use std::io::Write;

use complaint::Complaint;

use crate::api::Reason;

pub(crate) mod age;
pub(crate) mod complaint;
pub(crate) mod exit;
pub(crate) mod notes;
pub(crate) mod progress;
pub(crate) mod signer;
pub(crate) mod table;
pub(crate) mod usage;

/// Returns a number with its noun, whose plural has an s.
pub(crate) fn count<N: Copy + std::fmt::Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    format!("{number} {noun}{}", if number == N::from(1) { "" } else { "s" })
}

/// Writes the result of a command to standard output.
pub(crate) fn to_stdout(text: &str) -> Result<(), Complaint> {
    let mut stdout = std::io::stdout().lock();
    // A text without a line end stays in the buffer until the program ends, and an error would be lost then.
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| {
        let complaint = Complaint::new(Reason::StorageFailed, format!("standard output: {error}"));
        complaint.with_remedy("Check the program or file that standard output leads to.".to_owned())
    })
}
