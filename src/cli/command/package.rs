//! `supercargo package`: a directory into a layout, or into the cache.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments, print_added};
use crate::cli::options::content;
use crate::cli::options::format::{self, FormatArguments};
use crate::cli::options::packaging::PackagingArguments;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::to_stdout;
use crate::cli::signals::{Signals, interrupted};
use crate::failure::Failure;
use crate::layout::{Cache, Layout};
use crate::oci::Digest;
use crate::pack::{Format, PackError, Source};
use crate::pass;
use crate::publish::{self, Packaged, Packaging, PublishError, Store};
use crate::unpack::Stop;

/// Arguments of `supercargo package`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo package policies -o policies.oci --ref ghcr.io/team/policies:1.0.0")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Directory to package. It is never written to.
    dir: PathBuf,
    /// OCI image layout to write to, created if it does not exist; by default, the cache.
    #[arg(short = 'o', long, value_name = "LAYOUT")]
    output: Option<PathBuf>,
    /// Reference that the artifact is meant for; required without -o.
    ///
    /// The cache stores the whole reference; a layout stores only the tag. For charts and catalogs it must agree with
    /// their name and version; one that ends with `/` is completed by them. Without -o, that of a catalog is localhost/
    /// by default.
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// Write the digest to this file, without a line end.
    #[arg(long, value_name = "FILE", value_parser = files::target())]
    digest_file: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    packaging: PackagingArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
}

fn help() -> String {
    format!(
        "\
Writes an artifact with the content of DIR to the cache, from which `push` and others read, or with
-o to an OCI image layout. The same content gives the same digest: on every machine and path, at
every time, with every umask. What supercargo would refuse to unpack is refused here: names and
links that leave the directory, special files, names that differ only in case. A file .ociignore in
DIR, in the syntax of .gitignore, leaves files out; for charts it is .helmignore.

{patterns}

{ARTIFACTS_HELP}

Standard output is LAYOUT@sha256:... or, with --ref, host/repository:tag@sha256:...

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  supercargo package generators -o gen.oci --ref registry.example.com/team/generators:1.2.0
  supercargo package . -o app.oci --package-format flux --source \"$REPO\" --revision \"main@sha1:$SHA\"
  supercargo package catalog --package-format kubara --ref oci://r.example.com/platform/
  supercargo package . -o x.oci --layer rules:application/x.tar+gzip --layer a.md:text/markdown",
        patterns = content::PATTERNS_HELP,
        codes = exit::help(&[exit::LOCAL, &[Exit::Content]])
    )
}

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    /// Reference with the digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    /// Directory of the layout, or of the cache.
    layout: String,
    /// Name in it.
    name: &'a str,
    /// Digest of the manifest.
    digest: &'a Digest,
    /// Media type of the manifest.
    media_type: &'a str,
    /// Size of the manifest, in bytes.
    size: u64,
    /// Number of layers.
    layers: usize,
    /// Number of files and links.
    files: u64,
    /// Size of the files, in bytes.
    bytes: u64,
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    // Listens before anything exists that a signal would leave behind.
    let mut signals = Signals::listen();
    let stop = Stop::new();
    let working = tokio::task::spawn_blocking({
        let stop = stop.clone();
        move || package(&arguments, &stop)
    });
    tokio::pin!(working);
    let ended = tokio::select! {
        ended = &mut working => ended,
        code = signals.wait() => {
            stop.cancel();
            tokio::select! {
                // The layout has no unfinished files then. An artifact that is complete, and printed, is a success.
                ended = &mut working => if matches!(ended, Ok(Ok(()))) {
                    return Exit::Done.into();
                },
                // A second signal skips the cleanup.
                _ = signals.wait() => {}
            }
            return interrupted(code);
        }
    };
    match ended.map_err(|error| Failure::internal(error).into()).and_then(|result| result) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => Complaint::report(&complaint),
    }
}

