//! Lists of published trees, entry by entry, taken at publication: the reference of every scan.
//!
//! ```text
//! <root>/.supercargo/lists/     0700
//!   <hex>/                      0700, one for each object with files on the volume
//!     <tree>                    one for each of its trees: a line for each entry, by path
//! ```
//!
//! A list has the name of its tree, so it is durable before anything points to the tree, and an earlier tree that
//! `current` goes back to still has its own.
//!
//! The list digest covers paths, kinds, sizes, link targets, digests and executable bits, so a change of one of these
//! in the list is detected, as long as the attacker cannot also write to the place of the digest (status). Other mode
//! bits, inodes and times are not covered. The list file's own modification time is the time of the last full read.
//! Lists are read line by line, so a large tree costs no memory during a scan or between two.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::oci::Digest;
use crate::request::ObjectId;
use crate::storage::{self, During, Scratch, StorageError, Volume};
use crate::unpack::staged::Node;

/// Maximum length of a line: a path and a target of 4096 bytes each, with every byte escaped.
const MAX_LINE: u64 = 64 * 1024;
/// Name of the file while it is written.
const FRESH: &str = "list";

/// First line of a list.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    /// Name of the tree.
    pub(super) tree: String,
    /// Number of names at the top of the tree.
    pub(super) names: u64,
    /// Permissions of the tree's top directory.
    pub(super) mode: u32,
}

/// Entry at a path.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Entry {
    /// A directory, with its number of names. `mode` is the one reported by the filesystem: a share may change it.
    Directory { names: u64, mode: u32 },
    /// A regular file.
    File { size: u64, executable: bool, digest: Digest, mode: u32, seen: Seen },
    /// A symbolic link.
    Link { target: String },
}

/// File attributes that change with a write or a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) inode: u64,
    /// Last modification in seconds and nanoseconds. Any writer can set it.
    modified: (i64, i64),
    /// Last change of the inode, in the same form. No process can set it.
    changed: (i64, i64),
}

impl Seen {
    #[expect(clippy::useless_conversion, reason = "the types differ between architectures")]
    pub(super) fn of(status: &Stat) -> Self {
        let nanoseconds = |part: u64| i64::try_from(part).unwrap_or(i64::MAX);
        Self {
            inode: status.st_ino.into(),
            modified: (status.st_mtime.into(), nanoseconds(status.st_mtime_nsec.into())),
            changed: (status.st_ctime.into(), nanoseconds(status.st_ctime_nsec.into())),
        }
    }
}

impl Entry {
    /// Returns the part of the entry that the list digest covers.
    pub(super) fn node(&self) -> Node {
        match self {
            Self::Directory { .. } => Node::Directory,
            Self::File { size, executable, digest, .. } => {
                Node::File { size: *size, executable: *executable, digest: digest.clone() }
            }
            Self::Link { target } => Node::Link { target: target.clone() },
        }
    }
}

/// Returns the name of an object's directory of lists. Namespace and name together can exceed `NAME_MAX`, so it is
/// their hash.
fn key(object: &ObjectId) -> String {
    Digest::of(object.to_string().as_bytes()).hex()
}

/// Opens the object's directory of lists; `None` if there is none.
fn existing(volume: &Volume, object: &ObjectId) -> Result<Option<OwnedFd>, StorageError> {
    match storage::open_dir(volume.lists(), &key(object)) {
        // Before 0.2 a file had this name.
        Err(error) if error.is_replaced() => Ok(None),
        dir => dir.map(Some),
    }
}

/// Opens the object's directory of lists, and creates it if it is missing.
fn made(volume: &Volume, object: &ObjectId) -> Result<OwnedFd, StorageError> {
    if let Some(dir) = existing(volume, object)? {
        return Ok(dir);
    }
    storage::remove_tree(volume.lists(), &key(object))?;
    let dir = storage::make_dir(volume.lists(), &key(object), Mode::from_raw_mode(0o700))?;
    storage::sync(volume.lists(), "the directory of lists")?;
    Ok(dir)
}

/// Returns the permission bits.
pub(super) fn permissions(status: &Stat) -> u32 {
    status.st_mode & 0o7777
}

/// Splits a path into its directory, empty at the top, and its name.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Removes an object's lists. Absent is success.
pub(super) fn remove(volume: &Volume, object: &ObjectId) -> Result<(), StorageError> {
    storage::remove_tree(volume.lists(), &key(object))
}

/// Removes an object's lists except those of the trees in `kept`.
pub(super) fn retain(volume: &Volume, object: &ObjectId, kept: &[&str]) -> Result<(), StorageError> {
    let Some(dir) = existing(volume, object)? else { return Ok(()) };
    let mut removed = Ok(());
    for name in storage::names(&dir)? {
        if !kept.contains(&name.as_str()) {
            removed = removed.and(storage::remove_tree(&dir, &name));
        }
    }
    removed
}

