//! A directory named on the command line, created or replaced as a whole.
//!
//! ```text
//! <parent>/
//!   <name>/                          the directory: as before, or the whole revision
//!   .<name>.supercargo-<random>/     0700, while a command runs; removed with its last holder
//! ```
//!
//! The stage is next to the directory, so that one rename puts it in place, or one exchange replaces an existing
//! directory. At no moment is there an incomplete directory, and a failure or a crash leaves the old one.
//!
//! [`Existing`] decides about a directory that has files already. For a directory of a repository, the [`record`] tells
//! the files that were written earlier from those of others.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::Mode;
use rustix::io::Errno;

use super::error::OutputError;
use super::location::Location;
use super::published::Published;
use crate::mutex::lock;
use crate::plan::Revision;
use crate::registry::Pinned;
use crate::request::{Fingerprint, OutputKind};
use crate::storage::{self, During, Gone, StorageError, Volume};
use crate::unpack::listing::{Listing, ListingError};
use crate::unpack::staged::Staged;

mod entry;
mod existing;
mod parents;
pub mod record;
mod removal;

pub use existing::{Existing, Intent, Recorded, check};
pub use parents::Parents;
pub use removal::{remove, sweep};

use entry::{Entry, Found, unlisted};
use existing::{Step, link_into};

/// A directory to be created or replaced, once.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
    existing: Existing,
    stage: Arc<Volume>,
    state: Mutex<State>,
}

/// State of the directory. A thread may be about to put the files in place when the command stops waiting for it. The
/// lock decides which comes first.
#[derive(Debug)]
enum State {
    /// The directory is unchanged.
    Waiting,
    /// The directory is unchanged, and the switch is refused from now on.
    GivenUp,
    /// The directory holds the revision.
    Done(Box<Filled>),
}

/// A directory that holds its revision.
#[derive(Clone, Debug)]
pub struct Filled {
    /// Repository and digest.
    pub pinned: Pinned,
    /// State of the directory.
    pub published: Published,
    /// False if the directory held the files already.
    pub is_changed: bool,
    /// Entries of the artifact, without files of others that were kept.
    pub files: Listing,
}

/// A staged tree for a command's directory.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(super) destination: Arc<Destination>,
    pub(super) output: String,
    pub(super) pinned: Pinned,
    pub(super) fingerprint: Fingerprint,
    pub(super) staged: Arc<Staged>,
}

impl Ready {
    /// Puts the tree in place.
    pub(super) fn switch(&self) -> Result<Published, OutputError> {
        self.destination.switch(self.output.clone(), &self.pinned, &self.fingerprint, &self.staged)
    }
}

impl Destination {
    /// Creates a private place for stages next to the directory `path`. It is removed with its last holder or stage,
    /// which [`Gone`] signals.
    pub fn open(path: &Path, existing: Existing) -> Result<(Self, Gone), OutputError> {
        let entry = Entry::of(path)?;
        let (stage, gone) = Volume::passing(&entry.parent_path, &entry.stages())?;
        let state = Mutex::new(State::Waiting);
        Ok((Self { path: path.to_owned(), existing, stage: Arc::new(stage), state }, gone))
    }

    /// Returns the published revision. If there is none, prevents any later switch.
    pub fn give_up(&self) -> Option<Filled> {
        let mut state = lock(&self.state);
        match &*state {
            State::Done(done) => Some((**done).clone()),
            State::Waiting | State::GivenUp => {
                *state = State::GivenUp;
                None
            }
        }
    }

    pub(super) fn stage(&self) -> &Arc<Volume> {
        &self.stage
    }

    /// Refuses a directory that must not be created or replaced.
    pub(super) fn check(&self) -> Result<(), OutputError> {
        let entry = Entry::of(&self.path)?;
        let Some(found) = entry.look()? else { return Ok(()) };
        if !found.is_dir {
            return Err(self.conflict("is a file or a link, not a directory"));
        }
        if found.is_mount {
            let why = "is a mount point, which cannot be replaced; use a directory inside it";
            return Err(self.conflict(why));
        }
        if matches!(self.existing, Existing::Refuse) && !entry.is_empty()? {
            return Err(self.conflict("is not empty"));
        }
        Ok(())
    }

