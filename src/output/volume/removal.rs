//! Removal from a volume: earlier trees, refused content, outputs that left the spec, and deleted objects.

use std::os::fd::AsFd;

use jiff::Timestamp;

use super::marker::Marker;
use super::object_dir::{CURRENT, TREES, current, own_marker, write_marker};
use crate::output::error::OutputError;
use crate::output::published::Retention;
use crate::output::record;
use crate::request::ObjectId;
use crate::storage::{self, Volume};

/// Removes trees beyond the retention; returns the time at which the next one may go. Must be called after the status
/// write, so that status never names content that is gone.
pub(in crate::output) fn prune(
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
pub(in crate::output) fn withdraw(volume: &Volume, object: &ObjectId) -> Result<(), OutputError> {
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
pub(in crate::output) fn remove(volume: &Volume, object: &ObjectId) -> Result<(), OutputError> {
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
pub(in crate::output) fn owners(
    volume: &Volume,
    is_watched: impl Fn(&str) -> bool,
) -> Result<Vec<ObjectId>, OutputError> {
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
