//! Access to an API server: a kubeconfig for programs, and a client for the harness.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::retry::RetryPolicy;
use kube::client::{ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

/// Longest time for which the client keeps an idle connection.
///
/// The API server ends connections that were idle for 90 seconds, and so does kube's own client: on a busy machine it
/// sends a request on a connection that the server is ending, and the request fails with "connection closed before
/// message completed". A request that changes something cannot be repeated then, because it may have been served. A
/// client that gives up its connections much earlier never meets this.
const KEPT_IDLE: Duration = Duration::from_secs(20);

/// API server, and a bearer token for it.
#[derive(Debug, Clone)]
pub struct Access {
    pub server: String,
    pub authority: PathBuf,
    pub token: String,
    /// Default namespace.
    pub namespace: String,
}

impl Access {
    /// Writes the kubeconfig (JSON, which is YAML) for programs.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs_err::write(path, self.document().to_string()).with_context(|| format!("writing {}", path.display()))
    }

    /// Returns a client whose connections end before the API server ends them: after `KEPT_IDLE`.
    pub async fn client(&self) -> Result<kube::Client> {
        let config: Kubeconfig = serde_json::from_value(self.document())?;
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        // It fails if an earlier client has installed the provider.
        let _ = aws_lc_rs::default_provider().install_default();
        let connections = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_IDLE)
            .build(config.rustls_https_connector()?);
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .layer(RetryLayer::new(RetryPolicy::server_retry()))
            .option_layer(config.auth_layer()?)
            .map_err(BoxError::from)
            .service(connections);
        Ok(ClientBuilder::new(service, config.default_namespace).build())
    }

    fn document(&self) -> serde_json::Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{"name": "e2e", "cluster": {"server": self.server, "certificate-authority": self.authority}}],
            "users": [{"name": "e2e", "user": {"token": self.token}}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e", "namespace": self.namespace}}],
        })
    }
}
