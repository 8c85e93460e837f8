//! Helpers that tests of several subjects share.

pub(crate) mod artifact;
pub(crate) mod case;
pub(crate) mod command;
pub(crate) mod metrics;
pub(crate) mod neighbour;
pub(crate) mod policy;
pub(crate) mod privileges;
pub(crate) mod pull_directory;
pub(crate) mod revision;
pub(crate) mod secret;
pub(crate) mod sync;
pub(crate) mod verdict;
