//! The directory of an object on a volume: its marker, and the link `current`.

use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::marker::{self, MARKER, Marker, TreeRevision};
use crate::oci::Digest;
use crate::output::error::OutputError;
use crate::output::location::Location;
use crate::output::published::Published;
use crate::request::{ObjectId, OutputKind, Target};
use crate::storage::{self, During, StorageError, Volume};

/// Name of the link to the tree that consumers read.
pub(super) const CURRENT: &str = "current";
/// Name of the directory of trees.
pub(super) const TREES: &str = "trees";

/// One output of one object on a volume.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(in crate::output) volume: Arc<Volume>,
    /// Name of the volume.
    pub(super) name: String,
    pub(super) object: ObjectId,
    /// Name of the output.
    pub(super) output: String,
}

impl Place {
    /// Returns a constructor for the place of an output on a volume, for use once the volume is open.
    pub(in crate::output) fn on(
        object: &ObjectId,
        target: &Target,
        name: &str,
    ) -> impl FnOnce(&Arc<Volume>) -> Self + use<> {
        let (object, output, name) = (object.clone(), target.output.clone(), name.to_owned());
        move |volume| Self { volume: Arc::clone(volume), name, object, output }
    }

    pub(super) fn volume(&self) -> &Volume {
        &self.volume
    }

    pub(super) fn dir(&self) -> Result<Option<OwnedFd>, StorageError> {
        self.volume().existing_dir(&self.object.namespace, &self.object.name)
    }

    pub(super) fn published(&self, revision: &TreeRevision, list_digest: Digest) -> Published {
        Published {
            output: self.output.clone(),
            location: Location::new(OutputKind::Volume, self.name.clone()),
            revision: revision.revision(),
            list_digest: Some(list_digest),
            files: revision.files,
            bytes: revision.bytes,
            skipped: 0,
        }
    }
}

/// Reads the directory's marker; `None` for an empty directory, an error for a foreign one.
pub(super) fn own_marker(
    volume: &Volume,
    dir: BorrowedFd<'_>,
    object: &ObjectId,
) -> Result<Option<Marker>, OutputError> {
    let foreign = |why: &str| {
        let path = volume.path().join(&object.namespace).join(&object.name);
        OutputError::Obstacle(format!(
            "{} {why}. Move it away so that supercargo can use the directory",
            path.display()
        ))
    };
    match storage::open_file(dir, MARKER) {
        Ok(file) => {
            let mut text = String::new();
            file.take(marker::MAX_BYTES)
                .read_to_string(&mut text)
                .map_err(|error| StorageError::from_io(format!("read {MARKER}"), &error))?;
            Marker::parse(&text)
                .map(Some)
                .map_err(|_| foreign(&format!("contains a {MARKER} that supercargo did not write")))
        }
        Err(error) if error.is_absent() => {
            let only_ours = |name: &String| name.starts_with(&format!(".{MARKER}"));
            if storage::names(dir)?.iter().all(only_ours) {
                Ok(None)
            } else {
                Err(foreign("contains files that supercargo did not write"))
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Claims an empty directory.
pub(super) fn claim(dir: BorrowedFd<'_>, object: &ObjectId) -> Result<Marker, OutputError> {
    let marker = Marker { uid: object.uid.clone(), trees: Vec::new() };
    write_marker(dir, &marker)?;
    Ok(marker)
}

pub(super) fn write_marker(dir: BorrowedFd<'_>, marker: &Marker) -> Result<(), OutputError> {
    let bytes = serde_json::to_vec_pretty(marker)
        .map_err(|error| StorageError::from_io(format!("write {MARKER}"), &error.into()))?;
    Ok(storage::replace_file(dir, MARKER, &bytes)?)
}

/// Returns the tree that `current` points to.
pub(super) fn current(dir: BorrowedFd<'_>) -> Result<Option<String>, StorageError> {
    let link = match rustix::fs::readlinkat(dir, CURRENT, Vec::new()) {
        Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
        link => link.during(|| format!("read link {CURRENT}"))?,
    };
    Ok(link.to_str().ok().and_then(|text| text.strip_prefix("trees/")).map(str::to_owned))
}

pub(super) fn point_current_at(dir: BorrowedFd<'_>, tree: &str) -> Result<(), StorageError> {
    const FRESH: &str = ".current.new";
    storage::remove_tree(dir, FRESH)?;
    rustix::fs::symlinkat(format!("{TREES}/{tree}"), dir, FRESH).during(|| format!("create link {FRESH}"))?;
    rustix::fs::renameat(dir, FRESH, dir, CURRENT).during(|| format!("rename {FRESH} to {CURRENT}"))?;
    storage::sync(dir, "the object's directory")
}
