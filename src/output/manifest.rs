//! ConfigMap outputs without a cluster: manifests in a directory, for later use with kubectl.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use super::below::{self, MAX_ENTRIES};
use super::error::OutputError;
use super::published::Published;
use crate::api::{LABEL_MANAGED_BY, MANAGER};
use crate::request::ObjectId;
use crate::storage::{self, StorageError};

/// End of the names of manifests.
const EXTENSION: &str = ".yaml";
/// Maximum size of a manifest: more than any ConfigMap in YAML.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A manifest that is ready to be written.
#[derive(Debug)]
pub(crate) struct Ready {
    path: PathBuf,
    text: String,
    /// Text of the existing file.
    previous: Option<String>,
    published: Published,
}

impl Ready {
    /// Returns the state after the switch.
    pub(super) fn published(&self) -> &Published {
        &self.published
    }
}

/// Reads a manifest; `None` if it is absent or unreadable, and then it is written again.
pub(super) fn read(root: &Path, object: &ObjectId, name: &str) -> Option<ConfigMap> {
    serde_saphyr::from_str(&fs_err::read_to_string(path(root, object, name)).ok()?).ok()
}

pub(super) fn prepare(
    root: &Path,
    object: &ObjectId,
    map: &ConfigMap,
    published: Published,
) -> Result<Ready, OutputError> {
    let path = path(root, object, &map.name_any());
    let text =
        serde_saphyr::to_string(map).map_err(|error| failed(&path, &std::io::Error::other(error.to_string())))?;
    let previous = fs_err::read_to_string(&path).ok();
    Ok(Ready { path, text, previous, published })
}

pub(super) fn switch(ready: &Ready) -> Result<(), OutputError> {
    Ok(write(&ready.path, &ready.text)?)
}

pub(super) fn revert(ready: &Ready) -> Result<(), OutputError> {
    match &ready.previous {
        Some(previous) => Ok(write(&ready.path, previous)?),
        None => Ok(remove_file(&ready.path)?),
    }
}

/// Removes a manifest. Absent is success.
pub fn remove(root: &Path, object: &ObjectId, name: &str) -> Result<(), OutputError> {
    let path = path(root, object, name);
    remove_file(&path)?;
    // Fails if the object has other manifests.
    let _ = path.parent().map(fs_err::remove_dir);
    Ok(())
}

/// Returns the objects with their manifests in a directory, which may be absent. Files of other programs are left out.
pub fn manifests(root: &Path) -> Result<Vec<(ObjectId, String)>, StorageError> {
    let root = match storage::open_any_dir(root) {
        Err(error) if error.is_absent() => return Ok(Vec::new()),
        root => root?,
    };
    below::in_each(&root, |dir, object| {
        let files = storage::names_up_to(dir, MAX_ENTRIES)?;
        let names = files.iter().filter_map(|file| file.strip_suffix(EXTENSION)).filter(|name| is_ours(dir, name));
        Ok(names.map(|name| (object.clone(), name.to_owned())).collect::<Vec<_>>())
    })
}

fn is_ours(dir: &OwnedFd, name: &str) -> bool {
    let mut text = String::new();
    let file = storage::open_file(dir.as_fd(), &format!("{name}{EXTENSION}"));
    let is_read = file.is_ok_and(|file| file.take(MAX_BYTES).read_to_string(&mut text).is_ok());
    let map = serde_saphyr::from_str::<ConfigMap>(&text).ok().filter(|_| is_read);
    map.is_some_and(|map| map.name_any() == name && map.labels().get(LABEL_MANAGED_BY).is_some_and(|by| by == MANAGER))
}

fn remove_file(path: &Path) -> Result<(), StorageError> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StorageError::from_io(format!("remove {}", path.display()), &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), StorageError> {
    let temporary = path.with_extension("yaml.new");
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent).map_err(|error| failed(path, &error))?;
    }
    fs_err::write(&temporary, text).map_err(|error| failed(path, &error))?;
    fs_err::rename(&temporary, path).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> StorageError {
    StorageError::from_io(format!("write {}", path.display()), error)
}

fn path(root: &Path, object: &ObjectId, name: &str) -> PathBuf {
    root.join(&object.namespace).join(&object.name).join(format!("{name}{EXTENSION}"))
}