/// Returns the time since every byte of `tree` was last read, by the filesystem's clock; zero if that is in the future.
/// `None` without a list.
pub(super) fn age(volume: &Volume, object: &ObjectId, tree: &str) -> Result<Option<Duration>, StorageError> {
    let Some(dir) = existing(volume, object)? else { return Ok(None) };
    let written = match rustix::fs::statat(&dir, tree, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        status => status.during(|| "stat the list of an object's files".to_owned())?.st_mtime,
    };
    let scratch = volume.scratch()?;
    let now = rustix::fs::fstat(scratch.dir()).during(|| "read the filesystem's clock".to_owned())?.st_mtime;
    Ok(Some(Duration::from_secs(u64::try_from(now.saturating_sub(written)).unwrap_or_default())))
}

/// A list that is being read.
#[derive(Debug)]
pub(super) struct Reader {
    lines: BufReader<fs_err::File>,
    line: Vec<u8>,
    /// Time of the last full read.
    pub(super) time: Timespec,
}

/// Error for a list that is malformed or was altered.
#[derive(Debug)]
pub(super) struct Broken;

impl Reader {
    /// Opens the list of one of the object's trees; `None` if there is none.
    pub(super) fn open(volume: &Volume, object: &ObjectId, tree: &str) -> Result<Option<Self>, StorageError> {
        let Some(dir) = existing(volume, object)? else { return Ok(None) };
        let file = match storage::open_file(dir.as_fd(), tree) {
            Err(error) if error.is_absent() => return Ok(None),
            file => file?,
        };
        let status = rustix::fs::fstat(file.file()).during(|| "stat the list of an object's files".to_owned())?;
        if !rustix::fs::FileType::from_raw_mode(status.st_mode).is_file() {
            return Ok(None);
        }
        let time = Timespec { tv_sec: status.st_mtime, tv_nsec: 0 };
        Ok(Some(Self { lines: BufReader::with_capacity(1 << 16, file), line: Vec::new(), time }))
    }

    pub(super) fn header(&mut self) -> Result<Header, Broken> {
        self.next_line()?.ok_or(Broken)
    }

    /// Returns the next path and its entry; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(String, Entry)>, Broken> {
        self.next_line()
    }

    fn next_line<T: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<T>, Broken> {
        self.line.clear();
        let read = (&mut self.lines).take(MAX_LINE).read_until(b'\n', &mut self.line).map_err(|_| Broken)?;
        match self.line.split_last() {
            None if read == 0 => Ok(None),
            Some((b'\n', line)) => serde_json::from_slice(line).map(Some).map_err(|_| Broken),
            Some(_) | None => Err(Broken),
        }
    }
}

/// A list that is being written, in a private directory.
#[derive(Debug)]
pub(super) struct Writer {
    scratch: Scratch,
    tree: String,
    file: BufWriter<fs_err::File>,
}

impl Writer {
    pub(super) fn begin(volume: &Volume, header: &Header) -> Result<Self, StorageError> {
        let scratch = volume.scratch()?;
        let file = storage::create_file(scratch.dir(), FRESH, Mode::from_raw_mode(0o600))?;
        let (tree, file) = (header.tree.clone(), BufWriter::with_capacity(1 << 16, file));
        let mut writer = Self { scratch, tree, file };
        writer.line(header)?;
        Ok(writer)
    }

    pub(super) fn add(&mut self, path: &str, entry: &Entry) -> Result<(), StorageError> {
        self.line(&(path, entry))
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), StorageError> {
        let written = serde_json::to_writer(&mut self.file, line).map_err(std::io::Error::from);
        written.and_then(|()| self.file.write_all(b"\n")).map_err(|error| failed(&error))
    }

    /// Puts the list in place, durably. `time` is the last full read, if that is not now.
    pub(super) fn finish(self, volume: &Volume, object: &ObjectId, time: Option<Timespec>) -> Result<(), StorageError> {
        let Self { scratch, tree, file } = self;
        let file = file.into_inner().map_err(|error| failed(error.error()))?;
        if let Some(last_modification) = time {
            let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            rustix::fs::futimens(file.file(), &Timestamps { last_access, last_modification })
                .during(|| "record the time of the last full read".to_owned())?;
        }
        rustix::fs::fsync(file.file()).during(|| "sync the list of an object's files".to_owned())?;
        let lists = made(volume, object)?;
        rustix::fs::renameat(scratch.dir(), FRESH, &lists, tree)
            .during(|| "rename the list of an object's files".to_owned())?;
        storage::sync(lists.as_fd(), "the lists of an object")
    }
}

fn failed(error: &std::io::Error) -> StorageError {
    StorageError::from_io("write the list of an object's files", error)
}
