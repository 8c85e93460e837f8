//! The client for registries, and the trusted root that it refreshes.

use std::net::IpAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Arguments;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::pass;
use crate::registry::egress::PlainHttp;
use crate::registry::http::HttpRegistry;
use crate::trust::public_root::{PublicRoot, keep_fresh};
use crate::trust::sigstore::Root;

/// Creates the client for registries, inside the operator's rules.
pub(super) fn client(
    arguments: &Arguments,
    api_server: &[IpAddr],
    metrics: &Arc<Metrics>,
) -> Result<HttpRegistry, Complaint> {
    let plain_http = PlainHttp::Hosts(arguments.plain_http_hosts.clone());
    let egress = arguments.reach.egress(&arguments.open_networks, api_server, plain_http);
    Ok(HttpRegistry::new(Arc::clone(metrics), egress, arguments.reach.per_second()).map_err(Failure::internal)?)
}

/// Returns the trusted root for requirements that name none, and the task that refreshes it.
pub(super) fn public_root(
    arguments: &Arguments,
    api_server: &[IpAddr],
    metrics: &Arc<Metrics>,
    shutdown: &CancellationToken,
) -> Result<(Arc<PublicRoot>, impl Future<Output = ()> + use<>), Complaint> {
    metrics.trusted_root(Root::carried_for(pass::now()));
    let refresh = arguments.trusted_root.refresh(&arguments.work_dir, || client(arguments, api_server, metrics))?;
    let root = Arc::new(if refresh.is_some() { PublicRoot::awaited() } else { PublicRoot::embedded() });
    let (kept, metrics, shutdown) = (Arc::clone(&root), Arc::clone(metrics), shutdown.clone());
    let refreshing = async move {
        if let Some(refresh) = refresh {
            // Cancels a refresh in progress too: the shutdown must not wait for a slow mirror.
            shutdown.run_until_cancelled(keep_fresh(refresh, &kept, &metrics, &shutdown)).await;
        }
    };
    Ok((root, refreshing))
}
