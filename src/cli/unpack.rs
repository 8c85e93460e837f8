//! `supercargo unpack`: one layer, from a file, into a directory.
//!
//! The file is served to the pass by a registry of one artifact with one layer, so that it meets every
//! check, limit and rule that a layer of any other registry does.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::complaint::Complaint;
use super::content::ContentArguments;
use super::exit::{self, Exit};
use super::placing::{self, End, PlaceArguments};
use super::to_stdout;
use crate::api::{OCIArtifactSpec, Reason};
use crate::failure::Failure;
use crate::oci::media_type::{OCI_EMPTY, OCI_MANIFEST, TITLE};
use crate::oci::{Descriptor, Digest, Hasher, Repository};
use crate::publish::Published;
use crate::registry::{Access, BlobBody, RawManifest, Registry, RegistryError, Right};
use crate::request::{ObjectId, Referred, Request};

/// Stands for the host in the artifact's name. Nothing is ever asked there.
const REPOSITORY: &str = "file.invalid/layer";
/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// Arguments of `supercargo unpack`.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(super) struct Arguments {
    /// The layer: a tar, tar+gzip, tar+zstd or zip archive, or any file.
    file: PathBuf,
    /// What the manifest would say that it is.
    #[arg(long, value_name = "TYPE", default_value = "application/vnd.oci.image.layer.v1.tar+gzip")]
    media_type: String,
    /// The layer's title: the annotation `org.opencontainers.image.title`.
    #[arg(long, value_name = "TITLE")]
    title: Option<String>,
    /// An annotation of the layer, such as io.deis.oras.content.unpack=true; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Bound on everything together, as a duration such as 90s or 5m.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    timeout: String,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    content: ContentArguments,
}

fn help() -> String {
    format!(
        "\
Unpacks FILE as it would be unpacked if it were the only layer of an artifact: inside the same
limits, and by the same rules. DIR is there afterwards if all of it could be unpacked, else it is as
it was. Prints one JSON object: \"verdict\" is unpacked, refused or failed.

{codes}

Examples:
  supercargo unpack layer.tar.gz -o out
  supercargo unpack bundle.zip --media-type archive/zip --layer-mode extract -o out
  supercargo unpack image.tar --media-type application/vnd.docker.image.rootfs.diff.tar.gzip -o out",
        codes = exit::HELP
    )
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let (verdict, code) = match unpack(&arguments).await {
        Ok(published) => {
            placing::tell(&published);
            let Published { files, bytes, skipped, .. } = published;
            let directory = arguments.place.output.display().to_string();
            let verdict = json!({"verdict": "unpacked", "directory": directory, "files": files, "bytes": bytes, "skipped": skipped});
            (verdict, Exit::Done.into())
        }
        Err(Stop::Asked(code)) => return placing::interrupted(code),
        Err(Stop::Complaint(complaint)) => {
            let is_refused = Exit::of(complaint.reason()) == Exit::Refused;
            let verdict = json!({
                "verdict": if is_refused { "refused" } else { "failed" },
                "reason": complaint.reason().as_str(),
                "message": complaint.message(),
            });
            (verdict, complaint.tell())
        }
    };
    match to_stdout(&format!("{verdict}\n")) {
        Ok(()) => code,
        Err(complaint) => complaint.tell(),
    }
}

/// Why there is nothing.
enum Stop {
    Complaint(Complaint),
    Asked(u8),
}

impl<E: Into<Complaint>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Complaint(error.into())
    }
}

async fn unpack(arguments: &Arguments) -> Result<Published, Stop> {
    let annotations = annotations(arguments)?;
    let layer = FileLayer::open(&arguments.file, &arguments.media_type, annotations).await?;
    let image = format!("{REPOSITORY}@{}", Digest::of(&layer.manifest));
    let mut spec: OCIArtifactSpec =
        serde_json::from_value(json!({"image": image, "outputs": []})).map_err(Failure::internal)?;
    spec.timeout.clone_from(&arguments.timeout);
    arguments.content.set(&mut spec);
    let object = ObjectId { namespace: "command".to_owned(), name: "line".to_owned(), uid: String::new() };
    let request = Request::parse(object, &spec, &Referred::default()).map_err(Failure::from)?;
    match arguments.place.place(layer, request).await {
        Ok((_, published)) => Ok(published),
        Err(End::Failure(failure)) => Err(failure.into()),
        Err(End::Asked(code)) => Err(Stop::Asked(code)),
    }
}

