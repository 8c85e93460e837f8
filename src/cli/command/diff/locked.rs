//! The artifacts of files, at the digests of their lock and at those that their tags have now.

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, stream};

use super::arguments::Arguments;
use super::content_of::Budget;
use super::pair;
use super::report::{LockReport, Report};
use super::scratch::Scratch;
use super::side::{Fetched, Shown};
use super::stop::Stop;
use crate::api::Reason;
use crate::cli::artifacts::{Artifact, Wanted, artifacts, read, select};
use crate::cli::files::objects::Input;
use crate::cli::files::unwritable;
use crate::cli::locking;
use crate::cli::options::cache::refill_if_missing;
use crate::cli::options::login::places;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::notes::note;
use crate::cli::output::to_stdout;
use crate::cli::placing::{End, Place, Placed};
use crate::cli::signals::Signals;
use crate::cli::steps;
use crate::failure::{Failure, printable};
use crate::layout::Cache;
use crate::lock::{Gap, Lock};
use crate::login::Logins;
use crate::oci::Reference;
use crate::registry::Pinned;
use crate::registry::http::HttpRegistry;

/// Maximum number of references that are resolved at once.
const AT_ONCE: usize = 4;

/// The requests for both sides of an artifact whose tag has moved.
struct Moved {
    old: Wanted,
    new: Wanted,
}

/// Origin of manifests and layers.
struct Origin<'a> {
    arguments: &'a Arguments,
    /// The cache, if there is one.
    cache: Option<Cache>,
    /// The registry; `None` with `--cached`.
    registry: Option<HttpRegistry>,
    logins: Logins,
}

pub(super) async fn diff(arguments: &Arguments) -> Result<Exit, Stop> {
    // Also before the first directory exists: standard input may be open, and a registry slow.
    let mut signals = Signals::listen();
    let opened = async {
        let files = &arguments.files;
        let (path, origin) = (files.lock(), Origin::open(arguments)?);
        let input = read(&files.input, files.recursive, &files.namespace, locking::dir(&path)).await?;
        let lock = locking::read(&path)?.ok_or_else(|| no_lock(&path))?;
        Ok::<_, Complaint>((input, path, lock, origin))
    };
    let (input, path, lock, origin) = tokio::select! {
        opened = opened => opened?,
        code = signals.wait() => return Err(Stop::Interrupted(code)),
    };
    let selected = select(&input, "--only", &arguments.files.only)?;
    let chosen: Vec<_> = selected.into_iter().map(|(key, object)| Artifact::of(key, object)).collect();
    if arguments.files.only.is_empty() {
        note_surplus(&lock, &path, &artifacts(&input)?);
    }
    let resolved = stream::iter(&chosen)
        .map(async |artifact| (artifact, Box::pin(origin.moved(artifact, &input, &lock, &path)).await))
        .buffered(AT_ONCE)
        .collect::<Vec<_>>();
    let resolved = tokio::select! {
        resolved = resolved => resolved,
        code = signals.wait() => return Err(Stop::Interrupted(code)),
    };
    let scratch = Scratch::create()?;
    let mut report = LockReport::new(path.display().to_string());
    let (mut budget, mut complaints) = (arguments.content.then(Budget::default), Vec::new());
    for (number, (artifact, moved)) in resolved.into_iter().enumerate() {
        let place = scratch.path(&number.to_string());
        let compared = match moved {
            Ok(None) => Ok(None),
            Ok(Some(moved)) => origin.compare(artifact, moved, &place, &mut budget, &mut signals).await.map(Some),
            Err(complaint) => Err(Stop::Complaint(complaint)),
        };
        match compared {
            Ok(compared) => report.add(&artifact.name, compared),
            Err(Stop::Complaint(complaint)) => complaints.push(complaint),
            Err(interrupted @ Stop::Interrupted(_)) => return Err(interrupted),
        }
    }
    drop(scratch);
    if !complaints.is_empty() {
        for complaint in &complaints {
            // The exit code is that of all failures together.
            let _ = complaint.report();
        }
        return Ok(Exit::of_all(complaints.iter().map(Complaint::reason)));
    }
    to_stdout(&report.shown(arguments.format.format)?)?;
    Ok(if report.is_equal() { Exit::Done } else { Exit::Fault })
}

fn no_lock(path: &Path) -> Complaint {
    let complaint = Complaint::new(Reason::FileNotFound, format!("the lock {} does not exist", path.display()));
    complaint.with_remedy("Write it with supercargo lock, or name it with --lock.".to_owned())
}

