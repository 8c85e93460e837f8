//! Directories of a repository, for `sync`: artifacts are written into them whole, and a record beside the lock file
//! says which files are ours.
//!
//! ```text
//! <dir>/supercargo.lock.yaml   digests, written by `lock`
//! <dir>/supercargo.record      files that were written, by directory
//! <dir>/vendor/rules/          plain files of one artifact, exchanged as a whole
//! ```
//!
//! The record is replaced after each directory. A process that is killed between the two leaves a note, by which the next
//! command recognizes the files: see [`records`].

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::api::Reason;
use crate::blob::{Cache, Progress};
use crate::cli::files;
use crate::cli::output::complaint::Complaint;
use crate::failure::{Class, Failure};
use crate::layout::Layout;
use crate::metrics::Metrics;
use crate::mutex::lock;
use crate::oci::Digest;
use crate::output::directory::{self, Destination, Existing, Filled, Parents, Recorded};
use crate::output::{OutputError, Outputs};
use crate::pass::turns::Turns;
use crate::pass::{self, Before, Engine, Outcome};
use crate::permits::Permits;
use crate::request::{Limits, Request};
use crate::storage::Gone;
use crate::unpack::listing::Listing;

mod alone;
mod place;
mod records;
mod source;

pub(crate) use crate::lock::RECORD;
pub(crate) use alone::alone;
pub(crate) use place::Place;
pub(crate) use source::Source;

use records::{Note, Records};

/// Treatment of files that the record does not have, or has otherwise.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Directories")]
pub(crate) struct ForeignArguments {
    /// Replace directories whatever they contain: edits and files of others are lost.
    #[arg(long)]
    pub(crate) force: bool,
    /// Keep files in directories that sync did not write.
    #[arg(long)]
    pub(crate) keep_foreign: bool,
}

/// Directories whose record this process changes.
#[derive(Debug)]
pub(crate) struct Checkout {
    records: Arc<Records>,
    foreign: ForeignArguments,
    limits: Limits,
    /// Directories that are being filled.
    open: Mutex<Vec<Open>>,
    /// Parents that were created, removed with the last holder if no directory was filled in them.
    created: Mutex<Parents>,
    /// Lock that other commands wait for; ends with the handle.
    _lock: Option<std::os::fd::OwnedFd>,
}

/// A directory that is being filled.
#[derive(Debug)]
struct Open {
    key: String,
    destination: Arc<Destination>,
    gone: Gone,
}

impl Checkout {
    /// Reads the record in `dir`, and completes what a killed command began. Waits until no other command changes it.
    pub(crate) async fn open(dir: &Path, foreign: ForeignArguments, limits: &Limits) -> Result<Self, Complaint> {
        let held = alone(dir).await?;
        let checkout = Self { _lock: held, ..Self::read(dir, foreign, limits)? };
        checkout.records.recover()?;
        Ok(checkout)
    }

    /// Reads the record in `dir`, for a command that changes nothing.
    pub(crate) fn read(dir: &Path, foreign: ForeignArguments, limits: &Limits) -> Result<Self, Complaint> {
        let unusable = |error: std::io::Error| files::unreadable(&dir.display().to_string(), &error);
        let dir = fs_err::canonicalize(dir).map_err(unusable)?;
        let records = Arc::new(Records::read(&dir, limits)?);
        Ok(Self { records, foreign, limits: *limits, open: Mutex::default(), created: Mutex::default(), _lock: None })
    }

    /// Returns the digest of the files that a directory has, if all of them are ours and unchanged, and the directory
    /// has all files of that digest.
    pub(crate) async fn unchanged(&self, place: &Place) -> Result<Option<Listing>, Failure> {
        let Some(recorded) = self.records.get(&self.key(place)?) else { return Ok(None) };
        let (path, limits) = (place.path(), self.limits);
        let compare = move || {
            let disk = Listing::read(&path, &limits).ok()?;
            disk.has_content_of(&recorded).then_some(recorded)
        };
        tokio::task::spawn_blocking(compare).await.map_err(Failure::internal)
    }

    /// Fills a directory with the artifact of a request, from the cache. With `expected`, other files are an error, and
    /// the directory is unchanged. The outcome has no manifest if the directory held the files already.
    pub(crate) async fn fill(
        &self,
        place: &Place,
        layout: &Layout,
        request: &Request,
        expected: Option<&Digest>,
        progress: Arc<dyn Progress>,
    ) -> Result<Outcome, Failure> {
        let key = self.key(place)?;
        let intent = Note { records: Arc::clone(&self.records), key: key.clone() };
        let recorded = Recorded { expected: expected.cloned(), intent: Some(Arc::new(intent)), ..self.recorded(&key) };
        lock(&self.created).add(Parents::create(place.base(), place.relative())?);
        let (destination, gone) = Destination::open(&place.path(), Existing::Recorded(Box::new(recorded)))?;
        let destination = Arc::new(destination);
        // On an interruption, the state is the last holder and knows if the directory was filled.
        let open = Open { key: key.clone(), destination: Arc::clone(&destination), gone };
        lock(&self.open).push(open);
        let result = unpack(&destination, layout.clone(), request, &self.limits, progress).await;
        drop(destination);
        let filled = self.close(&key).await?;
        match (filled, result) {
            (Some(Filled { is_changed, .. }), Ok(outcome)) => {
                Ok(if is_changed { outcome } else { Outcome { manifest: None, ..outcome } })
            }
            (_, Err(failure)) => Err(failure),
            (None, Ok(_)) => Err(Failure::internal("nothing was published")),
        }
    }