    /// Puts a staged tree in place. The replaced directory is removed with the stage.
    fn switch(
        &self,
        output: String,
        pinned: &Pinned,
        fingerprint: &Fingerprint,
        staged: &Staged,
    ) -> Result<Published, OutputError> {
        self.check()?;
        let entry = Entry::of(&self.path)?;
        let found = entry.look()?;
        let files = Listing::from(staged.nodes().clone());
        let before = self.prepare(&entry, found.is_some(), &files, staged)?;
        if let Some(found) = &found {
            // Keeps the mode: the user chose a private or group-writable directory. Only a directory that its owner can
            // write to can be moved, or emptied after a failure.
            staged.set_mode(found.mode | Mode::RWXU)?;
        }
        let published = Published {
            output,
            location: Location::new(OutputKind::Directory, self.path.display().to_string()),
            revision: Revision { digest: pinned.digest().clone(), fingerprint: fingerprint.clone() },
            list_digest: Some(files.digest()),
            files: staged.files(),
            bytes: staged.bytes(),
            skipped: 0,
        };
        let is_changed = !matches!(before, Before::Same);
        let filled = Filled { pinned: pinned.clone(), published: published.clone(), is_changed, files };
        let mut state = lock(&self.state);
        if matches!(*state, State::GivenUp) {
            return Err(OutputError::GivenUp);
        }
        if is_changed {
            self.existing.note(&filled.files)?;
            crate::failpoint::reach("directory-switch");
            self.exchange(&entry, found.as_ref(), before, staged)?;
        }
        *state = State::Done(Box::new(filled));
        drop(state);
        crate::failpoint::reach("directory-switched");
        if let Err(error) = storage::sync(entry.parent.as_fd(), "the directory above") {
            // The files are in place: reporting an error would suggest that the directory is unchanged.
            tracing::warn!(path = %self.path.display(), %error, "the directory above cannot be synced; after a power failure the previous content may return");
        }
        Ok(published)
    }

    /// Decides about an existing directory, and adds the files of others that are kept to the staged tree.
    fn prepare(&self, entry: &Entry, exists: bool, wanted: &Listing, staged: &Staged) -> Result<Before, OutputError> {
        let Existing::Recorded(recorded) = &self.existing else { return Ok(Before::Unread) };
        if let Some(expected) = recorded.expected.as_ref().filter(|expected| **expected != wanted.digest()) {
            return Err(OutputError::OtherFiles { expected: expected.clone(), found: wanted.digest() });
        }
        if let Some(path) = wanted.nodes().keys().find(|path| path.is_in_git()) {
            return Err(OutputError::Git { path: path.to_string() });
        }
        let is_any_lost = recorded.force && !recorded.keep_foreign;
        if !exists {
            // Another process may create it meanwhile.
            return Ok(if is_any_lost { Before::Unread } else { Before::Listed(Box::default()) });
        }
        let dir = entry.open()?;
        let disk = match Listing::read_open(&dir, &recorded.limits) {
            Err(_) if is_any_lost => return Ok(Before::Unread),
            disk => disk.map_err(|error| self.unlisted(error))?,
        };
        match recorded.step(&disk, wanted).map_err(|refusal| refusal.of(&self.path))? {
            Step::Nothing => Ok(Before::Same),
            Step::Exchange(kept) => {
                link_into(&dir, &staged.open()?, &kept)?;
                if !kept.is_empty() {
                    staged.sync(&staged.open()?)?;
                }
                Ok(if is_any_lost { Before::Unread } else { Before::Listed(Box::new(disk)) })
            }
        }
    }

    /// Moves the staged tree to its place, with the mode of the directory there.
    fn exchange(
        &self,
        entry: &Entry,
        found: Option<&Found>,
        before: Before,
        staged: &Staged,
    ) -> Result<(), OutputError> {
        let Some(found) = found.filter(|found| !found.mode.contains(Mode::RWXU)) else {
            return self.take_place(entry, before, staged);
        };
        let set = |mode| {
            let dir = entry.open()?;
            rustix::fs::fchmod(&dir, mode).during(|| format!("set the mode of {}", self.path.display()))
        };
        set(found.mode | Mode::RWXU)?;
        let taken = self.take_place(entry, before, staged);
        // The new directory, or after a failure the old one.
        set(found.mode)?;
        taken
    }

