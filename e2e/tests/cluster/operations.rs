//! Operation of the operator: installation, admission, restarts, failures around it, and what users see of it.

mod admission;
pub(crate) mod api_server;
mod chart;
mod documentation;
mod failures;
mod full_volume;
mod gitops;
mod kubectl;
mod lifecycle;
mod plugin;
mod restart;

use crate::support::case::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        failures::tests(),
        api_server::tests(),
        full_volume::tests(),
        lifecycle::tests(),
        restart::tests(),
        kubectl::tests(),
        plugin::tests(),
        admission::tests(),
        chart::tests(),
        gitops::tests(),
        documentation::tests(),
    ]
    .concat()
}
