//! Comparison of a published tree with its list.
//!
//! The scan follows no link, waits for no FIFO and enters no directory that is not on the list. So a tree to which
//! another process has added files costs no more than the published one: entries come from the list one by one, the
//! number of names read per directory is limited, and the first differences end the scan. Each directory is opened from
//! the top, by a call that refuses links on the way.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::damage::{Difference, MAX_DIFFERENCES, Reading, What};
use super::record::{Broken, Entry, Reader, Writer, split};
use crate::oci::{Digest, Hasher};
use crate::request::ObjectId;
use crate::storage::{self, During, StorageError, Volume};
use crate::unpack::Stop;

mod entry;

/// Maximum entries and bytes of one [`Scan::advance`]. Bounds the wait of other work, except for one large file.
const SLICE_ENTRIES: usize = 2000;
const SLICE_BYTES: u64 = 32 << 20;
/// Maximum number of names that a list may claim for one directory.
const MAX_NAMES: u64 = 1 << 24;

/// Result of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No difference.
    Whole,
    /// No difference found, but unread files have other times or inodes.
    Doubtful,
    /// Differences.
    Damaged(Vec<Difference>),
}

/// Tree to compare, and the digest of its list.
pub(super) struct Subject<'a> {
    pub(super) volume: &'a Volume,
    pub(super) object: &'a ObjectId,
    /// Directory of the object's trees.
    pub(super) trees: BorrowedFd<'a>,
    /// Name of the tree in it.
    pub(super) tree: &'a str,
    /// Expected digest of the list.
    pub(super) list_digest: &'a Digest,
}

/// A scan in progress.
#[derive(Debug)]
pub(super) struct Scan {
    top: OwnedFd,
    list: Reader,
    /// New list with the files' current times; `None` if files are not read.
    fresh: Option<Writer>,
    reading: Option<Reading>,
    list_digest: Digest,
    hasher: Hasher,
    /// The previous path; lists are in order.
    last: Option<String>,
    /// The directory that was opened last.
    opened: (String, OwnedFd),
    /// Directories from the top to the last path.
    levels: Vec<Level>,
    /// Listed directories not entered yet, with their number of names.
    to_enter: HashMap<String, u64>,
    /// Directories that are missing, or differ and are not entered.
    lost: BTreeSet<String>,
    differences: Vec<Difference>,
    doubtful: bool,
}

/// Result of entering a directory.
enum Entered {
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

/// Start of a scan.
#[derive(Debug)]
pub(super) enum Begun {
    /// The tree has no list.
    NoList,
    /// The verdict is known without a further look.
    Done(Verdict),
    /// The scan has to continue.
    Scan(Box<Scan>),
}

impl Begun {
    /// Runs the whole scan and returns its verdict; `None` if the tree has no list.
    pub(super) fn finish(self) -> Result<Option<Verdict>, StorageError> {
        let mut scan = match self {
            Self::NoList => return Ok(None),
            Self::Done(verdict) => return Ok(Some(verdict)),
            Self::Scan(scan) => scan,
        };
        let never = Stop::new();
        loop {
            if let Some(verdict) = scan.advance(&never)? {
                return Ok(Some(verdict));
            }
        }
    }
}

impl Scan {
    /// Begins a scan. Without `reading` no file is opened.
    pub(super) fn begin(subject: &Subject<'_>, reading: Option<Reading>) -> Result<Begun, StorageError> {
        let Some(mut list) = Reader::open(subject.volume, subject.object, subject.tree)? else {
            return Ok(Begun::NoList);
        };
        let damaged = |difference| Ok(Begun::Done(Verdict::Damaged(vec![difference])));
        let Ok(header) = list.header() else { return damaged(Difference::list()) };
        if header.tree != subject.tree {
            return Ok(Begun::NoList);
        }
        let found = rustix::fs::statat(subject.trees, subject.tree, AtFlags::SYMLINK_NOFOLLOW)
            .during(|| "look at the published tree".to_owned())?;
        if !FileType::from_raw_mode(found.st_mode).is_dir() {
            return damaged(Difference::new(b"", What::Kind));
        }
        // Checked before the directory is opened: without permission that would be an error, which no pass repairs.
        if entry::is_mode_changed(&found, 0o755, header.mode) {
            return damaged(Difference::new(b"", What::Mode));
        }
        let top = storage::open_dir(subject.trees, subject.tree)?;
        let mut scan = Self {
            opened: (String::new(), duplicate(&top)?),
            top,
            list,
            // If the new list cannot be written, for example on a full volume, a later scan writes it.
            fresh: reading.and_then(|_| Writer::begin(subject.volume, &header).ok()),
            reading,
            list_digest: subject.list_digest.clone(),
            hasher: Hasher::default(),
            last: None,
            levels: Vec::new(),
            to_enter: HashMap::from([(String::new(), header.names)]),
            lost: BTreeSet::new(),
            differences: Vec::new(),
            doubtful: false,
        };
        match scan.enter("")? {
            Entered::Yes => Ok(Begun::Scan(Box::new(scan))),
            Entered::Lost | Entered::Broken => damaged(Difference::list()),
        }
    }

    /// Compares the next slice; `None` if the scan has to continue.
    pub(super) fn advance(&mut self, stop: &Stop) -> Result<Option<Verdict>, StorageError> {
        let mut bytes = 0;
        for _ in 0..SLICE_ENTRIES {
            if self.differences.len() >= MAX_DIFFERENCES || self.differences.contains(&Difference::list()) {
                return Ok(Some(self.damaged()));
            }
            if stop.is_cancelled() {
                return Err(StorageError::new("scan the published files", Errno::CANCELED));
            }
            match self.list.next() {
                Ok(Some((path, entry))) => {
                    if self.compare(path, entry, &mut bytes, stop)?.is_err() {
                        self.differences.push(Difference::list());
                    }
                }
                Ok(None) => return Ok(Some(self.end())),
                Err(Broken) => self.differences.push(Difference::list()),
            }
            if bytes >= SLICE_BYTES {
                break;
            }
        }
        Ok(None)
    }

