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

use std::collections::HashMap;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::OutputError;
use crate::oci::Digest;
use crate::request::ObjectId;
use crate::storage::{self, During, Scratch, StorageError, Volume};
use crate::unpack::Stop;
use crate::unpack::read_back::{self, Changed, StagedError};
use crate::unpack::staged::{Node, Staged};

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
    inode: u64,
    /// Last modification in seconds and nanoseconds. Any writer can set it.
    modified: (i64, i64),
    /// Last change of the inode, in the same form. No process can set it.
    changed: (i64, i64),
}

impl Seen {
    #[expect(clippy::useless_conversion, reason = "their types are not the same on every architecture")]
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

/// Begins the list of a tree before its publication, and verifies the tree against the unpacked content.
///
/// The stage is on the volume, where another process may have written to it. The order matters: first the times of each
/// file are taken. Then everything is written back, after which the kernel updates the times for every further write,
/// even a write to a page that a process has mapped. Then every file is read and compared. So the files were read with
/// the unpacked bytes, and any later write shows as times that differ from the list.
pub(super) fn of(volume: &Volume, tree: &str, staged: &Staged, stop: &Stop) -> Result<(Writer, Witness), StagedError> {
    let top = staged.open()?;
    let mut names: HashMap<&str, u64> = HashMap::new();
    for path in staged.nodes().keys() {
        *names.entry(split(path.as_str()).0).or_default() += 1;
    }
    let count = |path: &str| names.get(path).copied().unwrap_or_default();
    let mode = permissions(&rustix::fs::fstat(&top).during(|| "look at the staged tree".to_owned())?);
    let mut looks = Vec::with_capacity(staged.nodes().len());
    let mut parents = Parents::of(&top);
    for (path, node) in staged.nodes() {
        let path = path.as_str();
        let (parent, name) = parents.of_path(path)?;
        let status = look(parent, name, path)?;
        let kind = FileType::from_raw_mode(status.st_mode);
        let is_it = match node {
            Node::Directory => kind.is_dir(),
            Node::File { .. } => kind.is_file(),
            Node::Link { target } => {
                let found = rustix::fs::readlinkat(parent, name, Vec::new());
                found.is_ok_and(|found| found.as_bytes() == target.as_bytes())
            }
        };
        if !is_it {
            return Err(Changed::kind(path).into());
        }
        looks.push((permissions(&status), Seen::of(&status)));
    }
    staged.sync(&top)?;
    let mut writer = Writer::begin(volume, &Header { tree: tree.to_owned(), names: count(""), mode })?;
    let mut parents = Parents::of(&top);
    for ((path, node), (mode, seen)) in staged.nodes().iter().zip(&looks) {
        let (path, mode, seen) = (path.as_str(), *mode, *seen);
        let entry = match node {
            Node::Directory => Entry::Directory { names: count(path), mode },
            Node::Link { target } => Entry::Link { target: target.clone() },
            Node::File { size, executable, digest } => {
                let (parent, name) = parents.of_path(path)?;
                compare(parent, name, path, (*size, digest), seen, stop)?;
                Entry::File { size: *size, executable: *executable, digest: digest.clone(), mode, seen }
            }
        };
        writer.add(path, &entry)?;
    }
    Ok((writer, Witness { top, seen: looks.into_iter().map(|(_, seen)| seen).collect() }))
}

/// Reads a file, which must have the inode seen before, and compares its bytes.
fn compare(
    parent: BorrowedFd<'_>,
    name: &str,
    path: &str,
    expected: (u64, &Digest),
    seen: Seen,
    stop: &Stop,
) -> Result<(), StagedError> {
    let file = read_back::open(parent, name, path)?;
    let found = rustix::fs::fstat(file.file()).during(|| format!("look at {path}"))?;
    if Seen::of(&found).inode != seen.inode {
        return Err(Changed::new(path, "another file was put in its place").into());
    }
    read_back::verify(&file, path, expected, stop, |_| ())
}

fn look(parent: BorrowedFd<'_>, name: &str, path: &str) -> Result<Stat, StagedError> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Err(Changed::kind(path).into()),
        status => Ok(status.during(|| format!("look at {path}"))?),
    }
}

/// Opens the parent directories of a tree's paths. Paths come in order, so one open directory serves all neighbours.
struct Parents<'a> {
    top: BorrowedFd<'a>,
    opened: (String, Option<OwnedFd>),
}

impl<'a> Parents<'a> {
    fn of(top: &'a OwnedFd) -> Self {
        Self { top: top.as_fd(), opened: (String::new(), None) }
    }

    /// Returns the directory of a path, and the name in it.
    fn of_path<'b>(&mut self, path: &'b str) -> Result<(BorrowedFd<'_>, &'b str), StagedError> {
        let (above, name) = split(path);
        if self.opened.0 != above {
            self.opened = (String::new(), None);
            if !above.is_empty() {
                let dir = match storage::open_dir(self.top, above) {
                    Err(error) if error.is_replaced() => return Err(Changed::kind(above).into()),
                    dir => dir?,
                };
                self.opened = (above.to_owned(), Some(dir));
            }
        }
        Ok((self.opened.1.as_ref().map_or(self.top, AsFd::as_fd), name))
    }
}

/// Inodes and times of a tree's files when it was verified.
pub(super) struct Witness {
    /// The tree, even after it was moved.
    top: OwnedFd,
    /// Attributes of each file, in the order of paths.
    seen: Vec<Seen>,
}

impl Witness {
    /// Fails if a file was changed since. Files with other times are read, because some shares set times late. Call
    /// this after the tree has left the stage and before anything points to it: then only a process with an open handle
    /// can write.
    pub(super) fn check(&self, staged: &Staged, stop: &Stop) -> Result<(), StagedError> {
        let mut parents = Parents::of(&self.top);
        for ((path, node), seen) in staged.nodes().iter().zip(&self.seen) {
            let Node::File { size, digest, .. } = node else { continue };
            let path = path.as_str();
            let (parent, name) = parents.of_path(path)?;
            if Seen::of(&look(parent, name, path)?) != *seen {
                compare(parent, name, path, (*size, digest), *seen, stop)?;
            }
        }
        Ok(())
    }
}

impl From<StagedError> for OutputError {
    fn from(error: StagedError) -> Self {
        match error {
            StagedError::Storage(error) => error.into(),
            StagedError::Changed(error) => error.into(),
        }
    }
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
        status => status.during(|| "look at the list of an object's files".to_owned())?.st_mtime,
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
        let status = rustix::fs::fstat(file.file()).during(|| "look at the list of an object's files".to_owned())?;
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
                .during(|| "note when files were read".to_owned())?;
        }
        rustix::fs::fsync(file.file()).during(|| "sync the list of an object's files".to_owned())?;
        let lists = made(volume, object)?;
        rustix::fs::renameat(scratch.dir(), FRESH, &lists, tree)
            .during(|| "put the list of an object's files in its place".to_owned())?;
        storage::sync(lists.as_fd(), "the lists of an object")
    }
}

fn failed(error: &std::io::Error) -> StorageError {
    StorageError::from_io("write the list of an object's files", error)
}

#[cfg(test)]
mod tests;
