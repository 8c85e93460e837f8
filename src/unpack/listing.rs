//! The entries of any directory on disk, in the form of a staged tree: for comparisons with artifacts.
//!
//! The directory may be a checkout of Git: of a file's mode only the owner's executable bit counts. It may change while
//! it is read; then the list is that of no moment, and the caller compares it again after what it does.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use fs_err::os::unix::fs::FileExt;
use rustix::fs::{AtFlags, FileType, Mode, Stat};

use super::path::{EntryPath, PathError, shortened};
use super::staged::{Node, list_digest};
use crate::oci::Digest;
use crate::oci::digest::hash_chunks;
use crate::request::{LimitExceeded, Limits};
use crate::storage::{self, During, StorageError};

/// Error of a directory that cannot be listed. Each names the path of an entry, below the directory.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The filesystem failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An entry of a kind that no artifact has.
    #[error("{path:?} is a device, socket or pipe; expected a file, directory or symbolic link")]
    Kind {
        /// Path of the entry.
        path: String,
    },
    /// A name that no artifact can have.
    #[error("{path:?} {error}; no file of an artifact can have this name")]
    Name {
        /// Path of the entry, with replacements for what is not UTF-8.
        path: String,
        /// The reason.
        error: PathError,
    },
    /// More than a limit allows.
    #[error("{path:?}: {exceeded}")]
    Limit {
        /// Path of the first entry above the limit.
        path: String,
        /// The limit.
        exceeded: LimitExceeded,
    },
}

/// The entries of a directory by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    nodes: BTreeMap<EntryPath, Node>,
}

impl From<BTreeMap<EntryPath, Node>> for Listing {
    fn from(nodes: BTreeMap<EntryPath, Node>) -> Self {
        Self { nodes }
    }
}

impl Listing {
    /// Lists a directory and reads every file in it. Links are not followed, except in `path` itself.
    pub fn read(path: &std::path::Path, limits: &Limits) -> Result<Self, ListingError> {
        Self::read_open(&storage::open_any_dir(path)?, limits)
    }

    /// Lists an open directory.
    pub(crate) fn read_open(dir: &OwnedFd, limits: &Limits) -> Result<Self, ListingError> {
        let mut walk = Walk { limits, nodes: BTreeMap::new() };
        walk.directory(dir, &EntryPath::root())?;
        Ok(Self { nodes: walk.nodes })
    }

    /// The entries, by path.
    pub fn nodes(&self) -> &BTreeMap<EntryPath, Node> {
        &self.nodes
    }

    /// Returns the files and links: all that Git keeps.
    pub fn content(&self) -> impl Iterator<Item = (&EntryPath, &Node)> {
        self.nodes.iter().filter(|(_, node)| !matches!(node, Node::Directory))
    }

    /// Returns the number of regular files.
    pub fn files(&self) -> u64 {
        self.nodes.values().filter(|node| matches!(node, Node::File { .. })).count() as u64
    }

    /// Returns the total size of all regular files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.nodes.values().map(|node| if let Node::File { size, .. } = node { *size } else { 0 }).sum()
    }

    /// Returns true if both have the same files and links. Git keeps no empty directories, so a checkout lacks them.
    pub fn has_content_of(&self, other: &Self) -> bool {
        self.content().eq(other.content())
    }

    /// Returns true for a directory without entries.
    pub(crate) fn is_empty_directory(&self, path: &EntryPath) -> bool {
        let is_inside = |other: &EntryPath| other != path && other.strip_prefix(path).is_some();
        // Paths with a common prefix can sort between a directory and its contents: "a", "a-b", "a/b".
        let next = self.nodes.range(path..).map(|(other, _)| other);
        !next.take_while(|other| other.as_str().starts_with(path.as_str())).any(is_inside)
    }

    /// Adds an entry and its parent directories. Fails if the path has another entry already, or is below a file.
    pub(crate) fn insert(&mut self, path: EntryPath, node: Node) -> Result<(), EntryPath> {
        let parent = |of: &EntryPath| of.split().map(|(parent, _)| parent).filter(|parent| !parent.is_root());
        let mut above = parent(&path);
        while let Some(at) = above {
            if *self.nodes.entry(at.clone()).or_insert(Node::Directory) != Node::Directory {
                return Err(path);
            }
            above = parent(&at);
        }
        match self.nodes.insert(path.clone(), node) {
            None => Ok(()),
            Some(_) => Err(path),
        }
    }

    /// Returns the digest of paths, kinds, executable bits, sizes and contents, as
    /// [`super::staged::Staged::list_digest`].
    pub fn digest(&self) -> Digest {
        list_digest(&self.nodes)
    }
}

