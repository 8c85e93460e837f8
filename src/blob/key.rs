//! Names of kept layers.

use crate::oci::Digest;

/// Length of the origin in a file name, in hex digits.
const ORIGIN_HEX: usize = 32;

/// File name of a layer in a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    pub(super) fn new(origin: &str, digest: &Digest) -> Self {
        let origin = Digest::of(origin.as_bytes());
        Self(format!("{}-{}", digest.hex(), origin.hex().get(..ORIGIN_HEX).unwrap_or_default()))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }
}
