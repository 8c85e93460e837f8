//! Secrets of the cluster.

use anyhow::Result;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use supercargo_e2e::object::Space;

/// Returns a pull Secret with this Docker configuration.
pub(crate) fn docker_config(config: &Value) -> Value {
    json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config.to_string()}})
}

/// Creates or replaces a Secret.
pub(crate) async fn apply_secret(space: &Space, name: &str, mut manifest: Value) -> Result<()> {
    manifest["apiVersion"] = json!("v1");
    manifest["kind"] = json!("Secret");
    manifest["metadata"]["name"] = json!(name);
    space.secrets().patch(name, &PatchParams::apply("supercargo-e2e"), &Patch::Apply(manifest)).await?;
    Ok(())
}
