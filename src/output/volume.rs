//! Files on a shared volume.
//!
//! ```text
//! <root>/<namespace>/<name>/        what a consumer mounts; never replaced while its object lives
//!   current -> trees/<tree>         replaced by rename: a reader sees one whole revision or another
//!   trees/<manifest hex>-<finger>/  complete when it appears, never changed, removed when old; where that very tree
//!                                   was damaged, the next one is <manifest hex>-<finger>-2 and so on
//!   .artifact.json                  whose this is and what is in it
//! ```
//!
//! A crash leaves the old link or the new one. `.artifact.json` is written before anything else is
//! put into a new directory, so a directory that has things in it but no such file is not ours; and
//! it is written again after the link has moved, so where the two disagree the revision is
//! published again.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::integrity::{Damage, Held, Reading};
use super::scan::{Begun, Scan, Subject, Verdict};
use super::{OutputError, Published, Recorded, record};
use crate::oci::Digest;
use crate::plan::Revision;
use crate::registry::Pinned;
use crate::request::{Fingerprint, ObjectId, Target};
use crate::storage::{self, During, StorageError, Volume};
use crate::unpack::Stop;
use crate::unpack::staged::Staged;

/// `kind` of this output in status.
pub const KIND: &str = "Volume";

const CURRENT: &str = "current";
const TREES: &str = "trees";
const MARKER: &str = ".artifact.json";
/// Most bytes of the marker.
const MAX_MARKER: u64 = 64 * 1024;
/// Trees kept beside the current one, for readers that are still in them.
const KEPT: usize = 2;

/// The content of `.artifact.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    /// The object's uid; empty where there is no cluster.
    uid: String,
    /// What is under `current`; absent in a directory that was only just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<MarkerRevision>,
    /// The current tree and those before it that are kept, newest first.
    #[serde(default)]
    trees: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MarkerRevision {
    image: String,
    digest: Digest,
    fingerprint: String,
    files: u64,
    bytes: u64,
    list_digest: Digest,
}

/// What the object's directory holds, as far as that can be seen without reading files.
pub(super) fn probe(
    volume: &Volume,
    name: &str,
    object: &ObjectId,
    output: &str,
    recorded: Option<&Recorded>,
) -> Result<Held, OutputError> {
    let Some(there) = There::open(volume, object, recorded)? else { return Ok(Held::Nothing) };
    let published = || Published {
        list_digest: Some(there.list_digest.clone()),
        ..published(name, object, output, &there.revision)
    };
    let mut scan = match Scan::begin(&there.subject(volume, object), None)? {
        // Made by an older version, say.
        Begun::NoList => return Ok(Held::Nothing),
        Begun::Done(verdict) => return Ok(held(verdict, published(), output)),
        Begun::Scan(scan) => scan,
    };
    let stop = Stop::new();
    loop {
        if let Some(verdict) = scan.advance(&stop)? {
            return Ok(held(verdict, published(), output));
        }
    }
}

fn held(verdict: Verdict, published: Published, output: &str) -> Held {
    match verdict {
        Verdict::Whole => Held::Whole(published),
        Verdict::Doubtful => Held::Doubtful(published),
        Verdict::Damaged(differences) => Held::Damaged(Damage { output: output.to_owned(), differences }),
    }
}

/// Begins to read the files of what the object's directory holds.
pub(super) fn read(
    volume: &Volume,
    object: &ObjectId,
    recorded: Option<&Recorded>,
    reading: Reading,
) -> Result<Begun, OutputError> {
    let Some(there) = There::open(volume, object, recorded)? else { return Ok(Begun::NoList) };
    Ok(Scan::begin(&there.subject(volume, object), Some(reading))?)
}

/// A revision that the marker and `current` agree about.
struct There {
    trees: OwnedFd,
    tree: String,
    revision: MarkerRevision,
    /// That of status, where it names the same revision: nobody who can write to the volume can write there.
    list_digest: Digest,
}

