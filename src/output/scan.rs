//! Comparison of a published tree with its list.
//!
//! The scan follows no link, waits for no FIFO and enters no directory that is not on the list. So a tree to which
//! another process has added files costs no more than the published one: entries come from the list one by one, the
//! number of names read per directory is limited, and the first differences end the scan. Each directory is opened from
//! the top, by a call that refuses links on the way.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::damage::{Difference, MAX_DIFFERENCES, Reading, What};
use super::record::{Broken, Entry, Reader, Writer, split};
use crate::oci::{Digest, Hasher};
use crate::request::ObjectId;
use crate::storage::{self, During, StorageError, Volume};
use crate::unpack::Stop;

mod entry;
mod walk;

use walk::{Entered, Walk};

/// Maximum entries and bytes of one [`Scan::advance`]. Bounds the wait of other work, except for one large file.
const SLICE_ENTRIES: usize = 2000;
const SLICE_BYTES: u64 = 32 << 20;

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
    list: Reader,
    /// New list with the files' current times; `None` if files are not read.
    fresh: Option<Writer>,
    reading: Option<Reading>,
    list_digest: Digest,
    hasher: Hasher,
    /// The previous path; lists are in order.
    last: Option<String>,
    walk: Walk,
    differences: Vec<Difference>,
    doubtful: bool,
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
            .during(|| "stat the published tree".to_owned())?;
        if !FileType::from_raw_mode(found.st_mode).is_dir() {
            return damaged(Difference::new(b"", What::Kind));
        }
        // Checked before the directory is opened: without permission that would be an error, which no pass repairs.
        if entry::is_mode_changed(&found, 0o755, header.mode) {
            return damaged(Difference::new(b"", What::Mode));
        }
        let top = storage::open_dir(subject.trees, subject.tree)?;
        let mut scan = Self {
            walk: Walk::new(top, header.names)?,
            list,
            // If the new list cannot be written, for example on a full volume, a later scan writes it.
            fresh: reading.and_then(|_| Writer::begin(subject.volume, &header).ok()),
            reading,
            list_digest: subject.list_digest.clone(),
            hasher: Hasher::default(),
            last: None,
            differences: Vec::new(),
            doubtful: false,
        };
        match scan.walk.enter("", &mut scan.differences)? {
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
        let is_complete = self.walk.end(&mut self.differences).is_ok();
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
        entry: Entry,
        bytes: &mut u64,
        stop: &Stop,
    ) -> Result<Result<(), Broken>, StorageError> {
        if self.last.as_ref().is_some_and(|last| *last >= path) {
            return Ok(Err(Broken));
        }
        self.hasher.update(entry.node().line(&path).as_bytes());
        let compared = self.compare_in_order(&path, entry, bytes, stop)?;
        self.last = Some(path);
        Ok(compared)
    }

    fn compare_in_order(
        &mut self,
        path: &str,
        mut entry: Entry,
        bytes: &mut u64,
        stop: &Stop,
    ) -> Result<Result<(), Broken>, StorageError> {
        let (above, name) = split(path);
        if self.walk.is_lost(above) {
            if let Entry::Directory { .. } = entry {
                self.walk.lose(path);
            }
            return Ok(Ok(()));
        }
        match self.walk.enter(above, &mut self.differences)? {
            Entered::Yes => {}
            Entered::Broken => return Ok(Err(Broken)),
            Entered::Lost => return Ok(Ok(())),
        }
        if self.walk.take(name).is_err() {
            return Ok(Err(Broken));
        }
        let difference = match rustix::fs::statat(self.walk.dir(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Some(What::Removed),
            found => {
                let found = found.during(|| format!("stat {path}"))?;
                let looked = entry::look(self.walk.dir(), name, &found, &mut entry, self.reading, stop)?;
                self.doubtful |= looked.is_doubtful;
                *bytes = bytes.saturating_add(looked.read);
                looked.what
            }
        };
        match (&entry, &difference) {
            // Not entered, because a directory with another mode may not be readable.
            (Entry::Directory { .. }, Some(_)) => self.walk.lose(path),
            (Entry::Directory { names, .. }, None) => {
                self.walk.expect(path, *names);
                // An empty directory has no entries by which it would be entered later.
                if *names == 0 {
                    self.walk.enter(path, &mut self.differences)?;
                }
            }
            (Entry::File { .. } | Entry::Link { .. }, _) => {}
        }
        if let Some(what) = difference {
            self.differences.push(Difference::new(path.as_bytes(), what));
        } else if self.fresh.as_mut().is_some_and(|fresh| fresh.add(path, &entry).is_err()) {
            self.fresh = None;
        }
        Ok(Ok(()))
    }
}
