//! `supercargo import`: artifacts of an archive or a layout into the cache.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::to_stdout;
use crate::failure::Failure;
use crate::layout::{Cache, Imported, Layout};
use crate::oci::{Reference, Repository};
use crate::pass;

/// Arguments of `supercargo import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo import app.tar")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Archive or directory with an OCI image layout; `-` reads an archive from standard input.
    source: PathBuf,
    /// Repository of artifacts that the layout names by a tag alone, such as ghcr.io/team/app.
    ///
    /// oras, crane and skopeo write such names.
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<String>,
    /// Write the archive's trusted root to this file.
    ///
    /// It comes from the author of the archive, so check it before you verify signatures with it.
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
}

fn help() -> String {
    format!(
        "\
Adds the artifacts of a layout to the cache, with their signatures and other referrers: from
`export`, or written by oras, crane or skopeo. Each digest is checked, and a reference is added only
if all of its content is there. No signature is verified. Standard output has a line
host/repository:tag@sha256:... for each artifact.

{ARTIFACTS_HELP}

{codes}

Examples:
  supercargo import app.tar
  supercargo import app.tar --trusted-root trusted_root.json
  supercargo import ./layout --repository ghcr.io/team/app",
        codes = exit::help(&[exit::LOCAL, &[Exit::NotFound, Exit::Content]])
    )
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match import(arguments).and_then(|text| to_stdout(&text)) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

fn import(arguments: &Arguments) -> Result<String, Complaint> {
    let repository = arguments.repository.as_deref().map(repository).transpose()?;
    let source = Source::open(&arguments.source)?;
    let cache = Cache::create(&arguments.cache.dir()?).map_err(Failure::from)?;
    let (repository, now) = (repository.as_ref(), pass::now());
    let imported = match source {
        Source::Layout(layout) => cache.import_layout(&layout, repository, now),
        Source::Archive(archive) => cache.import_archive(archive, repository, now),
    };
    let imported = imported.map_err(|error| of_layout(Failure::from(error).into()))?;
    if let Some(path) = &arguments.trusted_root {
        write_trusted_root(path, &imported)?;
    }
    let line = |(reference, digest): &(Reference, _)| match reference.digest {
        Some(_) => format!("{reference}\n"),
        None => format!("{reference}@{digest}\n"),
    };
    Ok(imported.artifacts.iter().map(line).collect())
}

/// The layout to be imported.
enum Source {
    Layout(Layout),
    Archive(Box<dyn Read>),
}

impl Source {
    fn open(path: &Path) -> Result<Self, Complaint> {
        if path == Path::new("-") {
            return Ok(Self::Archive(Box::new(std::io::stdin().lock())));
        }
        if path.is_dir() {
            return Layout::open(path).map(Self::Layout).map_err(|error| of_layout(Failure::from(error).into()));
        }
        let file = fs_err::File::open(path).map_err(|error| files::unreadable("SOURCE", &error))?;
        Ok(Self::Archive(Box::new(std::io::BufReader::with_capacity(1024 * 1024, file))))
    }
}

fn repository(text: &str) -> Result<Repository, Complaint> {
    let invalid = |problem: &str| Complaint::new(Reason::InvalidSpec, format!("--repository {text:?}: {problem}"));
    let reference: Reference = text.parse().map_err(|error| invalid(&format!("{error}")))?;
    match reference {
        Reference { repository, tag: None, digest: None } => Ok(repository),
        Reference { .. } => Err(invalid("expected a repository without a tag and a digest")),
    }
}

fn write_trusted_root(path: &Path, imported: &Imported) -> Result<(), Complaint> {
    let Some(json) = &imported.trusted_root else {
        let complaint = Complaint::new(Reason::FileNotFound, "--trusted-root: the archive has no trusted root");
        return Err(complaint.with_remedy("Add it with export --trusted-root.".to_owned()));
    };
    fs_err::write(path, json).map_err(|error| files::unwritable("--trusted-root", &error))
}

/// Adapts an error to a layout, which no registry sent.
fn of_layout(complaint: Complaint) -> Complaint {
    let is_about_content =
        matches!(complaint.reason(), Reason::ManifestInvalid | Reason::DigestMismatch | Reason::ReferenceNotFound);
    let remedy = "Copy or export the layout again, or set --repository for a name without a repository.";
    if is_about_content { complaint.with_remedy(remedy.to_owned()) } else { complaint }
}
