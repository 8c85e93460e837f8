//! Unpacking of verified layers into a complete tree in a stage.
//!
//! The digest of all bytes was verified, but their content is untrusted: the author chooses every name, size, mode
//! and link. A single invalid entry rejects the artifact; nothing is skipped or repaired. Published content is not
//! touched here.

use std::io;
use std::sync::Arc;

use crate::blob::{BlobReader, VerifiedBlob};
use crate::oci::Manifest;
use crate::request::{FileFilter, FileSelection, Limits, Unpacking};
use crate::storage::Scratch;

mod ahead;
mod budget;
mod copies;
mod decoder;
mod error;
mod extension;
mod hashing;
mod header;
pub mod image;
mod layer;
pub mod listing;
mod merge;
mod nodes;
pub mod path;
pub mod read_back;
mod rules;
pub mod staged;
mod tar;
mod tree;
mod window;
mod zip;

use budget::{Allowance, Budget};
use decoder::{Compression, Decoder, Wanted};
pub use error::UnpackError;
use layer::{Action, Extract, Manner};
use merge::Rule;
use path::EntryPath;
pub(crate) use path::shortened;
pub(crate) use rules::{EntryRules, check_link};
use staged::{Node, Staged};
pub use tree::LayerTree;
use tree::Rules;

/// Size from which a layer is decoded on a separate thread, and its files are hashed on another one.
const AHEAD_FROM: u64 = 256 * 1024;

/// Stop flag of a cancelled pass. Threads cannot be cancelled, so they check it between entries.
pub type Stop = tokio_util::sync::CancellationToken;

/// Number of entry properties that were not applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Entries owned by a user or group other than root.
    pub owners: u64,
    /// Entries with setuid, setgid or sticky bits.
    pub special_bits: u64,
    /// Extended attributes and access control lists.
    pub attributes: u64,
}

/// Unpacks the layers of one artifact: each into a separate tree, in any order and in parallel, and then merges the
/// trees.
#[derive(Debug)]
pub struct Unpacker {
    scratch: Arc<Scratch>,
    manifest: Manifest,
    unpacking: Unpacking,
    is_image: bool,
    budget: Arc<Budget>,
    stop: Stop,
}

impl Unpacker {
    /// `is_image` is the decision of [`image::kind`] or [`image::kind_by_config`].
    pub fn new(
        scratch: Arc<Scratch>,
        manifest: Manifest,
        is_image: bool,
        unpacking: Unpacking,
        limits: &Limits,
        stop: Stop,
    ) -> Self {
        Self { scratch, manifest, unpacking, is_image, budget: Arc::new(Budget::new(limits)), stop }
    }

    /// Unpacks one layer into a tree of its own. `number` is the layer's index in the artifact. Blocking.
    pub fn layer(&self, number: usize, blob: &VerifiedBlob) -> Result<(LayerTree, Dropped), UnpackError> {
        let unpacked = self.unpacked(number, blob);
        let layer = blob.descriptor().digest.short();
        match blob.is_unchanged() {
            Ok(true) => unpacked,
            Ok(false) => Err(UnpackError::Changed { layer }),
            Err(error) => Err(self.broken(&layer, &error)),
        }
    }

    fn unpacked(&self, number: usize, blob: &VerifiedBlob) -> Result<(LayerTree, Dropped), UnpackError> {
        let descriptor = blob.descriptor().clone();
        let layer = descriptor.digest.short();
        let broken = |error: io::Error| self.broken(&layer, &error);
        let sniffed = decoder::sniff(&mut blob.reader()).map_err(broken)?;
        let manner = Manner { mode: self.unpacking.mode, is_image: self.is_image };
        let action = layer::action(&self.manifest, &descriptor, manner, sniffed)?;
        let allowance = self.budget.layer(descriptor.size);
        let allowance = allowance.map_err(|exceeded| UnpackError::limit_in(&layer, exceeded))?;
        let is_decoded = !matches!(action, Action::File(_));
        let is_wide = is_decoded && sniffed.compression == Compression::Zstd && window::is_wide(blob.reader());
        let _only_one = is_wide.then(window::Wide::wait);
        let wanted = Wanted { compression: sniffed.compression, is_wide };
        let mut tree = self.tree(format!("layer-{number}"))?;
        if descriptor.size >= AHEAD_FROM {
            tree.hash_elsewhere()?;
        }
        let dropped = match action {
            Action::File(path) => self.file(&mut tree, blob, &path)?,
            Action::Extract(how) => self.extract(&mut tree, blob, wanted, allowance, &how)?,
            Action::ExtractIfTar(how, path) => {
                if self.is_tar(blob, wanted, allowance.clone())? {
                    self.extract(&mut tree, blob, wanted, allowance, &how)?
                } else {
                    self.file(&mut tree, blob, &path)?
                }
            }
            Action::Unzip(how) => {
                let file = blob.file().map_err(broken)?;
                zip::extract(&mut tree, file, allowance, &how, &self.stop, &broken)?
            }
        };
        tree.settle()?;
        Ok((tree, dropped))
    }

