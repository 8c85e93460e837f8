//! Errors of layouts.

use crate::oci::Digest;
use crate::oci::manifest::ManifestError;
use crate::storage::StorageError;

/// Reason why a layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// No layout in the directory.
    #[error("{0} is not an OCI image layout: it has no oci-layout file")]
    Missing(String),
    /// A directory with other content, in which no layout is created.
    #[error("{0} is not empty, and not an OCI image layout")]
    NotEmpty(String),
    /// Content that violates the format.
    #[error("invalid OCI image layout {layout}: {problem}")]
    Invalid {
        /// Directory of the layout.
        layout: String,
        /// The violation.
        problem: String,
    },
    /// A file or list larger than its limit.
    #[error("{layout}: {what} is larger than {limit}")]
    TooLarge {
        /// Directory of the layout.
        layout: String,
        /// The file or list.
        what: String,
        /// The limit, in bytes or entries.
        limit: u64,
    },
    /// A blob whose bytes do not have its digest.
    #[error("{layout}: the bytes of {digest} do not match the digest")]
    Corrupt {
        /// Directory of the layout.
        layout: String,
        /// The blob.
        digest: Digest,
    },
    /// A manifest without all that it lists.
    #[error("manifest {} lists {}, which the layout does not have", manifest.short(), missing.short())]
    Incomplete {
        /// The manifest.
        manifest: Digest,
        /// A blob or manifest that is missing.
        missing: Digest,
    },
    /// Another process has the layout open, so nothing is removed from it.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// A name that no index may have.
    #[error("invalid name {0:?} for an index: expected 1 to 512 printable characters without spaces")]
    Name(String),
    /// A manifest that no reader would accept.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A write to a layout that was opened for reading.
    #[error("layout {0} was opened read-only")]
    ReadOnly(String),
    /// A refused filesystem call.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
