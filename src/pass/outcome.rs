//! Result of a successful pass.

use super::look::Look;
use crate::oci::Manifest;
use crate::output::Published;
use crate::output::damage::Damage;
use crate::registry::Pinned;
use crate::request::Request;
use crate::trust::Basis;
use crate::unpack::staged::{Node, Staged};

/// Maximum number of top-level names in a report.
const TOP_NAMES: usize = 10;

/// A successful pass.
#[derive(Debug)]
pub struct Outcome {
    /// Repository and digest that the reference resolved to.
    pub pinned: Pinned,
    /// State of each output.
    pub published: Vec<Published>,
    /// The manifest, if a revision was published.
    pub manifest: Option<Manifest>,
    /// Basis of the verdict, if the digest was judged in this pass.
    pub basis: Option<Basis>,
    /// Media types of layers that were not fetched because they are metadata, such as signatures.
    pub skipped: Vec<String>,
    /// Damage that was found and published again.
    pub repaired: Vec<Damage>,
    /// Top of the artifact's tree, if it was unpacked.
    pub top: Option<Top>,
}

/// Top of an artifact's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    /// The first top-level names.
    pub names: Vec<String>,
    /// Name of the single directory that contains everything, if `spec.files.subPath` is not set.
    pub single_directory: Option<String>,
}

impl Outcome {
    /// Creates an outcome without a publication: every output already holds the revision.
    pub(super) fn kept(pinned: Pinned, look: Look, basis: Option<Basis>) -> Self {
        let published = look.held.into_iter().flatten().collect();
        Self { pinned, published, manifest: None, basis, skipped: Vec::new(), repaired: Vec::new(), top: None }
    }
}

impl Top {
    /// Returns the top of a staged tree.
    pub(super) fn of(request: &Request, staged: &Staged) -> Self {
        // With filters, the single directory may be one of several in the artifact.
        let is_whole = request.files.filter.is_all() && request.targets.iter().all(|target| target.filter.is_all());
        let top = || staged.nodes().iter().filter(|(path, _)| path.depth() == 1);
        let single = match (top().next(), top().nth(1)) {
            (Some((path, Node::Directory)), None) if request.files.sub_path.is_root() && is_whole => {
                Some(path.to_string())
            }
            (Some(_) | None, _) => None,
        };
        Self { names: top().take(TOP_NAMES).map(|(path, _)| path.to_string()).collect(), single_directory: single }
    }
}
