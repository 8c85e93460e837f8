//! `supercargo export`: artifacts of the cache as one archive.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::locking;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments, find, pinned};
use crate::cli::options::format::FormatArguments;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::count;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::notes::note;
use crate::cli::signals::until_signal_on_thread;
use crate::failure::Failure;
use crate::layout::{Cache, Cached, Exported};
use crate::lock::Entry;
use crate::oci::Reference;
use crate::trust::sigstore::Root;

/// Arguments of `supercargo export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo export ghcr.io/team/app:1 -o app.tar")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Artifacts in the cache: `host[:port]/repository[:tag][@sha256:<64 hex>]`.
    #[arg(required_unless_present = "lock", value_name = "IMAGE")]
    images: Vec<String>,
    /// Export the artifacts of this lock file, at its digests.
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    lock: Option<PathBuf>,
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
(oci-archive:). The same content is always the same archive, byte for byte. Standard output has
a line host/repository:tag@sha256:... for each artifact.

With --lock, the artifacts are those of a file of supercargo lock, each at its locked digest. After
import on another machine, sync --locked needs no registry there.

{ARTIFACTS_HELP}

{codes}

Examples:
  supercargo pull ghcr.io/team/app:1.4.2 && supercargo export ghcr.io/team/app:1.4.2 -o app.tar
  supercargo export ghcr.io/team/app:1.4.2 -o app.tar --trusted-root trusted_root.json
  supercargo lock -f supercargo.yaml && supercargo export --lock supercargo.lock.yaml -o all.tar",
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
    if let Some(lock) = &arguments.lock
        && files::is_same(lock, &arguments.output)
    {
        let problem = format!("--output: {} is the lock file itself; expected another file", lock.display());
        return Err(Complaint::new(Reason::InvalidSpec, problem));
    }
    let cache = arguments.cache.open()?;
    let artifacts = match &arguments.lock {
        Some(path) => locked(&cache, path)?,
        None => arguments.images.iter().map(|image| find(&cache, &reference(image)?)).collect::<Result<_, _>>()?,
    };
    let exported = files::replace("--output", &arguments.output, |file| {
        let archive = std::io::BufWriter::with_capacity(1024 * 1024, file);
        Ok(cache.export(&artifacts, trusted_root.as_deref(), archive).map_err(Failure::from)?)
    })?;
    let Exported { blobs, referrers, bytes } = exported;
    let archive = arguments.output.display().to_string();
    note(format_args!("{archive}: {}, {bytes} bytes, {}", count(blobs, "blob"), count(referrers, "referrer")));
    let artifacts = artifacts.iter().map(|one| pinned(&one.reference, &one.manifest.digest)).collect();
    let report = Report { archive, artifacts, blobs, referrers, bytes };
    arguments.format.format.show_lines(&report.artifacts, &report)
}

/// Returns the artifacts of a lock, each one once.
fn locked(cache: &Cache, path: &Path) -> Result<Vec<Cached>, Complaint> {
    let Some(lock) = locking::read(path)? else {
        let problem = format!("--lock: {} does not exist", path.display());
        let remedy = "Correct the path, or write the lock with supercargo lock.".to_owned();
        return Err(Complaint::new(Reason::FileNotFound, problem).with_remedy(remedy));
    };
    let mut found = BTreeMap::new();
    for entry in lock.names().filter_map(|name| lock.get(name)) {
        let Entry { name, image, digest, .. } = entry;
        let invalid = |problem: &dyn std::fmt::Display| format!("{}: {name}: {problem}", path.display());
        let parsed = image.parse::<Reference>();
        let named = parsed.map_err(|error| Complaint::new(Reason::FileInvalid, invalid(&error)))?;
        let wanted = Reference { tag: None, digest: Some(digest.clone()), ..named };
        let cached = find(cache, &wanted).map_err(|complaint| {
            let remedy = "Run supercargo lock or sync --locked with the registry first, or set --cache-dir.".to_owned();
            Complaint::new(complaint.reason(), invalid(&complaint.message())).with_remedy(remedy)
        })?;
        found.insert(pinned(&cached.reference, digest), cached);
    }
    if found.is_empty() {
        return Err(Complaint::new(Reason::FileInvalid, format!("--lock: {} has no entry", path.display())));
    }
    Ok(found.into_values().collect())
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
