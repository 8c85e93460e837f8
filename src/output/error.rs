//! Errors of outputs.

use super::rehearsal::Rehearsal;
use crate::oci::Digest;
use crate::request::LimitExceeded;
use crate::request::OutputKind;
use crate::storage::StorageError;
use crate::unpack::read_back::{Changed, StagedError};

/// Files that the replacement of a directory of a repository would lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Changes of files that were written earlier.
    Changed,
    /// Files of others, and maybe changes too.
    Foreign,
    /// A file of others at the path of a file of the artifact, although files of others are kept.
    Collision,
}

/// Errors of preparing, switching, reading and removing outputs.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The operator has no volume of this name.
    #[error("output {output}: volume {name:?} not found; this operator has {have}")]
    NoVolume {
        /// Name of the output.
        output: String,
        /// Name of the volume.
        name: String,
        /// Names of the operator's volumes.
        have: String,
    },
    /// The operator has no memory-backed directory for Secrets.
    #[error(
        "output {0} is a Secret, but this operator has no memory-backed --secret-work-dir. Set the chart value rbac.secretOutputs to true"
    )]
    NoSecretDirectory(String),
    /// Output kind that exists only in a cluster.
    #[error("a {0} output needs a cluster; use a volume or configMap output")]
    NoCluster(OutputKind),
    /// Foreign content at the place, or an API object held by another writer. Not caused by the artifact.
    #[error("{0}")]
    Obstacle(String),
    /// The place belongs to an earlier object of the same name, which is deleted or being deleted.
    #[error("{what} belongs to an earlier object of this name and is being removed; waiting for its removal")]
    Earlier {
        /// The directory or object.
        what: String,
        /// Uid of the earlier object.
        uid: String,
    },
    /// A directory of a repository has files that a replacement would lose.
    #[error("{text}")]
    Differs {
        /// The directory and its files.
        text: String,
        /// The files that would be lost.
        loss: Loss,
    },
    /// The artifact has other files than the lock file says.
    #[error("the lock has the files digest {expected}, but the artifact has {found}")]
    OtherFiles {
        /// Digest of the list of files in the lock.
        expected: Digest,
        /// Digest of the artifact's list of files.
        found: Digest,
    },
    /// The artifact has files that Git would act upon in a directory of a repository.
    #[error("entry {path:?} is in a .git directory, whose configuration names programs that Git runs")]
    Git {
        /// Path of the entry.
        path: String,
    },
    /// The file names do not fit the output.
    #[error("{0}")]
    Conflict(String),
    /// The output's include and exclude patterns select no file.
    #[error("include and exclude of an output select none of the artifact's files; entries at its top: {0}")]
    NothingLeft(String),
    /// The files do not fit into the output.
    #[error("{0}")]
    TooLarge(String),
    /// The namespace would exceed its limit on a volume.
    #[error("namespace {namespace} on volume {volume}: {exceeded}")]
    Quota {
        /// The namespace.
        namespace: String,
        /// Name of the volume.
        volume: String,
        /// The exceeded limit.
        exceeded: LimitExceeded,
    },
    /// Error of the volume.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Another process has changed the staged tree before it was published.
    #[error(transparent)]
    Changed(#[from] Changed),
    /// The API server refuses the write: a quota, an admission policy, a missing right or a validation rule.
    #[error("the API server refused {kind} {name}: {message}")]
    Refused {
        /// Kind of the object.
        kind: OutputKind,
        /// Name of the object.
        name: String,
        /// HTTP status.
        code: u16,
        /// Message of the API server.
        message: String,
        /// The refused write, to be rehearsed again.
        rehearsal: Option<Rehearsal>,
    },
    /// The API server is unreachable, or temporarily unable to answer.
    #[error("{kind} {name}: {source}")]
    Api {
        /// Kind of the object.
        kind: OutputKind,
        /// Name of the object.
        name: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// The pass was given up before anything was switched.
    #[error("the pass was cancelled before the switch")]
    GivenUp,
    /// Another change of the object's outputs takes too long.
    #[error("the outputs of {0} are locked by a thread that has not ended; will be retried")]
    Busy(String),
    /// A blocking task ended by a panic.
    #[error("a blocking task for an output panicked")]
    Aborted,
}

impl OutputError {
    /// True if a volume cannot be used.
    pub(crate) fn is_of_volume(&self) -> bool {
        matches!(self, Self::Storage(error) if error.volume().is_some())
    }

    /// Attaches a refused write to its refusal. Other errors stay as they are.
    pub(super) fn rehearsed(self, keep: impl FnOnce() -> Rehearsal) -> Self {
        let Self::Refused { kind, name, code, message, .. } = self else { return self };
        Self::Refused { kind, name, code, message, rehearsal: Some(keep()) }
    }
}

impl From<StagedError> for OutputError {
    fn from(error: StagedError) -> Self {
        match error {
            StagedError::Storage(error) => error.into(),
            StagedError::Changed(error) => error.into(),
        }
    }
}
