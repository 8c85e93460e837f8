//! From verified layers to a complete tree in a stage.
//!
//! Everything here reads bytes whose digest was checked, and trusts none of them: a name, size, mode
//! or link is the author's wish. One bad entry refuses the artifact; nothing is skipped or repaired.
//! Nothing here touches what is published.

use std::io;

use crate::blob::VerifiedBlob;
use crate::oci::Manifest;
use crate::request::Limits;
use crate::storage::{Scratch, StorageError};

mod decoder;
mod extension;
mod layer;
pub mod path;
pub mod staged;
mod tar;
pub mod tree;

use layer::Action;
use path::PathError;
use tree::Tree;

/// Why an artifact could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// An entry that is refused.
    #[error("entry {entry:?} {problem}")]
    Entry {
        /// Its name, as far as it can be shown.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Two layers disagree about a path.
    #[error("two layers have different content for {0:?}")]
    Conflict(String),
    /// The archive itself is broken.
    #[error("layer {layer}: {problem}")]
    Archive {
        /// Short digest of the layer.
        layer: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A compression or archive that is not supported.
    #[error("layer {layer} is compressed by {format}; tar, tar+gzip and tar+zstd are supported")]
    Unsupported {
        /// Short digest of the layer.
        layer: String,
        /// What it is.
        format: &'static str,
    },
    /// The tar inside does not have the digest that its producer noted.
    #[error("layer {layer}: the archive inside does not have the digest of io.deis.oras.content.digest")]
    ContentDigest {
        /// Short digest of the layer.
        layer: String,
    },
    /// More than the operator allows.
    #[error("the artifact has more than {limit} {what} ({flag}={limit})")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
        /// The operator's flag.
        flag: &'static str,
    },
    /// `spec.files.subPath` is not a directory of the artifact.
    #[error("the artifact has no directory {wanted:?}; at its top it has {found}")]
    SubPath {
        /// What was asked for.
        wanted: String,
        /// The first names that there are.
        found: String,
    },
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The pass was given up meanwhile.
    #[error("stopped")]
    Stopped,
}

impl UnpackError {
    fn entry(entry: &impl std::fmt::Display, problem: impl Into<String>) -> Self {
        Self::Entry { entry: shown(&entry.to_string()), problem: problem.into() }
    }

    fn name(raw: &[u8], problem: PathError) -> Self {
        Self::Entry { entry: shown(&String::from_utf8_lossy(raw)), problem: problem.to_string() }
    }
}

/// A foreign name, short enough to be told.
fn shown(name: &str) -> String {
    const LONGEST: usize = 120;
    if name.chars().count() <= LONGEST { name.to_owned() } else { name.chars().take(LONGEST).chain(['…']).collect() }
}

/// A pass that is given up cannot stop a thread: the thread looks here between entries.
pub type Stop = tokio_util::sync::CancellationToken;

/// Unpacks the layers, in order, into a tree below `scratch`; [`Tree::finish`] makes it a [`staged::Staged`].
///
/// Blocking. `blobs` are the layers of `manifest` that were fetched, in its order.
pub fn into_tree(
    scratch: Scratch,
    manifest: &Manifest,
    blobs: &mut [VerifiedBlob],
    limits: &Limits,
    stop: &Stop,
) -> Result<Tree, UnpackError> {
    let mut tree = Tree::create(scratch, *limits)?;
    for blob in blobs {
        tree.next_layer();
        unpack_layer(&mut tree, manifest, blob, stop)?;
    }
    Ok(tree)
}

/// True for layers that are fetched: the others are about the artifact, not of it.
pub fn is_content(layer: &crate::oci::Descriptor) -> bool {
    layer::is_content(layer)
}

fn unpack_layer(tree: &mut Tree, manifest: &Manifest, blob: &mut VerifiedBlob, stop: &Stop) -> Result<(), UnpackError> {
    let descriptor = blob.descriptor().clone();
    let layer = descriptor.digest.short();
    let broken = |error: io::Error| UnpackError::Archive { layer: layer.clone(), problem: error.to_string() };
    let mut head = [0_u8; 512];
    let compression = decoder::sniff(blob.reader().map_err(broken)?, &mut head).map_err(broken)?;
    let (extract, file) = match layer::action(manifest, &descriptor, compression)? {
        Action::File(path) => (None, Some(path)),
        Action::Extract(how) => (Some(how), None),
        Action::ExtractIfTar(how, path) => {
            let is_tar = tar::is_tar(blob.reader().map_err(broken)?, compression).map_err(broken)?;
            if is_tar { (Some(how), None) } else { (None, Some(path)) }
        }
    };
    let reader = blob.reader().map_err(broken)?;
    match (extract, file) {
        (Some(how), _) => tar::extract(tree, reader, compression, &how, &layer, stop),
        (None, Some(path)) => tree.add_file(&path, false, descriptor.size, reader, &broken),
        (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
