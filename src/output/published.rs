//! A published revision: its state, its record in status, and the retention of earlier ones.

use std::time::Duration;

use super::location::Location;
use crate::oci::Digest;
use crate::plan::Revision;

/// State of one output: what a consumer reads there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Name of the output.
    pub output: String,
    /// Place of the output.
    pub location: Location,
    /// Source of the content.
    pub revision: Revision,
    /// Digest over the list of files; `None` for ConfigMaps and Secrets.
    pub list_digest: Option<Digest>,
    /// Number of files or keys.
    pub files: u64,
    /// Total size of the files, in bytes.
    pub bytes: u64,
    /// Number of entries that this kind of output cannot hold.
    pub skipped: u64,
}

/// State of one output as recorded in status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Source of the content.
    pub revision: Revision,
    /// Digest over the list of files.
    pub list_digest: Option<Digest>,
    /// Place of the output.
    pub location: Location,
}

/// Retention of earlier revisions: the newest ones, and all that were replaced recently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Number of earlier revisions to keep besides the current one.
    pub count: usize,
    /// Minimum time to keep a revision after it was replaced.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { count: 2, age: Duration::from_secs(120) }
    }
}
