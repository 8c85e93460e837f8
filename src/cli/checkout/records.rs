//! The record on disk, and the note of directories that are about to be exchanged.
//!
//! ```text
//! <dir>/supercargo.record            files that were written, by directory
//! <dir>/.supercargo.record.pending   files of directories whose exchange may have happened; gone when all are recorded
//! ```
//!
//! ```text
//! note ─▶ exchange of the directory ─▶ record ─▶ note removed
//!       └ killed: the directory is as before, and the note is dropped
//!                                   └ killed: the directory has the files of the note, which become its record
//! ```

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::cli::files::record::read;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::lock::{PENDING, RECORD};
use crate::mutex::lock;
use crate::output::directory::record::Record;
use crate::output::directory::{self, Intent};
use crate::request::Limits;
use crate::storage::{self, StorageError};
use crate::unpack::listing::Listing;

/// The record in a directory, and its note.
#[derive(Debug)]
pub(super) struct Records {
    /// Directory without links.
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    record: Record,
    /// True if the file of the record exists.
    exists: bool,
    pending: Record,
}

impl Records {
    /// Reads the record and the note. A directory that has the files of its note has been exchanged by a process that
    /// was killed before it could record them.
    pub(super) fn read(dir: &Path, limits: &Limits) -> Result<Self, Complaint> {
        let record = read(&dir.join(RECORD))?;
        let pending = read(&dir.join(PENDING))?.unwrap_or_default();
        let mut state = State { exists: record.is_some(), record: record.unwrap_or_default(), pending };
        for key in state.pending.directories() {
            let noted = state.pending.get(key).cloned().unwrap_or_default();
            let disk = Listing::read(&dir.join(key), limits);
            if disk.is_ok_and(|disk| disk.has_content_of(&noted)) {
                state.record.set(key, noted);
            }
        }
        Ok(Self { dir: dir.to_owned(), state: Mutex::new(state) })
    }

    /// Writes what a killed process could not, and removes its stages. The caller has the lock of the directory.
    pub(super) fn recover(&self) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        for key in state.record.directories().chain(state.pending.directories()) {
            // A stage is no obstacle, and the parent of a directory may be gone.
            let _ = directory::sweep(&self.dir.join(key));
        }
        if state.pending.directories().next().is_some() {
            self.write(&mut state)?;
            state.pending = Record::default();
            self.write_pending(&state)?;
        }
        Ok(())
    }

    /// Directory of the record.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the recorded files of a directory.
    pub(super) fn get(&self, key: &str) -> Option<Listing> {
        lock(&self.state).record.get(key).cloned()
    }

    /// Returns the recorded directories, sorted.
    pub(super) fn directories(&self) -> Vec<String> {
        lock(&self.state).record.directories().map(str::to_owned).collect()
    }

    /// Ends the exchange of a directory: with its files if they are in place.
    pub(super) fn end(&self, key: &str, files: Option<Listing>) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        if let Some(files) = files
            && (state.record.set(key, files) || !state.exists)
        {
            self.write(&mut state)?;
        }
        if state.pending.get(key).is_some() {
            state.pending.remove(key);
            self.write_pending(&state)?;
        }
        Ok(())
    }

    /// Forgets a directory.
    pub(super) fn remove(&self, key: &str) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        state.record.remove(key);
        self.write(&mut state)
    }

    fn write(&self, state: &mut State) -> Result<(), Failure> {
        crate::failpoint::reach("record-write");
        let dir = storage::open_any_dir(&self.dir)?;
        storage::replace_file(dir.as_fd(), RECORD, state.record.text().as_bytes())?;
        state.exists = true;
        crate::failpoint::reach("record-written");
        Ok(())
    }

    fn write_pending(&self, state: &State) -> Result<(), StorageError> {
        let dir = storage::open_any_dir(&self.dir)?;
        if state.pending.directories().next().is_none() {
            return storage::remove_tree(&dir, PENDING);
        }
        storage::replace_file(dir.as_fd(), PENDING, state.pending.text().as_bytes())
    }
}

/// The note for one directory.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) records: Arc<Records>,
    /// Name of the directory in the record.
    pub(super) key: String,
}

impl Intent for Note {
    fn note(&self, files: &Listing) -> Result<(), StorageError> {
        let mut state = lock(&self.records.state);
        state.pending.set(&self.key, files.clone());
        self.records.write_pending(&state)
    }
}
