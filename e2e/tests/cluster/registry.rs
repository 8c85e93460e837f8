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

use crate::support::case::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        fairness::tests(),
        cache::tests(),
        access::tests(),
        tls::tests(),
        oracles::tests(),
        hostile::tests(),
        secrets::tests(),
        swarm::tests(),
        siege::tests(),
    ]
    .concat()
}
