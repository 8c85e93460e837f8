//! Publishing: artifacts are copied to a registry blob by blob, checked there, and only then given their tags.
//!
//! ```text
//!  source: any Registry                              destination: Registry + Push
//!  ────────────────────                              ────────────────────────────
//!  document by digest ─▶ its children ─▶ blobs ────▶ there already? mounted? uploaded   (four at a time)
//!                                     manifests ───▶ children first, by digest, read back
//!                        referrers ────────────────▶ the same; list of the registry, or index under a tag
//!                        .sig .att .sbom ──────────▶ the same, and their tags
//!                        signature ────────────────▶ a bundle as a referrer, or under .sig, if a key is given
//!                                                    tags of the artifact, last
//! ```
//!
//! A process that is killed anywhere leaves blobs and manifests without a tag, and a repetition finds them. No tag ever
//! refers to an artifact whose parts the registry has not confirmed, or that was to be signed and is not.
//!
//! Programs publish with [`package`], [`push_from_store`], [`package_and_push`], [`package_and_push_helm_chart`] and
//! [`push_referrer`]. The commands call the same functions.

use std::sync::Arc;

use crate::blob::Progress;
use crate::oci::{Digest, Repository};
use crate::registry::{Access, RegistryError};

mod attach;
mod copy;
mod discover;
mod error;
mod fallback;
mod graph;
mod push;
mod referrers;
mod sign;
mod source;
pub mod store;
mod tags;
mod transfer;
pub mod version;

pub use attach::{Attached, Attachment, Part, Referrer, attach, push_referrer};
pub use copy::Copied;
pub use discover::{Found, discover};
pub use error::PublishError;
pub use push::{Pushed, package_and_push, package_and_push_helm_chart, push_from_store};
pub use sign::{Format, Signature, Signing, sign_once};
pub use store::{InStore, Packaged, Packaging, Store, package, package_helm_chart};
pub use tags::Overwrite;
pub use transfer::{Options, Transferred, copy_signatures, transfer};

/// A repository, and the way to it.
pub struct Place<'a, R> {
    /// The registry.
    pub registry: &'a Arc<R>,
    /// Credentials and transport.
    pub access: &'a Access,
    /// The repository.
    pub repository: &'a Repository,
}

impl<R> Clone for Place<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Place<'_, R> {}

impl<R> std::fmt::Debug for Place<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({})", self.repository)
    }
}

/// Display of what is copied.
pub type Display = Option<Arc<dyn Progress>>;

/// Maps "not found" to `None`. Any other error must not pass for that.
fn found<T>(result: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match result {
        Err(RegistryError::NotFound(_)) => Ok(None),
        result => result.map(Some),
    }
}

/// Returns `repository@digest`, for messages.
fn named(repository: &Repository, digest: &Digest) -> String {
    format!("{repository}@{}", digest.short())
}

#[cfg(test)]
mod tests;