/// A directory that is being listed.
struct Walk<'a> {
    limits: &'a Limits,
    nodes: BTreeMap<EntryPath, Node>,
}

impl Walk<'_> {
    fn directory(&mut self, dir: &OwnedFd, at: &EntryPath) -> Result<(), ListingError> {
        let left = self.limits.entries.value().saturating_sub(self.nodes.len() as u64);
        // One more than allowed, so that the excess is found before the whole directory is in memory.
        let most = usize::try_from(left).unwrap_or(usize::MAX).saturating_add(1);
        let mut names = storage::all_names_up_to(dir, most)?;
        names.sort_unstable();
        names.iter().try_for_each(|name| self.entry(dir, at, name))
    }

    fn entry(&mut self, dir: &OwnedFd, at: &EntryPath, name: &OsStr) -> Result<(), ListingError> {
        let path = self.path(at, name)?;
        let found = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).during(|| format!("stat {path}"))?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let node = match kind {
            FileType::Directory => {
                let inner = storage::open_dir(dir.as_fd(), last(&path))?;
                self.nodes.insert(path.clone(), Node::Directory);
                return self.directory(&inner, &path);
            }
            FileType::RegularFile => self.file(dir.as_fd(), &path, &found)?,
            FileType::Symlink => link(dir, &path, name)?,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Err(ListingError::Kind { path: shortened(path.as_str()) }),
        };
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Returns the path of an entry within the limits.
    fn path(&self, at: &EntryPath, name: &OsStr) -> Result<EntryPath, ListingError> {
        let mut raw = OsString::from(at.as_str());
        if !at.is_root() {
            raw.push("/");
        }
        raw.push(name);
        let shown = || shortened(&raw.to_string_lossy());
        let path = EntryPath::parse(raw.as_bytes()).map_err(|error| ListingError::Name { path: shown(), error })?;
        let entries = self.nodes.len() as u64 + 1;
        let (depth, bytes) = (path.depth() as u64, path.as_str().len() as u64 + 1);
        let limits = [(self.limits.entries, entries), (self.limits.depth, depth), (self.limits.path_bytes, bytes)];
        limits
            .into_iter()
            .try_for_each(|(limit, count)| limit.check(count))
            .map_err(|exceeded| ListingError::Limit { path: shown(), exceeded })?;
        Ok(path)
    }

    fn file(&self, dir: BorrowedFd<'_>, path: &EntryPath, found: &Stat) -> Result<Node, ListingError> {
        let file = storage::open_file(dir, last(path))?;
        let limit = self.limits.file_bytes;
        let unreadable = |error| StorageError::from_io(format!("read {path}"), &error);
        let most = limit.value().saturating_add(1);
        let (digest, size) = hash_chunks(most, |to, from| file.read_at(to, from), unreadable, |_| Ok(()))?;
        limit.check(size).map_err(|exceeded| ListingError::Limit { path: shortened(path.as_str()), exceeded })?;
        let executable = Mode::from_raw_mode(found.st_mode).contains(Mode::XUSR);
        Ok(Node::File { size, executable, digest })
    }
}

fn last(path: &EntryPath) -> &str {
    path.split().map_or("", |(_, name)| name)
}