/// Names the entries of a lock that no file has: they have no side to be compared with.
fn note_surplus(lock: &Lock, path: &Path, all: &[Artifact<'_>]) {
    for name in lock.names().filter(|name| !all.iter().any(|artifact| artifact.name == **name)) {
        note(printable(&format!("{name}: in {}, but in no file; not compared", path.display())));
    }
}

impl<'a> Origin<'a> {
    fn open(arguments: &'a Arguments) -> Result<Self, Complaint> {
        let logins = Logins::read(&places(arguments.login.docker_config()))?;
        let (cache, registry) = if arguments.cached {
            (Some(arguments.cache.open()?), None)
        } else {
            let cache = Cache::open(&arguments.cache.dir()?).map_err(Failure::from)?;
            (cache, Some(arguments.reach.registry(&Arc::default())?))
        };
        Ok(Self { arguments, cache, registry, logins })
    }

    /// Returns the requests for both sides of an artifact; `None` if its tag still has the digest of the lock.
    async fn moved(
        &self,
        artifact: &Artifact<'_>,
        input: &Input,
        lock: &Lock,
        path: &Path,
    ) -> Result<Option<Moved>, Complaint> {
        let entry = lock.get(&artifact.name).ok_or_else(|| locking::uncovered(path, artifact, &Gap::Missing))?;
        let wanted = artifact.unverified(input).map_err(|failure| artifact.complaint(&failure))?;
        let now = self.resolve(&wanted).await.map_err(|failure| self.explain(artifact, &failure))?;
        if *now.digest() == entry.digest {
            return Ok(None);
        }
        // The file may name another repository by now.
        let locked: Reference = entry.image.parse().map_err(|error| {
            let problem = format!("{}: {}: image: {error}", path.display(), entry.name);
            Complaint::new(Reason::FileInvalid, problem)
        })?;
        let old = Reference { tag: entry.tag.clone(), digest: Some(entry.digest.clone()), ..locked };
        Ok(Some(Moved { old: wanted.at(old), new: wanted.at_digest(now.tag(), now.digest()) }))
    }

    async fn resolve(&self, wanted: &Wanted) -> Result<Pinned, Failure> {
        match (&self.registry, &self.cache) {
            (Some(registry), _) => steps::resolve_in_time(registry, &wanted.with_login(&self.logins).await?).await,
            (None, Some(cache)) => Ok(steps::resolve(cache.layout(), &wanted.request).await?),
            (None, None) => Err(Failure::internal("neither a registry nor a cache is open")),
        }
    }

    /// Unpacks both sides below a directory, which does not exist yet, and compares them.
    async fn compare(
        &self,
        artifact: &Artifact<'_>,
        moved: Moved,
        place: &Path,
        budget: &mut Option<Budget>,
        signals: &mut Signals,
    ) -> Result<Report, Stop> {
        fs_err::create_dir(place).map_err(|error| unwritable("temporary directory", &error))?;
        let old = self.fetch(artifact, moved.old, &place.join("old")).await?;
        let new = self.fetch(artifact, moved.new, &place.join("new")).await?;
        let compared = pair::compare([old, new], &self.arguments.limits.limits(), budget, signals).await;
        let removed = place.to_owned();
        // Room for the next artifact. What stays is removed with the whole directory.
        let _ = tokio::task::spawn_blocking(move || fs_err::remove_dir_all(removed)).await;
        compared
    }

    /// Unpacks a side from the cache, or else from the registry. The digest decides, so either has the same content.
    async fn fetch(&self, artifact: &Artifact<'_>, wanted: Wanted, into: &Path) -> Result<Fetched, Stop> {
        let place = Place { directory: into, replace: false, limits: self.arguments.limits.limits() };
        let fetched = |placed: Result<Placed, End>| match placed {
            Ok(placed) => Ok(Fetched { directory: into.to_owned(), shown: Shown::Artifact(placed.pinned.to_string()) }),
            Err(End::Failure(failure)) => Err(Stop::Complaint(self.explain(artifact, &failure))),
            Err(End::Interrupted(code)) => Err(Stop::Interrupted(code)),
        };
        if let Some(cache) = &self.cache {
            match Box::pin(place.fill(cache.layout().clone(), wanted.request.clone())).await {
                Err(End::Failure(failure)) if self.is_elsewhere(failure.reason) => {}
                placed => return fetched(placed),
            }
        }
        let request = wanted.with_login(&self.logins).await;
        let request = request.map_err(|failure| self.explain(artifact, &failure))?;
        let registry = self.arguments.reach.registry(&Arc::default())?;
        fetched(Box::pin(place.fill(registry, request)).await)
    }

    /// Returns true if a registry may have what the cache lacks.
    fn is_elsewhere(&self, reason: Reason) -> bool {
        self.registry.is_some() && reason == Reason::ReferenceNotFound
    }

    fn explain(&self, artifact: &Artifact<'_>, failure: &Failure) -> Complaint {
        let complaint = artifact.complaint(failure);
        if self.registry.is_none() { refill_if_missing(complaint) } else { complaint }
    }
}
