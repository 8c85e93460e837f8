//! Commands for the shell that need no cluster.

pub(crate) mod pull;
pub(crate) mod resolve;
pub(crate) mod sync;
mod unpack;

use crate::support::case::Test;

pub(crate) fn tests() -> Vec<Test> {
    [sync::tests(), resolve::tests(), pull::tests(), unpack::tests()].concat()
}
