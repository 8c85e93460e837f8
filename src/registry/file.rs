//! A local file as a registry: an artifact whose only layer is the file, so that the file meets every check, limit and
//! rule for a layer of any other registry.

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

/// Placeholder for the artifact's repository, which is never contacted.
pub const REPOSITORY: &str = "file.invalid/layer";

/// Artifact whose only layer is a file. The file is opened once; another file that takes its name later is not read.
#[derive(Debug)]
pub struct FileLayer {
    file: Arc<fs_err::File>,
    path: String,
    size: u64,
    media_type: String,
    annotations: Map<String, Value>,
    read: ReadFile,
}

/// Layer that was read whole, and the manifest that describes it; empty until then.
#[derive(Clone, Debug, Default)]
pub struct ReadFile(Arc<OnceLock<(LocalFile, Bytes)>>);

/// Error of opening a file as a layer.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// No file of this name.
    #[error("{0} does not exist")]
    Missing(String),
    /// A directory.
    #[error("{0} is a directory; expected a file")]
    Directory(String),
    /// A pipe, a device or a socket, of which only one read is possible.
    #[error("{0} is not a regular file, which is required because a layer is read twice")]
    NotRegular(String),
    /// Any other error.
    #[error("{path} cannot be read: {errno}")]
    Unreadable {
        /// Path of the file.
        path: String,
        /// Error of the operating system.
        errno: Errno,
    },
}

impl FileLayer {
    /// Opens a file, and reads nothing of it. `-` is refused as standard input.
    pub fn open(path: &Path, media_type: &str, annotations: Map<String, Value>) -> Result<Self, FileError> {
        let shown = path.display().to_string();
        if shown == "-" {
            return Err(FileError::NotRegular("standard input".to_owned()));
        }
        let failed = |errno| match errno {
            Errno::NOENT | Errno::NOTDIR => FileError::Missing(shown.clone()),
            Errno::NXIO => FileError::NotRegular(shown.clone()),
            errno => FileError::Unreadable { path: shown.clone(), errno },
        };
        // Without NONBLOCK, opening a pipe would block until another process opens it for writing.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(FileError::Directory(shown)),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Err(FileError::NotRegular(shown)),
        }
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let file = Arc::new(fs_err::File::from_parts(std::fs::File::from(file), path));
        let (media_type, read) = (media_type.to_owned(), ReadFile::default());
        Ok(Self { file, path: shown, size, media_type, annotations, read })
    }

    /// Returns the number of bytes that the file had when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns a handle that shows whether the file was read.
    pub fn reading(&self) -> ReadFile {
        self.read.clone()
    }

    /// Reads the whole file and describes it by a manifest.
    async fn described(&self) -> Result<&(LocalFile, Bytes), RegistryError> {
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
        Ok(self.read.0.get_or_init(|| (local, manifest.to_string().into())))
    }
}

impl ReadFile {
    /// Returns true once the file was read to its end.
    pub fn is_complete(&self) -> bool {
        self.0.get().is_some()
    }
}

impl Registry for FileLayer {
    async fn tag_digest(&self, _: &Access, _: &Repository, _: &str) -> Result<Digest, RegistryError> {
        let (_, manifest) = self.described().await?;
        Ok(Digest::of(manifest))
    }

    async fn raw_manifest(
        &self,
        _: &Access,
        repository: &Repository,
        _: &Digest,
        limit: u64,
    ) -> Result<RawManifest, RegistryError> {
        let (_, bytes) = self.read.0.get().ok_or_else(|| RegistryError::NotFound(repository.to_string()))?;
        let bytes = bytes.clone();
        if bytes.len() as u64 > limit {
            return Err(RegistryError::TooLarge { what: "the manifest".to_owned(), limit });
        }
        let sender = Sender::registry(repository);
        Ok(RawManifest { bytes, sender, content_type: Some(OCI_MANIFEST.to_owned()), room: None })
    }

    async fn local(&self, _: &Descriptor) -> Option<LocalFile> {
        self.read.0.get().map(|(local, _)| local.clone())
    }
}
