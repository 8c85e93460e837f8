//! Errors of packaging.

use super::options::Format;
use crate::layout::LayoutError;
use crate::oci::manifest::ManifestError;
use crate::pattern::PatternError;
use crate::storage::StorageError;
use crate::unpack::UnpackError;

/// Reason why a directory could not be packaged.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// An entry that the unpacker would refuse.
    #[error(transparent)]
    Entry(#[from] UnpackError),
    /// A directory or archive to package that does not exist, or is of another kind.
    #[error("{path:?} is not {expected}")]
    NoSource {
        /// Its path.
        path: String,
        /// The expected kind.
        expected: &'static str,
    },
    /// A file that was written to while it was read.
    #[error("{0} was changed while it was packaged")]
    Changed(String),
    /// A path that an option names, and that does not exist or is of another kind.
    #[error("{option} {path:?} {problem}")]
    Path {
        /// The option.
        option: &'static str,
        /// Its value.
        path: String,
        /// The problem.
        problem: &'static str,
    },
    /// An invalid name of a catalog or service.
    #[error(
        "invalid name {0:?}: expected at most 63 lower-case letters, digits and \"-\", first a letter, last no \"-\""
    )]
    Name(String),
    /// A directory or file that is to be created, and exists.
    #[error("{0} already exists")]
    Exists(String),
    /// A reference that contradicts the content.
    #[error("reference {reference:?} {problem}")]
    Reference {
        /// The reference.
        reference: String,
        /// The contradiction.
        problem: String,
    },
    /// An option that the format does not have.
    #[error("--package-format {format} does not allow {option}: {reason}")]
    Option {
        /// The format.
        format: Format,
        /// The option.
        option: &'static str,
        /// Part of the format that rules the option out.
        reason: &'static str,
    },
    /// A selection without files.
    #[error("the selected part of the directory has no files")]
    Nothing,
    /// An invalid rule of an ignore file.
    #[error("{file}: {error}")]
    Ignore {
        /// The file.
        file: String,
        /// The problem.
        error: PatternError,
    },
    /// A file or list that is read whole and is larger than its limit.
    #[error("{path} is larger than {limit}")]
    TooLarge {
        /// The file.
        path: String,
        /// The limit, in bytes or entries.
        limit: u64,
    },
    /// A missing or invalid file that describes the artifact: `Chart.yaml`, `Catalog.yaml`.
    #[error("{file}: {problem}")]
    Description {
        /// The file.
        file: String,
        /// The problem.
        problem: String,
    },
    /// Charts that a chart depends on and does not have.
    #[error("Chart.yaml: dependencies: missing in charts/: {0}")]
    Dependencies(String),
    /// A manifest that readers would reject.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A layout that could not be written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A refused filesystem call.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The command was cancelled.
    #[error("stopped")]
    Stopped,
}

impl PackError {
    pub(super) fn description(file: impl std::fmt::Display, problem: impl std::fmt::Display) -> Self {
        Self::Description { file: file.to_string(), problem: problem.to_string() }
    }
}
