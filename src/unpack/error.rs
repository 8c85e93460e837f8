//! Errors of unpacking.

use super::hashing::Aborted;
use super::path::{EntryPath, PathError, shortened};
use super::read_back::{Changed, StagedError};
use crate::request::LimitExceeded;
use crate::storage::StorageError;

/// Reason why an artifact could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A rejected entry.
    #[error("entry {entry:?} {problem}")]
    Entry {
        /// Name of the entry, truncated for display.
        entry: String,
        /// The problem.
        problem: String,
    },
    /// Two layers with different content for one path.
    #[error("two layers have different content for {0:?}")]
    Conflict(String),
    /// A corrupt archive.
    #[error("layer {layer}: {problem}")]
    Archive {
        /// Short digest of the layer.
        layer: String,
        /// The problem.
        problem: String,
    },
    /// An unsupported compression or archive format.
    #[error("layer {layer}: unsupported format {format}; expected tar, tar+gzip, tar+zstd or, if extracted, zip")]
    Unsupported {
        /// Short digest of the layer.
        layer: String,
        /// The detected format.
        format: &'static str,
    },
    /// An unsupported compression method in a zip.
    #[error("entry {entry:?} has unsupported zip method {method}; expected stored or deflate")]
    Method {
        /// Name of the entry, truncated for display.
        entry: String,
        /// Number of the method and, if known, its name.
        method: String,
    },
    /// A symbolic link in an artifact whose symbolic links are to be rejected.
    #[error("entry {entry:?} is a symbolic link, and symbolic links are rejected")]
    Symlink {
        /// Name of the entry, truncated for display.
        entry: String,
    },
    /// A tar whose digest differs from the one in its producer's annotation.
    #[error("layer {layer}: the uncompressed archive does not match the annotation io.deis.oras.content.digest")]
    ContentDigest {
        /// Short digest of the layer.
        layer: String,
    },
    /// A layer whose file was written to after it was hashed.
    #[error("layer {layer} was changed while it was unpacked")]
    Changed {
        /// Short digest of the layer.
        layer: String,
    },
    /// A stage that another process has written to.
    #[error(transparent)]
    FileChanged(#[from] Changed),
    /// An exceeded limit.
    #[error("{place}: {exceeded}")]
    Limit {
        /// The entry or layer that exceeded the limit.
        place: String,
        /// The exceeded limit.
        exceeded: LimitExceeded,
    },
    /// `spec.files.subPath` is not a directory of the artifact.
    #[error("the artifact has no directory {wanted:?}; entries at its top: {found}")]
    SubPath {
        /// The requested path.
        wanted: String,
        /// The first names at the top of the artifact.
        found: String,
    },
    /// A selection that excludes all files.
    #[error("include and exclude select none of the artifact's files; entries at its top: {found}")]
    NothingLeft {
        /// The first names at the top of the artifact.
        found: String,
    },
    /// The volume failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The pass was cancelled.
    #[error("stopped")]
    Stopped,
}

impl From<Aborted> for UnpackError {
    fn from(_: Aborted) -> Self {
        Self::Stopped
    }
}

impl From<StagedError> for UnpackError {
    fn from(error: StagedError) -> Self {
        match error {
            StagedError::Storage(error) => error.into(),
            StagedError::Changed(error) => error.into(),
        }
    }
}

impl UnpackError {
    pub(super) fn entry(entry: &impl std::fmt::Display, problem: impl Into<String>) -> Self {
        Self::Entry { entry: shortened(&entry.to_string()), problem: problem.into() }
    }

    /// Returns the error for a hard link to a missing or later file, or to something that is not a file.
    pub(super) fn no_file_before(entry: &EntryPath, of: &EntryPath) -> Self {
        Self::entry(entry, format!("is a hard link to {:?}; expected an earlier file", of.as_str()))
    }

    pub(super) fn name(raw: &[u8], problem: PathError) -> Self {
        Self::Entry { entry: shortened(&String::from_utf8_lossy(raw)), problem: problem.to_string() }
    }

    pub(super) fn limit_at(entry: &impl std::fmt::Display, exceeded: LimitExceeded) -> Self {
        Self::Limit { place: format!("entry {:?}", shortened(&entry.to_string())), exceeded }
    }

    pub(super) fn limit_in(layer: &str, exceeded: LimitExceeded) -> Self {
        Self::Limit { place: format!("layer {layer}"), exceeded }
    }
}
