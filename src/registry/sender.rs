//! The origin of bytes, and the errors that may be told about them.

use super::RegistryError;
use crate::oci::Repository;

/// The origin that sent a body: the registry, or another one to which it redirects.
///
/// A registry can have the operator fetch from places that its owner cannot reach. So the bytes of another origin are only
/// ever compared with a digest that was known before: neither a message nor a later request depends on their digest or length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// `host[:port]`, for messages.
    pub(super) host: String,
    /// Scheme, host and port.
    pub(super) origin: String,
    pub(super) is_registry: bool,
}

impl Sender {
    /// The registry itself.
    pub fn registry(repository: &Repository) -> Self {
        let host = repository.host().to_owned();
        Self { origin: host.clone(), host, is_registry: true }
    }

    /// The error for other bytes than those of a digest.
    pub(crate) fn other_bytes(&self, what: String) -> RegistryError {
        RegistryError::DigestMismatch { what, host: self.host.clone() }
    }

    /// The same error for whatever is wrong with the bytes of another origin: `error` would tell their length.
    pub(super) fn veil(&self, error: RegistryError, what: impl FnOnce() -> String) -> RegistryError {
        let is_of_length = matches!(error, RegistryError::TooLarge { .. } | RegistryError::LongerThanNamed { .. });
        if is_of_length && !self.is_registry { self.other_bytes(what()) } else { error }
    }
}

/// The part of a blob that is there already.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Number of its bytes.
    pub bytes: u64,
    /// The origin that sent them. Only that one is asked for the rest.
    pub sender: Sender,
}
