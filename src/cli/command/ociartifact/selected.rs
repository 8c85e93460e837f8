//! Objects that a command changes: named ones, or all of a namespace.

use kube::api::{Patch, PatchParams};
use serde_json::Value;

use super::cluster::{ARTIFACTS, Cluster, Right, object_name, quiet};
use super::outcome::note_none;
use crate::api::Reason;
use crate::api::stored::Stored;
use crate::cli::options::format::Format;
use crate::cli::output::complaint::Complaint;

/// Field manager of changes.
const MANAGER: &str = "kubectl-ociartifact";

/// Options for the objects of a command.
#[derive(Debug, clap::Args)]
pub(super) struct SelectArguments {
    /// Names of the objects, unless --all is set.
    #[arg(value_name = "NAME", conflicts_with = "all", value_parser = object_name)]
    names: Vec<String>,
    /// Every object of the namespace.
    #[arg(long)]
    pub(super) all: bool,
}

impl SelectArguments {
    /// Fails if no object is selected, before a cluster is looked for.
    pub(super) fn check(&self) -> Result<(), Complaint> {
        if self.all || !self.names.is_empty() {
            return Ok(());
        }
        let complaint = Complaint::new(Reason::InvalidSpec, "no NAME; expected names of objects, or --all");
        Err(complaint.with_remedy("Name the objects, or select every object of the namespace with --all.".to_owned()))
    }

    /// Returns the objects as they are now. Fails before any change if one does not exist.
    pub(super) async fn objects(&self, cluster: &Cluster, format: Format) -> Result<Vec<Stored>, Complaint> {
        if self.all {
            let listed = cluster.list_artifacts(false).await?;
            if listed.is_cut {
                let problem = format!("--all: namespace {} has too many objects; expected names", cluster.namespace);
                return Err(Complaint::new(Reason::LimitExceeded, problem));
            }
            if listed.items.is_empty() {
                note_none(format, Some(&cluster.namespace));
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
