//! The files that `supercargo pin` edits, with their references.

use std::path::{Path, PathBuf};

use crate::api::Reason;
use crate::cli::files;
use crate::cli::files::input::{Source, Subdirectories};
use crate::cli::files::objects::Input;
use crate::cli::files::record::Written;
use crate::cli::files::replacing::Original;
use crate::cli::locking;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::pin::{self, Found, Hint, PinError, Scope, ValuePath};

/// Names of files that Kustomize reads.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// A file with its references.
pub(super) struct File {
    /// Path as the user wrote it.
    pub(super) shown: PathBuf,
    /// The file to replace; `None` for standard input.
    pub(super) original: Option<Original>,
    pub(super) text: String,
    pub(super) is_kustomization: bool,
    pub(super) found: Vec<Found>,
}

/// Reads the files of `--filename`.
pub(super) async fn read(named: &[PathBuf], recursive: bool, paths: &[ValuePath]) -> Result<Vec<File>, Complaint> {
    let (inputs, subdirectories) = (named.to_vec(), Subdirectories::read_if(recursive));
    // On a thread, so that a signal ends the command while standard input is open.
    let read = tokio::task::spawn_blocking(move || {
        let written = Written::read(locking::dir(&locking::default_path(&inputs)))?;
        Input::sources(&inputs, subdirectories, &written).map_err(|error| error.complaint("--filename"))
    });
    let sources = read.await.map_err(Failure::internal)??;
    let mut all = Vec::new();
    let unused = paths.iter().find(|path| !sources.iter().any(|source| pin::has(&source.text, path)));
    let missing = unused.map(|path| no_value(path, &sources));
    for source in sources {
        all.push(File::parse(source, paths)?);
    }
    missing.map_or(Ok(all), Err)
}

/// Reports a path without a value, with the path through lists if that has one.
fn no_value(path: &ValuePath, sources: &[Source]) -> Complaint {
    match sources.iter().find_map(|source| pin::hint(&source.text, path)) {
        Some(Hint { list, path: whole }) => {
            let problem = format!("--path {path}: {list} is a list; write {whole}");
            Complaint::new(Reason::InvalidSpec, problem)
        }
        None => Complaint::new(Reason::InvalidSpec, format!("--path {path}: no file has a value there")),
    }
}

/// Fails for a file that is named itself, not through its directory, and has no reference: a check of a wrong file would
/// always pass.
pub(super) fn check_named(files: &[File], named: &[PathBuf]) -> Result<(), Complaint> {
    let is_named = |file: &File| file.original.is_none() || named.contains(&file.shown);
    match files.iter().find(|file| file.found.is_empty() && is_named(file)) {
        Some(file) => Err(no_reference(&file.shown)),
        None => Ok(()),
    }
}

fn no_reference(path: &Path) -> Complaint {
    let problem = "no reference found; expected spec.image without spec.semver in an OCIArtifact, images with newTag in \
                   a Kustomization, or a value at --path";
    let complaint = Complaint::new(Reason::FileInvalid, format!("--filename: {}: {problem}", path.display()));
    complaint.with_remedy("Name the place of its references with --path, or leave the file out.".to_owned())
}

impl File {
    fn parse(source: Source, paths: &[ValuePath]) -> Result<Self, Complaint> {
        let Source { shown, is_stdin, text, .. } = source;
        let original = if is_stdin { None } else { Some(Original::read(&shown)) };
        let original = original.transpose().map_err(|error| files::unreadable("--filename", &error))?;
        if original.as_ref().is_some_and(|original| original.bytes != text.as_bytes()) {
            let problem = format!("{}: changed while the command was running", shown.display());
            return Err(Complaint::new(Reason::StorageFailed, problem));
        }
        let is_kustomization = shown.file_name().is_some_and(|name| KUSTOMIZATIONS.iter().any(|known| name == *known));
        let found = pin::find(&text, Scope { paths, is_kustomization }).map_err(|error| at(&shown, &error))?;
        Ok(Self { shown, original, text, is_kustomization, found })
    }

    /// Fails if a reference has neither a tag nor a digest.
    pub(super) fn check_tags(&self) -> Result<(), Complaint> {
        let is_untagged = |found: &&Found| found.tagged().is_none() && found.reference.digest.is_none();
        match self.found.iter().find(is_untagged) {
            None => Ok(()),
            Some(found) => {
                let problem = format!("{} has no tag; expected host/repository:tag", found.reference);
                Err(located(&self.shown, found.line, &problem))
            }
        }
    }

    /// Reports an error in the file.
    pub(super) fn complaint(&self, error: &PinError) -> Complaint {
        at(&self.shown, error)
    }
}

fn at(path: &Path, error: &PinError) -> Complaint {
    located(path, error.line, &error.problem)
}

fn located(path: &Path, line: usize, problem: &dyn std::fmt::Display) -> Complaint {
    Complaint::new(Reason::FileInvalid, format!("{}:{line}: {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_named_file_without_a_reference_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (pinnable, other) = (dir.path().join("a.yaml"), dir.path().join("b.yaml"));
        let artifact = "apiVersion: supercargo.dev/v1alpha1\nkind: OCIArtifact\nspec: {image: 'r.example/a:1'";
        fs_err::write(&pinnable, format!("{artifact}}}\n")).unwrap();
        for text in ["", "a: b\n", &format!("{artifact}, semver: {{range: '1'}}}}\n")] {
            fs_err::write(&other, text).unwrap();
            let named = [pinnable.clone(), other.clone()];
            let error = check_named(&read(&named, false, &[]).await.unwrap(), &named).unwrap_err();
            assert_eq!(error.reason(), Reason::FileInvalid);
            assert!(error.message().contains(&other.display().to_string()), "{error}");
            // In a directory, other files are common.
            let named = [dir.path().to_owned()];
            let found = read(&named, false, &[]).await.unwrap();
            check_named(&found, &named).unwrap();
            assert_eq!(found.iter().map(|file| file.found.len()).collect::<Vec<_>>(), [1, 0], "{text:?}");
        }
        let path: ValuePath = "missing".parse().unwrap();
        let error = read(&[other], false, &[path]).await.err().unwrap();
        assert_eq!(error.reason(), Reason::InvalidSpec, "{error}");
    }
}
