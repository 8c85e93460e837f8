//! Removal of what earlier runs published below the root, and no object in the files names any more.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::engine::{CONFIG_MAPS, DEFAULT, VOLUMES, check_owner, unusable};
use crate::api::spec::ConfigMapOutput;
use crate::cli::files;
use crate::cli::files::objects::{Input, Object};
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::output;
use crate::request::ObjectId;
use crate::storage::Volume;

/// Maximum number of volumes below a root.
const MAX_VOLUMES: usize = 1000;

/// A directory or manifest to remove.
#[derive(Debug)]
enum Left {
    /// The directory of an object, below this root.
    Directory(PathBuf),
    /// The manifest of a ConfigMap with this name.
    Manifest(String),
}

/// Publications of earlier runs that the files do not name, by object.
#[derive(Debug)]
pub(super) struct Leftovers {
    root: PathBuf,
    by_object: BTreeMap<ObjectId, Vec<Left>>,
}

/// An object with leftovers, and the places that were removed, or the failure.
pub(super) type Pruned = (ObjectId, Result<Vec<String>, Failure>);

impl Leftovers {
    /// Finds the leftovers below a root, of which nothing is changed. A root that does not exist has none.
    pub(super) fn find(root: &Path, input: &Input) -> Result<Self, Complaint> {
        let mut found = Self { root: root.to_owned(), by_object: BTreeMap::new() };
        if let Err(error) = fs_err::symlink_metadata(root)
            && error.kind() == ErrorKind::NotFound
        {
            return Ok(found);
        }
        for (volume, path) in volumes(root)? {
            check_owner(&path)?;
            let owned = output::owned(&path).map_err(|error| unusable(&path, error))?;
            for id in owned.into_iter().filter(|id| !publishes(input, id, |object| has_volume(object, &volume))) {
                found.by_object.entry(id).or_default().push(Left::Directory(path.clone()));
            }
        }
        let manifests = output::manifests(&root.join(CONFIG_MAPS)).map_err(|error| unusable(root, error))?;
        for (id, name) in manifests {
            if !publishes(input, &id, |object| has_config_map(object, &name)) {
                found.by_object.entry(id).or_default().push(Left::Manifest(name));
            }
        }
        Ok(found)
    }

    /// Removes the leftovers of each object, or with `dry_run` only names them. Blocking.
    pub(super) fn remove(self, dry_run: bool, is_given_up: impl Fn() -> bool) -> Vec<Pruned> {
        let mut pruned = Vec::new();
        for (id, all) in &self.by_object {
            if is_given_up() {
                break;
            }
            let done = all.iter().try_for_each(|left| if dry_run { Ok(()) } else { self.remove_one(id, left) });
            let places = all.iter().map(|left| self.shown(id, left)).collect();
            pruned.push((id.clone(), done.map(|()| places)));
        }
        pruned
    }

    fn remove_one(&self, id: &ObjectId, left: &Left) -> Result<(), Failure> {
        match left {
            Left::Directory(root) => Ok(output::remove_owned(&Volume::open(root)?, id)?),
            Left::Manifest(name) => Ok(output::remove_manifest(&self.root.join(CONFIG_MAPS), id, name)?),
        }
    }

    fn shown(&self, id: &ObjectId, left: &Left) -> String {
        let place = |root: &Path| root.join(&id.namespace).join(&id.name);
        match left {
            Left::Directory(root) => place(root).display().to_string(),
            Left::Manifest(name) => {
                place(&self.root.join(CONFIG_MAPS)).join(format!("{name}.yaml")).display().to_string()
            }
        }
    }
}

/// Returns the names and the directories of the volumes below a root.
fn volumes(root: &Path) -> Result<Vec<(String, PathBuf)>, Complaint> {
    let mut found = vec![(DEFAULT.to_owned(), root.to_owned())];
    let unreadable = |error: std::io::Error| files::unreadable("--root", &error);
    let entries = match fs_err::read_dir(root.join(VOLUMES)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(unreadable)?,
    };
    for entry in entries.take(MAX_VOLUMES) {
        let entry = entry.map_err(unreadable)?;
        if entry.file_type().map_err(unreadable)?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Returns true if the files have the object, and it publishes below a root to the place that `has` looks for. A
/// suspended object keeps its content, and one that fails too.
fn publishes(input: &Input, id: &ObjectId, has: impl Fn(&Object) -> bool) -> bool {
    let object = input.objects.get(&(id.namespace.clone(), id.name.clone()));
    object.is_some_and(|object| object.directory.is_none() && has(object))
}

fn has_volume(object: &Object, name: &str) -> bool {
    object.spec.outputs.iter().any(|output| output.volume.as_ref().is_some_and(|volume| volume.name == name))
}

fn has_config_map(object: &Object, name: &str) -> bool {
    // The name of an immutable one ends with a digest of its content.
    let is_it = |map: &ConfigMapOutput| match name.strip_prefix(map.name.as_str()) {
        Some(rest) => rest.is_empty() || (map.immutable && rest.starts_with('-')),
        None => false,
    };
    object.spec.outputs.iter().any(|output| output.config_map.as_ref().is_some_and(is_it))
}
