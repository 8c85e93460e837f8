//! Files named on the command line, read whole up to a size limit.

use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::api::Reason;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;

mod input;
pub(crate) mod objects;

/// Largest file that is read.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Reads the file of an option or argument, which errors name.
pub(crate) fn read(what: &str, path: &Path) -> Result<Vec<u8>, Complaint> {
    content(path).map_err(|error| unreadable(what, &error))
}

/// Reads the file of an option on a thread: a signal ends a command that listens to signals also while it waits for
/// the other end of a pipe.
pub(crate) async fn read_on_thread(what: &'static str, path: &Path) -> Result<Vec<u8>, Complaint> {
    let path = PathBuf::from(path);
    tokio::task::spawn_blocking(move || read(what, &path)).await.map_err(Failure::internal)?
}

/// Reads a file. Errors name its path.
pub(crate) fn content(path: &Path) -> Result<Vec<u8>, Error> {
    up_to(MAX_FILE, fs_err::File::open(path)?).map_err(|error| {
        let is_bare = error.kind() == ErrorKind::FileTooLarge;
        if is_bare { Error::new(error.kind(), format!("{} is {error}", path.display())) } else { error }
    })
}

/// Reports a file that cannot be read, as missing or as invalid.
pub(crate) fn unreadable(what: &str, error: &Error) -> Complaint {
    Complaint::new(reason(error), format!("{what}: {error}"))
}

/// Reports a file that cannot be written.
pub(crate) fn unwritable(what: &str, error: &Error) -> Complaint {
    let is_full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded].contains(&error.kind());
    let reason = if is_full { Reason::StorageFull } else { Reason::StorageFailed };
    Complaint::new(reason, format!("{what}: {error}"))
}

/// Returns the reason for a file that cannot be read.
pub(crate) fn reason(error: &Error) -> Reason {
    if error.kind() == ErrorKind::NotFound { Reason::FileNotFound } else { Reason::FileInvalid }
}

/// Reads everything, or fails if it is more than `limit` bytes.
pub(crate) fn up_to(limit: u64, reader: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}
