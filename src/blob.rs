//! Layers: spooled to a file, counted, hashed to the end, and only then handed on.
//!
//! No decoder ever reads from the network. A decoder stops at the end of *its* stream, so a digest
//! that is checked when the *transport's* stream ends is not checked at all.

use std::io::Seek;

use futures::StreamExt;
use rustix::fs::{AtFlags, Mode};
use tokio::io::AsyncWriteExt;

use crate::oci::{Descriptor, Hasher};
use crate::registry::{Access, Registry, RegistryError};
use crate::storage::{self, During, Scratch, StorageError};
use crate::trust::Approved;

/// Most bytes collected before they are written.
const BUFFER: usize = 256 * 1024;

/// A complete layer in a file without a name: its size and digest are those of the descriptor.
#[derive(Debug)]
pub struct VerifiedBlob {
    file: fs_err::File,
    descriptor: Descriptor,
}

impl VerifiedBlob {
    /// What the bytes were checked against.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The bytes, from the start.
    pub(crate) fn reader(&mut self) -> std::io::Result<&mut fs_err::File> {
        self.file.rewind()?;
        Ok(&mut self.file)
    }

    #[cfg(test)]
    pub(crate) fn for_test(bytes: &[u8], descriptor: Descriptor) -> Self {
        let mut file = tempfile::tempfile().map(|file| fs_err::File::from_parts(file, "test")).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        Self { file, descriptor }
    }
}

/// Why a layer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The manifest says that the layer is larger than allowed.
    #[error("layer {layer} has {size} bytes, more than --max-layer-bytes={limit}")]
    TooLarge {
        /// Short digest of the layer.
        layer: String,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The body ended early.
    #[error("layer {layer} ended after {got} of {wanted} bytes")]
    Short {
        /// Short digest of the layer.
        layer: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that the descriptor promises.
        wanted: u64,
    },
}

/// Told how far a download is. For people who watch; a pass does not depend on it.
pub trait Progress: Send + Sync {
    /// `done` of `total` bytes of all layers of the object are here.
    fn downloaded(&self, object: &str, done: u64, total: u64);
}

/// Fetches one layer of an approved manifest into `scratch`.
///
/// The file loses its name at once: whatever happens, its space is given back with the handle.
pub async fn fetch<R: Registry>(
    registry: &R,
    access: &Access,
    approved: &Approved,
    layer: &Descriptor,
    scratch: &Scratch,
    limit: u64,
    mut progress: impl FnMut(u64) + Send,
) -> Result<VerifiedBlob, BlobError> {
    if layer.size > limit {
        return Err(BlobError::TooLarge { layer: layer.digest.short(), size: layer.size, limit });
    }
    let mut body = registry.blob(access, approved.pinned().repository(), layer, 0).await?.stream;
    let (spool, path) = nameless_file(scratch, layer)?.into_parts();
    // Each write to a tokio file is a trip to another thread: few and large ones.
    let buffer = usize::try_from(layer.size).unwrap_or(BUFFER).min(BUFFER);
    let mut spool = tokio::io::BufWriter::with_capacity(buffer, tokio::fs::File::from_std(spool));
    let failed = |error: std::io::Error| StorageError::from_io(format!("spool layer {}", layer.digest.short()), &error);
    let (mut hasher, mut got) = (Hasher::default(), 0_u64);
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        got = got.saturating_add(chunk.len() as u64);
        if got > layer.size {
            let what = format!("layer {}", layer.digest.short());
            return Err(RegistryError::LongerThanNamed { what, size: layer.size }.into());
        }
        hasher.update(&chunk);
        spool.write_all(&chunk).await.map_err(failed)?;
        progress(chunk.len() as u64);
    }
    spool.flush().await.map_err(failed)?;
    if got != layer.size {
        return Err(BlobError::Short { layer: layer.digest.short(), got, wanted: layer.size });
    }
    let digest = hasher.finish();
    if digest != layer.digest {
        let what = format!("layer {}", layer.digest.short());
        return Err(RegistryError::DigestMismatch { what, wanted: layer.digest.clone(), got: digest }.into());
    }
    let file = fs_err::File::from_parts(spool.into_inner().into_std().await, path);
    Ok(VerifiedBlob { file, descriptor: layer.clone() })
}

fn nameless_file(scratch: &Scratch, layer: &Descriptor) -> Result<fs_err::File, StorageError> {
    let name = layer.digest.hex();
    let file = storage::create_file(scratch.dir(), name, Mode::from_raw_mode(0o600))?;
    rustix::fs::unlinkat(scratch.dir(), name, AtFlags::empty()).during(|| format!("unlink {name}"))?;
    Ok(file)
}