impl There {
    fn open(volume: &Volume, object: &ObjectId, recorded: Option<&Recorded>) -> Result<Option<Self>, OutputError> {
        let Some(dir) = volume.existing_dir(&object.namespace, &object.name)? else { return Ok(None) };
        let Some(marker) = own_marker(volume, dir.as_fd(), object)? else { return Ok(None) };
        let Marker { uid, revision: Some(revision), trees } = marker else { return Ok(None) };
        let Some(tree) = trees.into_iter().next() else { return Ok(None) };
        if uid != object.uid || current(dir.as_fd())?.as_ref() != Some(&tree) {
            return Ok(None);
        }
        let trees = match storage::open_dir(dir.as_fd(), TREES) {
            Err(error) if error.is_absent() => return Ok(None),
            trees => trees?,
        };
        if matches!(rustix::fs::statat(&trees, &tree, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT)) {
            return Ok(None);
        }
        let is_it = |recorded: &&Recorded| recorded.revision == revision.revision();
        let list_digest =
            recorded.filter(is_it).map_or(&revision.list_digest, |recorded| &recorded.list_digest).clone();
        Ok(Some(Self { trees, tree, revision, list_digest }))
    }

    fn subject<'a>(&'a self, volume: &'a Volume, object: &'a ObjectId) -> Subject<'a> {
        Subject { volume, object, trees: self.trees.as_fd(), tree: &self.tree, list_digest: &self.list_digest }
    }
}

impl MarkerRevision {
    fn revision(&self) -> Revision {
        Revision { digest: self.digest.clone(), fingerprint: self.fingerprint.clone() }
    }
}

/// Moves a staged tree in and points `current` at it.
pub(super) fn commit(
    volume: &Volume,
    target: &Target,
    object: &ObjectId,
    pinned: &Pinned,
    fingerprint: &Fingerprint,
    staged: &Staged,
) -> Result<Published, OutputError> {
    let dir = volume.dir(&object.namespace, &object.name)?;
    let dir = dir.as_fd();
    let mut marker = match own_marker(volume, dir, object)? {
        Some(marker) => marker,
        None => claim(dir, object)?,
    };
    let trees = storage::make_dir(dir, TREES, Mode::from_raw_mode(0o755))?;
    let tree =
        free_name(&format!("{}-{}", pinned.digest().hex(), fingerprint.as_str()), current(dir)?.as_ref(), &marker);
    // Left by a crash: nothing points to it.
    storage::remove_tree(&trees, &tree)?;
    // While nobody else can have changed a file yet.
    let list = record::of(volume, &tree, staged)?;
    staged.move_to(&trees, &tree).during(|| format!("move the tree into {TREES}"))?;
    storage::sync(trees.as_fd(), TREES)?;
    // A crash after this leaves a list that is not of the current tree, and the revision is published again.
    list.finish(volume, object, None)?;
    point_current_at(dir, &tree)?;
    marker.trees.retain(|kept| *kept != tree);
    marker.trees.insert(0, tree);
    marker.trees.truncate(1 + KEPT);
    marker.uid.clone_from(&object.uid);
    let revision = MarkerRevision {
        image: pinned.to_string(),
        digest: pinned.digest().clone(),
        fingerprint: fingerprint.as_str().to_owned(),
        files: staged.files(),
        bytes: staged.bytes(),
        list_digest: staged.list_digest(),
    };
    let volume_name = match &target.place {
        crate::request::Place::Volume { volume } => volume.as_str(),
        crate::request::Place::ConfigMap { .. } | crate::request::Place::Directory => "",
    };
    let published = Published {
        list_digest: Some(revision.list_digest.clone()),
        ..published(volume_name, object, &target.output, &revision)
    };
    marker.revision = Some(revision);
    write_marker(dir, &marker)?;
    Ok(published)
}

/// A name for a tree that is neither the current one nor kept for readers that are still in it: what they read is
/// never changed, also not where it is this very revision and somebody has damaged it.
fn free_name(revision: &str, current: Option<&String>, marker: &Marker) -> String {
    let is_taken = |name: &String| current == Some(name) || marker.trees.contains(name);
    let numbered = (2_u64..).map(|number| format!("{revision}-{number}"));
    let mut names = std::iter::once(revision.to_owned()).chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or_default()
}

/// Removes the trees that the marker does not list any more.
pub(super) fn prune(volume: &Volume, object: &ObjectId) -> Result<(), OutputError> {
    let Some(dir) = volume.existing_dir(&object.namespace, &object.name)? else { return Ok(()) };
    let Some(marker) = own_marker(volume, dir.as_fd(), object)? else { return Ok(()) };
    let current = current(dir.as_fd())?;
    let trees = storage::open_dir(dir.as_fd(), TREES)?;
    let mut removed = Ok(());
    for name in storage::names(&trees)? {
        if !marker.trees.contains(&name) && current.as_ref() != Some(&name) {
            // One that cannot be removed is not in the way of the others.
            removed = removed.and(storage::remove_tree(&trees, &name));
        }
    }
    Ok(removed?)
}

