//! Whether a digest may be fetched at all.
//!
//! [`Approved`] is the only way to fetch a layer. It holds exactly the digest that was judged and
//! the manifest that has that digest, so nothing can change between the verdict and the use of it.

use crate::oci::Manifest;
use crate::registry::Pinned;

/// What a verdict rests on. There is no silent "allowed": no policy is a variant of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Nobody asked for a signature.
    NoPolicy,
}

/// A digest that the policy in force allows to be fetched, with its manifest.
#[derive(Clone, Debug)]
pub struct Approved {
    pinned: Pinned,
    manifest: Manifest,
    basis: Basis,
}

impl Approved {
    /// The digest that was judged.
    pub fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Both, once everything that needs the verdict is done.
    pub fn into_parts(self) -> (Pinned, Manifest) {
        (self.pinned, self.manifest)
    }

    /// What the verdict rests on.
    pub fn basis(&self) -> Basis {
        self.basis
    }
}

/// Applies the policy in force. There is none to apply yet, and the result says so.
pub fn approve(pinned: Pinned, manifest: Manifest) -> Approved {
    Approved { pinned, manifest, basis: Basis::NoPolicy }
}
