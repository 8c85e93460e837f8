//! Errors of fetching layers.

use crate::registry::RegistryError;
use crate::request::LimitExceeded;
use crate::storage::StorageError;

/// Reason why a layer could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The registry failed or refused the request.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The volume failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A layer or config whose declared size exceeds the limit.
    #[error("blob {blob} has {exceeded}")]
    TooLarge {
        /// Short digest of the blob.
        blob: String,
        /// The exceeded limit.
        exceeded: LimitExceeded,
    },
    /// The response body ended early.
    #[error("layer {layer} ended after {got} of {wanted} bytes")]
    Short {
        /// Short digest of the layer.
        layer: String,
        /// Bytes received.
        got: u64,
        /// Size in the descriptor.
        wanted: u64,
    },
    /// The spooled file was changed before it could be used.
    #[error("layer {layer} was changed on the volume while it was fetched")]
    Changed {
        /// Short digest of the layer.
        layer: String,
    },
    /// A task of this process was aborted.
    #[error("fetching a layer was aborted")]
    Aborted,
}
