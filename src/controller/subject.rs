//! One object as it was read, and the writes about it: its status and its Events. Other modules decide their content.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use super::event::{self, News};
use super::memory::Memory;
use super::report;
use crate::api::status::{HandledRequests, OutputStatus};
use crate::api::stored::Stored;
use crate::api::{self, OCIArtifact, OCIArtifactSpec, OCIArtifactStatus};
use crate::failure::causes;
use crate::metrics::Metrics;
use crate::mutex::lock;
use crate::output::Recorded;
use crate::output::location::Location;
use crate::pass::Records;
use crate::plan::Revision;
use crate::request::{Fingerprint, ObjectId};

/// Event for a change of status: published or suppressed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Publish {
    Yes,
    No,
}

/// Object of a reconcile.
pub(super) struct Subject<'a> {
    /// The object as it was read.
    pub(super) stored: &'a Stored,
    pub(super) spec: &'a OCIArtifactSpec,
    pub(super) id: ObjectId,
    pub(super) requests: HandledRequests,
    /// The status stored by the API server.
    written: Mutex<Arc<OCIArtifactStatus>>,
    /// The actual status: newer than the stored one after a refused write.
    status: Mutex<Arc<OCIArtifactStatus>>,
    api: Api<OCIArtifact>,
    client: Client,
    metrics: &'a Metrics,
    memory: &'a Memory,
}

impl<'a> Subject<'a> {
    pub(super) fn new(
        object: &'a Stored,
        spec: &'a OCIArtifactSpec,
        client: &Client,
        metrics: &'a Metrics,
        memory: &'a Memory,
    ) -> Self {
        let id = ObjectId::from(object);
        let api = Api::namespaced(client.clone(), &id.namespace);
        let written = Arc::new(object.status.clone());
        let status = memory.unwritten(&id.uid).map_or_else(|| Arc::clone(&written), Arc::new);
        let value = |key: &str| object.annotations().get(key).cloned();
        let requests = HandledRequests {
            requested_at: value(api::REQUESTED_AT),
            flux_requested_at: value(api::REQUESTED_AT_FLUX),
            force_at: value(api::FORCE_AT),
        };
        let (written, status) = (Mutex::new(written), Mutex::new(status));
        Self { stored: object, spec, id, requests, written, status, api, client: client.clone(), metrics, memory }
    }

    pub(super) fn generation(&self) -> i64 {
        self.stored.metadata.generation.unwrap_or_default()
    }

    /// Returns the current status.
    pub(super) fn status(&self) -> Arc<OCIArtifactStatus> {
        Arc::clone(&lock(&self.status))
    }

    pub(super) fn report<'s>(&'s self, status: &'s OCIArtifactStatus) -> report::Report<'s> {
        report::Report {
            status,
            generation: self.generation(),
            requires_signature: !self.spec.verify.is_empty(),
            requests: &self.requests,
            now: now(),
        }
    }

    /// True if annotations request a pass that was not run yet.
    pub(super) fn is_requested(&self) -> bool {
        self.status().handled_requests.as_ref().unwrap_or(&HandledRequests::default()) != &self.requests
    }

    /// True if `supercargo.dev/forceAt` has a value that was not processed yet.
    pub(super) fn is_forced(&self) -> bool {
        let status = self.status();
        let handled = status.handled_requests.as_ref().and_then(|handled| handled.force_at.as_ref());
        self.requests.force_at.is_some() && self.requests.force_at.as_ref() != handled
    }

    /// Returns the served revision in status.
    pub(super) fn recorded(&self) -> Option<Revision> {
        let status = self.status();
        let digest = status.artifact.as_ref()?.digest.parse().ok()?;
        Some(Revision { digest, fingerprint: status.fingerprints.as_ref()?.content.clone().into() })
    }

    /// Returns the fingerprint of the requirement by which the served artifact was judged.
    pub(super) fn trust(&self) -> Option<String> {
        self.status().fingerprints.as_ref()?.trust.clone()
    }

