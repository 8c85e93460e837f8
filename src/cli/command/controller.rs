//! `supercargo controller`: the operator's process.

use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::Reason;
use crate::cli::output::complaint::Complaint;
use crate::controller::{Health, OnRevoked, Settings};
use crate::failure::{Failure, causes};
use crate::metrics::Metrics;
use crate::request::Otherwise;

mod api_requests;
mod api_server;
mod arguments;
mod cluster;
mod engine;
mod registries;
mod stop;

pub(crate) use arguments::Arguments;
use arguments::{NoPolicy, RevokedRule};

/// Remedy without a cluster.
const NO_CLUSTER: &str = "Start it in a pod with a service account, or set KUBECONFIG to a kubeconfig.";

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Complaint> {
    let config = kube::Config::infer().await.map_err(|error| {
        let problem = format!("no usable service account of a pod, and no usable kubeconfig: {}", causes(&error));
        Complaint::new(Reason::FileInvalid, problem).with_remedy(NO_CLUSTER.to_owned())
    })?;
    let health = Arc::new(Health::default());
    let client = cluster::client(config, &health)?;
    let metrics = Arc::new(Metrics::default());
    let listener = TcpListener::bind(arguments.listen).await;
    let listener = listener
        .map_err(|error| Complaint::new(Reason::InvalidSpec, format!("--listen {}: {error}", arguments.listen)))?;
    let shutdown = CancellationToken::new();
    tokio::spawn(stop::cancel_on_signal(shutdown.clone()));
    // Starts before anything that may wait: a process that waits for the API server is alive.
    let server = crate::server::serve(listener, Arc::clone(&metrics), Arc::clone(&health), shutdown.clone());
    let server = tokio::spawn(server);
    let installation = shutdown.run_until_cancelled(cluster::installation(&client, &arguments.installation)).await;
    let Some(installation) = installation else { return Ok(ExitCode::SUCCESS) };
    let api_server = shutdown.run_until_cancelled(api_server::addresses(&client)).await.unwrap_or_default();
    let engine = engine::engine(&arguments, installation, client.clone(), &api_server, &metrics);
    let engine = shutdown.run_until_cancelled(engine).await;
    let Some(engine) = engine.transpose()? else { return Ok(ExitCode::SUCCESS) };
    let (public_root, refreshing) = registries::public_root(&arguments, &api_server, &metrics, &shutdown)?;
    let commit = super::version::COMMIT.unwrap_or("unknown");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), commit, listen = %arguments.listen, "started");
    let expiring = shutdown.clone().run_until_cancelled_owned(engine.cache.clone().expire());
    let settings = Settings {
        namespaces: arguments.namespaces,
        full_scan: arguments.full_scan_interval,
        policies: arguments.policies,
        otherwise: match arguments.no_policy {
            NoPolicy::Allow => Otherwise::Allow,
            NoPolicy::Deny => Otherwise::Deny,
        },
        on_revoked: match arguments.on_revoked {
            RevokedRule::Keep => OnRevoked::Keep,
            RevokedRule::Withdraw => OnRevoked::Withdraw,
        },
        watch_secrets: arguments.watch_secrets,
        public_root,
    };
    let controller = crate::controller::run(client, engine, settings, metrics, health, shutdown.clone());
    // If either ends, both end: a pod that is alive but does no work would not be restarted.
    let server = async {
        let result = server.await;
        shutdown.cancel();
        result
    };
    let (served, (), (), _) = tokio::join!(server, controller, refreshing, expiring);
    served.map_err(Failure::internal)?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}
