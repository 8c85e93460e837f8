//! Policies of the cluster's administrators: their scope, the rights to change them, and the effect of a change on
//! published content.
//!
//! Policies are cluster-scoped and other tests share the cluster, so each policy matches only repositories or
//! namespaces of its own test. Signatures are made by hand, with keys and without a log, so that no tool has to be
//! built for them.

mod broken;
mod changes;
mod combinations;
mod files;
mod revoked;
mod samples;
mod tenant;
mod watching;

use crate::support::case::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        combinations::tests(),
        tenant::tests(),
        changes::tests(),
        revoked::tests(),
        broken::tests(),
        samples::tests(),
        watching::tests(),
        files::tests(),
    ]
    .concat()
}
