//! A reference in a text.

use super::error::{PinError, Problem};
use super::slot::Slot;
use crate::oci::Reference;
use crate::oci::reference::ParseReferenceError;

/// A reference in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Line of the reference, counted from 1.
    pub line: usize,
    /// The reference, with its digest if it has one.
    pub reference: Reference,
    pub(super) slot: Slot,
}

impl Found {
    /// Returns the reference without its digest; `None` if it has no tag, and so nothing that could move.
    pub fn tagged(&self) -> Option<Reference> {
        self.reference.tag.is_some().then(|| Reference { digest: None, ..self.reference.clone() })
    }
}

pub(super) fn parse(line: usize, text: &str) -> Result<Reference, PinError> {
    text.parse().map_err(|error: ParseReferenceError| {
        PinError::new(line, Problem::Reference(text.to_owned(), error.to_string()))
    })
}