fn link(dir: &OwnedFd, path: &EntryPath, name: &OsStr) -> Result<Node, ListingError> {
    let target = rustix::fs::readlinkat(dir, name, Vec::new()).during(|| format!("read link {path}"))?;
    let target = OsString::from_vec(target.into_bytes()).into_string();
    let invalid = |_| ListingError::Name { path: shortened(path.as_str()), error: PathError::Encoding };
    Ok(Node::Link { target: target.map_err(invalid)? })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn list(dir: &Path) -> Result<Listing, String> {
        Listing::read(dir, &Limits::default()).map_err(|error| error.to_string())
    }

    fn set_mode(path: &Path, mode: u32) {
        fs_err::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_list_has_the_kind_content_and_executable_bit_of_each_entry() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("a/empty")).unwrap();
        for (name, mode) in [("a/plain", 0o600), ("a/tool", 0o700), ("a-b", 0o654)] {
            fs_err::write(dir.path().join(name), name).unwrap();
            set_mode(&dir.path().join(name), mode);
        }
        fs_err::os::unix::fs::symlink("plain", dir.path().join("a/link")).unwrap();
        let listing = list(dir.path()).unwrap();
        let lines: Vec<_> = listing.nodes().iter().map(|(path, node)| node.line(path.as_str())).collect();
        let of = |name: &str| format!("{} {}", name.len(), Digest::of(name.as_bytes()));
        let want = [
            "d \"a\"\n".to_owned(),
            format!("f \"a-b\" 644 {}\n", of("a-b")),
            "d \"a/empty\"\n".to_owned(),
            "l \"a/link\" \"plain\"\n".to_owned(),
            format!("f \"a/plain\" 644 {}\n", of("a/plain")),
            format!("f \"a/tool\" 755 {}\n", of("a/tool")),
        ];
        assert_eq!(lines, want);
        assert_eq!(listing.digest(), Digest::of(want.concat().as_bytes()));
    }

    #[test]
    fn a_checkout_without_empty_directories_has_the_same_content() {
        let [whole, checkout] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for dir in [&whole, &checkout] {
            fs_err::write(dir.path().join("file"), "1").unwrap();
        }
        fs_err::create_dir(whole.path().join("empty")).unwrap();
        let of = |dir: &tempfile::TempDir| list(dir.path()).unwrap();
        assert!(of(&whole) != of(&checkout) && of(&whole).has_content_of(&of(&checkout)));
        set_mode(&checkout.path().join("file"), 0o755);
        assert!(!of(&whole).has_content_of(&of(&checkout)));
    }

    #[test]
    fn entries_that_no_artifact_can_have_are_refused_by_path() {
        let refused = |name: &OsStr, make: &dyn Fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            fs_err::create_dir(dir.path().join("in")).unwrap();
            make(&dir.path().join("in").join(name));
            list(dir.path()).unwrap_err()
        };
        let file = |path: &Path| fs_err::write(path, "").unwrap();
        let odd = refused(OsStr::from_bytes(b"odd-\xff"), &file);
        assert!(odd.contains("in/odd-") && odd.contains("UTF-8"), "{odd}");
        assert!(refused(OsStr::new("a\\b"), &file).contains("backslash"));
        let socket = refused(OsStr::new("socket"), &|path| {
            drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        });
        assert!(socket.contains("in/socket"), "{socket}");
    }

    #[test]
    fn every_limit_ends_the_listing() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("a/b")).unwrap();
        fs_err::write(dir.path().join("a/b/file"), "four").unwrap();
        let all = Limits::default();
        let rows = [
            (Limits { entries: all.entries.set(2), ..all }, "--max-entries"),
            (Limits { depth: all.depth.set(2), ..all }, "--max-depth"),
            (Limits { path_bytes: all.path_bytes.set(8), ..all }, "--max-path-bytes"),
            (Limits { file_bytes: all.file_bytes.set(3), ..all }, "--max-file-bytes"),
        ];
        for (limits, flag) in rows {
            let error = Listing::read(dir.path(), &limits).unwrap_err().to_string();
            assert!(error.contains(flag) && error.contains("a/b/file"), "{error}");
        }
        assert!(list(dir.path()).is_ok());
    }
}
