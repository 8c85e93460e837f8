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

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::damage::{Damage, Held, Reading};
use super::location::Location;
use super::scan::{Begun, Scan, Subject, Verdict};
use super::{OutputError, Published, Recorded, Retention, record};
use crate::oci::Digest;
use crate::plan::Revision;
use crate::registry::Pinned;
use crate::request::{Fingerprint, ObjectId};
use crate::storage::{self, During, Pool, StorageError, Volume};
use crate::unpack::Stop;
use crate::unpack::staged::Staged;

mod marker;
mod quota;

use marker::{MARKER, Marker, Tree, TreeRevision, size};
pub(crate) use quota::Quota;

const CURRENT: &str = "current";
const TREES: &str = "trees";

/// One output of one object on a volume.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(super) volume: std::sync::Arc<Volume>,
    /// Name of the volume.
    pub(super) name: String,
    pub(super) object: ObjectId,
    /// Name of the output.
    pub(super) output: String,
}

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

impl Place {
    fn volume(&self) -> &Volume {
        &self.volume
    }

    fn dir(&self) -> Result<Option<OwnedFd>, StorageError> {
        self.volume().existing_dir(&self.object.namespace, &self.object.name)
    }

    fn published(&self, revision: &TreeRevision, list_digest: Digest) -> Published {
        Published {
            output: self.output.clone(),
            location: Location::Volume(self.name.clone()),
            revision: revision.revision(),
            list_digest: Some(list_digest),
            files: revision.files,
            bytes: revision.bytes,
            skipped: 0,
        }
    }
}

