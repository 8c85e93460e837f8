//! The client of the API server, and the operator's own identity in the cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;
use tower::timeout::TimeoutLayer;
use tower::util::MapRequestLayer;

use super::api_requests::FairLayer;
use crate::api::Reason;
use crate::cli::output::complaint::Complaint;
use crate::controller::Health;
use crate::failure::{Failure, causes};

/// Maximum number of concurrent requests to the API server: each is a connection, and at a start every object sends
/// some.
const API_REQUESTS: usize = 16;
/// Maximum number of further concurrent requests, each the only one of its namespace.
const API_FIRST_REQUESTS: usize = 8;
/// Longest wait for the API server to begin a response. kube has no such timeout, and one lost connection would block
/// its object forever. A watch begins its response at once.
const API_TIMEOUT: Duration = Duration::from_secs(30);
/// Retries of a request that the API server was too busy for (429, 503, 504), and the shortest and longest pause before
/// a retry. Longer waits are left to the caller, whose pauses grow.
const API_RETRIES: u32 = 3;
const API_RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));
/// Pause after an error of the API server during the start.
const AFTER_API_ERROR: Duration = Duration::from_secs(2);

/// Creates the client of the API server. A request that waits for its retry gives its permit back, so that throttled
/// requests do not delay watches and writes.
pub(super) fn client(mut config: kube::Config, health: &Arc<Health>) -> Result<kube::Client, Complaint> {
    // kube's own retries pause longer than the callers can wait.
    config.default_retry = false;
    let (first, longest) = API_RETRY_PAUSES;
    let retry = RetryPolicy::new(first, longest, API_RETRIES, false).map_err(Failure::internal)?;
    let health = Arc::clone(health);
    let noted = MapRequestLayer::new(move |request: http::Request<Body>| {
        if request.method() == http::Method::GET {
            health.requested(request.uri().path(), Instant::now());
        }
        request
    });
    let client = ClientBuilder::try_from(config).map_err(|error| {
        Complaint::new(Reason::FileInvalid, format!("the cluster of the kubeconfig: {}", causes(&error)))
    })?;
    let client = client
        .with_layer(&TimeoutLayer::new(API_TIMEOUT))
        .with_layer(&BufferLayer::new(API_REQUESTS + API_FIRST_REQUESTS))
        .with_layer(&FairLayer::new(API_REQUESTS, API_FIRST_REQUESTS))
        .with_layer(&RetryLayer::new(retry))
        .with_layer(&noted);
    Ok(client.build())
}

/// Returns the installation that owns the volumes: the uid of the operator's namespace, which no other cluster has, and
/// a name. `None` if the operator may not read the namespace; the volumes are then not claimed.
#[expect(clippy::disallowed_methods, reason = "waits for the API server, without which there is no work")]
pub(super) async fn installation(client: &kube::Client, name: &str) -> Option<String> {
    let namespace = client.default_namespace();
    loop {
        match kube::Api::<Namespace>::all(client.clone()).get_metadata(namespace).await {
            Ok(found) => {
                let uid = found.metadata.uid.unwrap_or_default();
                return Some(format!("{uid}/{name}"));
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {
                tracing::warn!(
                    namespace,
                    %status,
                    "the operator's namespace cannot be read, so the volumes are not claimed: another installation can \
                     write to them, and directories of objects that were deleted while this operator was down are not \
                     removed. Grant get on this namespace"
                );
                return None;
            }
            Err(error) => {
                tracing::warn!(
                    namespace,
                    error = causes(&error),
                    "the operator's namespace cannot be read; trying again"
                );
                tokio::time::sleep(AFTER_API_ERROR).await;
            }
        }
    }
}
