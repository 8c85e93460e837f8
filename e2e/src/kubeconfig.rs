//! Access to an API server: a kubeconfig for programs, and a client for the harness.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

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

    pub async fn client(&self) -> Result<kube::Client> {
        let config: Kubeconfig = serde_json::from_value(self.document())?;
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
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
