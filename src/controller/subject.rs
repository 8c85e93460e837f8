//! One object as it was read, and everything that may be written to it: its finalizer, its status,
//! Events about it. What is written is decided elsewhere.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use super::event::{self, News};
use super::report;
use crate::api::status::OutputStatus;
use crate::api::{self, OCIArtifact, OCIArtifactStatus};
use crate::metrics::Metrics;
use crate::pass::Lists;
use crate::plan::Revision;
use crate::request::ObjectId;

/// The object that a reconcile is about.
pub(super) struct Subject<'a> {
    pub(super) object: &'a OCIArtifact,
    pub(super) id: ObjectId,
    pub(super) status: OCIArtifactStatus,
    api: Api<OCIArtifact>,
    client: Client,
    metrics: &'a Metrics,
}

impl<'a> Subject<'a> {
    pub(super) fn new(object: &'a OCIArtifact, client: &Client, metrics: &'a Metrics) -> Self {
        let id = ObjectId {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        };
        let api = Api::namespaced(client.clone(), &id.namespace);
        let status = object.status.clone().unwrap_or_default();
        Self { object, id, status, api, client: client.clone(), metrics }
    }

    pub(super) fn generation(&self) -> i64 {
        self.object.metadata.generation.unwrap_or_default()
    }

    pub(super) fn before(&self) -> report::Before<'_> {
        report::Before {
            status: &self.status,
            generation: self.generation(),
            asks_signature: !self.object.spec.verify.is_empty(),
            requested_at: self.requested_at(),
            now: now(),
        }
    }

    pub(super) fn requested_at(&self) -> Option<&str> {
        let annotations = self.object.annotations();
        annotations.get(api::REQUESTED_AT).or_else(|| annotations.get(api::REQUESTED_AT_FLUX)).map(String::as_str)
    }

    /// What status names as served.
    pub(super) fn recorded(&self) -> Option<Revision> {
        let digest = self.status.artifact.as_ref()?.digest.parse().ok()?;
        Some(Revision { digest, fingerprint: self.status.fingerprints.as_ref()?.content.clone() })
    }

    /// Fingerprint of the requirement by which what is served was judged.
    pub(super) fn trust(&self) -> Option<String> {
        self.status.fingerprints.as_ref()?.trust.clone()
    }

    /// What status knows of the files of each output, where they are of the revision that it names.
    pub(super) fn lists(&self) -> Lists {
        let served = self.status.artifact.as_ref().map(|artifact| artifact.digest.as_str());
        let of = |output: &OutputStatus| {
            let list_digest = output.list_digest.as_ref().filter(|_| Some(output.digest.as_str()) == served);
            Some((output.name.clone(), list_digest?.parse().ok()?))
        };
        self.status.outputs.iter().filter_map(of).collect()
    }

    pub(super) fn has_finalizer(&self) -> bool {
        self.object.finalizers().iter().any(|name| name == api::FINALIZER)
    }

    /// Replaces the list that was read, and only that one: somebody else's finalizer is not lost.
    pub(super) async fn set_finalizer(&self, wanted: bool) -> Result<(), kube::Error> {
        if self.has_finalizer() == wanted {
            return Ok(());
        }
        let mut names: Vec<&str> = self.object.finalizers().iter().map(String::as_str).collect();
        if wanted {
            names.push(api::FINALIZER);
        } else {
            names.retain(|name| *name != api::FINALIZER);
        }
        let metadata = &self.object.metadata;
        let patch = json!({"metadata": {"finalizers": names, "uid": metadata.uid, "resourceVersion": metadata.resource_version}});
        self.metrics.api_write("finalizer");
        match self.api.patch_metadata(&self.id.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The version that was read; 0 where the API server's is no number.
    pub(super) fn version(&self) -> u64 {
        version(self.object)
    }

    /// Writes status and its Event, where anything but time has changed. Answers the version that it has then.
    pub(super) async fn write_status(&self, status: &OCIArtifactStatus) -> Result<Option<u64>, kube::Error> {
        if *status == self.status {
            return Ok(None);
        }
        let patch = json!({
            "apiVersion": OCIArtifact::api_version(&()),
            "kind": OCIArtifact::kind(&()),
            // A new object of the same name must not get the old one's status.
            "metadata": {"uid": self.object.metadata.uid},
            "status": status,
        });
        self.metrics.api_write("status");
        let params = PatchParams::apply(api::MANAGER).force();
        let written = match self.api.patch_status(&self.id.name, &params, &Patch::Apply(patch)).await {
            Ok(written) => written,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some(event) = event::of_change(&self.status, status) {
            self.publish(&event).await;
        }
        Ok(Some(version(&written)))
    }

    pub(super) async fn publish(&self, news: &News) {
        publish_event(&self.client, self.metrics, news, self.object.object_ref(&())).await;
    }
}

/// Versions of one object can be compared (Kubernetes API concepts, "Resource versions").
fn version(object: &OCIArtifact) -> u64 {
    object.metadata.resource_version.as_ref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Lost Events are logged, not retried: they tell, they do not decide.
pub(super) async fn publish_event(client: &Client, metrics: &Metrics, news: &News, object: ObjectReference) {
    metrics.api_write("event");
    let name = object.name.clone();
    if let Err(error) = event::publish(client, object, news, now()).await {
        tracing::warn!(object = ?name, %error, "an Event was lost");
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the clock of reports and Events is read")]
fn now() -> Timestamp {
    Timestamp::now()
}