    /// Ends the work on a directory: records it if it was filled, and waits for the removal of what was replaced.
    async fn close(&self, key: &str) -> Result<Option<Filled>, Failure> {
        let open = {
            let mut open = lock(&self.open);
            let at = open.iter().position(|open| open.key == key);
            at.map(|at| open.swap_remove(at))
        };
        let Some(Open { key, destination, gone }) = open else { return Ok(None) };
        let filled = destination.give_up();
        let recorded = self.records.end(&key, filled.as_ref().map(|filled| filled.files.clone()));
        drop(destination);
        gone.wait().await;
        recorded.map(|()| filled)
    }

    /// Ends the work on every directory, after an interruption.
    pub(crate) async fn close_all(&self) -> Result<(), Failure> {
        loop {
            let next = lock(&self.open).first().map(|open| open.key.clone());
            let Some(key) = next else { return Ok(()) };
            self.close(&key).await?;
        }
    }

    /// Returns an error if a directory has files that other content must not replace.
    pub(crate) async fn check(&self, place: &Place) -> Result<(), Failure> {
        let (path, recorded) = (place.path(), self.recorded(&self.key(place)?));
        let checked = tokio::task::spawn_blocking(move || directory::check(&path, &recorded)).await;
        Ok(checked.map_err(Failure::internal)??)
    }

    /// Returns the rule for a directory of the record.
    fn recorded(&self, key: &str) -> Recorded {
        let ForeignArguments { force, keep_foreign } = self.foreign;
        let files = self.records.get(key).unwrap_or_default();
        Recorded { force, keep_foreign, limits: self.limits, ..Recorded::new(files) }
    }

    fn key(&self, place: &Place) -> Result<String, Failure> {
        place.key(self.records.dir())
    }

    /// Returns the directories of the record that are none of `kept`, sorted.
    pub(crate) fn surplus(&self, kept: &[&Place]) -> Result<Vec<String>, Failure> {
        let kept = kept.iter().map(|place| self.key(place)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.records.directories().into_iter().filter(|known| !kept.contains(known)).collect())
    }

    /// Removes a directory of the record, if its files are unchanged, and forgets it. One inside a directory of `kept` is
    /// content of that, and only forgotten, as is one that does not exist; one that contains such a directory is refused.
    pub(crate) fn remove(&self, key: &str, kept: &[&Place]) -> Result<(), Failure> {
        let dir = self.records.dir();
        let path = dir.join(key);
        let refused = |problem: String| Err(Failure::new(Class::Stalled, Reason::OutputConflict, problem));
        let exists = fs_err::symlink_metadata(&path).is_ok();
        if exists && Path::new(key).starts_with("..") {
            return refused(format!("{} is not below {}; remove it by hand", path.display(), dir.display()));
        }
        let kept = kept.iter().map(|place| self.key(place)).collect::<Result<Vec<_>, _>>()?;
        if let Some(inner) = kept.iter().find(|kept| Path::new(kept).starts_with(key)) {
            return refused(format!("{key} contains the directory {inner}; remove its other files by hand"));
        }
        let Some(files) = self.records.get(key) else { return Ok(()) };
        if exists && !kept.iter().any(|kept| Path::new(key).starts_with(kept)) {
            // A link would lead to files elsewhere.
            Parents::create(dir, Path::new(key))?;
            let force = self.foreign.force && !self.foreign.keep_foreign;
            directory::remove(&path, &files, force, &self.limits)?;
            let above = Path::new(key).ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
            // Git keeps no empty directory; one with other files stays.
            let _ = above.map(|above| fs_err::remove_dir(dir.join(above))).take_while(Result::is_ok).count();
        }
        crate::failpoint::reach("directory-removed");
        self.records.remove(key)
    }
}

/// Unpacks an artifact of the cache beside its directory, and puts it in place.
pub(crate) async fn unpack(
    destination: &Arc<Destination>,
    layout: Layout,
    request: &Request,
    limits: &Limits,
    progress: Arc<dyn Progress>,
) -> Result<Outcome, Failure> {
    let request = request.clone().into_directory();
    let outputs = Outputs::to_directory(Arc::clone(destination), Arc::new(Metrics::default()));
    let engine = Engine {
        registry: layout,
        outputs: outputs.map_err(OutputError::from)?,
        limits: *limits,
        // The layers are in a cache already.
        cache: Cache::default(),
        turns: Turns::default(),
        processors: Permits::default(),
        progress: Some(progress),
    };
    let turn = engine.turn(&request).await;
    pass::pass(&engine, &turn, &request, &Before::default()).await
}

#[cfg(test)]
mod tests;
