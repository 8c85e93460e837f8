//! `supercargo import ARCHIVE`: artifacts of an archive or a layout into the cache.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::options::cache::{ArtifactCacheArguments, pinned};
use crate::cli::options::format::FormatArguments;
use crate::cli::output::complaint::Complaint;
use crate::cli::signals::until_signal_on_thread;
use crate::failure::{Failure, printable};
use crate::layout::{Cache, Imported, Layout};
use crate::oci::{Reference, Repository};
use crate::pass;

/// Arguments of `supercargo import` with an archive. clap needs another name than that of the whole command's.
#[derive(Debug, clap::Args)]
pub(super) struct ArchiveArguments {
    /// Archive or directory with an OCI image layout; `-` reads an archive from standard input.
    #[arg(required = true)]
    source: Option<PathBuf>,
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
    format: FormatArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
struct Report {
    /// References with digests that were added.
    artifacts: Vec<String>,
    /// Number of signatures and other referrers.
    referrers: usize,
}

pub(super) async fn run(arguments: ArchiveArguments) -> ExitCode {
    until_signal_on_thread(move || import(&arguments)).await
}

fn import(arguments: &ArchiveArguments) -> Result<String, Complaint> {
    let repository = arguments.repository.as_deref().map(repository).transpose()?;
    // clap requires it, unless there is a subcommand.
    let missing = || Complaint::new(Reason::InvalidSpec, "SOURCE is missing");
    let source = Source::open(arguments.source.as_deref().ok_or_else(missing)?)?;
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
    let Imported { artifacts, referrers, trusted_root: _ } = &imported;
    let artifacts = artifacts.iter().map(|(reference, digest)| pinned(reference, digest)).collect();
    let report = Report { artifacts, referrers: *referrers };
    arguments.format.format.show_lines(&report.artifacts, &report)
}

/// The layout to be imported.
enum Source {
    Layout(Layout),
    Archive(Box<dyn Read>),
}

impl Source {
    fn open(path: &Path) -> Result<Self, Complaint> {
        if files::is_stdin(path) {
            return Ok(Self::Archive(Box::new(std::io::stdin().lock())));
        }
        if path.is_dir() {
            return Layout::open(path).map(Self::Layout).map_err(|error| of_layout(Failure::from(error).into()));
        }
        if path.extension().is_some_and(|end| ["yaml", "yml"].iter().any(|known| end == *known)) && path.is_file() {
            return Err(is_no_archive(path));
        }
        let file = fs_err::File::open(path).map_err(|error| files::unreadable("SOURCE", &error))?;
        Ok(Self::Archive(Box::new(std::io::BufReader::with_capacity(1024 * 1024, file))))
    }
}

/// Reports a file of another tool, whose translation is named by the tool.
fn is_no_archive(path: &Path) -> Complaint {
    let shown = path.display();
    let problem = format!("SOURCE: {shown} is a YAML file; expected an archive or a directory with an image layout");
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let tool = if name.starts_with("vendir.") { "vendir" } else { "vendir|kapitan|flux" };
    let remedy = format!("To translate it, name its tool first: supercargo import {tool} {shown}.");
    Complaint::new(Reason::InvalidSpec, problem).with_remedy(printable(&remedy))
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
    files::replace_by("--trusted-root", path, json)
}

/// Adapts an error to a layout, which no registry sent.
fn of_layout(complaint: Complaint) -> Complaint {
    let is_about_content =
        matches!(complaint.reason(), Reason::ManifestInvalid | Reason::DigestMismatch | Reason::ReferenceNotFound);
    let remedy = "Copy or export the layout again, or set --repository for a name without a repository.";
    if is_about_content { complaint.with_remedy(remedy.to_owned()) } else { complaint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_tool_needs_the_name_of_the_tool() {
        let dir = tempfile::tempdir().unwrap();
        for (name, tool) in [("vendir.yml", "import vendir "), ("app.yaml", "import vendir|kapitan|flux ")] {
            let path = dir.path().join(name);
            fs_err::write(&path, "a: b").unwrap();
            let complaint = Source::open(&path).err().unwrap();
            assert_eq!(complaint.reason(), Reason::InvalidSpec);
            assert!(complaint.message().contains(name) && complaint.remedy().contains(tool), "{complaint}");
        }
        let missing = Source::open(&dir.path().join("missing.yml")).err().unwrap();
        assert_eq!(missing.reason(), Reason::FileNotFound, "{missing}");
    }
}
