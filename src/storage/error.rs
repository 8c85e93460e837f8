//! Errors of volumes.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

/// State of a volume that was never open.
const UNOPENED: &str = "is not open yet";

/// Error of a volume: a refused filesystem call with the attempted action, or the state of the whole volume.
#[derive(Clone, Debug)]
pub struct StorageError {
    what: String,
    cause: Cause,
    /// Missing bytes at least, if free space was checked before the write.
    lacks: Option<u64>,
}

/// Part that has failed.
#[derive(Clone, Debug)]
enum Cause {
    /// One call.
    Call(Errno),
    /// The named volume, for every call.
    Volume(String),
    /// A rule of the operator.
    Rule,
    /// A thread of the operator.
    Panic,
}

impl std::error::Error for StorageError {}

impl std::fmt::Display for StorageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cause {
            Cause::Call(errno) => write!(f, "{}: {errno}", self.what),
            Cause::Volume(name) => write!(f, "volume {name} {}", self.what),
            Cause::Rule | Cause::Panic => f.write_str(&self.what),
        }
    }
}

impl StorageError {
    pub(crate) fn new(what: impl Into<String>, errno: Errno) -> Self {
        Self { what: what.into(), cause: Cause::Call(errno), lacks: None }
    }

    /// Adds the minimum number of missing bytes.
    pub(super) fn lacking(self, bytes: u64) -> Self {
        Self { lacks: Some(bytes), ..self }
    }

    /// Returns an error that did not come from a filesystem call.
    pub(super) fn rule(what: impl Into<String>) -> Self {
        Self { what: what.into(), cause: Cause::Rule, lacks: None }
    }

    /// Returns the state of a volume that was never open.
    pub(super) fn unopened(volume: &str) -> Self {
        Self::of_volume(volume, UNOPENED)
    }

    pub(super) fn is_unopened(&self) -> bool {
        self.volume().is_some() && self.what == UNOPENED
    }

    /// Returns the state of a volume that does not answer within its timeout.
    pub(super) fn unresponsive(volume: &str, within: Duration) -> Self {
        Self::of_volume(volume, format!("does not respond within {}s (--volume-timeout)", within.as_secs_f64()))
    }

    /// Returns the state of a volume that cannot be used.
    pub(super) fn unusable(volume: &str, why: impl std::fmt::Display) -> Self {
        Self::of_volume(volume, format!("cannot be used: {why}"))
    }

    fn of_volume(volume: &str, what: impl Into<String>) -> Self {
        Self { what: what.into(), cause: Cause::Volume(volume.to_owned()), lacks: None }
    }

    /// Returns the error of a thread that panicked.
    pub(super) fn panicked() -> Self {
        Self { what: "a thread of a volume panicked".to_owned(), cause: Cause::Panic, lacks: None }
    }

    /// Returns the name of the volume, if the whole volume cannot be used.
    pub(crate) fn volume(&self) -> Option<&str> {
        match &self.cause {
            Cause::Volume(name) => Some(name),
            Cause::Call(_) | Cause::Rule | Cause::Panic => None,
        }
    }

    /// True for a panic, which is a defect of the operator.
    pub(crate) fn is_panic(&self) -> bool {
        matches!(self.cause, Cause::Panic)
    }

    fn errno(&self) -> Option<Errno> {
        match self.cause {
            Cause::Call(errno) => Some(errno),
            Cause::Volume(_) | Cause::Rule | Cause::Panic => None,
        }
    }

    /// True if no space, inodes or quota are left.
    pub fn is_full(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOSPC | Errno::DQUOT))
    }

    /// Returns the minimum number of bytes that a full filesystem lacks, if known.
    pub(crate) fn lacks(&self) -> Option<u64> {
        self.lacks
    }

    /// True if the entry does not exist.
    pub(crate) fn is_absent(&self) -> bool {
        self.errno() == Some(Errno::NOENT)
    }

    /// True if another process holds a lock.
    pub(crate) fn is_locked(&self) -> bool {
        self.errno() == Some(Errno::WOULDBLOCK)
    }

    /// True if an entry of this name already exists.
    pub(crate) fn is_there(&self) -> bool {
        self.errno() == Some(Errno::EXIST)
    }

    /// True if a component of the path is not, or no longer, the expected directory or file.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV))
    }

    /// Converts an I/O error of a reader or writer.
    pub(crate) fn from_io(what: impl Into<String>, error: &io::Error) -> Self {
        Self::new(what, Errno::from_io_error(error).unwrap_or_else(|| errno_of(error.kind())))
    }
}

/// Returns an errno for a kind of error: an error that names its path has lost its own.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows; most kinds have no errno of their own")]
fn errno_of(kind: io::ErrorKind) -> Errno {
    match kind {
        io::ErrorKind::StorageFull => Errno::NOSPC,
        io::ErrorKind::QuotaExceeded => Errno::DQUOT,
        io::ErrorKind::ReadOnlyFilesystem => Errno::ROFS,
        io::ErrorKind::PermissionDenied => Errno::ACCESS,
        io::ErrorKind::NotFound => Errno::NOENT,
        io::ErrorKind::NotADirectory => Errno::NOTDIR,
        io::ErrorKind::FileTooLarge => Errno::FBIG,
        io::ErrorKind::StaleNetworkFileHandle => Errno::STALE,
        _ => Errno::IO,
    }
}

/// Adds the attempted action to an error.
pub(crate) trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, StorageError>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, StorageError> {
        self.map_err(|errno| StorageError::new(what(), errno))
    }
}
