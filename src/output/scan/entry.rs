//! Comparison of one entry of the list with the filesystem.

use std::io;
use std::os::fd::BorrowedFd;

use fs_err::os::unix::fs::FileExt;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::oci::Digest;
use crate::oci::digest::hash_chunks;
use crate::output::damage::{Reading, What};
use crate::output::record::{Entry, Seen, permissions};
use crate::storage::{self, During, StorageError};
use crate::unpack::Stop;

/// Mode bits that the kubelet adds for a pod's fsGroup: group write, and setgid on directories.
const GROUP_WRITE: u32 = 0o020;
const SET_GROUP: u32 = 0o2000;

/// Result of comparing one entry.
#[derive(Default)]
pub(super) struct Looked {
    /// Difference, if any.
    pub(super) what: Option<What>,
    /// True for a file with other times or another inode.
    pub(super) is_doubtful: bool,
    /// Bytes read.
    pub(super) read: u64,
}

/// Compares `name` in `dir`, whose status is `found`. A file that was read gets its current times in `entry`.
pub(super) fn look(
    dir: BorrowedFd<'_>,
    name: &str,
    found: &Stat,
    entry: &mut Entry,
    reading: Option<Reading>,
    stop: &Stop,
) -> Result<Looked, StorageError> {
    let kind = FileType::from_raw_mode(found.st_mode);
    let is = |is_it: bool, what: What| (!is_it).then_some(what);
    let what = match entry {
        Entry::Directory { mode, .. } => {
            is(kind.is_dir(), What::Kind).or_else(|| is(!is_mode_changed(found, 0o755, *mode), What::Mode))
        }
        Entry::Link { target } => is(kind.is_symlink(), What::Kind).or_else(|| {
            let now = rustix::fs::readlinkat(dir, name, Vec::new());
            is(now.is_ok_and(|now| now.as_bytes() == target.as_bytes()), What::Target)
        }),
        Entry::File { size, executable, mode, .. } => is(kind.is_file(), What::Kind)
            .or_else(|| is(!is_mode_changed(found, if *executable { 0o755 } else { 0o644 }, *mode), What::Mode))
            .or_else(|| is(u64::try_from(found.st_size) == Ok(*size), What::Size)),
    };
    let (Entry::File { size, digest, seen, .. }, None) = (entry, what.clone()) else {
        return Ok(Looked { what, ..Looked::default() });
    };
    let is_doubtful = *seen != Seen::of(found);
    let is_read = match reading {
        None => false,
        Some(Reading::Doubtful) => is_doubtful,
        Some(Reading::Everything) => true,
    };
    let what = if is_read { read(dir, name, *size, digest, seen, stop)? } else { None };
    Ok(Looked { what, is_doubtful, read: if is_read { *size } else { 0 } })
}

/// True if permissions differ from `wanted` and from `made` (the mode that the filesystem made of `wanted`), apart from
/// the bits that the kubelet adds.
pub(super) fn is_mode_changed(found: &Stat, wanted: u32, made: u32) -> bool {
    let mode = permissions(found);
    let is_dir = FileType::from_raw_mode(found.st_mode).is_dir();
    let allowed = if is_dir { GROUP_WRITE | SET_GROUP } else { GROUP_WRITE };
    ![wanted, made].map(|mode| mode & !allowed).contains(&(mode & !allowed))
}

/// Reads a file to its expected end and one byte further.
fn read(
    dir: BorrowedFd<'_>,
    name: &str,
    size: u64,
    digest: &Digest,
    seen: &mut Seen,
    stop: &Stop,
) -> Result<Option<What>, StorageError> {
    let file = match storage::open_file(dir, name) {
        // Replaced after its `statat`.
        Err(error) if error.is_replaced() => return Ok(Some(What::Kind)),
        file => file?,
    };
    let found = rustix::fs::fstat(file.file()).during(|| format!("stat {name}"))?;
    if !FileType::from_raw_mode(found.st_mode).is_file() {
        return Ok(Some(What::Kind));
    }
    // Taken before reading, so that a write during the read shows at the next scan.
    *seen = Seen::of(&found);
    let unreadable = |error: io::Error| StorageError::from_io(format!("read {name}"), &error);
    let (found, _) = hash_chunks(
        size.saturating_add(1),
        |to, at| file.read_at(to, at),
        unreadable,
        |_| {
            if stop.is_cancelled() {
                return Err(StorageError::new("scan the published files", Errno::CANCELED));
            }
            Ok(())
        },
    )?;
    Ok((found != *digest).then_some(What::Content))
}
