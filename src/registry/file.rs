//! A file as a registry: one artifact, whose only layer is the file.
//!
//! So a file meets every check, limit and rule for a layer of any other registry.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{Access, LocalFile, RawManifest, Registry, RegistryError, Sender};
use crate::oci::media_type::{OCI_EMPTY, OCI_MANIFEST};
use crate::oci::{Descriptor, Digest, Repository};

/// Artifact whose only layer is a file. The file is opened once; another file that takes its name later is not read.
#[derive(Debug)]
pub struct FileLayer {
    file: Arc<fs_err::File>,
    size: u64,
    path: String,
    media_type: String,
    annotations: Map<String, Value>,
    /// Layer, and the manifest that describes it; known once the file was read.
    read: OnceLock<(LocalFile, Bytes)>,
}

/// Reason why a file cannot be a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The file, or a directory of its path, does not exist.
    #[error("does not exist")]
    Missing,
    /// A directory.
    #[error("is a directory, not a file")]
    Directory,
    /// A pipe, socket or device, which cannot be read twice.
    #[error("is not a regular file; a layer is read twice")]
    NotRegular,
    /// Any other error.
    #[error("cannot be read: {0}")]
    Unreadable(Errno),
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Missing,
            Errno::NXIO => Self::NotRegular,
            errno => Self::Unreadable(errno),
        }
    }
}

impl FileLayer {
    /// Opens a regular file. Nothing is read.
    pub fn open(path: &Path, media_type: &str, annotations: Map<String, Value>) -> Result<Self, FileError> {
        // Without NONBLOCK, opening a pipe would block until another process opens it for writing.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(FileError::Directory),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Err(FileError::NotRegular),
        }
        Ok(Self {
            file: Arc::new(fs_err::File::from_parts(std::fs::File::from(file), path)),
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            path: path.display().to_string(),
            media_type: media_type.to_owned(),
            annotations,
            read: OnceLock::new(),
        })
    }

    /// Returns the size of the file when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads the whole file and describes it by a manifest.
    async fn describe(&self) -> Result<&(LocalFile, Bytes), RegistryError> {
        let stop = CancellationToken::new();
        // On cancellation, the thread stops before the end of a large file.
        let _guard = stop.clone().drop_guard();
        let file = Arc::clone(&self.file);
        let unread = |problem: String| RegistryError::Unavailable { host: self.path.clone(), problem };
        let read = tokio::task::spawn_blocking(move || LocalFile::read(file, &stop)).await;
        let local = read.map_err(|error| unread(error.to_string()))?.map_err(|error| unread(error.to_string()))?;
        let empty = json!({"mediaType": OCI_EMPTY, "digest": Digest::of(b"{}"), "size": 2});
        let layer = json!({
            "mediaType": self.media_type, "digest": local.digest(), "size": local.size(), "annotations": self.annotations,
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.unknown.artifact.v1",
            "config": empty, "layers": [layer],
        });
        Ok(self.read.get_or_init(|| (local, manifest.to_string().into())))
    }
}

impl Registry for FileLayer {
    async fn tag_digest(&self, _: &Access, _: &Repository, _: &str) -> Result<Digest, RegistryError> {
        let (_, manifest) = self.describe().await?;
        Ok(Digest::of(manifest))
    }

    async fn raw_manifest(
        &self,
        _: &Access,
        repository: &Repository,
        _: &Digest,
        limit: u64,
    ) -> Result<RawManifest, RegistryError> {
        let (_, bytes) = self.read.get().ok_or_else(|| RegistryError::NotFound(repository.to_string()))?;
        let bytes = bytes.clone();
        if bytes.len() as u64 > limit {
            return Err(RegistryError::TooLarge { what: "the manifest".to_owned(), limit });
        }
        let sender = Sender::registry(repository);
        Ok(RawManifest { bytes, sender, content_type: Some(OCI_MANIFEST.to_owned()), room: None })
    }

    fn local(&self, _: &Descriptor) -> Option<LocalFile> {
        self.read.get().map(|(local, _)| local.clone())
    }
}
