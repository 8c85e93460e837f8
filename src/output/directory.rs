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

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::error::OutputError;
use super::location::Location;
use super::published::Published;
use crate::mutex::lock;
use crate::plan::Revision;
use crate::registry::Pinned;
use crate::request::{Fingerprint, OutputKind};
use crate::storage::{self, During, Gone, StorageError, Volume};
use crate::unpack::staged::Staged;

/// Maximum number of characters of the directory's name in the stage's name.
const STAGE_NAME: usize = 60;

/// A directory to be created or replaced, once.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
    /// True if a directory that is not empty may be replaced.
    replace: bool,
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
    Done(Box<(Pinned, Published)>),
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
    pub fn open(path: &Path, replace: bool) -> Result<(Self, Gone), OutputError> {
        let entry = Entry::of(path)?;
        let shown: String = entry.name.to_string_lossy().chars().take(STAGE_NAME).collect();
        let (stage, gone) = Volume::passing(&entry.parent_path, &format!(".{shown}.supercargo-"))?;
        let state = Mutex::new(State::Waiting);
        Ok((Self { path: path.to_owned(), replace, stage: Arc::new(stage), state }, gone))
    }

    /// Returns the published revision. If there is none, prevents any later switch.
    pub fn give_up(&self) -> Option<(Pinned, Published)> {
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
        if !self.replace && !entry.is_empty()? {
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
        if let Some(found) = entry.look()? {
            // Keeps the mode: the user chose a private or group-writable directory.
            staged.set_mode(found.mode)?;
        }
        let digest = pinned.digest().clone();
        let published = Published {
            output,
            location: Location::new(OutputKind::Directory, self.path.display().to_string()),
            revision: Revision { digest, fingerprint: fingerprint.clone() },
            list_digest: Some(staged.list_digest()),
            files: staged.files(),
            bytes: staged.bytes(),
            skipped: 0,
        };
        let mut state = lock(&self.state);
        if matches!(*state, State::GivenUp) {
            return Err(OutputError::GivenUp);
        }
        staged.take_place(&entry.parent, &entry.name, self.replace).map_err(|errno| self.refused(errno))?;
        *state = State::Done(Box::new((pinned.clone(), published.clone())));
        drop(state);
        if let Err(error) = storage::sync(entry.parent.as_fd(), "the directory above") {
            // The files are in place: reporting an error would suggest that the directory is unchanged.
            tracing::warn!(path = %self.path.display(), %error, "the directory above cannot be synced; after a power failure the previous content may return");
        }
        Ok(published)
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
}

/// A name in an open directory.
struct Entry {
    parent: OwnedFd,
    parent_path: PathBuf,
    name: OsString,
}

/// File type and mode of an existing entry.
struct Found {
    is_dir: bool,
    is_mount: bool,
    mode: Mode,
}

impl Entry {
    fn of(path: &Path) -> Result<Self, OutputError> {
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            let why = "has no name in its parent directory; expected a path that ends in a name";
            return Err(OutputError::Obstacle(format!("{} {why}", path.display())));
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { parent: storage::open_any_dir(parent)?, parent_path: parent.to_owned(), name })
    }

    /// Returns the existing entry, without following a link; `None` if there is none.
    fn look(&self) -> Result<Option<Found>, StorageError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        match rustix::fs::statx(&self.parent, &self.name, flags, StatxFlags::TYPE | StatxFlags::MODE) {
            Ok(found) => Ok(Some(Found {
                is_dir: FileType::from_raw_mode(found.stx_mode.into()).is_dir(),
                is_mount: found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
                mode: Mode::from_raw_mode(found.stx_mode.into()),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).during(|| format!("stat {}", self.name.display())),
        }
    }

    fn is_empty(&self) -> Result<bool, StorageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty())
            .during(|| format!("open directory {}", self.name.display()))?;
        Ok(storage::all_names(dir)?.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check(path: &Path, replace: bool) -> Result<(), String> {
        Destination::open(path, replace).and_then(|(there, _)| there.check()).map_err(|error| error.to_string())
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
        let mounted = Destination { path: "/proc".into(), ..Destination::open(&at("new"), true).unwrap().0 };
        assert!(mounted.check().unwrap_err().to_string().contains("mount point"));
        assert!(check(Path::new("."), true).unwrap_err().contains("no name"));
    }

    #[test]
    fn a_stage_beside_the_directory_is_private_and_removed_on_drop() {
        let root = tempfile::tempdir().unwrap();
        let long = "x".repeat(255);
        for name in ["out", &long] {
            let (there, _) = Destination::open(&root.path().join(name), false).unwrap();
            let stage = there.stage().path();
            assert_eq!(stage.parent(), Some(root.path()));
            assert_eq!(fs_err::metadata(stage).unwrap().permissions().mode() & 0o777, 0o700);
            drop(there);
            assert_eq!(fs_err::read_dir(root.path()).unwrap().count(), 0);
        }
    }
}
