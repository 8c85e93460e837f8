//! Compares a published tree with the list of what was published.
//!
//! Nothing here follows a link, waits for a FIFO or goes down into what is not on the list, so a tree into which
//! a neighbour has put anything costs no more than the one that was published: entries are taken from the list one by
//! one, of a directory's names no more are read than it should have and a few, and the first differences end the scan.
//! A directory is opened from the top for its own sake, by a call that refuses links on the way.

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

/// Entries and bytes of one [`Scan::advance`]: what others wait for at most, but for one large file.
const SLICE_ENTRIES: usize = 2000;
const SLICE_BYTES: u64 = 32 << 20;
/// Names in one directory that a list may claim.
const MAX_NAMES: u64 = 1 << 24;

/// What a scan came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything is as it was.
    Whole,
    /// So it seems, but for files that were not read and have other times or inodes.
    Doubtful,
    /// It is not.
    Damaged(Vec<Difference>),
}

/// Which tree is compared with what.
pub(super) struct Subject<'a> {
    pub(super) volume: &'a Volume,
    pub(super) object: &'a ObjectId,
    /// The directory of the object's trees.
    pub(super) trees: BorrowedFd<'a>,
    /// The tree's name in it.
    pub(super) tree: &'a str,
    /// What the list has to have.
    pub(super) list_digest: &'a Digest,
}

/// A scan under way.
#[derive(Debug)]
pub(super) struct Scan {
    top: OwnedFd,
    list: Reader,
    /// Gets the list anew, with the files' times as they are, where files are read.
    fresh: Option<Writer>,
    reading: Option<Reading>,
    list_digest: Digest,
    hasher: Hasher,
    /// The path before, as the list is in order.
    last: Option<String>,
    /// The directory that was opened last.
    opened: (String, OwnedFd),
    /// The directories from the top to the last path.
    levels: Vec<Level>,
    /// Names in directories that were on the list and not entered yet.
    to_enter: HashMap<String, u64>,
    /// Directories that are not there any more.
    lost: BTreeSet<String>,
    differences: Vec<Difference>,
    doubtful: bool,
}

/// What came of entering a directory.
enum Entered {
    Yes,
    /// It is not there any more.
    Lost,
    /// The list contradicts itself.
    Broken,
}

/// A directory while its entries come.
#[derive(Debug)]
struct Level {
    path: String,
    /// Names that are there and have not been on the list yet.
    left: BTreeSet<Vec<u8>>,
    /// Names that have to come yet.
    due: u64,
}

/// How a scan begins.
#[derive(Debug)]
pub(super) enum Begun {
    /// There is no list of this tree.
    NoList,
    /// What there is needs no further look.
    Done(Verdict),
    /// There is work to do.
    Scan(Box<Scan>),
}

impl Begun {
    /// The verdict, after all of the scan at once; `None` where there is no list of this tree.
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
    /// Without `reading` no file is opened.
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
        // Before it is opened: without its mode that would be an error, which no pass repairs.
        if entry::is_mode_changed(&found, 0o755, header.mode) {
            return damaged(Difference::new(b"", What::Mode));
        }
        let top = storage::open_dir(subject.trees, subject.tree)?;
        let mut scan = Self {
            opened: (String::new(), duplicate(&top)?),
            top,
            list,
            // What cannot be written now, on a full volume say, is learnt another time.
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

    /// Goes on for a while; `None` where there is more to do.
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

    /// After a verdict that everything is as it was: the list gets the times that the files have now.
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
        // With something gone from the tree the list has been read to its end all the same.
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

    /// One entry of the list against what is there. The inner error is a list that contradicts itself.
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
            // Not entered in any case: without its mode that may be an error.
            (Entry::Directory { .. }, Some(_)) => drop(self.lost.insert(path.clone())),
            (Entry::Directory { names, .. }, None) => {
                self.to_enter.insert(path.clone(), *names);
                // Nothing will come that makes it be entered.
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

    /// Makes `directory` the last level and the one that is open.
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
                // Replaced since it was looked at.
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

    /// Names in the directory that is open: as many as there should be, and a few of those that are too many.
    fn names(&self, due: u64) -> Result<BTreeSet<Vec<u8>>, StorageError> {
        let most = usize::try_from(due).unwrap_or(usize::MAX).saturating_add(MAX_DIFFERENCES);
        let names = storage::all_names_up_to(&self.opened.1, most)?;
        Ok(names.into_iter().map(|name| name.as_bytes().to_vec()).collect())
    }

    /// What is left in a directory has been added. What was to come and did not is missing on the list.
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

/// True where `path` is `directory` or below it.
fn holds(directory: &str, path: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
