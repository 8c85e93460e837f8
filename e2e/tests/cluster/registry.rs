//! Access to registries: credentials, TLS, caches, fairness between tenants, and registries that misbehave.

mod access;
mod cache;
mod fairness;
mod hostile;
mod oracles;
mod secrets;
mod siege;
mod swarm;
mod tls;
mod writing;

use crate::support::case::Test;

pub(crate) fn tests() -> Vec<Test> {
    [fairness::tests(), cache::tests(), access::tests(), tls::tests(), oracles::tests(), secrets::tests()].concat()
}

/// Tests that load the processors with what one registry does wrong.
pub(crate) fn misbehaving() -> Vec<Test> {
    [hostile::tests(), writing::tests()].concat()
}

/// Tests that load the processors with many objects.
pub(crate) fn crowded() -> Vec<Test> {
    [swarm::tests(), siege::tests()].concat()
}