    /// Writes the list with the files' current times, after a verdict without differences.
    pub(super) fn remember(mut self, volume: &Volume, object: &ObjectId) -> Result<(), StorageError> {
        let everything = self.reading == Some(Reading::Everything);
        let time = (!everything).then_some(self.list.time);
        self.fresh.take().map_or(Ok(()), |fresh| fresh.finish(volume, object, time))
    }

    fn damaged(&mut self) -> Verdict {
        self.differences.truncate(MAX_DIFFERENCES);
        Verdict::Damaged(std::mem::take(&mut self.differences))
    }

    fn end(&mut self) -> Verdict {
        let mut is_complete = self.to_enter.is_empty();
        while let Some(level) = self.levels.pop() {
            is_complete &= self.leave(level).is_ok();
        }
        // Every line was hashed, even those below missing directories, so the digest is always complete.
        let digest = std::mem::take(&mut self.hasher).finish();
        if !is_complete || digest != self.list_digest {
            self.differences.insert(0, Difference::list());
        }
        match (self.differences.is_empty(), self.doubtful && self.reading.is_none()) {
            (false, _) => self.damaged(),
            (true, true) => Verdict::Doubtful,
            (true, false) => Verdict::Whole,
        }
    }

    /// Compares one entry of the list with the filesystem. The inner error is a list that contradicts itself.
    fn compare(
        &mut self,
        path: String,
        mut entry: Entry,
        bytes: &mut u64,
        stop: &Stop,
    ) -> Result<Result<(), Broken>, StorageError> {
        if self.last.as_ref().is_some_and(|last| *last >= path) {
            return Ok(Err(Broken));
        }
        self.hasher.update(entry.node().line(&path).as_bytes());
        let (above, name) = split(&path);
        if self.is_lost(above) {
            if let Entry::Directory { .. } = entry {
                self.lost.insert(path.clone());
            }
            self.last = Some(path);
            return Ok(Ok(()));
        }
        match self.enter(above)? {
            Entered::Yes => {}
            Entered::Broken => return Ok(Err(Broken)),
            Entered::Lost => {
                self.last = Some(path);
                return Ok(Ok(()));
            }
        }
        let Some(level) = self.levels.last_mut() else { return Ok(Err(Broken)) };
        let Some(due) = level.due.checked_sub(1) else { return Ok(Err(Broken)) };
        level.due = due;
        level.left.remove(name.as_bytes());
        let difference = match rustix::fs::statat(&self.opened.1, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Some(What::Removed),
            found => {
                let found = found.during(|| format!("look at {path}"))?;
                let looked = entry::look(self.opened.1.as_fd(), name, &found, &mut entry, self.reading, stop)?;
                self.doubtful |= looked.is_doubtful;
                *bytes = bytes.saturating_add(looked.read);
                looked.what
            }
        };
        match (&entry, difference.clone()) {
            // Not entered, because a directory with another mode may not be readable.
            (Entry::Directory { .. }, Some(_)) => drop(self.lost.insert(path.clone())),
            (Entry::Directory { names, .. }, None) => {
                self.to_enter.insert(path.clone(), *names);
                // An empty directory has no entries by which it would be entered later.
                if *names == 0 {
                    self.enter(&path)?;
                }
            }
            (Entry::File { .. } | Entry::Link { .. }, _) => {}
        }
        if let Some(what) = difference.clone() {
            self.differences.push(Difference::new(path.as_bytes(), what));
        } else if self.fresh.as_mut().is_some_and(|fresh| fresh.add(&path, &entry).is_err()) {
            self.fresh = None;
        }
        self.last = Some(path);
        Ok(Ok(()))
    }

    fn is_lost(&self, directory: &str) -> bool {
        !self.lost.is_empty() && self.lost.contains(directory)
    }

    /// Makes `directory` the last level and the open directory.
    fn enter(&mut self, directory: &str) -> Result<Entered, StorageError> {
        while let Some(level) = self.levels.pop_if(|level| !holds(&level.path, directory)) {
            if self.leave(level).is_err() {
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
                    self.lost.insert(directory.to_owned());
                    self.differences.push(Difference::new(directory.as_bytes(), What::Kind));
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

    /// Returns the names in the open directory, at most a few more than expected.
    fn names(&self, due: u64) -> Result<BTreeSet<Vec<u8>>, StorageError> {
        let most = usize::try_from(due).unwrap_or(usize::MAX).saturating_add(MAX_DIFFERENCES);
        let names = storage::all_names_up_to(&self.opened.1, most)?;
        Ok(names.into_iter().map(|name| name.as_bytes().to_vec()).collect())
    }

    /// Closes a level: names left over were added, and listed names that did not come make the list broken.
    fn leave(&mut self, level: Level) -> Result<(), Broken> {
        for name in level.left.into_iter().take(MAX_DIFFERENCES) {
            let mut path = level.path.clone().into_bytes();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(name);
            self.differences.push(Difference::new(&path, What::Added));
        }
        if level.due == 0 { Ok(()) } else { Err(Broken) }
    }
}

fn duplicate(dir: &OwnedFd) -> Result<OwnedFd, StorageError> {
    dir.try_clone().map_err(|error| StorageError::from_io("duplicate a handle", &error))
}

/// True if `path` is `directory` or below it.
fn holds(directory: &str, path: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
