//! ConfigMap outputs without a cluster: manifests in a directory, for later use with kubectl.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use super::error::OutputError;
use super::published::Published;
use crate::request::ObjectId;
use crate::storage::StorageError;

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
pub(super) fn remove(root: &Path, object: &ObjectId, name: &str) -> Result<(), OutputError> {
    Ok(remove_file(&path(root, object, name))?)
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
    root.join(&object.namespace).join(&object.name).join(format!("{name}.yaml"))
}
