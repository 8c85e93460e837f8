//! Commands for the shell that need no cluster.

mod cache;
mod promote;
mod pull;
mod resolve;
mod sync;
mod unpack;

use crate::support::case::Test;

pub(crate) fn tests() -> Vec<Test> {
    [sync::tests(), resolve::tests(), pull::tests(), cache::tests(), unpack::tests(), promote::tests()].concat()
}
