//! Reading a stage back: another process may have written to it since its files were unpacked.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use fs_err::os::unix::fs::FileExt;
use rustix::io::Errno;

use super::Stop;
use super::path::shortened;
use crate::oci::Digest;
use crate::oci::digest::hash_chunks;
use crate::storage::{self, StorageError};

/// A staged file whose content differs from the unpacked one, because another process has written to the stage.
#[derive(Debug, thiserror::Error)]
#[error("file {path:?} was changed on the volume before it was published: {problem}")]
pub struct Changed {
    path: String,
    problem: String,
}

impl Changed {
    pub(crate) fn new(path: &str, problem: impl Into<String>) -> Self {
        Self { path: shortened(path), problem: problem.into() }
    }

    /// Returns the error for a path that is absent or no longer of the same kind.
    pub(crate) fn kind(path: &str) -> Self {
        Self::new(path, "removed, or replaced by another kind of entry")
    }
}

/// Error when reading a stage back.
#[derive(Debug, thiserror::Error)]
pub enum StagedError {
    /// The volume failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Another process has written to the stage.
    #[error(transparent)]
    Changed(#[from] Changed),
}

/// Opens a file of a stage.
pub(crate) fn open(dir: BorrowedFd<'_>, name: &str, path: &str) -> Result<fs_err::File, StagedError> {
    match storage::open_file(dir, name) {
        Err(error) if error.is_replaced() => Err(Changed::kind(path).into()),
        file => Ok(file?),
    }
}

/// Reads a staged file to its end, and fails if its content differs from the unpacked one.
pub(crate) fn verify(
    file: &fs_err::File,
    path: &str,
    (size, digest): (u64, &Digest),
    stop: &Stop,
    mut each: impl FnMut(&[u8]),
) -> Result<(), StagedError> {
    let unreadable = |error: io::Error| StorageError::from_io(format!("read {path}"), &error).into();
    // One additional byte reveals a longer file.
    let (found, read) = hash_chunks(
        size.saturating_add(1),
        |to, at| file.read_at(to, at),
        unreadable,
        |chunk| {
            if stop.is_cancelled() {
                return Err(StagedError::from(StorageError::new("verify the staged files", Errno::CANCELED)));
            }
            each(chunk);
            Ok(())
        },
    )?;
    if read != size {
        return Err(Changed::new(path, format!("expected {size} bytes, found more or fewer")).into());
    }
    if found != *digest {
        return Err(Changed::new(path, format!("expected {digest}, found {found}")).into());
    }
    Ok(())
}

/// A complete file of the stage, for which an early end is an error.
pub(super) struct ReadBack(pub(super) fs_err::File);

impl Read for ReadBack {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if !buffer.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}
