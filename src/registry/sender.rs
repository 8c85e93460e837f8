//! The origin of bytes, and the errors that may be reported about them.

use super::RegistryError;
use crate::oci::Repository;

/// The origin that sent a body: the registry, or an origin to which it redirected.
///
/// A registry can make the operator fetch from hosts that the registry's owner cannot reach. So bytes of another
/// origin are only compared with a digest that was known before: neither a message nor a later request depends on
/// their digest or length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// `host[:port]`, for messages.
    pub(super) host: String,
    /// Scheme, host and port.
    pub(super) origin: String,
    pub(super) is_registry: bool,
}

impl Sender {
    /// Returns the registry itself as sender.
    pub fn registry(repository: &Repository) -> Self {
        let host = repository.host().to_owned();
        Self { origin: host.clone(), host, is_registry: true }
    }

    /// Returns a local place, such as a directory, as sender.
    pub(crate) fn local(place: &str) -> Self {
        Self { origin: place.to_owned(), host: place.to_owned(), is_registry: true }
    }

    /// Returns the error for bytes that do not have the expected digest.
    pub(crate) fn other_bytes(&self, what: String) -> RegistryError {
        RegistryError::DigestMismatch { what, host: self.host.clone() }
    }

    /// Replaces an error that would reveal the length of another origin's bytes by the uniform error.
    pub(super) fn veil(&self, error: RegistryError, what: impl FnOnce() -> String) -> RegistryError {
        let is_of_length = matches!(error, RegistryError::TooLarge { .. } | RegistryError::LongerThanNamed { .. });
        if is_of_length && !self.is_registry { self.other_bytes(what()) } else { error }
    }
}

/// The part of a blob that was received before.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Number of bytes received.
    pub bytes: u64,
    /// The origin that sent them. The rest is requested only from this origin.
    pub sender: Sender,
}
