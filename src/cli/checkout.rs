//! Directories of a repository, for `sync`: artifacts are written into them whole, and a record beside the lock file
//! says which files are ours.
//!
//! ```text
//! <dir>/supercargo.lock.yaml   digests, written by `lock`
//! <dir>/supercargo.record      files that were written, by directory
//! <dir>/vendor/rules/          plain files of one artifact, exchanged as a whole
//! ```
//!
//! The record is replaced after each directory. A process that is killed between the two leaves a directory that holds
//! what is wanted, which the next command adopts without a write.

use std::path::{Path, PathBuf};
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
use crate::output::directory::record::Record;
use crate::output::directory::{self, Destination, Existing, Filled, Parents, Recorded};
use crate::output::{OutputError, Outputs};
use crate::pass::turns::Turns;
use crate::pass::{self, Before, Engine, Outcome};
use crate::permits::Permits;
use crate::request::{Limits, Request};
use crate::storage::{self, Gone};
use crate::unpack::listing::Listing;

mod alone;
mod place;
mod source;

pub(crate) use crate::lock::RECORD;
pub(crate) use alone::alone;
pub(crate) use place::Place;
pub(crate) use source::Source;

/// Largest record that is read.
const MAX_RECORD: u64 = 256 << 20;

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
    /// Directory of the record, without links.
    dir: PathBuf,
    foreign: ForeignArguments,
    limits: Limits,
    state: Mutex<State>,
    /// Lock that other commands wait for; ends with the handle.
    _lock: Option<std::os::fd::OwnedFd>,
}

#[derive(Debug)]
struct State {
    record: Record,
    /// True if the file of the record exists.
    exists: bool,
    /// Directories that are being filled.
    open: Vec<Open>,
}

/// A directory that is being filled.
#[derive(Debug)]
struct Open {
    key: String,
    destination: Arc<Destination>,
    gone: Gone,
    parents: Parents,
}

impl Checkout {
    /// Reads the record in `dir`. Waits until no other command changes it.
    pub(crate) async fn open(dir: &Path, foreign: ForeignArguments, limits: &Limits) -> Result<Self, Complaint> {
        let unusable = |error: std::io::Error| files::unreadable(&dir.display().to_string(), &error);
        let dir = fs_err::canonicalize(dir).map_err(unusable)?;
        let held = alone(&dir).await?;
        Ok(Self { _lock: held, ..Self::read(&dir, foreign, limits)? })
    }

    /// Reads the record in `dir`, for a command that changes nothing.
    pub(crate) fn read(dir: &Path, foreign: ForeignArguments, limits: &Limits) -> Result<Self, Complaint> {
        let unusable = |error: std::io::Error| files::unreadable(&dir.display().to_string(), &error);
        let dir = fs_err::canonicalize(dir).map_err(unusable)?;
        let record = read(&dir)?;
        let state = State { exists: record.is_some(), record: record.unwrap_or_default(), open: Vec::new() };
        Ok(Self { dir, foreign, limits: *limits, state: Mutex::new(state), _lock: None })
    }

    /// Returns the digest of the files that a directory has, if all of them are ours and unchanged, and the directory
    /// has all files of that digest.
    pub(crate) async fn unchanged(&self, place: &Place) -> Result<Option<Listing>, Failure> {
        let key = place.key(&self.dir)?;
        let Some(recorded) = lock(&self.state).record.get(&key).cloned() else { return Ok(None) };
        let (path, limits) = (place.path(), self.limits);
        let compare = move || {
            let disk = Listing::read(&path, &limits).ok()?;
            disk.has_content_of(&recorded).then_some(recorded)
        };
        tokio::task::spawn_blocking(compare).await.map_err(Failure::internal)
    }

