//! Limit for the size of a namespace's objects on one volume.
//!
//! The sum is read from the markers in the namespace's directories each time a tree is added, so no counter has to
//! follow what consumers, other processes and crashes leave. Trees that are being added at the same time are reserved
//! in memory until their markers include them.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard};

use super::marker::Marker;
use super::object_dir::{Place, own_marker};
use crate::mutex::lock;
use crate::output::error::OutputError;
use crate::request::{Limit, ObjectId};

/// Volume and namespace.
type Key = (String, String);

/// Maximum size of each namespace on each volume, with the sizes of trees being added.
#[derive(Debug)]
pub(crate) struct Quota {
    most: Limit,
    reserved: Mutex<HashMap<Key, u64>>,
}

/// Reserved bytes of a tree that is not in its marker yet.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    quota: &'a Quota,
    key: Key,
    bytes: u64,
}

impl Quota {
    pub(crate) fn new(most: Limit) -> Self {
        Self { most, reserved: Mutex::default() }
    }

    /// Reserves `bytes` for a tree of the object, whose own directory has the marker `own`.
    pub(super) fn reserve(&self, place: &Place, own: &Marker, bytes: u64) -> Result<Option<Reserved<'_>>, OutputError> {
        if self.most.value() == u64::MAX {
            return Ok(None);
        }
        let key = (place.name.clone(), place.object.namespace.clone());
        // Reserved before the sum is read, so that of two concurrent additions at least one sees the other.
        let reserved = Reserved { quota: self, key, bytes };
        let all = {
            let mut all = self.all();
            let sum = all.entry(reserved.key.clone()).or_default();
            *sum = sum.saturating_add(bytes);
            *sum
        };
        let used = all.saturating_add(own.bytes()).saturating_add(others(place)?);
        let exceeded = self.most.check(used);
        exceeded.map_err(|exceeded| OutputError::Quota {
            namespace: place.object.namespace.clone(),
            volume: place.name.clone(),
            exceeded,
        })?;
        Ok(Some(reserved))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, u64>> {
        lock(&self.reserved)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut all = self.quota.all();
        let left = all.get(&self.key).map_or(0, |sum| sum.saturating_sub(self.bytes));
        if left == 0 {
            all.remove(&self.key);
        } else {
            all.insert(self.key.clone(), left);
        }
    }
}

/// Returns the size of the namespace's other objects on the volume. Foreign directories do not count.
fn others(place: &Place) -> Result<u64, OutputError> {
    let (volume, namespace) = (place.volume(), &place.object.namespace);
    let mut sum = 0_u64;
    for name in volume.names_in(namespace)?.into_iter().filter(|name| *name != place.object.name) {
        let object = ObjectId { namespace: namespace.clone(), name, uid: String::new() };
        let Ok(Some(dir)) = volume.existing_dir(namespace, &object.name) else { continue };
        if let Ok(Some(marker)) = own_marker(volume, dir.as_fd(), &object) {
            sum = sum.saturating_add(marker.bytes());
        }
    }
    Ok(sum)
}
