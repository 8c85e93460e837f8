//! A complete, verified layer, and readers of it.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use fs_err::os::unix::fs::FileExt;

use super::error::BlobError;
use super::store::Use;
use crate::oci::Descriptor;
use crate::registry::LocalFile;
use crate::request::Limit;
use crate::storage::{OnVolume, StorageError};

/// A complete layer in an open file; its size and digest were verified against the descriptor. Clones share the file.
#[derive(Clone, Debug)]
pub struct VerifiedBlob {
    bytes: Arc<OnVolume<Bytes>>,
    descriptor: Descriptor,
}

/// The open file of a layer.
#[derive(Debug)]
pub(super) enum Bytes {
    /// A file without a name, used by this object only.
    Own(fs_err::File),
    /// A file without a name, shared with other objects. When its last use ends, it is moved to the store.
    Used(Use),
    /// A file that other processes may write to; its timestamps reveal changes.
    Open(LocalFile),
}

impl Bytes {
    fn file(&self) -> &fs_err::File {
        match self {
            Self::Own(file) => file,
            Self::Used(used) => used.file(),
            Self::Open(local) => local.file(),
        }
    }
}

/// Returns the file, or an error if it has been closed.
fn file_of(bytes: &OnVolume<Bytes>) -> std::io::Result<&fs_err::File> {
    bytes.get().map(Bytes::file).ok_or_else(|| std::io::Error::other("the layer is closed"))
}

/// Reader of a layer with a position of its own.
#[derive(Debug)]
pub(crate) struct BlobReader {
    bytes: Arc<OnVolume<Bytes>>,
    at: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = file_of(&self.bytes)?.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => file_of(&self.bytes)?.metadata()?.len().checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl VerifiedBlob {
    /// Wraps bytes whose size and digest were verified against `layer`.
    pub(super) fn new(bytes: OnVolume<Bytes>, layer: &Descriptor) -> Self {
        Self { bytes: Arc::new(bytes), descriptor: layer.clone() }
    }

    /// Returns the descriptor against which the bytes were verified.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Returns the same bytes as another layer of the artifact; `None` if that layer has another size or digest.
    pub fn as_layer(&self, layer: &Descriptor) -> Option<Self> {
        let is_it = (&layer.digest, layer.size) == (&self.descriptor.digest, self.descriptor.size);
        is_it.then(|| Self { descriptor: layer.clone(), ..self.clone() })
    }

    /// Returns true if the bytes read from this layer are the verified bytes. Call it after reading.
    pub(crate) fn is_unchanged(&self) -> std::io::Result<bool> {
        match self.bytes.get() {
            Some(Bytes::Own(_) | Bytes::Used(_)) => Ok(true),
            Some(Bytes::Open(local)) => local.is_unchanged(),
            None => Ok(false),
        }
    }

    /// Returns a reader from the start of the layer.
    pub(crate) fn reader(&self) -> BlobReader {
        BlobReader { bytes: Arc::clone(&self.bytes), at: 0 }
    }

    /// Returns a handle for positioned reads. All handles share one file offset, so it must not be used.
    pub(crate) fn file(&self) -> std::io::Result<std::fs::File> {
        file_of(&self.bytes)?.file().try_clone()
    }

    /// Reads the whole layer into memory. Fails if it is larger than `limit`.
    pub(crate) fn bytes(&self, limit: Limit) -> Result<Vec<u8>, BlobError> {
        let (size, mut bytes) = (self.descriptor.size, Vec::new());
        check_size(&self.descriptor, limit)?;
        let read = self.reader().take(size).read_to_end(&mut bytes);
        read.map_err(|error| StorageError::from_io(format!("read blob {}", self.descriptor.digest.short()), &error))?;
        Ok(bytes)
    }

    #[cfg(test)]
    pub(crate) fn for_test(bytes: &[u8], descriptor: Descriptor) -> Self {
        let mut file = tempfile::tempfile().map(|file| fs_err::File::from_parts(file, "test")).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        let pool = crate::storage::Pool::of(std::path::Path::new("test"));
        Self { bytes: Arc::new(OnVolume::new(&pool, Bytes::Own(file))), descriptor }
    }
}

/// Fails if the blob's declared size exceeds the limit.
pub(super) fn check_size(blob: &Descriptor, limit: Limit) -> Result<(), BlobError> {
    limit.check(blob.size).map_err(|exceeded| BlobError::TooLarge { blob: blob.digest.short(), exceeded })
}
