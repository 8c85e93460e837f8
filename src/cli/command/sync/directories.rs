//! Artifacts with directories of their own, and the digests of a lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::Arguments;
use super::outcome::{Change, Done};
use super::prune::Pruned;
use crate::api::Reason;
use crate::blob::Progress;
use crate::cli::artifacts::{Artifact, Selected, Wanted};
use crate::cli::checkout::{Checkout, Place, RECORD, Source};
use crate::cli::files::objects::Input;
use crate::cli::locking;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::notes;
use crate::failure::Failure;
use crate::layout::Cache;
use crate::lock::{Entry, Lock};
use crate::login::Logins;
use crate::output::Published;
use crate::pass::Outcome;
use crate::registry::Registry;
use crate::request::{ObjectId, Request};

/// The lock of the files, and the directories that they name.
#[derive(Debug)]
pub(super) struct Locked {
    path: PathBuf,
    /// The lock, if the command uses its digests or finds one for a comparison.
    lock: Option<Lock>,
    /// True if only digests of the lock are used.
    is_required: bool,
    /// Record of the directories; `None` if there are none.
    pub(super) checkout: Option<Checkout>,
}

/// Directories of the record that no file names.
#[derive(Debug, Default)]
pub(super) struct Surplus {
    keys: Vec<String>,
    /// Directories that the files name.
    kept: Vec<Place>,
}

impl Locked {
    /// Reads the lock and the record. Fails if the lock is required and does not apply to an artifact.
    pub(super) async fn open(
        arguments: &Arguments,
        path: PathBuf,
        selected: &[Selected<'_>],
    ) -> Result<Self, Complaint> {
        let (dir, limits) = (locking::dir(&path), arguments.limits.limits());
        let has_directory = selected.iter().any(|(_, object)| object.directory.is_some());
        let is_needed = has_directory || (arguments.prune && dir.join(RECORD).exists());
        let checkout = match (is_needed, arguments.dry_run) {
            (false, _) => None,
            (true, true) => Some(Checkout::read(dir, arguments.foreign, &limits)?),
            (true, false) => Some(Checkout::open(dir, arguments.foreign, &limits).await?),
        };
        let lock = if arguments.lock.locked || arguments.dry_run { locking::read(&path)? } else { None };
        let locked = Self { path, lock, is_required: arguments.lock.locked, checkout };
        if arguments.lock.locked {
            locked.check(selected)?;
        } else if locked.path.exists() {
            let path = locked.path.display();
            notes::note(format_args!("tags are resolved; {path} decides about digests only with --locked"));
        }
        Ok(locked)
    }

    /// Fails unless the lock has an entry for each artifact.
    fn check(&self, selected: &[Selected<'_>]) -> Result<(), Complaint> {
        let Some(lock) = &self.lock else {
            let problem = format!("--locked: {} does not exist", self.path.display());
            let complaint = Complaint::new(Reason::FileNotFound, problem);
            return Err(complaint.with_remedy("Write it with supercargo lock, or name it with --lock.".to_owned()));
        };
        selected
            .iter()
            .try_for_each(|(key, object)| locking::entry(lock, &self.path, &Artifact::of(key, object)).map(drop))
    }

    /// Returns the entry whose digest is used for an artifact; `None` if its tag is resolved.
    pub(super) fn entry(&self, artifact: &Artifact<'_>) -> Option<&Entry> {
        self.lock.as_ref().filter(|_| self.is_required)?.get(&artifact.name)
    }

    /// Returns true if a directory holds the files that the lock has for a digest: in a dry run, the only way to know
    /// them.
    pub(super) async fn holds(
        &self,
        artifact: &Artifact<'_>,
        place: &Place,
        digest: &crate::oci::Digest,
    ) -> Result<bool, Failure> {
        let (Some(lock), Some(checkout)) = (&self.lock, &self.checkout) else { return Ok(false) };
        let entry = artifact.entry(lock).ok();
        let Some(entry) = entry.filter(|entry| entry.digest == *digest) else { return Ok(false) };
        let files = checkout.unchanged(place).await?;
        Ok(files.is_some_and(|files| files.digest() == entry.files_digest))
    }

    /// Returns the directories of the record that the files do not name.
    pub(super) fn surplus(&self, input: &Input) -> Result<Surplus, Failure> {
        let Some(checkout) = &self.checkout else { return Ok(Surplus::default()) };
        let kept: Vec<_> = input.objects.iter().filter_map(|(key, object)| Artifact::of(key, object).place).collect();
        Ok(Surplus { keys: checkout.surplus(&kept.iter().collect::<Vec<_>>())?, kept })
    }

    /// Removes directories of the record, or in a dry run only names them. Blocking.
    pub(super) fn remove(
        &self,
        surplus: Surplus,
        namespace: &str,
        dry_run: bool,
        is_given_up: impl Fn() -> bool,
    ) -> Vec<Pruned> {
        let Some(checkout) = &self.checkout else { return Vec::new() };
        let kept: Vec<_> = surplus.kept.iter().collect();
        let remove = |key: String| {
            let removed = if dry_run { Ok(()) } else { checkout.remove(&key, &kept) };
            let dir = Some(locking::dir(&self.path)).filter(|dir| *dir != Path::new("."));
            let place = dir.map_or_else(|| key.clone(), |dir| dir.join(&key).display().to_string());
            let id = ObjectId { namespace: namespace.to_owned(), name: key, uid: String::new() };
            (id, removed.map(|()| vec![place]))
        };
        surplus.keys.into_iter().take_while(|_| !is_given_up()).map(remove).collect()
    }
}

/// Opens the cache before a registry.
pub(super) fn source<R: Registry>(
    arguments: &Arguments,
    registry: R,
    logins: Arc<Logins>,
    progress: Arc<dyn Progress>,
) -> Result<Source<R>, Complaint> {
    let cache = Cache::create(&arguments.artifacts.dir()?).map_err(Failure::from)?;
    Ok(Source { registry: Arc::new(registry), cache, limits: arguments.limits.limits(), progress, logins })
}

/// Returns the result for a directory.
pub(super) fn done(request: &Request, outcome: &Outcome) -> Done {
    let change = if outcome.manifest.is_some() { Change::Published } else { Change::Unchanged };
    let done = Done::of(change, request, &outcome.pinned, outcome.manifest.as_ref(), outcome.basis.as_ref());
    let places = outcome.published.iter().map(|output| output.location.text(&request.object)).collect();
    Done { places, files: outcome.published.iter().map(|output| output.files).max(), ..done }
}

/// Fails if an output with all files has others than the lock says.
pub(super) fn check_files(entry: &Entry, request: &Request, published: &[Published]) -> Result<(), Failure> {
    let is_whole = |output: &&Published| {
        request.targets.iter().any(|target| target.output == output.output && target.filter.is_all())
    };
    let others = published.iter().filter(is_whole).filter_map(|output| output.list_digest.as_ref());
    for found in others {
        if *found != entry.files_digest {
            let (expected, found) = (entry.files_digest.clone(), found.clone());
            return Err(crate::output::OutputError::OtherFiles { expected, found }.into());
        }
    }
    Ok(())
}

/// Returns the request of an artifact at the digest of its entry.
pub(super) fn at_entry(wanted: &Wanted, entry: Option<&Entry>) -> Wanted {
    entry.map_or_else(|| wanted.clone(), |entry| wanted.at_digest(entry.tag.as_deref(), &entry.digest))
}