fn annotations(arguments: &Arguments) -> Result<Map<String, Value>, Complaint> {
    let mut annotations = Map::new();
    for text in &arguments.annotation {
        let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
            Complaint::new(Reason::InvalidSpec, format!("--annotation {text:?}: write it as KEY=VALUE"))
        })?;
        annotations.insert(key.to_owned(), value.into());
    }
    if let Some(title) = &arguments.title {
        annotations.insert(TITLE.to_owned(), title.as_str().into());
    }
    Ok(annotations)
}

/// An artifact whose only layer is a file.
struct FileLayer {
    path: PathBuf,
    manifest: Bytes,
}

impl FileLayer {
    /// Reads the file once, for its digest.
    async fn open(path: &Path, media_type: &str, annotations: Map<String, Value>) -> Result<Self, Complaint> {
        let unreadable =
            |error: std::io::Error| Complaint::new(Reason::StorageFailed, format!("{}: {error}", path.display()));
        let is_file = tokio::fs::metadata(path).await.map_err(unreadable)?.is_file();
        if !is_file {
            return Err(unreadable(std::io::Error::other("it is no regular file")));
        }
        let mut file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let (mut hasher, mut size, mut buffer) = (Hasher::default(), 0_u64, vec![0; CHUNK]);
        loop {
            let read = file.read(&mut buffer).await.map_err(unreadable)?;
            if read == 0 {
                break;
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
            size += read as u64;
        }
        let empty = json!({"mediaType": OCI_EMPTY, "digest": Digest::of(b"{}"), "size": 2});
        let layer = json!({
            "mediaType": media_type, "digest": hasher.finish(), "size": size, "annotations": annotations,
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.unknown.artifact.v1",
            "config": empty, "layers": [layer],
        });
        Ok(Self { path: path.to_owned(), manifest: manifest.to_string().into() })
    }

    fn unavailable(&self, error: &std::io::Error) -> RegistryError {
        RegistryError::Unavailable { host: self.path.display().to_string(), problem: error.to_string() }
    }
}

impl Registry for FileLayer {
    async fn tag_digest(&self, _: &Access, repository: &Repository, _: &str) -> Result<Digest, RegistryError> {
        Err(RegistryError::NotFound(repository.to_string()))
    }

    async fn tags(&self, _: &Access, _: &Repository) -> Result<Vec<String>, RegistryError> {
        Ok(Vec::new())
    }

    async fn raw_manifest(&self, _: &Access, _: &Repository, _: &Digest, _: u64) -> Result<RawManifest, RegistryError> {
        Ok(RawManifest { bytes: self.manifest.clone(), content_type: Some(OCI_MANIFEST.to_owned()), room: None })
    }

    async fn blob(&self, _: &Access, _: &Repository, _: &Descriptor, from: u64) -> Result<BlobBody, RegistryError> {
        let path = self.path.display().to_string();
        let failed = move |error| RegistryError::Unavailable { host: path.clone(), problem: format!("{error}") };
        let mut file = tokio::fs::File::open(&self.path).await.map_err(|error| self.unavailable(&error))?;
        file.seek(std::io::SeekFrom::Start(from)).await.map_err(|error| self.unavailable(&error))?;
        let stream = ReaderStream::with_capacity(file, CHUNK).map(move |chunk| chunk.map_err(&failed));
        Ok(BlobBody { from, stream: Box::pin(stream) })
    }

    async fn may_read_blob(&self, _: &Access, _: &Repository, _: &Descriptor) -> Result<Right, RegistryError> {
        Ok(Right::Granted)
    }
}
