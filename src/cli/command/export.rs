//! `supercargo export`: artifacts of the cache as one archive.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments, find, pinned};
use crate::cli::options::format::FormatArguments;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::notes::note;
use crate::cli::signals::until_signal_on_thread;
use crate::failure::Failure;
use crate::layout::Exported;
use crate::oci::Reference;
use crate::trust::sigstore::Root;

/// Arguments of `supercargo export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo export ghcr.io/team/app:1 -o app.tar")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Artifacts in the cache: `host[:port]/repository[:tag][@sha256:<64 hex>]`.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Archive to write; an existing file is replaced once the new one is complete.
    #[arg(short = 'o', long, value_name = "FILE", value_parser = files::target())]
    output: PathBuf,
    /// Sigstore's trusted root (`trusted_root.json`) to add, for verification without a network.
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
}

fn help() -> String {
    format!(
        "\
Writes the artifacts, their signatures and other referrers to one tar archive with an OCI image
layout. `import` reads it on another machine, and so do oras (--oci-layout) and skopeo
(oci-archive:). The same content is always the same archive, byte by byte. Standard output has
a line host/repository:tag@sha256:... for each artifact.

{ARTIFACTS_HELP}

{codes}

Examples:
  supercargo pull ghcr.io/team/app:1.4.2 && supercargo export ghcr.io/team/app:1.4.2 -o app.tar
  supercargo export ghcr.io/team/app:1.4.2 -o app.tar --trusted-root trusted_root.json",
        codes = exit::help(&[exit::LOCAL, &[Exit::NotFound, Exit::Content]])
    )
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
struct Report {
    /// File that was written.
    archive: String,
    /// References with digests.
    artifacts: Vec<String>,
    /// Number of blobs: manifests, configs and layers.
    blobs: usize,
    /// Number of signatures and other referrers.
    referrers: usize,
    /// Size of all blobs, in bytes.
    bytes: u64,
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    until_signal_on_thread(move || export(&arguments)).await
}

fn export(arguments: &Arguments) -> Result<String, Complaint> {
    let trusted_root = arguments.trusted_root.as_deref().map(trusted_root).transpose()?;
    let cache = arguments.cache.open()?;
    let artifact = |image: &String| find(&cache, &reference(image)?);
    let artifacts = arguments.images.iter().map(artifact).collect::<Result<Vec<_>, Complaint>>()?;
    let exported = files::replace("--output", &arguments.output, |file| {
        let archive = std::io::BufWriter::with_capacity(1024 * 1024, file);
        Ok(cache.export(&artifacts, trusted_root.as_deref(), archive).map_err(Failure::from)?)
    })?;
    let Exported { blobs, referrers, bytes } = exported;
    let archive = arguments.output.display().to_string();
    note(format_args!("{archive}: {blobs} blobs, {bytes} bytes, {referrers} referrers"));
    let artifacts = artifacts.iter().map(|one| pinned(&one.reference, &one.manifest.digest)).collect();
    let report = Report { archive, artifacts, blobs, referrers, bytes };
    arguments.format.format.show_lines(&report.artifacts, &report)
}

/// Reads a trusted root, which must be valid: on the other side of an air gap nothing can replace it.
fn trusted_root(path: &Path) -> Result<Vec<u8>, Complaint> {
    let json = files::read("--trusted-root", path)?;
    Root::parse(&json)
        .map_err(|problem| Complaint::new(Reason::TrustRootInvalid, format!("--trusted-root: {problem}")))?;
    Ok(json)
}

fn reference(image: &str) -> Result<Reference, Complaint> {
    image.parse().map_err(|error| Complaint::new(Reason::InvalidSpec, format!("IMAGE {image:?}: {error}")))
}
