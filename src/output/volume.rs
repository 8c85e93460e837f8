//! Files on a shared volume.
//!
//! ```text
//! <root>/<namespace>/<name>/        the directory that a consumer mounts; never replaced while its object lives
//!   current -> trees/<tree>         replaced by rename: a reader sees one whole revision or another
//!   trees/<manifest hex>-<finger>/  complete when it appears, never changed, removed when old; if that tree was
//!                                   damaged, the next one is <manifest hex>-<finger>-2 and so on
//!   .artifact.json                  uid of the object, and the revision of each tree
//! ```
//!
//! *Prepare* puts a tree under its final name, writes its list, and records both in `.artifact.json`: all durable, with
//! no change for readers. *Switch* is then one rename of the link, and *revert* is another. The link alone decides
//! which tree is current, so a crash leaves the old revision or the new one, and nothing to repair.
//!
//! `.artifact.json` is the first file in a new directory, so a directory that has other files but no `.artifact.json`
//! is not ours.

use std::os::fd::{AsFd, OwnedFd};

use jiff::Timestamp;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::damage::Reading;
use super::error::OutputError;
use super::published::Published;
use super::scan::{Scan, Subject, Verdict};
use super::witness;
use crate::oci::Digest;
use crate::plan::Revision;
use crate::registry::Pinned;
use crate::request::Fingerprint;
use crate::storage::{self, During, Pool, StorageError};
use crate::unpack::Stop;
use crate::unpack::staged::Staged;

mod listing;
mod look;
mod marker;
mod object_dir;
mod quota;
mod removal;

pub use listing::{Listed, listed, owned};
pub(super) use look::{last_read, probe, read};
use marker::{MARKER, Tree, TreeRevision, size};
pub(crate) use object_dir::Place;
use object_dir::{CURRENT, TREES, claim, current, own_marker, point_current_at, write_marker};
pub(crate) use quota::Quota;
pub(super) use removal::{owners, prune, remove, withdraw};

/// A complete tree, durable under its final name, that nothing points to yet.
#[derive(Debug)]
pub(crate) struct Ready {
    place: Place,
    tree: String,
    /// Target of `current` before the switch.
    previous: Option<String>,
    published: Published,
}

impl Ready {
    /// Returns the state after the switch.
    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    /// Returns the thread pool of the volume.
    pub(super) fn pool(&self) -> &Pool {
        self.place.volume.pool()
    }

    /// True if `current` already points to the tree.
    pub(super) fn is_current(&self) -> bool {
        self.previous.as_ref() == Some(&self.tree)
    }
}

/// Puts a staged tree and its list under their final names, durably. Readers see no change.
pub(super) fn prepare(
    place: &Place,
    pinned: &Pinned,
    fingerprint: &Fingerprint,
    staged: &Staged,
    quota: &Quota,
    stop: &Stop,
) -> Result<Ready, OutputError> {
    let Place { object, .. } = place;
    let volume = place.volume();
    let dir = volume.dir(&object.namespace, &object.name)?;
    let dir = dir.as_fd();
    let mut marker = match own_marker(volume, dir, object)? {
        Some(marker) => marker,
        None => claim(dir, object)?,
    };
    marker.check_uid(object)?;
    let previous = current(dir)?;
    let trees = storage::make_dir(dir, TREES, Mode::from_raw_mode(0o755))?;
    // Trees of passes that ended before their switch.
    for left in marker.take_unused(previous.as_deref()) {
        storage::remove_tree(&trees, &left)?;
    }
    // Held until the marker includes the tree.
    let _reserved = quota.reserve(place, &marker, size(staged.files(), staged.bytes()))?;
    let tree = marker.free_name(&format!("{}-{}", pinned.digest().hex(), fingerprint.as_str()), previous.as_deref());
    // Left by a crash: nothing points to it.
    storage::remove_tree(&trees, &tree)?;
    let (list, witness) = witness::take(volume, &tree, staged, stop)?;
    staged.move_to(&trees, &tree).during(|| format!("move the tree into {TREES}"))?;
    storage::sync(trees.as_fd(), TREES)?;
    crate::failpoint::reach("prepare-tree");
    list.finish(volume, object, None)?;
    crate::failpoint::reach("prepare-list");
    witness.check(staged, stop)?;
    let revision = TreeRevision {
        image: pinned.to_string(),
        digest: pinned.digest().clone(),
        fingerprint: fingerprint.clone(),
        files: staged.files(),
        bytes: staged.bytes(),
        list_digest: staged.list_digest(),
    };
    let published = place.published(&revision, revision.list_digest.clone());
    marker.trees.insert(0, Tree::prepared(tree.clone(), revision));
    write_marker(dir, &marker)?;
    Ok(Ready { place: place.clone(), tree, previous, published })
}

/// Points `current` at a prepared tree: one rename.
pub(super) fn switch(ready: &Ready, now: Timestamp) -> Result<(), OutputError> {
    let dir = open_prepared(ready)?;
    point_current_at(dir.as_fd(), &ready.tree)?;
    // Only retention needs the marker. Readers have the new revision already, so a failure must not revert it.
    let noted = own_marker(ready.place.volume(), dir.as_fd(), &ready.place.object).and_then(|marker| {
        let Some(mut marker) = marker else { return Ok(()) };
        marker.switched(&ready.tree, ready.previous.as_deref(), now);
        write_marker(dir.as_fd(), &marker)
    });
    if let Err(error) = noted {
        let object = &ready.place.object;
        tracing::warn!(namespace = %object.namespace, name = %object.name, %error, "the switch cannot be recorded in {MARKER}");
    }
    Ok(())
}

/// Points `current` back to the previous tree, or removes it if there was none.
pub(super) fn revert(ready: &Ready) -> Result<(), OutputError> {
    let dir = open_prepared(ready)?;
    if let Some(previous) = &ready.previous {
        point_current_at(dir.as_fd(), previous)?;
    } else {
        storage::remove_tree(&dir, CURRENT)?;
        storage::sync(dir.as_fd(), "the object's directory")?;
    }
    if let Ok(Some(mut marker)) = own_marker(ready.place.volume(), dir.as_fd(), &ready.place.object) {
        marker.reverted(&ready.tree);
        write_marker(dir.as_fd(), &marker)?;
    }
    Ok(())
}

fn open_prepared(ready: &Ready) -> Result<OwnedFd, OutputError> {
    let gone = || StorageError::new("open the object's directory", Errno::NOENT);
    Ok(ready.place.dir()?.ok_or_else(gone)?)
}

/// Finds a tree that an earlier process prepared or switched for `revision`, and verifies it against the list with this
/// digest. Every file is read, because lists and times are on the volume, where others may write.
pub(super) fn prepared(place: &Place, revision: &Revision, list_digest: &Digest) -> Result<Option<Ready>, OutputError> {
    let Some(dir) = place.dir()? else { return Ok(None) };
    let Some(marker) = own_marker(place.volume(), dir.as_fd(), &place.object)? else { return Ok(None) };
    marker.check_uid(&place.object)?;
    let Some((tree, found)) = marker.of_revision(revision) else { return Ok(None) };
    let trees = storage::open_dir(dir.as_fd(), TREES)?;
    let (volume, object) = (place.volume(), &place.object);
    let subject = Subject { volume, object, trees: trees.as_fd(), tree, list_digest };
    if Scan::begin(&subject, Some(Reading::Everything))?.finish()? != Some(Verdict::Whole) {
        return Ok(None);
    }
    let published = place.published(found, list_digest.clone());
    Ok(Some(Ready { place: place.clone(), tree: tree.to_owned(), previous: current(dir.as_fd())?, published }))
}
