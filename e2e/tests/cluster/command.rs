//! Commands for the shell that need no cluster.

mod aicr;
mod cache;
mod diff;
mod failures;
mod helm_push;
mod import;
mod kapitan;
mod kubara;
mod local_files;
mod lock;
mod login;
mod package;
mod pin;
mod pin_files;
mod policy_test;
mod promote;
mod pull;
mod push;
mod readers;
mod reproducible;
mod resolve;
mod round_trip;
mod sync;
mod unpack;
mod vendir;

use crate::support::case::Test;

/// Ends of the names of tests that need root.
pub(crate) const AS_ROOT: [&str; 2] = [reproducible::AS_ROOT, failures::AS_ROOT];

pub(crate) fn tests() -> Vec<Test> {
    [
        aicr::tests(),
        cache::tests(),
        diff::tests(),
        failures::tests(),
        helm_push::tests(),
        import::tests(),
        kapitan::tests(),
        kubara::tests(),
        local_files::tests(),
        lock::tests(),
        login::tests(),
        package::tests(),
        pin::tests(),
        pin_files::tests(),
        policy_test::tests(),
        promote::tests(),
        pull::tests(),
        push::tests(),
        readers::tests(),
        reproducible::tests(),
        resolve::tests(),
        round_trip::tests(),
        sync::tests(),
        unpack::tests(),
        vendir::tests(),
    ]
    .concat()
}
