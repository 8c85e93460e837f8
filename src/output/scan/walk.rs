//! The open directory of a scan, and those above it. Directories are entered in the order of the list, each once.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::output::damage::{Difference, MAX_DIFFERENCES, What};
use crate::output::record::Broken;
use crate::storage::{self, StorageError};

/// Maximum number of names that a list may claim for one directory.
const MAX_NAMES: u64 = 1 << 24;

/// Result of entering a directory.
pub(super) enum Entered {
    Yes,
    /// The directory was replaced.
    Lost,
    /// The list contradicts itself.
    Broken,
}

/// A directory whose entries are being compared.
#[derive(Debug)]
struct Level {
    path: String,
    /// Existing names that were not on the list so far.
    left: BTreeSet<Vec<u8>>,
    /// Number of listed names yet to come.
    due: u64,
}

/// Directories from the top of a tree to the entry that is compared.
#[derive(Debug)]
pub(super) struct Walk {
    top: OwnedFd,
    /// The directory that was opened last.
    opened: (String, OwnedFd),
    /// Directories from the top to the last path.
    levels: Vec<Level>,
    /// Listed directories not entered yet, with their number of names.
    to_enter: HashMap<String, u64>,
    /// Directories that are missing, or differ and are not entered.
    lost: BTreeSet<String>,
}

impl Walk {
    /// Begins at the tree's top, which has this number of names.
    pub(super) fn new(top: OwnedFd, names: u64) -> Result<Self, StorageError> {
        let opened = (String::new(), duplicate(&top)?);
        let to_enter = HashMap::from([(String::new(), names)]);
        Ok(Self { top, opened, levels: Vec::new(), to_enter, lost: BTreeSet::new() })
    }

    /// Returns the open directory.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.opened.1.as_fd()
    }

    /// Makes `directory` the last level and the open directory.
    pub(super) fn enter(
        &mut self,
        directory: &str,
        differences: &mut Vec<Difference>,
    ) -> Result<Entered, StorageError> {
        while let Some(level) = self.levels.pop_if(|level| !holds(&level.path, directory)) {
            if level.leave(differences).is_err() {
                return Ok(Entered::Broken);
            }
        }
        let is_level = self.levels.last().is_some_and(|level| level.path == directory);
        let names = if is_level { None } else { self.to_enter.remove(directory) };
        if !is_level && names.is_none_or(|names| names > MAX_NAMES) {
            return Ok(Entered::Broken);
        }
        if self.opened.0 != directory {
            let dir = if directory.is_empty() {
                duplicate(&self.top)
            } else {
                storage::open_dir(self.top.as_fd(), directory)
            };
            self.opened = match dir {
                Ok(dir) => (directory.to_owned(), dir),
                // Replaced after its `statat`.
                Err(error) if error.is_replaced() => {
                    self.lose(directory);
                    differences.push(Difference::new(directory.as_bytes(), What::Kind));
                    return Ok(Entered::Lost);
                }
                Err(error) => return Err(error),
            };
        }
        if let Some(due) = names {
            let left = self.names(due)?;
            self.levels.push(Level { path: directory.to_owned(), left, due });
        }
        Ok(Entered::Yes)
    }

    /// Takes a listed name of the open directory off the names that are still to come.
    pub(super) fn take(&mut self, name: &str) -> Result<(), Broken> {
        let level = self.levels.last_mut().ok_or(Broken)?;
        level.due = level.due.checked_sub(1).ok_or(Broken)?;
        level.left.remove(name.as_bytes());
        Ok(())
    }

    /// Records a listed directory, to be entered when its entries come.
    pub(super) fn expect(&mut self, directory: &str, names: u64) {
        self.to_enter.insert(directory.to_owned(), names);
    }

    /// Records a directory that is not entered; its entries are not compared.
    pub(super) fn lose(&mut self, directory: &str) {
        self.lost.insert(directory.to_owned());
    }

    pub(super) fn is_lost(&self, directory: &str) -> bool {
        !self.lost.is_empty() && self.lost.contains(directory)
    }

    /// Leaves all directories. Fails if the list names a directory or an entry that did not come.
    pub(super) fn end(&mut self, differences: &mut Vec<Difference>) -> Result<(), Broken> {
        let mut is_complete = self.to_enter.is_empty();
        while let Some(level) = self.levels.pop() {
            is_complete &= level.leave(differences).is_ok();
        }
        if is_complete { Ok(()) } else { Err(Broken) }
    }

    /// Returns the names in the open directory, at most a few more than expected.
    fn names(&self, due: u64) -> Result<BTreeSet<Vec<u8>>, StorageError> {
        let most = usize::try_from(due).unwrap_or(usize::MAX).saturating_add(MAX_DIFFERENCES);
        let names = storage::all_names_up_to(&self.opened.1, most)?;
        Ok(names.into_iter().map(|name| name.as_bytes().to_vec()).collect())
    }
}

impl Level {
    /// Closes the level: names left over were added, and listed names that did not come make the list broken.
    fn leave(self, differences: &mut Vec<Difference>) -> Result<(), Broken> {
        for name in self.left.into_iter().take(MAX_DIFFERENCES) {
            let mut path = self.path.clone().into_bytes();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(name);
            differences.push(Difference::new(&path, What::Added));
        }
        if self.due == 0 { Ok(()) } else { Err(Broken) }
    }
}

fn duplicate(dir: &OwnedFd) -> Result<OwnedFd, StorageError> {
    dir.try_clone().map_err(|error| StorageError::from_io("duplicate a handle", &error))
}

/// True if `path` is `directory` or below it.
fn holds(directory: &str, path: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