    /// Merges the layers in their order, keeps the files selected by `files` and `output`, resolves every link, and
    /// makes the result durable. Blocking.
    pub fn finish(
        &self,
        layers: Vec<LayerTree>,
        files: &FileSelection,
        output: &FileFilter,
    ) -> Result<Staged, UnpackError> {
        let rule = if self.is_image { Rule::Image } else { Rule::Artifact(self.unpacking.on_conflict) };
        let mut layers = layers.into_iter();
        let mut tree = match layers.next() {
            Some(first) => merge::lowest(first)?,
            None => self.tree("nothing".to_owned())?,
        };
        for layer in layers {
            if self.stop.is_cancelled() {
                return Err(UnpackError::Stopped);
            }
            merge::put_over(&mut tree, layer, rule)?;
        }
        let sub_path = &files.sub_path;
        let found = || {
            let top: Vec<&str> = tree.nodes.top().take(10).collect();
            if top.is_empty() { "nothing".to_owned() } else { shortened(&top.join(", ")) }
        };
        if !sub_path.is_root() && !matches!(tree.nodes.get(sub_path), Some(Node::Directory)) {
            return Err(UnpackError::SubPath { wanted: sub_path.to_string(), found: found() });
        }
        let found = found();
        let LayerTree { scratch, name, nodes, .. } = tree;
        let below = |path: EntryPath| path.strip_prefix(sub_path).filter(|path| !path.is_root());
        let nodes = nodes.into_map();
        // A large tree is not copied if it stays as it is.
        let nodes = if sub_path.is_root() {
            nodes
        } else {
            nodes.into_iter().filter_map(|(path, node)| Some((below(path)?, node))).collect()
        };
        let is_file = |node: &Node| !matches!(node, Node::Directory);
        let had_some = nodes.values().any(is_file);
        let keeps = |path: &EntryPath| files.filter.keeps(path) && output.keeps(path);
        let staged = Staged::new(scratch, name, sub_path, nodes, keeps)?;
        // An empty selection is most likely a typing error, and consumers would lose all files.
        let has_some = staged.nodes().values().any(is_file);
        if had_some && !has_some { Err(UnpackError::NothingLeft { found }) } else { Ok(staged) }
    }

    fn tree(&self, name: String) -> Result<LayerTree, UnpackError> {
        let rules = Rules { symlinks: self.unpacking.symlinks, is_image: self.is_image };
        LayerTree::create(Arc::clone(&self.scratch), name, Arc::clone(&self.budget), rules)
    }

    /// Adds the layer's bytes unchanged as one file.
    fn file(&self, tree: &mut LayerTree, blob: &VerifiedBlob, path: &EntryPath) -> Result<Dropped, UnpackError> {
        let (size, layer) = (blob.descriptor().size, blob.descriptor().digest.short());
        let broken = |error: io::Error| self.broken(&layer, &error);
        tree.add_file(path, false, size, &mut blob.reader(), &broken)?;
        Ok(Dropped::default())
    }

    /// Extracts the layer as a tar.
    fn extract(
        &self,
        tree: &mut LayerTree,
        blob: &VerifiedBlob,
        wanted: Wanted,
        allowance: Allowance,
        how: &Extract,
    ) -> Result<Dropped, UnpackError> {
        let broken = |error: io::Error| self.broken(&how.layer, &error);
        let size = blob.descriptor().size;
        let decoder = self.decoder(blob, wanted, allowance)?;
        if size < AHEAD_FROM || wanted.compression == Compression::None {
            return tar::extract(tree, decoder, how, &broken);
        }
        ahead::read_ahead(decoder, |decoded| tar::extract(tree, decoded, how, &broken))
    }

    /// Returns true if the decompressed bytes begin like a tar.
    fn is_tar(&self, blob: &VerifiedBlob, wanted: Wanted, allowance: Allowance) -> Result<bool, UnpackError> {
        let mut start = [0; 512];
        let layer = blob.descriptor().digest.short();
        let read = decoder::fill(&mut self.decoder(blob, wanted, allowance)?, &mut start);
        let read = read.map_err(|error| self.broken(&layer, &error))?;
        Ok(header::is_tar(start.get(..read).unwrap_or_default()))
    }

    fn decoder(
        &self,
        blob: &VerifiedBlob,
        wanted: Wanted,
        allowance: Allowance,
    ) -> Result<Decoder<BlobReader>, UnpackError> {
        let layer = blob.descriptor().digest.short();
        let broken = |error: io::Error| self.broken(&layer, &error);
        Decoder::new(blob.reader(), wanted, allowance, self.stop.clone()).map_err(broken)
    }

    /// Distinguishes an exceeded limit and a cancelled pass from a corrupt archive.
    fn broken(&self, layer: &str, error: &io::Error) -> UnpackError {
        if self.stop.is_cancelled() {
            return UnpackError::Stopped;
        }
        match decoder::limit_of(error) {
            Some(exceeded) => UnpackError::limit_in(layer, exceeded),
            None => UnpackError::Archive { layer: layer.to_owned(), problem: error.to_string() },
        }
    }
}

/// Returns true for layers that are fetched; the others hold metadata about the artifact.
pub fn is_content(layer: &crate::oci::Descriptor) -> bool {
    layer::is_content(layer)
}

#[cfg(test)]
mod tests;
