//! Outcome of the verification of a digest that may be fetched.

use super::error::TrustError;
use super::requirement::{Entry, Verified};
use crate::api::Reason;

/// Basis of a verdict. There is no silent "allowed": the absence of a requirement is a variant of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// No signature is required.
    NoPolicy,
    /// Each enforced entry of the requirement is satisfied.
    Judged(Judgement),
}

impl Basis {
    /// Returns the doubts about unsatisfied entries that only warn.
    pub fn doubts(&self) -> &[Doubt] {
        match self {
            Self::NoPolicy => &[],
            Self::Judged(judgement) => &judgement.doubts,
        }
    }
}

/// Result for each entry of a requirement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Satisfied entries with their signatures.
    pub verified: Vec<Verified>,
    /// Unsatisfied entries that only warn.
    pub doubts: Vec<Doubt>,
}

/// Reason for an unsatisfied entry that only warns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Name of the entry.
    pub entry: String,
    /// Stable reason, the same as for an enforced entry.
    pub reason: Reason,
    /// Human-readable message.
    pub message: String,
}

impl Doubt {
    pub(super) fn new(entry: &Entry, error: &TrustError) -> Self {
        Self {
            entry: entry.name.clone(),
            reason: error.reason().unwrap_or(Reason::RegistryUnavailable),
            message: error.to_string(),
        }
    }
}
