//! Verdicts that the tables of tests expect.

/// Expected verdict on an artifact. `A` describes what an accepted artifact must have, such as its files or its signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<A = ()> {
    Accepted(A),
    /// Refused with this reason, and a message that contains this noun: an entry, a digest, an option.
    Refused(&'static str, &'static str),
}

impl Verdict {
    pub(crate) const ACCEPTED: Self = Self::Accepted(());
}
