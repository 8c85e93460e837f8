//! Helpers that tests of several subjects share.

pub(crate) mod artifact;
pub(crate) mod case;
pub(crate) mod neighbour;
pub(crate) mod revision;
