//! List of what is published below a root, read without a volume: nothing is locked, created or claimed.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::AtFlags;

use super::marker::{self, MARKER, Marker};
use super::object_dir::{CURRENT, current};
use crate::oci::Digest;
use crate::output::below;
use crate::request::ObjectId;
use crate::storage::{self, StorageError};

/// Revision that consumers of an object's directory read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Object that published it.
    pub object: ObjectId,
    /// Image that it was published from: repository, tag and digest.
    pub image: String,
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Time at which consumers began to read it.
    pub since: Option<Timestamp>,
}

/// Lists the directories of objects below the root of a volume. Directories of other programs are left out.
pub fn listed(root: &Path) -> Result<Vec<Listed>, StorageError> {
    below::in_each(&storage::open_any_dir(root)?, |dir, object| Ok(published(dir.as_fd(), object)))
}

/// Returns the objects with a directory below a root that a command without a cluster has made. Directories of other
/// programs and of an operator are left out.
pub fn owned(root: &Path) -> Result<Vec<ObjectId>, StorageError> {
    below::in_each(&storage::open_any_dir(root)?, |dir, object| {
        Ok(marker(dir.as_fd()).filter(|marker| marker.uid.is_empty()).map(|_| object))
    })
}

fn marker(dir: BorrowedFd<'_>) -> Option<Marker> {
    let mut text = String::new();
    storage::open_file(dir, MARKER).ok()?.take(marker::MAX_BYTES).read_to_string(&mut text).ok()?;
    Marker::parse(&text).ok()
}

/// Returns the current revision of an object's directory; `None` if there is none.
fn published(dir: BorrowedFd<'_>, object: ObjectId) -> Option<Listed> {
    let marker = marker(dir)?;
    let revision = marker.revision_of(&current(dir).ok()??)?;
    let link = rustix::fs::statat(dir, CURRENT, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let since = Timestamp::from_second(link.st_mtime).ok();
    let object = ObjectId { uid: marker.uid.clone(), ..object };
    Some(Listed { object, image: revision.image.clone(), digest: revision.digest.clone(), since })
}