    /// Returns the state of each output as recorded in status.
    pub(super) fn records(&self) -> Records {
        let status = self.status();
        let content: Fingerprint =
            status.fingerprints.as_ref().map(|made| made.content.clone().into()).unwrap_or_default();
        let record = |output: &OutputStatus| {
            let record = Recorded {
                revision: Revision { digest: output.digest.parse().ok()?, fingerprint: content.clone() },
                list_digest: output.list_digest.as_ref().and_then(|digest| digest.parse().ok()),
                location: Location::parse(&output.kind, &output.location)?,
            };
            Some((output.name.clone(), record))
        };
        status.outputs.iter().filter(|output| !output.leaving).filter_map(record).collect()
    }

    /// Returns the version of the object as it was read; 0 if it is not a number.
    pub(super) fn version(&self) -> u64 {
        version(&self.stored.metadata)
    }

    /// Writes status and its Event, if anything except timestamps has changed.
    pub(super) async fn write_status(&self, status: &OCIArtifactStatus) {
        self.write_status_and(status, Publish::Yes).await;
    }

    /// Writes status, if anything except timestamps has changed. A refused write has no other effect: the status is
    /// remembered, and written again after a pause.
    pub(super) async fn write_status_and(&self, status: &OCIArtifactStatus, publish: Publish) {
        let before = Arc::clone(&lock(&self.written));
        let now = Arc::new(status.clone());
        *lock(&self.status) = Arc::clone(&now);
        if now == before {
            self.memory.is_stored(&self.id.uid);
            return;
        }
        crate::failpoint::reach("record");
        match self.apply_status(status).await {
            Ok(Some(written)) => {
                crate::failpoint::reach("recorded");
                self.memory.wrote(&self.id.uid, version(&written.metadata), Instant::now());
                *lock(&self.written) = now;
                if let Some(event) = event::of_change(&before, status).filter(|_| publish == Publish::Yes) {
                    self.publish(&event).await;
                }
            }
            // The object was deleted meanwhile.
            Ok(None) => {}
            Err(error) => {
                let pause = self.memory.refused(&self.id.uid, status.clone(), Instant::now());
                self.metrics.status_write_failed();
                tracing::warn!(namespace = %self.id.namespace, name = %self.id.name, error = causes(&error), ?pause, "the API server refused the status; retried after a pause");
            }
        }
    }

    /// Writes a status that must be stored before the caller continues. Returns false if the object is deleted.
    pub(super) async fn write_journal(&self, status: &OCIArtifactStatus) -> Result<bool, kube::Error> {
        let Some(written) = self.apply_status(status).await? else { return Ok(false) };
        self.memory.wrote(&self.id.uid, version(&written.metadata), Instant::now());
        let now = Arc::new(status.clone());
        *lock(&self.written) = Arc::clone(&now);
        *lock(&self.status) = now;
        Ok(true)
    }

    async fn apply_status(&self, status: &OCIArtifactStatus) -> Result<Option<OCIArtifact>, kube::Error> {
        let patch = json!({
            "apiVersion": OCIArtifact::api_version(&()),
            "kind": OCIArtifact::kind(&()),
            // Prevents a write to a new object of the same name.
            "metadata": {"uid": self.stored.metadata.uid},
            "status": status,
        });
        self.metrics.api_write("status");
        let params = PatchParams::apply(api::MANAGER).force();
        match self.api.patch_status(&self.id.name, &params, &Patch::Apply(patch)).await {
            Ok(written) => Ok(Some(written)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            // Another uid: this object is deleted, and a new one has its name.
            Err(kube::Error::Api(status)) if status.code == 409 && status.message.contains("uid") => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn publish(&self, news: &News) {
        publish_event(&self.client, self.metrics, news, self.stored.object_ref(&())).await;
    }
}

/// Returns the version, which can be compared for one object (Kubernetes API concepts, "Resource versions").
fn version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_ref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Publishes an Event. Failures are logged, not retried: no decision depends on Events.
pub(super) async fn publish_event(client: &Client, metrics: &Metrics, news: &News, object: ObjectReference) {
    metrics.api_write("event");
    let (namespace, name) = (object.namespace.clone().unwrap_or_default(), object.name.clone().unwrap_or_default());
    if let Err(error) = event::publish(client, object, news, now()).await {
        tracing::warn!(%namespace, %name, error = causes(&error), "the API server refused an Event");
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the clock of reports and Events is read")]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}
