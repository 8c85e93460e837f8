//! Removal of the finalizer that earlier builds of the operator set. The operator sets none now.

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::context::Context;
use crate::api::OLD_FINALIZER;
use crate::api::stored::Stored;
use crate::failure::causes;
use crate::request::ObjectId;

/// Removes the finalizer from the object if it has it, and no other finalizer. The next look repeats a
/// refused removal.
pub(super) async fn remove<R>(stored: &Stored, context: &Context<R>) {
    if !stored.finalizers().iter().any(|name| name == OLD_FINALIZER) {
        return;
    }
    let id = ObjectId::from(stored);
    let names: Vec<&str> =
        stored.finalizers().iter().map(String::as_str).filter(|name| *name != OLD_FINALIZER).collect();
    let metadata = &stored.metadata;
    let patch =
        json!({"metadata": {"finalizers": names, "uid": metadata.uid, "resourceVersion": metadata.resource_version}});
    let objects: Api<Stored> = Api::namespaced(context.client.clone(), &id.namespace);
    context.metrics.api_write("finalizer");
    match objects.patch_metadata(&id.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => {
            tracing::warn!(namespace = %id.namespace, name = %id.name, error = causes(&error), "the finalizer of an earlier build cannot be removed; retried at the next reconcile");
        }
    }
}