    /// Moves the staged tree to its place. If the replaced directory is not the one that was listed, the exchange is
    /// reverted: another process has written to it.
    fn take_place(&self, entry: &Entry, before: Before, staged: &Staged) -> Result<(), OutputError> {
        let is_replaced = !matches!(self.existing, Existing::Refuse);
        let exchange = || staged.take_place(&entry.parent, &entry.name, is_replaced);
        exchange().map_err(|errno| self.refused(errno))?;
        let (Before::Listed(listed), Existing::Recorded(recorded)) = (before, &self.existing) else { return Ok(()) };
        let replaced = match staged.open() {
            // The directory was empty, so that a rename replaced it.
            Err(error) if error.is_absent() => return Ok(()),
            replaced => Listing::read_open(&replaced?, &recorded.limits),
        };
        if replaced.is_ok_and(|replaced| replaced.has_content_of(&listed)) {
            return Ok(());
        }
        exchange().map_err(|errno| self.refused(errno))?;
        Err(self.conflict("was changed by another process"))
    }

    fn refused(&self, errno: Errno) -> OutputError {
        match errno {
            Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR => self.conflict("was changed by another process"),
            Errno::INVAL => self.conflict("is on a filesystem that cannot exchange directories; remove it first"),
            errno => StorageError::new(format!("move the files to {}", self.path.display()), errno).into(),
        }
    }

    fn conflict(&self, why: &str) -> OutputError {
        OutputError::Obstacle(format!("{} {why}", self.path.display()))
    }

    fn unlisted(&self, error: ListingError) -> OutputError {
        unlisted(&self.path, error)
    }
}

/// An existing directory before the switch.
enum Before {
    /// It may be replaced, whatever it contains.
    Unread,
    /// It holds the wanted files already.
    Same,
    /// It may be replaced as long as it has these entries.
    Listed(Box<Listing>),
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open(path: &Path, replace: bool) -> Result<(Destination, Gone), OutputError> {
        Destination::open(path, if replace { Existing::Replace } else { Existing::Refuse })
    }

    fn check(path: &Path, replace: bool) -> Result<(), String> {
        open(path, replace).and_then(|(there, _)| there.check()).map_err(|error| error.to_string())
    }

    #[test]
    fn destinations_that_must_not_be_replaced_are_refused_before_a_fetch() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for dir in ["empty", "full"] {
            fs_err::create_dir(at(dir)).unwrap();
        }
        fs_err::write(at("full/file"), "").unwrap();
        fs_err::write(at("file"), "").unwrap();
        fs_err::os::unix::fs::symlink("empty", at("link")).unwrap();
        let rows = [
            ("new", Ok(()), Ok(())),
            ("new/", Ok(()), Ok(())),
            ("empty", Ok(()), Ok(())),
            ("full", Err("is not empty"), Ok(())),
            ("file", Err("not a directory"), Err("not a directory")),
            ("link", Err("not a directory"), Err("not a directory")),
            ("full/..", Err("no name"), Err("no name")),
            ("missing/new", Err("No such file"), Err("No such file")),
        ];
        for (name, plain, replacing) in rows {
            for (replace, want) in [(false, plain), (true, replacing)] {
                let got = check(&at(name), replace);
                let fits = match (&got, want) {
                    (Ok(()), Ok(())) => true,
                    (Err(got), Err(want)) => got.contains(want),
                    (Ok(()), Err(_)) | (Err(_), Ok(())) => false,
                };
                assert!(fits, "{name}, replace {replace}: {got:?}");
            }
        }
        let mounted = Destination { path: "/proc".into(), ..open(&at("new"), true).unwrap().0 };
        assert!(mounted.check().unwrap_err().to_string().contains("mount point"));
        assert!(check(Path::new("."), true).unwrap_err().contains("no name"));
    }

    #[test]
    fn a_stage_beside_the_directory_is_private_and_removed_on_drop() {
        let root = tempfile::tempdir().unwrap();
        let long = "x".repeat(255);
        for name in ["out", &long] {
            let (there, _) = open(&root.path().join(name), false).unwrap();
            let stage = there.stage().path();
            assert_eq!(stage.parent(), Some(root.path()));
            assert_eq!(fs_err::metadata(stage).unwrap().permissions().mode() & 0o777, 0o700);
            drop(there);
            assert_eq!(fs_err::read_dir(root.path()).unwrap().count(), 0);
        }
    }
}
