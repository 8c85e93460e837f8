//! Walk over a directory: sorted, by handles, through no link.
//!
//! The order is that of Go's filepath.Walk: a directory, then its entries sorted by the bytes of their names, each
//! followed by its own. Nothing is written to the source.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::error::PackError;
use super::selection::Selection;
use crate::storage::{self, During, StorageError};
use crate::unpack::path::EntryPath;
use crate::unpack::{self, EntryRules, Stop, UnpackError};

/// A directory that is packaged.
#[derive(Debug)]
pub struct Source {
    dir: OwnedFd,
}

/// An entry of the source.
pub(super) enum Found<'a> {
    Directory { mode: u32 },
    File { mode: u32, size: u64, file: &'a mut fs_err::File },
    Link { target: &'a str },
}

/// Receiver of the entries, in order. Paths are relative to the source.
pub(super) trait Visit {
    fn visit(&mut self, path: &EntryPath, found: Found<'_>) -> Result<(), PackError>;
}

/// Rules of one walk.
#[derive(Clone, Copy)]
pub(super) struct Manner<'a> {
    pub(super) rules: &'a EntryRules,
    pub(super) selection: &'a Selection,
    pub(super) stop: &'a Stop,
}

impl Source {
    /// Opens a directory that a user names; links in the path to it are followed.
    pub fn open(path: &Path) -> Result<Self, PackError> {
        let missing = || PackError::NoSource { path: path.display().to_string(), expected: "a directory" };
        let unopened = |error: StorageError| if error.is_replaced() { missing() } else { error.into() };
        Ok(Self { dir: storage::open_any_dir(path).map_err(unopened)? })
    }

    /// Opens a directory in the source as a source of its own.
    pub(super) fn below(&self, path: &EntryPath) -> Result<Self, PackError> {
        let is_no_directory = |error: StorageError| if error.is_replaced() { no_sub_dir(path) } else { error.into() };
        Ok(Self { dir: storage::open_dir(self.dir.as_fd(), path.as_str()).map_err(is_no_directory)? })
    }

    /// Reads a file of at most `limit` bytes; `None` if it does not exist.
    pub(super) fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, PackError> {
        let file = match storage::open_file(self.dir.as_fd(), path) {
            Err(error) if error.is_absent() => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| StorageError::from_io(format!("read {path}"), &error))?;
        if bytes.len() as u64 > limit {
            return Err(PackError::TooLarge { path: path.to_owned(), limit });
        }
        Ok(Some(bytes))
    }

    /// Visits `start` and everything below it. `start` is a directory or a file.
    pub(super) fn walk(&self, start: &EntryPath, manner: Manner<'_>, to: &mut dyn Visit) -> Result<(), PackError> {
        let root = self.dir.as_fd();
        let mut walk = Walk { root, manner, to, pending: Vec::new() };
        match start.split() {
            None => walk.directory(start, &self.dir).map(drop),
            Some((above, name)) => {
                let above = if above.is_root() { None } else { Some(storage::open_dir(root, above.as_str())?) };
                let Some(kind) = self.kind(start)? else { return Err(PackError::Changed(start.to_string())) };
                if kind == FileType::Directory && walk.manner.selection.excludes(start, true) {
                    return Ok(());
                }
                walk.entry(above.as_ref().map_or(root, AsFd::as_fd), name.as_bytes(), kind, start).map(drop)
            }
        }
    }

    /// Returns the kind of an entry; `None` if it does not exist.
    pub(super) fn kind(&self, path: &EntryPath) -> Result<Option<FileType>, PackError> {
        if path.is_root() {
            return Ok(Some(FileType::Directory));
        }
        match rustix::fs::statat(&self.dir, path.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => Ok(None),
            found => {
                let found = found.during(|| format!("stat {path}"))?;
                Ok(Some(FileType::from_raw_mode(found.st_mode)))
            }
        }
    }
}

/// Returns the error for a sub-directory that does not exist.
pub(super) fn no_sub_dir(path: &EntryPath) -> PackError {
    PackError::Path { option: "--sub-dir", path: path.to_string(), problem: "is not a directory of the source" }
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    manner: Manner<'a>,
    to: &'a mut dyn Visit,
    /// Directories that are selected only if an entry in them is.
    pending: Vec<(EntryPath, u32)>,
}

impl Walk<'_> {
    /// Visits a directory and what is selected in it. Returns true if it was visited.
    fn directory(&mut self, path: &EntryPath, dir: &OwnedFd) -> Result<bool, PackError> {
        let mode = rustix::fs::fstat(dir).during(|| format!("stat {path}"))?.st_mode & 0o7777;
        let is_selected = path.is_root() || self.manner.selection.keeps(path);
        self.pending.push((path.clone(), mode));
        if is_selected {
            self.arrive()?;
        }
        let mut names = storage::all_names(dir)?;
        names.sort_unstable_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
        let mut spellings: HashMap<String, &OsString> = HashMap::new();
        for name in &names {
            if self.manner.stop.is_cancelled() {
                return Err(PackError::Stopped);
            }
            let raw = match path.as_str() {
                "" => name.as_bytes().to_vec(),
                above => [above.as_bytes(), b"/", name.as_bytes()].concat(),
            };
            let shown = || String::from_utf8_lossy(&raw);
            let stat =
                rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).during(|| format!("stat {}", shown()))?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            // Names that are not valid cannot be selected by a pattern, and are refused.
            let entry = EntryPath::parse(&raw).ok();
            if entry.is_some_and(|entry| self.manner.selection.excludes(&entry, kind == FileType::Directory)) {
                continue;
            }
            let entry = self.manner.rules.path(&raw)?;
            if self.entry(dir.as_fd(), name.as_bytes(), kind, &entry)?
                && let Ok(name_alone) = EntryPath::parse(name.as_bytes())
                && let Some(other) = spellings.insert(name_alone.folded().into_owned(), name)
            {
                return Err(UnpackError::spelling(&entry, &other.to_string_lossy()).into());
            }
        }
        // It is still pending if nothing in it was selected.
        let pending = self.pending.len();
        self.pending.retain(|(pending, _)| pending != path);
        Ok(pending == self.pending.len())
    }

    /// Visits the directories that lead to a selected entry.
    fn arrive(&mut self) -> Result<(), PackError> {
        for (path, mode) in self.pending.drain(..) {
            self.to.visit(&path, Found::Directory { mode })?;
        }
        Ok(())
    }

    /// Visits an entry if it is selected. Returns true if it, or an entry below it, was visited.
    fn entry(&mut self, dir: BorrowedFd<'_>, name: &[u8], kind: FileType, path: &EntryPath) -> Result<bool, PackError> {
        let open = |flags: OFlags| {
            let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::empty()).during(|| format!("open {path}"))
        };
        if kind == FileType::Directory {
            return self.directory(path, &open(OFlags::DIRECTORY)?);
        }
        if !self.manner.selection.keeps(path) {
            return Ok(false);
        }
        match kind {
            FileType::RegularFile => {
                // A file that was replaced by a FIFO in between must not block.
                let file = open(OFlags::NONBLOCK)?;
                let stat = rustix::fs::fstat(&file).during(|| format!("stat {path}"))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(PackError::Changed(path.to_string()));
                }
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                let mut file = fs_err::File::from_parts(file.into(), path.as_str());
                self.arrive()?;
                self.to.visit(path, Found::File { mode: stat.st_mode & 0o7777, size, file: &mut file })?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new()).during(|| format!("read link {path}"))?;
                let target = self.manner.rules.link(path, target.to_bytes())?;
                unpack::check_link(self.root, path, &target)?;
                self.arrive()?;
                self.to.visit(path, Found::Link { target: &target })?;
            }
            FileType::Directory
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Err(UnpackError::file_type(path, kind).into()),
        }
        Ok(true)
    }
}
