//! The lock file of some files: read, compared, made anew and written.

use std::path::{Path, PathBuf};

use crate::api::Reason;
use crate::cli::artifacts::{Artifact, Wanted};
use crate::cli::checkout::Source;
use crate::cli::files;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::lock::{Entry, Gap, Lock, Signer};
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Document, Manifest};
use crate::output::OutputError;
use crate::pass;
use crate::registry::Registry;
use crate::request::{OutputKind, Place};
use crate::trust::{self, Basis, Verified};

/// Options of `sync` about a lock.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Directories")]
pub(crate) struct LockArguments {
    /// Use exactly the digests of the lock file; no tag is resolved.
    ///
    /// Content is read from the cache, and fetched by digest if the cache lacks it.
    #[arg(long)]
    pub(crate) locked: bool,
    /// Lock file; by default supercargo.lock.yaml beside the first file.
    ///
    /// The record of directories is beside it.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
}

impl LockArguments {
    /// Returns the path of the lock for some files.
    pub(crate) fn path(&self, inputs: &[PathBuf]) -> PathBuf {
        path(self.lock.as_deref(), inputs)
    }
}

/// Returns the path of the lock for some files: as named, or the usual one.
pub(crate) fn path(named: Option<&Path>, inputs: &[PathBuf]) -> PathBuf {
    named.map_or_else(|| default_path(inputs), Path::to_owned)
}

/// Returns the usual place of the lock for some files: beside the first, or in it if it is a directory.
pub(crate) fn default_path(inputs: &[PathBuf]) -> PathBuf {
    let first = inputs.first().filter(|first| !files::is_stdin(first));
    let dir = match first {
        Some(first) if first.is_dir() => Some(first.as_path()),
        Some(first) => first.parent(),
        None => None,
    };
    dir.map_or_else(|| PathBuf::from(crate::lock::FILE), |dir| dir.join(crate::lock::FILE))
}

/// Returns the directory of a lock file, in which the record is.
pub(crate) fn dir(lock: &Path) -> &Path {
    lock.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a lock; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Lock>, Complaint> {
    let bytes = match files::regular(path).and_then(|file| files::content_of(path, file)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(files::unreadable("the lock", &error)),
    };
    let invalid = |problem: &dyn std::fmt::Display| {
        let complaint = Complaint::new(Reason::FileInvalid, format!("{}: {problem}", path.display()));
        complaint.with_remedy("Restore the file, or write it anew with supercargo lock.".to_owned())
    };
    let text = String::from_utf8(bytes).map_err(|_| invalid(&"not UTF-8 text"))?;
    Lock::parse(&text).map(Some).map_err(|error| invalid(&error))
}

/// Replaces a lock in one step.
pub(crate) fn write(path: &Path, lock: &Lock) -> Result<(), Complaint> {
    crate::failpoint::reach("lock-write");
    files::replace_by("the lock", path, lock.text().as_bytes())
}

/// Returns the entry of an artifact in a lock, or the error that there is none for it.
pub(crate) fn entry<'a>(lock: &'a Lock, path: &Path, artifact: &Artifact<'_>) -> Result<&'a Entry, Complaint> {
    artifact.entry(lock).map_err(|gap| uncovered(path, artifact, &gap))
}

/// Reports an artifact without an entry in a lock.
pub(crate) fn uncovered(path: &Path, artifact: &Artifact<'_>, gap: &Gap) -> Complaint {
    let (file, name, path) = (artifact.object.file.display(), &artifact.name, path.display());
    let complaint = Complaint::new(Reason::FileInvalid, format!("{file}: {name} {gap} {path}"));
    complaint.with_remedy(format!("Run supercargo lock --update {name} with the same files, and commit the lock."))
}

/// Makes the entry of an artifact: resolves it, verifies it, copies it into the cache and unpacks it there.
pub(crate) async fn locked<R: Registry>(
    source: &Source<R>,
    artifact: &Artifact<'_>,
    wanted: &Wanted,
) -> Result<Entry, Failure> {
    pass::check_denied(&wanted.request)?;
    // Its content may be in memory only, and `sync` refuses it too.
    if wanted.request.targets.iter().any(|target| matches!(target.place, Place::Secret { .. })) {
        return Err(OutputError::NoCluster(OutputKind::Secret).into());
    }
    let pinned = source.resolve(wanted).await?;
    let wanted = wanted.at_digest(pinned.tag(), pinned.digest());
    source.fill(&wanted).await?;
    let (outcome, files_digest) = source.unpacked(&wanted, artifact.place.is_some()).await?;
    let document = source.layout().read_blob(pinned.digest(), MAX_MANIFEST_BYTES)?;
    let document = document.and_then(|bytes| Some((Document::parse(&bytes, None).ok()?, bytes.len() as u64)));
    let (document, size) = document.ok_or_else(|| Failure::internal("the manifest is not in the cache"))?;
    let manifest = outcome.manifest.as_ref().ok_or_else(|| Failure::internal("the artifact was not unpacked"))?;
    let requirement = &wanted.request.requirement;
    let mut policies: Vec<_> = requirement.applied().iter().map(|applied| applied.policy.clone()).collect();
    policies.sort_unstable();
    policies.dedup();
    Ok(Entry {
        name: artifact.name.clone(),
        image: artifact.object.spec.image.clone(),
        tag: pinned.tag().map(str::to_owned),
        digest: pinned.digest().clone(),
        platform_digest: manifest.platform_digest.clone(),
        media_type: Some(document.media_type().to_owned()),
        artifact_type: Some(manifest.artifact_type.clone()).filter(|kind| !kind.is_empty()),
        size: size.saturating_add(content_bytes(manifest)),
        files_digest,
        selection: artifact.selection.clone(),
        signers: signers(outcome.basis.as_ref()),
        policies,
    })
}

/// Returns the bytes of the config and the layers.
fn content_bytes(manifest: &Manifest) -> u64 {
    manifest.layers.iter().chain([&manifest.config]).fold(0, |sum, blob| sum.saturating_add(blob.size))
}

/// Returns the signatures behind a verdict, sorted.
fn signers(basis: Option<&Basis>) -> Vec<Signer> {
    let Some(Basis::Judged(judgement)) = basis else { return Vec::new() };
    let signer = |verified: &Verified| {
        let plain = Signer::new(&verified.entry, verified.format);
        match &verified.signer {
            trust::Signer::Key(key) => Signer { key_fingerprint: Some(key.clone()), ..plain },
            trust::Signer::Identity { issuer, subject } => {
                Signer { issuer: Some(issuer.clone()), subject: Some(subject.clone()), ..plain }
            }
        }
    };
    let mut signers: Vec<_> = judgement.verified.iter().map(signer).collect();
    signers.sort_unstable();
    signers.dedup();
    signers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_beside_the_first_file() {
        let root = tempfile::tempdir().unwrap();
        let path = |inputs: &[&str]| default_path(&inputs.iter().map(PathBuf::from).collect::<Vec<_>>());
        let file = Path::new(crate::lock::FILE);
        assert_eq!(path(&["-"]), file);
        assert_eq!(path(&["set.yaml", "b/other.yaml"]), file);
        assert_eq!(path(&["a/set.yaml"]), Path::new("a").join(file));
        assert_eq!(path(&[&root.path().display().to_string()]), root.path().join(file));
        assert_eq!((dir(file), dir(Path::new("a/b.yaml"))), (Path::new("."), Path::new("a")));
    }
}
