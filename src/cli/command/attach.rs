//! `supercargo attach`: a file as a referrer of an artifact.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use fs_err::os::unix::fs::FileExt;
use futures::stream;
use serde::Serialize;

use crate::api::Reason;
use crate::blob::Progress;
use crate::cli::files;
use crate::cli::options::reading;
use crate::cli::options::values;
use crate::cli::options::writing::{self, Remote, ResultArguments, WriteArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit;
use crate::cli::output::progress::Bars;
use crate::cli::output::to_stdout;
use crate::cli::signals::until_signal;
use crate::failure::Failure;
use crate::oci::descriptor::Annotations;
use crate::oci::digest::hash_chunks;
use crate::oci::{Descriptor, Digest, media_type};
use crate::permits::Permits;
use crate::publish::{self, Attached, Part, Place, Referrer};
use crate::registry::http::HttpRegistry;
use crate::registry::{self, BlobSource, BlobStream, RegistryError};

/// Number of bytes that are read from a file at a time.
const CHUNK: usize = 256 * 1024;

/// Arguments of `supercargo attach`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo attach ghcr.io/team/app:1 sbom.json --type application/spdx+json")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Artifact that the file is about: `host[:port]/repository[:tag][@sha256:<64 hex>]`.
    subject: String,
    /// File to attach.
    file: PathBuf,
    /// Type of the referrer, by which it is found, such as application/spdx+json.
    #[arg(long = "type", value_name = "TYPE", value_parser = values::media_type)]
    artifact_type: String,
    /// Media type of the file. Default: the type of the referrer.
    #[arg(hide_short_help = true, long, value_name = "TYPE", value_parser = values::media_type)]
    media_type: Option<String>,
    /// Annotation of the referrer; may be given several times.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = values::annotation)]
    annotations: Vec<(String, String)>,
    #[command(flatten)]
    result: ResultArguments,
    #[command(flatten)]
    write: WriteArguments,
}

fn help() -> String {
    format!(
        "\
Writes a manifest with the file as its only layer and SUBJECT's digest as its subject, and a tag of
its own: the hex digits of its digest, so that registries that remove untagged manifests keep it.
The same file of the same type is the same referrer. Standard output is its
host/repository@sha256:...

A registry without the referrers API has the list of referrers under the tag sha256-<hex>. The
command adds its entry there, and ends once the entry has stayed for two seconds: clients that
write the list at the same time could otherwise drop each other's entries.

{credentials}

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  supercargo attach ghcr.io/team/app:1 sbom.spdx.json --type application/spdx+json
  supercargo attach ghcr.io/team/app@sha256:... report.json --type application/vnd.example.report \\
    --annotation org.example.run=4711 --format json",
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    /// Repository and digest of the referrer.
    reference: String,
    /// Digest of the referrer.
    digest: &'a Digest,
    /// Media type and size of its manifest.
    media_type: &'a str,
    size: u64,
    /// Type of the referrer.
    artifact_type: &'a str,
    /// Tag of the referrer.
    tag: &'a str,
    /// Manifest that it refers to.
    subject: &'a Descriptor,
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    // Reading a large file takes long, and a signal ends it as by default.
    let referrer = match arguments.referrer() {
        Ok(referrer) => referrer,
        Err(complaint) => return complaint.report(),
    };
    until_signal(Box::pin(attach(&arguments, referrer))).await
}

async fn attach(arguments: &Arguments, referrer: Referrer) -> Result<(), Complaint> {
    let write = &arguments.write;
    let remote = write.target(writing::reference("SUBJECT", &arguments.subject)?).await?;
    let registry = Arc::new(write.reach.registry(&Arc::default())?);
    let bars = Arc::new(Bars::new());
    let attaching = attached(&registry, &remote, referrer, Arc::clone(&bars) as Arc<dyn Progress>);
    let attached = tokio::time::timeout(write.timeout, attaching).await;
    bars.clear();
    let attached = attached.unwrap_or_else(|_| Err(Failure::timeout(write.timeout, "attaching the file")));
    let attached = attached.map_err(|failure| remote.explain(failure.into()))?;
    arguments.result.write_digest(&attached.descriptor.digest)?;
    to_stdout(&arguments.shown(&remote, &attached)?)
}

async fn attached(
    registry: &Arc<HttpRegistry>,
    remote: &Remote,
    referrer: Referrer,
    progress: Arc<dyn Progress>,
) -> Result<Attached, Failure> {
    let seat = Permits::default().seat("");
    let pinned = registry::resolve(&**registry, &remote.access, &remote.reference, None, &seat).await?;
    let place = Place { registry, access: &remote.access, repository: &remote.reference.repository };
    Ok(publish::push_referrer(place, pinned.digest(), referrer, &Some(progress)).await?)
}

impl Arguments {
    /// Returns the content of the referrer. The file is read twice: its digest is part of the manifest.
    fn referrer(&self) -> Result<Referrer, Complaint> {
        let file = fs_err::File::open(&self.file).map_err(|error| files::unreadable("FILE", &error))?;
        let metadata = file.metadata().map_err(|error| files::unreadable("FILE", &error))?;
        if !metadata.is_file() {
            let problem = format!("FILE: {} is not a regular file", self.file.display());
            return Err(Complaint::new(Reason::FileInvalid, problem));
        }
        let read_at = |buffer: &mut [u8], at| file.read_at(buffer, at);
        let (digest, size) =
            hash_chunks(metadata.len(), read_at, |error| files::unreadable("FILE", &error), |_| Ok(()))?;
        let media_type = self.media_type.as_ref().unwrap_or(&self.artifact_type);
        let mut layer = Descriptor::new(media_type, digest, size);
        if let Some(name) = self.file.file_name().and_then(|name| name.to_str()) {
            layer = layer.with_annotation(media_type::TITLE, name);
        }
        let annotations: Annotations = self.annotations.iter().cloned().collect();
        let source = Box::new(FileSource(Arc::new(file)));
        let artifact_type = self.artifact_type.clone();
        Ok(Referrer { artifact_type, part: Part { layer, source }, annotations })
    }

    fn shown(&self, remote: &Remote, attached: &Attached) -> Result<String, Complaint> {
        let Attached { descriptor, subject, tag, copied: _ } = attached;
        let reference = format!("{}@{}", remote.reference.repository, descriptor.digest);
        let shown = Shown {
            reference: reference.clone(),
            digest: &descriptor.digest,
            media_type: &descriptor.media_type,
            size: descriptor.size,
            artifact_type: &self.artifact_type,
            tag,
            subject,
        };
        self.result.format().show(|| reference + "\n", &shown)
    }
}

/// File as the source of an upload.
struct FileSource(Arc<fs_err::File>);

impl BlobSource for FileSource {
    fn read_from(&self, offset: u64) -> BlobStream {
        let file = Arc::clone(&self.0);
        Box::pin(stream::try_unfold(offset, move |at| {
            let file = Arc::clone(&file);
            async move {
                let read = tokio::task::spawn_blocking(move || {
                    let mut buffer = vec![0; CHUNK];
                    let length = file.read_at(&mut buffer, at)?;
                    buffer.truncate(length);
                    Ok::<_, std::io::Error>(buffer)
                });
                let failed = |problem: String| RegistryError::Protocol { host: "the file".to_owned(), problem };
                let chunk = read.await.map_err(|_| failed("reading was aborted".to_owned()))?;
                let chunk = chunk.map_err(|error| failed(error.to_string()))?;
                let next = at.saturating_add(chunk.len() as u64);
                Ok((!chunk.is_empty()).then(|| (chunk.into(), next)))
            }
        }))
    }
}