fn package(arguments: &Arguments, stop: &Stop) -> Result<(), Complaint> {
    let options = arguments.packaging.options()?;
    let source = Source::open(&arguments.dir).map_err(complain)?;
    if let Some(path) = &arguments.digest_file {
        refuse_inside("--digest-file", path, &arguments.dir)?;
    }
    let store = match &arguments.output {
        Some(dir) => {
            refuse_inside("--output", dir, &arguments.dir)?;
            Store::Layout(Layout::create(dir).map_err(|error| complain(error.into()))?)
        }
        None if arguments.reference.is_none() && options.format != Format::Kubara => {
            let complaint = Complaint::new(
                Reason::InvalidSpec,
                "--ref is required, because the cache stores artifacts by reference",
            );
            return Err(complaint.with_remedy("Set --ref, or --output for a layout.".to_owned()));
        }
        None => open_cache(&arguments.cache, &arguments.dir)?,
    };
    let packaging = Packaging { store, options, now: pass::now(), stop: stop.clone() };
    let packaged = publish::package(&source, arguments.reference.as_deref(), &packaging).map_err(unpublished)?;
    if let Some(added) = packaged.added {
        print_added(added, &packaged.store);
    }
    if let Some(path) = &arguments.digest_file {
        files::write_digest(path, &packaged.manifest.digest, "the artifact is packaged")?;
    }
    to_stdout(&shown(arguments.format.format, &packaged)?)
}

/// Opens the cache, and creates it if it is missing.
pub(super) fn open_cache(cache: &ArtifactCacheArguments, source: &Path) -> Result<Store, Complaint> {
    let dir = cache.dir()?;
    refuse_inside("--cache-dir", &dir, source)?;
    Ok(Store::Cache(Cache::create(&dir).map_err(|error| complain(error.into()))?))
}

/// Fails for a layout in the directory: it would change the source, and be packaged the next time.
pub(super) fn refuse_inside(option: &str, layout: &Path, source: &Path) -> Result<(), Complaint> {
    let absolute = std::path::absolute(layout).ok();
    let existing = absolute.as_deref().and_then(|path| path.ancestors().find_map(|path| path.canonicalize().ok()));
    let source = source.canonicalize().ok();
    if source.is_some_and(|source| existing.is_some_and(|existing| existing.starts_with(source))) {
        let message = format!("{option} {} is in the directory to package", layout.display());
        return Err(Complaint::new(Reason::InvalidSpec, message));
    }
    Ok(())
}

fn shown(format: format::Format, packaged: &Packaged) -> Result<String, Complaint> {
    let Packaged { manifest, store, name, reference, layers, files, bytes, added: _, artifact: _ } = packaged;
    let reference = reference.as_ref().map(|reference| format!("{reference}@{}", manifest.digest));
    let layout = store.display().to_string();
    let text = reference.clone().unwrap_or_else(|| format!("{layout}@{}", manifest.digest));
    let report = Report {
        reference,
        layout,
        name,
        digest: &manifest.digest,
        media_type: &manifest.media_type,
        size: manifest.size,
        layers: *layers,
        files: *files,
        bytes: *bytes,
    };
    format.show(|| text + "\n", &report)
}

/// As [`complain`], for every error of publishing.
pub(super) fn unpublished(error: PublishError) -> Complaint {
    if let PublishError::Pack(error) = error { complain(error) } else { Failure::from(error).into() }
}

/// Returns the report of an error of packaging. Its remedies are about a directory, not about an artifact.
pub(crate) fn complain(error: PackError) -> Complaint {
    let remedy = match &error {
        PackError::Entry(_) => {
            Some("Rename, remove or replace the entry, or leave it out with --exclude or .ociignore.")
        }
        PackError::Changed(_) => Some("Package again when nothing writes to the directory."),
        PackError::Nothing => Some("Check DIR, --sub-dir, --include, --exclude and .ociignore."),
        PackError::Path { .. } => Some("Correct the option that the message names."),
        PackError::Ignore { .. } | PackError::Description { .. } => Some("Correct the file that the message names."),
        PackError::Dependencies(_) => Some("Run helm dependency build in the directory of the chart."),
        PackError::Reference { .. } => Some("Correct the reference, or the version of the content."),
        PackError::Exists(_) => Some("Choose another name, or remove the directory or file."),
        PackError::Name(_)
        | PackError::NoSource { .. }
        | PackError::Option { .. }
        | PackError::TooLarge { .. }
        | PackError::Manifest(_)
        | PackError::Layout(_)
        | PackError::Storage(_)
        | PackError::Stopped => None,
    };
    let complaint = Complaint::from(Failure::from(error));
    match remedy {
        Some(remedy) => complaint.with_remedy(remedy.to_owned()),
        None => complaint,
    }
}
