//! Files named on the command line: read whole up to a size limit, written whole or not at all.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::api::Reason;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::oci::Digest;
use parts::Part;

mod directories;
pub(crate) mod input;
pub(crate) mod objects;
pub(crate) mod parts;
pub(crate) mod record;
pub(crate) mod replacing;

/// Largest file that is read.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Returns true for the path that stands for standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Returns true if two paths lead to one existing file.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let own = |path: &Path| fs_err::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    own(one).is_ok_and(|one| own(other).is_ok_and(|other| one == other))
}

/// Opens a regular file. A pipe is refused: it blocks the process, or gives other content each time.
pub(crate) fn regular(path: &Path) -> Result<fs_err::File, Error> {
    let named = |error: Error| naming(path, &error);
    if fs_err::metadata(path).map_err(named)?.is_file() {
        return fs_err::File::open(path).map_err(named);
    }
    Err(Error::new(ErrorKind::InvalidInput, format!("{} is not a regular file", path.display())))
}

/// Reads the file of an option or argument, which errors name.
pub(crate) fn read(what: &str, path: &Path) -> Result<Vec<u8>, Complaint> {
    content(path).map_err(|error| unreadable(what, &error))
}

/// Reads the text of a file, or of standard input for `-`.
pub(crate) fn text(what: &str, path: &Path) -> Result<String, Complaint> {
    let bytes = if is_stdin(path) {
        let failed = |error: Error| Complaint::new(Reason::FileInvalid, format!("{what}: standard input is {error}"));
        up_to(MAX_FILE, std::io::stdin().lock()).map_err(failed)?
    } else {
        read(what, path)?
    };
    let invalid = |_| Complaint::new(Reason::FileInvalid, format!("{what}: {} is not UTF-8 text", path.display()));
    String::from_utf8(bytes).map_err(invalid)
}

/// Reads the file of an option on a thread: a signal ends a command that listens to signals also while it waits for
/// the other end of a pipe.
pub(crate) async fn read_on_thread(what: &'static str, path: &Path) -> Result<Vec<u8>, Complaint> {
    let path = PathBuf::from(path);
    tokio::task::spawn_blocking(move || read(what, &path)).await.map_err(Failure::internal)?
}

/// Reads a file. Errors name its path.
pub(crate) fn content(path: &Path) -> Result<Vec<u8>, Error> {
    content_of(path, fs_err::File::open(path).map_err(|error| naming(path, &error))?)
}

/// Reads an open file.
pub(crate) fn content_of(path: &Path, file: fs_err::File) -> Result<Vec<u8>, Error> {
    up_to(MAX_FILE, file).map_err(|error| {
        let is_bare = error.kind() == ErrorKind::FileTooLarge;
        if is_bare { Error::new(error.kind(), format!("{} is {error}", path.display())) } else { error }
    })
}

/// Returns the error of a file with its path and the problem alone, in place of the failed system call.
pub(crate) fn naming(path: &Path, error: &Error) -> Error {
    let known =
        [(ErrorKind::NotFound, "does not exist"), (ErrorKind::PermissionDenied, "may not be read by this user")];
    let problem = known.iter().find(|(kind, _)| *kind == error.kind());
    let text = problem.map_or_else(|| error.to_string(), |(_, problem)| format!("{} {problem}", path.display()));
    Error::new(error.kind(), text)
}

/// Reports a file that cannot be read, as missing or as invalid.
pub(crate) fn unreadable(what: &str, error: &Error) -> Complaint {
    Complaint::new(reason(error), format!("{what}: {error}"))
}

/// Parses the path of a file to write: a new one, a regular one, or a device such as `/dev/null`. Others are no files
/// that can be replaced, and a pipe without a reader blocks for ever.
pub(crate) fn target() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        let kind = fs_err::metadata(&path).map(|metadata| metadata.file_type());
        let is_other = kind.is_ok_and(|kind| !kind.is_file() && !kind.is_char_device());
        if is_other || is_stdin(&path) { Err("expected the path of a regular file or of a new one") } else { Ok(path) }
    })
}

/// Replaces a file by these bytes; see [`replace`].
pub(crate) fn replace_by(what: &str, path: &Path, bytes: &[u8]) -> Result<(), Complaint> {
    replace(what, path, |mut file| file.write_all(bytes).map_err(|error| unwritable(what, &error)))
}

/// Writes a file beside its place, and moves it there once it is complete and on disk. A link is followed, and a device
/// is written to.
pub(crate) fn replace<T>(
    what: &str,
    path: &Path,
    content: impl FnOnce(&File) -> Result<T, Complaint>,
) -> Result<T, Complaint> {
    let failed = |error: Error| unwritable(what, &error);
    if fs_err::metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device()) {
        return content(fs_err::OpenOptions::new().write(true).open(path).map_err(failed)?.file());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.exists()) {
        let problem = format!("{what}: directory {} does not exist", parent.display());
        let complaint = Complaint::new(Reason::StorageFailed, problem);
        return Err(complaint.with_remedy("Create the directory, or name another one.".to_owned()));
    }
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let part = Part::create(&path).map_err(failed)?;
    let written = content(part.file.file())?;
    part.file.sync_all().map_err(failed)?;
    part.rename(&path).map_err(failed)?;
    Ok(written)
}

/// Writes a digest to the file of --digest-file. The error says what was done already.
pub(crate) fn write_digest(path: &Path, digest: &Digest, done: &str) -> Result<(), Complaint> {
    const OPTION: &str = "--digest-file";
    let written = replace_by(OPTION, path, digest.to_string().as_bytes());
    written.map_err(|complaint| Complaint::new(complaint.reason(), format!("{}; {done}", complaint.message())))
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
