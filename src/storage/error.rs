//! Errors of volumes.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

/// State of a volume before it was opened.
const UNOPENED: &str = "is not open yet";

/// An error of a volume: a call that the filesystem refused, with what was attempted, or the state of the whole volume.
#[derive(Clone, Debug)]
pub struct StorageError {
    what: String,
    cause: Cause,
    /// Bytes that are missing at least, where that was asked before.
    lacks: Option<u64>,
}

/// Part that has failed.
#[derive(Clone, Debug)]
enum Cause {
    /// One call.
    Call(Errno),
    /// The volume of this name, for every call.
    Volume(String),
    /// A rule of ours.
    Rule,
    /// A thread of ours.
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

    /// The same error, with the bytes that are missing at least.
    pub(super) fn lacking(self, bytes: u64) -> Self {
        Self { lacks: Some(bytes), ..self }
    }

    /// Something that no call refused.
    pub(super) fn rule(what: impl Into<String>) -> Self {
        Self { what: what.into(), cause: Cause::Rule, lacks: None }
    }

    /// The state of a volume before it was opened for the first time.
    pub(super) fn unopened(volume: &str) -> Self {
        Self::of_volume(volume, UNOPENED)
    }

    pub(super) fn is_unopened(&self) -> bool {
        self.volume().is_some() && self.what == UNOPENED
    }

    /// The state of a volume that answers nothing within its time.
    pub(super) fn unresponsive(volume: &str, within: Duration) -> Self {
        Self::of_volume(volume, format!("does not respond within {}s (--volume-timeout)", within.as_secs_f64()))
    }

    /// The state of a volume that cannot be used.
    pub(super) fn unusable(volume: &str, why: impl std::fmt::Display) -> Self {
        Self::of_volume(volume, format!("cannot be used: {why}"))
    }

    fn of_volume(volume: &str, what: impl Into<String>) -> Self {
        Self { what: what.into(), cause: Cause::Volume(volume.to_owned()), lacks: None }
    }

    /// A thread that panicked.
    pub(super) fn panicked() -> Self {
        Self { what: "a thread of a volume panicked".to_owned(), cause: Cause::Panic, lacks: None }
    }

    /// The volume that cannot be used, where that is the reason.
    pub(crate) fn volume(&self) -> Option<&str> {
        match &self.cause {
            Cause::Volume(name) => Some(name),
            Cause::Call(_) | Cause::Rule | Cause::Panic => None,
        }
    }

    /// True for a fault of ours.
    pub(crate) fn is_panic(&self) -> bool {
        matches!(self.cause, Cause::Panic)
    }

    fn errno(&self) -> Option<Errno> {
        match self.cause {
            Cause::Call(errno) => Some(errno),
            Cause::Volume(_) | Cause::Rule | Cause::Panic => None,
        }
    }

    /// True where there is no space, no inode or no quota left.
    pub fn is_full(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOSPC | Errno::DQUOT))
    }

    /// Bytes that a full filesystem lacks at least, as far as it says so.
    pub(crate) fn lacks(&self) -> Option<u64> {
        self.lacks
    }

    /// True where the thing does not exist.
    pub(crate) fn is_absent(&self) -> bool {
        self.errno() == Some(Errno::NOENT)
    }

    /// True where there is something of that name already.
    pub(crate) fn is_there(&self) -> bool {
        self.errno() == Some(Errno::EXIST)
    }

    /// True where something on the way is not, or not any more, the directory or file that was expected.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV))
    }

    /// An I/O error from a reader or writer.
    pub(crate) fn from_io(what: impl Into<String>, error: &io::Error) -> Self {
        Self::new(what, Errno::from_io_error(error).unwrap_or_else(|| errno_of(error.kind())))
    }
}

/// An error that names its path has no number any more, only its kind.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows; most kinds have no number of their own")]
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

/// Names what was attempted.
pub(crate) trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, StorageError>;
}

impl<T> During<T> for Result<T, Errno> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, StorageError> {
        self.map_err(|errno| StorageError::new(what(), errno))
    }
}