/// Takes away all content, and leaves the object's directory, which consumers mount. Whoever looks at `current` loses it in
/// one step, and whoever is in a tree, file by file.
pub(super) fn clear(volume: &Volume, object: &ObjectId) -> Result<(), OutputError> {
    let Some(dir) = volume.existing_dir(&object.namespace, &object.name)? else { return Ok(()) };
    let marker = match own_marker(volume, dir.as_fd(), object) {
        Ok(Some(marker)) => marker,
        // Empty, or somebody else's.
        Ok(None) | Err(OutputError::Conflict(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    storage::remove_tree(&dir, CURRENT)?;
    storage::sync(dir.as_fd(), "the object's directory")?;
    storage::remove_tree(&dir, TREES)?;
    write_marker(dir.as_fd(), &Marker { uid: marker.uid, ..Marker::default() })?;
    Ok(record::remove(volume, object)?)
}

/// Removes the object's directory, if it is ours. A directory or volume that is gone is success.
pub(super) fn remove(volume: &Volume, object: &ObjectId) -> Result<(), OutputError> {
    record::remove(volume, object)?;
    let Some(dir) = volume.existing_dir(&object.namespace, &object.name)? else { return Ok(()) };
    match own_marker(volume, dir.as_fd(), object) {
        Ok(Some(_)) => Ok(volume.remove_dir(&object.namespace, &object.name)?),
        // Empty, or somebody else's.
        Ok(None) | Err(OutputError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The directory's marker; `None` for an empty directory; a conflict for one that is not ours.
fn own_marker(volume: &Volume, dir: BorrowedFd<'_>, object: &ObjectId) -> Result<Option<Marker>, OutputError> {
    let foreign = |why: &str| {
        let path = volume.path().join(&object.namespace).join(&object.name);
        OutputError::Conflict(format!("{} {why}; move it away to let supercargo use the place", path.display()))
    };
    match storage::open_file(dir, MARKER) {
        Ok(file) => {
            let mut text = String::new();
            file.take(MAX_MARKER)
                .read_to_string(&mut text)
                .map_err(|error| StorageError::from_io(format!("read {MARKER}"), &error))?;
            serde_json::from_str(&text).map(Some).map_err(|_| foreign(&format!("has a {MARKER} that is not ours")))
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

/// Makes an empty directory ours.
fn claim(dir: BorrowedFd<'_>, object: &ObjectId) -> Result<Marker, OutputError> {
    let marker = Marker { uid: object.uid.clone(), ..Marker::default() };
    write_marker(dir, &marker)?;
    Ok(marker)
}

fn write_marker(dir: BorrowedFd<'_>, marker: &Marker) -> Result<(), OutputError> {
    let bytes = serde_json::to_vec_pretty(marker)
        .map_err(|error| StorageError::from_io(format!("write {MARKER}"), &error.into()))?;
    Ok(storage::replace_file(dir, MARKER, &bytes)?)
}

/// The tree that `current` points at.
fn current(dir: BorrowedFd<'_>) -> Result<Option<String>, StorageError> {
    let link = match rustix::fs::readlinkat(dir, CURRENT, Vec::new()) {
        Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
        link => link.during(|| format!("read link {CURRENT}"))?,
    };
    Ok(link.to_str().ok().and_then(|text| text.strip_prefix("trees/")).map(str::to_owned))
}

fn point_current_at(dir: BorrowedFd<'_>, tree: &str) -> Result<(), StorageError> {
    const FRESH: &str = ".current.new";
    match rustix::fs::unlinkat(dir, FRESH, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).during(|| format!("remove {FRESH}")),
    }
    rustix::fs::symlinkat(format!("{TREES}/{tree}"), dir, FRESH).during(|| format!("create link {FRESH}"))?;
    rustix::fs::renameat(dir, FRESH, dir, CURRENT).during(|| format!("rename {FRESH} to {CURRENT}"))?;
    storage::sync(dir, "the object's directory")
}

fn published(volume: &str, object: &ObjectId, output: &str, revision: &MarkerRevision) -> Published {
    Published {
        output: output.to_owned(),
        kind: KIND,
        location: format!("{volume}:{}/{}/{CURRENT}", object.namespace, object.name),
        revision: revision.revision(),
        list_digest: None,
        files: revision.files,
        bytes: revision.bytes,
        skipped: 0,
    }
}
