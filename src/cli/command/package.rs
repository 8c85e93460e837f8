//! `supercargo package`: a directory into a layout, or into the cache.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::api::Reason;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments, print_added};
use crate::cli::options::content;
use crate::cli::options::packaging::PackagingArguments;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::to_stdout;
use crate::cli::signals::{Signals, interrupted};
use crate::failure::Failure;
use crate::layout::{Cache, Layout};
use crate::oci::{Digest, Reference};
use crate::pack::{self, Format, Options, PackError, Packaged, Source};
use crate::pass;
use crate::unpack::Stop;

/// Name in the layout if neither a reference nor a description has one.
const LATEST: &str = "latest";

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
    /// It is the name in the cache; in a layout its tag is. For charts and catalogs it must agree with their name and
    /// version; one that ends with `/` is completed by them. Without -o, that of a catalog is localhost/ by default.
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// Write the digest to this file, without a line end.
    #[arg(long, value_name = "FILE")]
    digest_file: Option<PathBuf>,
    /// Print one JSON object instead of a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    packaging: PackagingArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
}

fn help() -> String {
    format!(
        "\
Writes an artifact with the content of DIR to the cache, from which `push` and others read, or with
-o to an OCI image layout. The same content gives the same
digest: on every machine and path, at every time, with every umask. What supercargo would refuse to
unpack is refused here: names and links that leave the directory, special files, names that differ
only in case. A file .ociignore in DIR, in the syntax of .gitignore, leaves files out; for charts it
is .helmignore.

{patterns}

{ARTIFACTS_HELP}

Standard output is LAYOUT@sha256:... or, with --ref, host/repository:tag@sha256:...

{codes}
  130, 143  ended by Ctrl-C, by SIGTERM

Examples:
  supercargo package generators -o gen.oci --ref registry.example.com/team/generators:1.2.0
  supercargo package . -o app.oci --format flux --source \"$REPO\" --revision \"main@sha1:$SHA\"
  supercargo package catalog --format kubara --ref oci://r.example.com/platform/
  supercargo package . -o x.oci --layer rules:application/x.tar+gzip --layer a.md:text/markdown",
        patterns = content::PATTERNS_HELP,
        codes = exit::help(&[exit::LOCAL, &[Exit::Refused]])
    )
}

/// Output of `--json`. The names are stable; fields without a value are left out.
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
                // The layout has no unfinished files then.
                _ = working => {}
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
    let reference = arguments.reference.as_deref().map(|text| pack::reference(text, &source, &options));
    let reference = reference.transpose().map_err(complain)?;
    let written = match &arguments.output {
        Some(dir) => into_layout(dir, arguments, reference, &source, &options, stop)?,
        None => into_cache(&arguments.cache.dir()?, arguments, reference, &source, &options, stop)?,
    };
    let digest = &written.packaged.manifest.digest;
    if let Some(path) = &arguments.digest_file {
        fs_err::write(path, digest.to_string())
            .map_err(|error| Complaint::new(Reason::StorageFailed, format!("--digest-file: {error}")))?;
    }
    to_stdout(&(shown(arguments.json, &written)? + "\n"))
}

/// The artifact, and its place.
struct Written {
    layout: PathBuf,
    reference: Option<Reference>,
    name: String,
    packaged: Packaged,
}

fn into_layout(
    dir: &Path,
    arguments: &Arguments,
    reference: Option<Reference>,
    source: &Source,
    options: &Options,
    stop: &Stop,
) -> Result<Written, Complaint> {
    refuse_inside("--output", dir, &arguments.dir)?;
    let layout = Layout::create(dir).map_err(|error| complain(error.into()))?;
    let name = name(reference.as_ref(), source, options).map_err(complain)?;
    let packaged = pack::package(source, options, &layout, &[&name], stop).map_err(complain)?;
    Ok(Written { layout: dir.to_owned(), reference, name, packaged })
}

/// Packages into the cache, under a whole reference.
fn into_cache(
    dir: &Path,
    arguments: &Arguments,
    reference: Option<Reference>,
    source: &Source,
    options: &Options,
    stop: &Stop,
) -> Result<Written, Complaint> {
    let mut reference = match reference {
        Some(reference) => reference,
        // kubara's own default.
        None if options.format == Format::Kubara => pack::reference("localhost/", source, options).map_err(complain)?,
        None => {
            let complaint = Complaint::new(
                Reason::InvalidSpec,
                "--ref is required, because the cache stores artifacts by reference",
            );
            return Err(complaint.with_remedy("Set --ref, or --output for a layout.".to_owned()));
        }
    };
    reference.tag.get_or_insert_with(|| LATEST.to_owned());
    refuse_inside("--cache-dir", dir, &arguments.dir)?;
    let cache = Cache::create(dir).map_err(|error| complain(error.into()))?;
    let packaged = pack::package(source, options, cache.layout(), &[], stop).map_err(complain)?;
    let added = cache.add(&reference, &packaged.manifest, None, pass::now());
    print_added(added.map_err(|error| complain(error.into()))?, dir);
    Ok(Written { layout: dir.to_owned(), name: reference.to_string(), reference: Some(reference), packaged })
}

/// Returns the name in the layout: the tag of the reference, or the version of a chart or catalog.
fn name(reference: Option<&Reference>, source: &Source, options: &Options) -> Result<String, PackError> {
    if let Some(tag) = reference.and_then(|reference| reference.tag.clone()) {
        return Ok(tag);
    }
    Ok(pack::own_tag(source, options)?.unwrap_or_else(|| LATEST.to_owned()))
}

/// Fails for a layout in the directory: it would change the source, and be packaged the next time.
fn refuse_inside(option: &str, layout: &Path, source: &Path) -> Result<(), Complaint> {
    let absolute = std::path::absolute(layout).ok();
    let existing = absolute.as_deref().and_then(|path| path.ancestors().find_map(|path| path.canonicalize().ok()));
    let source = source.canonicalize().ok();
    if source.is_some_and(|source| existing.is_some_and(|existing| existing.starts_with(source))) {
        let message = format!("{option} {} is in the directory to package", layout.display());
        return Err(Complaint::new(Reason::InvalidSpec, message));
    }
    Ok(())
}

fn shown(is_json: bool, written: &Written) -> Result<String, Complaint> {
    let Written { layout, reference, name, packaged } = written;
    let Packaged { manifest, layers, files, bytes } = packaged;
    let reference = reference.as_ref().map(|reference| format!("{reference}@{}", manifest.digest));
    let layout = layout.display().to_string();
    if !is_json {
        return Ok(reference.unwrap_or_else(|| format!("{layout}@{}", manifest.digest)));
    }
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
    serde_json::to_string(&report).map_err(|error| Failure::internal(error).into())
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
        PackError::Name(_)
        | PackError::Exists(_)
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
