//! Objects that a command changes: named ones, or all of a namespace.

use kube::api::{Patch, PatchParams};
use serde_json::Value;

use super::cluster::{ARTIFACTS, Cluster, Right, object_name, quiet};
use crate::api::Reason;
use crate::api::stored::Stored;
use crate::cli::output::complaint::Complaint;

/// Field manager of changes.
const MANAGER: &str = "kubectl-ociartifact";

/// Options for the objects of a command.
#[derive(Debug, clap::Args)]
pub(super) struct SelectArguments {
    /// Names of the objects.
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all", value_parser = object_name)]
    names: Vec<String>,
    /// Every object of the namespace.
    #[arg(long)]
    pub(super) all: bool,
}

impl SelectArguments {
    /// Returns the objects as they are now. Fails before any change if one does not exist.
    pub(super) async fn objects(&self, cluster: &Cluster) -> Result<Vec<Stored>, Complaint> {
        if self.all {
            let listed = cluster.list_artifacts(false).await?;
            if listed.is_cut {
                let problem = format!("--all: namespace {} has too many objects; expected names", cluster.namespace);
                return Err(Complaint::new(Reason::LimitExceeded, problem));
            }
            return Ok(listed.items);
        }
        let mut found: Vec<Stored> = Vec::new();
        for name in &self.names {
            if !found.iter().any(|stored| stored.metadata.name.as_ref() == Some(name)) {
                found.push(cluster.artifact(name).await?);
            }
        }
        Ok(found)
    }
}

/// Applies a merge patch to an object.
pub(super) async fn patch(cluster: &Cluster, name: &str, patch: &Value) -> Result<Stored, Complaint> {
    let right = Right { verb: "patch", resource: ARTIFACTS, namespace: Some(&cluster.namespace) };
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patched = quiet(cluster.artifacts().patch(name, &params, &Patch::Merge(patch))).await;
    patched.map_err(|error| right.refused(Some(name), &error))
}