    /// Removes what killed commands left beside a directory that needs no change.
    pub(crate) async fn sweep(&self, place: &Place) -> Result<(), Failure> {
        let path = place.path();
        let swept = tokio::task::spawn_blocking(move || directory::sweep(&path)).await;
        Ok(swept.map_err(Failure::internal)??)
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
        let key = place.key(&self.dir)?;
        let files = lock(&self.state).record.get(&key).cloned().unwrap_or_default();
        let ForeignArguments { force, keep_foreign } = self.foreign;
        let recorded = Recorded { files, force, keep_foreign, limits: self.limits, expected: expected.cloned() };
        let parents = Parents::create(place.base(), place.relative())?;
        let (destination, gone) = Destination::open(&place.path(), Existing::Recorded(Box::new(recorded)))?;
        let destination = Arc::new(destination);
        // On an interruption, the state is the last holder and knows if the directory was filled.
        let open = Open { key: key.clone(), destination: Arc::clone(&destination), gone, parents };
        lock(&self.state).open.push(open);
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
            let mut state = lock(&self.state);
            let at = state.open.iter().position(|open| open.key == key);
            at.map(|at| state.open.swap_remove(at))
        };
        let Some(Open { key, destination, gone, parents }) = open else { return Ok(None) };
        let filled = destination.give_up();
        let recorded = filled.as_ref().map_or(Ok(()), |filled| self.set(&key, filled.files.clone()));
        drop(destination);
        gone.wait().await;
        if filled.is_some() {
            parents.keep();
        }
        recorded.map(|()| filled)
    }

    /// Ends the work on every directory, after an interruption.
    pub(crate) async fn close_all(&self) -> Result<(), Failure> {
        loop {
            let next = lock(&self.state).open.first().map(|open| open.key.clone());
            let Some(key) = next else { return Ok(()) };
            self.close(&key).await?;
        }
    }

    fn set(&self, key: &str, files: Listing) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        let is_new = state.record.set(key, files);
        if is_new || !state.exists { self.write(&mut state) } else { Ok(()) }
    }

    fn write(&self, state: &mut State) -> Result<(), Failure> {
        crate::failpoint::reach("record-write");
        let dir = storage::open_any_dir(&self.dir)?;
        storage::replace_file(std::os::fd::AsFd::as_fd(&dir), RECORD, state.record.text().as_bytes())?;
        state.exists = true;
        crate::failpoint::reach("record-written");
        Ok(())
    }

    /// Returns the directories of the record that are none of `kept`, sorted.
    pub(crate) fn surplus(&self, kept: &[&Place]) -> Result<Vec<String>, Failure> {
        let kept = kept.iter().map(|place| place.key(&self.dir)).collect::<Result<Vec<_>, _>>()?;
        let state = lock(&self.state);
        Ok(state
            .record
            .directories()
            .filter(|known| !kept.iter().any(|kept| kept == known))
            .map(str::to_owned)
            .collect())
    }

    /// Removes a directory of the record, if its files are unchanged, and forgets it. One inside a directory of `kept` is
    /// content of that, and only forgotten; one that contains such a directory is refused.
    pub(crate) fn remove(&self, key: &str, kept: &[&Place]) -> Result<(), Failure> {
        let refused = |problem: String| Err(Failure::new(Class::Stalled, Reason::OutputConflict, problem));
        if Path::new(key).starts_with("..") {
            return refused(format!("{key} is not below {}; remove it by hand", self.dir.display()));
        }
        let kept = kept.iter().map(|place| place.key(&self.dir)).collect::<Result<Vec<_>, _>>()?;
        if let Some(inner) = kept.iter().find(|kept| Path::new(kept).starts_with(key)) {
            return refused(format!("{key} contains the directory {inner}; remove its other files by hand"));
        }
        let mut state = lock(&self.state);
        let Some(files) = state.record.get(key).cloned() else { return Ok(()) };
        if !kept.iter().any(|kept| Path::new(key).starts_with(kept)) {
            // A link would lead to files elsewhere.
            Parents::create(&self.dir, Path::new(key))?;
            let force = self.foreign.force && !self.foreign.keep_foreign;
            directory::remove(&self.dir.join(key), &files, force, &self.limits)?;
        }
        crate::failpoint::reach("directory-removed");
        state.record.remove(key);
        self.write(&mut state)
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

/// Reads the record in a directory; `None` if there is none.
fn read(dir: &Path) -> Result<Option<Record>, Complaint> {
    let path = dir.join(RECORD);
    let invalid = |problem: &dyn std::fmt::Display| {
        let complaint = Complaint::new(Reason::FileInvalid, format!("{}: {problem}", path.display()));
        complaint
            .with_remedy("Restore it, or remove it: directories with the wanted content are adopted again.".to_owned())
    };
    let file = match fs_err::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(files::unreadable("the record", &error)),
    };
    let bytes = files::up_to(MAX_RECORD, file).map_err(|error| invalid(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| invalid(&"not UTF-8 text"))?;
    Record::parse(&text).map(Some).map_err(|error| invalid(&error))
}

#[cfg(test)]
mod tests;