/// Returns the state of the directory. Reads no file.
pub(super) fn probe(place: &Place, recorded: Option<&Recorded>) -> Result<Held, OutputError> {
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
pub(super) fn read(place: &Place, recorded: Option<&Recorded>, reading: Reading) -> Result<Begun, OutputError> {
    let Some(there) = There::open(place, recorded)? else { return Ok(Begun::NoList) };
    Ok(Scan::begin(&there.subject(place), Some(reading))?)
}

/// Returns the time since every byte of the current tree was read; `None` if unknown.
pub(super) fn last_read(place: &Place) -> Result<Option<Duration>, OutputError> {
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
    let (list, witness) = record::of(volume, &tree, staged, stop)?;
    staged.move_to(&trees, &tree).during(|| format!("move the tree into {TREES}"))?;
    storage::sync(trees.as_fd(), TREES)?;
    crate::failpoint::reach("prepare-tree");
    list.finish(volume, object, None)?;
    crate::failpoint::reach("prepare-list");
    witness.check(staged, stop)?;
    let revision = TreeRevision {
        image: pinned.to_string(),
        digest: pinned.digest().clone(),
        fingerprint: fingerprint.as_str().to_owned(),
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
        tracing::warn!(object = %ready.place.object, %error, "the switch is not noted in {MARKER}");
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

/// Removes trees beyond the retention; returns the time at which the next one may go. Must be called after the status
/// write, so that status never names content that is gone.
pub(super) fn prune(
    volume: &Volume,
    object: &ObjectId,
    retention: Retention,
    now: Timestamp,
) -> Result<Option<Timestamp>, OutputError> {
    let Some(dir) = volume.existing_dir(&object.namespace, &object.name)? else { return Ok(None) };
    crate::failpoint::reach("prune");
    let Some(mut marker) = own_marker(volume, dir.as_fd(), object)? else { return Ok(None) };
    if marker.check_uid(object).is_err() {
        return Ok(None);
    }
    let current = current(dir.as_fd())?;
    let before = marker.trees.len();
    let next = marker.retain(current.as_deref(), retention, now);
    let trees = match storage::open_dir(dir.as_fd(), TREES) {
        Err(error) if error.is_absent() => return Ok(None),
        trees => trees?,
    };
    // The marker goes first: a tree that it does not name is removed by the next prune, too.
    if marker.trees.len() != before {
        write_marker(dir.as_fd(), &marker)?;
    }
    let kept: Vec<&str> = marker.trees.iter().map(|tree| tree.name.as_str()).collect();
    let mut removed = record::retain(volume, object, &kept);
    for name in storage::names(&trees)? {
        if !kept.contains(&name.as_str()) && current.as_ref() != Some(&name) {
            // A failure does not stop the removal of other trees.
            removed = removed.and(storage::remove_tree(&trees, &name));
        }
    }
    removed?;
    Ok(next)
}

/// Removes all content, but keeps the object's directory, which consumers mount. A reader of `current` loses it in one
/// step, a reader inside a tree file by file.
pub(super) fn withdraw(volume: &Volume, object: &ObjectId) -> Result<(), OutputError> {
    let Some(dir) = volume.existing_dir(&object.namespace, &object.name)? else { return Ok(()) };
    let marker = match own_marker(volume, dir.as_fd(), object) {
        Ok(Some(marker)) => marker,
        // Empty, or not ours.
        Ok(None) | Err(OutputError::Obstacle(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    if marker.check_uid(object).is_err() {
        return Ok(());
    }
    storage::remove_tree(&dir, CURRENT)?;
    storage::sync(dir.as_fd(), "the object's directory")?;
    storage::remove_tree(&dir, TREES)?;
    write_marker(dir.as_fd(), &Marker { uid: marker.uid, trees: Vec::new() })?;
    Ok(record::remove(volume, object)?)
}

/// Removes the directory of the object with this uid. Absent, empty and foreign directories are success; so is another
/// uid, whose object may exist.
pub(super) fn remove(volume: &Volume, object: &ObjectId) -> Result<(), OutputError> {
    let Some(dir) = volume.existing_dir(&object.namespace, &object.name)? else {
        return Ok(record::remove(volume, object)?);
    };
    match own_marker(volume, dir.as_fd(), object) {
        Ok(Some(marker)) if marker.check_uid(object).is_ok() => {
            record::remove(volume, object)?;
            Ok(volume.remove_dir(&object.namespace, &object.name)?)
        }
        Ok(_) | Err(OutputError::Obstacle(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the objects that have a directory on the volume, with their uids, in the namespaces that `is_watched`
/// accepts. Foreign directories, and those made without a cluster, are left out.
pub(super) fn owners(volume: &Volume, is_watched: impl Fn(&str) -> bool) -> Result<Vec<ObjectId>, OutputError> {
    let mut found = Vec::new();
    for namespace in volume.namespaces()?.into_iter().filter(|namespace| is_watched(namespace)) {
        for name in volume.names_in(&namespace)? {
            let mut object = ObjectId { namespace: namespace.clone(), name, uid: String::new() };
            let Ok(Some(dir)) = volume.existing_dir(&object.namespace, &object.name) else { continue };
            if let Ok(Some(marker)) = own_marker(volume, dir.as_fd(), &object)
                && !marker.uid.is_empty()
            {
                object.uid = marker.uid;
                found.push(object);
            }
        }
    }
    Ok(found)
}

/// Reads the directory's marker; `None` for an empty directory, an error for a foreign one.
fn own_marker(volume: &Volume, dir: BorrowedFd<'_>, object: &ObjectId) -> Result<Option<Marker>, OutputError> {
    let foreign = |why: &str| {
        let path = volume.path().join(&object.namespace).join(&object.name);
        OutputError::Obstacle(format!("{} {why}. Move it away to let supercargo use the place", path.display()))
    };
    match storage::open_file(dir, MARKER) {
        Ok(file) => {
            let mut text = String::new();
            file.take(marker::MAX_BYTES)
                .read_to_string(&mut text)
                .map_err(|error| StorageError::from_io(format!("read {MARKER}"), &error))?;
            Marker::parse(&text).map(Some).map_err(|_| foreign(&format!("has a {MARKER} that is not ours")))
        }
        Err(error) if error.is_absent() => {
            let only_ours = |name: &String| name.starts_with(&format!(".{MARKER}"));
            if storage::names(dir)?.iter().all(only_ours) {
                Ok(None)
            } else {
                Err(foreign("has files that are not ours"))
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Claims an empty directory.
fn claim(dir: BorrowedFd<'_>, object: &ObjectId) -> Result<Marker, OutputError> {
    let marker = Marker { uid: object.uid.clone(), trees: Vec::new() };
    write_marker(dir, &marker)?;
    Ok(marker)
}

fn write_marker(dir: BorrowedFd<'_>, marker: &Marker) -> Result<(), OutputError> {
    let bytes = serde_json::to_vec_pretty(marker)
        .map_err(|error| StorageError::from_io(format!("write {MARKER}"), &error.into()))?;
    Ok(storage::replace_file(dir, MARKER, &bytes)?)
}

/// Returns the tree that `current` points to.
fn current(dir: BorrowedFd<'_>) -> Result<Option<String>, StorageError> {
    let link = match rustix::fs::readlinkat(dir, CURRENT, Vec::new()) {
        Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
        link => link.during(|| format!("read link {CURRENT}"))?,
    };
    Ok(link.to_str().ok().and_then(|text| text.strip_prefix("trees/")).map(str::to_owned))
}

fn point_current_at(dir: BorrowedFd<'_>, tree: &str) -> Result<(), StorageError> {
    const FRESH: &str = ".current.new";
    storage::remove_tree(dir, FRESH)?;
    rustix::fs::symlinkat(format!("{TREES}/{tree}"), dir, FRESH).during(|| format!("create link {FRESH}"))?;
    rustix::fs::renameat(dir, FRESH, dir, CURRENT).during(|| format!("rename {FRESH} to {CURRENT}"))?;
    storage::sync(dir, "the object's directory")
}
