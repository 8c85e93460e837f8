//! The tree that consumers read now: its state by names and times, and scans that read its files.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::marker::TreeRevision;
use super::object_dir::{Place, TREES, current, own_marker};
use crate::oci::Digest;
use crate::output::damage::{Damage, Held, Reading};
use crate::output::error::OutputError;
use crate::output::published::Recorded;
use crate::output::record;
use crate::output::scan::{Begun, Scan, Subject, Verdict};
use crate::storage;

/// Returns the state of the directory. Reads no file.
pub(in crate::output) fn probe(place: &Place, recorded: Option<&Recorded>) -> Result<Held, OutputError> {
    // The kubelet gives a pod's group write permission wherever it mounts the root.
    place.volume().protect();
    let Some(there) = There::open(place, recorded)? else { return Ok(Held::Nothing) };
    let published = place.published(&there.revision, there.list_digest.clone());
    Ok(match Scan::begin(&there.subject(place), None)?.finish()? {
        // For example a tree of an older version.
        None => Held::Unknown(published),
        Some(Verdict::Whole) => Held::Whole(published),
        Some(Verdict::Doubtful) => Held::Doubtful(published),
        Some(Verdict::Damaged(differences)) => {
            let (output, location) = (place.output.clone(), published.location.clone());
            Held::Damaged(Damage { output, location, differences, is_additive: false }, published)
        }
    })
}

/// Begins a scan that reads the files of the current tree.
pub(in crate::output) fn read(
    place: &Place,
    recorded: Option<&Recorded>,
    reading: Reading,
) -> Result<Begun, OutputError> {
    let Some(there) = There::open(place, recorded)? else { return Ok(Begun::NoList) };
    Ok(Scan::begin(&there.subject(place), Some(reading))?)
}

/// Returns the time since every byte of the current tree was read; `None` if unknown.
pub(in crate::output) fn last_read(place: &Place) -> Result<Option<Duration>, OutputError> {
    let Some(dir) = place.dir()? else { return Ok(None) };
    let Some(tree) = current(dir.as_fd())? else { return Ok(None) };
    Ok(record::age(place.volume(), &place.object, &tree)?)
}

/// The tree that `current` points to, if `.artifact.json` lists it.
struct There {
    trees: OwnedFd,
    tree: String,
    revision: TreeRevision,
    /// The digest in status, if it is of the same revision: a writer on the volume cannot change status.
    list_digest: Digest,
}

impl There {
    fn open(place: &Place, recorded: Option<&Recorded>) -> Result<Option<Self>, OutputError> {
        let Some(dir) = place.dir()? else { return Ok(None) };
        let Some(marker) = own_marker(place.volume(), dir.as_fd(), &place.object)? else { return Ok(None) };
        marker.check_uid(&place.object)?;
        let Some(tree) = current(dir.as_fd())? else { return Ok(None) };
        let Some(revision) = marker.revision_of(&tree).cloned() else { return Ok(None) };
        let trees = match storage::open_dir(dir.as_fd(), TREES) {
            Err(error) if error.is_absent() => return Ok(None),
            trees => trees?,
        };
        if matches!(rustix::fs::statat(&trees, &tree, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT)) {
            return Ok(None);
        }
        let recorded = recorded.filter(|recorded| recorded.revision == revision.revision());
        let list_digest = recorded.and_then(|recorded| recorded.list_digest.as_ref()).unwrap_or(&revision.list_digest);
        Ok(Some(Self { trees, tree, list_digest: list_digest.clone(), revision }))
    }

    fn subject<'a>(&'a self, place: &'a Place) -> Subject<'a> {
        Subject {
            volume: place.volume(),
            object: &place.object,
            trees: self.trees.as_fd(),
            tree: &self.tree,
            list_digest: &self.list_digest,
        }
    }
}
