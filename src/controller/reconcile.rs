//! What happens to one object, from the wake-up to the next one.
//!
//! ```text
//! stored object ─▶ deleted? suspended? ─▶ Secrets ─▶ Request ─▶ early? ─▶ pass ─▶ status ─▶ tidy up
//! ```
//!
//! Every way out of a pass goes through `report`: a failing object always says so.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::event::News;
use super::memory::{Remembered, pause, with_jitter};
use super::{Context, Stored, dereference, event, report, until_changed};
use crate::api::{self, OCIArtifact, OCIArtifactStatus, Reason};
use crate::failure::{Class, Failure};
use crate::oci::{Digest, Hasher};
use crate::pass::{self, Outcome, pass};
use crate::plan::Revision;
use crate::registry::Registry;
use crate::request::{ObjectId, Place, Request};

/// A pass that takes longer than this is announced in status.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(5);
/// How often a pass looks whether its object has changed meanwhile.
const STILL_CURRENT: Duration = Duration::from_secs(1);
/// Pause after the API server refused a write.
const AFTER_API_ERROR: Duration = Duration::from_secs(2);
/// Tries to clean a volume before a deleted object is let go with a warning.
const CLEANING_TRIES: u32 = 5;

/// Never fails: what goes wrong is the object's state, and decides when to look again.
pub(super) async fn reconcile<R: Registry>(
    stored: Arc<Stored>,
    context: Arc<Context<R>>,
) -> Result<Action, Infallible> {
    let object = match &stored.0 {
        Ok(object) => object,
        Err(invalid) => {
            let message = format!("the stored object does not deserialize: {}", invalid.error);
            tracing::warn!(object = %stored.name_any(), namespace = ?stored.namespace(), %message, "skipped");
            let warning = event::warning(Reason::InvalidSpec, message);
            publish_event(&context, &warning, stored.object_ref(&())).await;
            return Ok(until_changed());
        }
    };
    let started = Instant::now();
    let action = match Reconcile::new(object, &context).run().await {
        Ok(action) => action,
        Err(error) => {
            tracing::warn!(object = %id(object), %error, "the API server refused; trying again");
            Action::requeue(AFTER_API_ERROR)
        }
    };
    tracing::debug!(object = %id(object), took = ?started.elapsed(), "looked at");
    Ok(action)
}

/// One look at one object.
struct Reconcile<'a, R> {
    object: &'a OCIArtifact,
    id: ObjectId,
    api: Api<OCIArtifact>,
    context: &'a Context<R>,
    status: OCIArtifactStatus,
}

impl<'a, R: Registry> Reconcile<'a, R> {
    fn new(object: &'a OCIArtifact, context: &'a Context<R>) -> Self {
        let id = id(object);
        let api = Api::namespaced(context.client.clone(), &id.namespace);
        Self { object, id, api, context, status: object.status.clone().unwrap_or_default() }
    }

    async fn run(self) -> Result<Action, kube::Error> {
        if self.object.metadata.deletion_timestamp.is_some() {
            return self.clean_up().await;
        }
        if self.object.spec.suspend {
            self.context.memory.forget(&self.id.uid);
            self.write_status(&self.before().suspended()).await?;
            return Ok(until_changed());
        }
        let mut inputs = Hasher::default();
        let request = self.request(&mut inputs).await;
        inputs.update(format!("{:?} {:?}", self.object.metadata.generation, self.requested_at()).as_bytes());
        let inputs = inputs.finish();
        let remembered = self.context.memory.get(&self.id.uid);
        if remembered.is_early(&inputs, Instant::now()) && self.is_as_left(&remembered, &request).await {
            return Ok(Action::requeue(remembered.next_look(Instant::now())));
        }
        let started = Instant::now();
        let result = match &request {
            Ok(request) => {
                self.ensure_finalizer(request).await?;
                match self.pass(request, &inputs, &remembered).await? {
                    Some(result) => result,
                    None => return Ok(Action::requeue(Duration::ZERO)),
                }
            }
            Err(failure) => Err(failure.clone()),
        };
        let reason = result.as_ref().err().map_or(Reason::Succeeded, |failure| failure.reason);
        self.context.metrics.pass_ended(reason, started.elapsed());
        match (request, result) {
            (Ok(request), Ok(outcome)) => self.succeeded(&request, &outcome, inputs).await,
            (request, Err(failure)) => self.failed(request.ok().as_ref(), failure, inputs, remembered).await,
            (Err(failure), Ok(_)) => self.failed(None, failure, inputs, remembered).await,
        }
    }

    /// The spec together with what it refers to.
    async fn request(&self, inputs: &mut Hasher) -> Result<Request, Failure> {
        let spec = &self.object.spec;
        let secrets = dereference::secrets(&self.context.client, &self.id.namespace, spec, inputs).await?;
        Ok(Request::parse(self.id.clone(), spec, &secrets)?)
    }

    /// Between two polls: do the outputs still hold what they held, or is the obstacle still there?
    async fn is_as_left(&self, remembered: &Remembered, request: &Result<Request, Failure>) -> bool {
        let Ok(request) = request else { return true };
        match &remembered.failure {
            Some(failure) if failure.reason == Reason::OutputConflict && failure.candidate.is_none() => {
                pass::probe(&self.context.engine, request).await.is_err()
            }
            Some(_) => true,
            None => {
                let recorded = self.recorded();
                let held = pass::probe(&self.context.engine, request).await.unwrap_or_default();
                let is_recorded = |held: &Option<crate::publish::Published>| {
                    held.as_ref().map(|held| &held.revision) == recorded.as_ref()
                };
                held.len() == request.targets.len() && held.iter().all(is_recorded)
            }
        }
    }

    /// Runs the pass; announces a long one; `None` where it was given up, for the operator is
    /// shutting down or the object is not what it was.
    async fn pass(
        &self,
        request: &Request,
        inputs: &Digest,
        remembered: &Remembered,
    ) -> Result<Option<Result<Outcome, Failure>>, kube::Error> {
        let refused = remembered.refused.clone().filter(|_| remembered.inputs.as_ref() == Some(inputs));
        let before = pass::Before { recorded: self.recorded(), refused };
        let message = format!("bringing in {}", request.reference);
        tokio::select! {
            result = pass(&self.context.engine, request, &before) => Ok(Some(result)),
            () = self.context.shutdown.cancelled() => Ok(None),
            () = self.superseded() => Ok(None),
            error = self.announce(&message) => Err(error),
        }
    }

    /// Says in status that a pass takes long. Ends only with an error of the API server.
    #[expect(clippy::disallowed_methods, reason = "this is the timer")]
    async fn announce(&self, message: &str) -> kube::Error {
        tokio::time::sleep(ANNOUNCE_AFTER).await;
        let generation = self.object.metadata.generation.unwrap_or_default();
        // A new revision of what is Ready is no reason to call it not Ready before it has failed.
        let is_news = self.status.artifact.is_none() || self.status.observed_generation != generation;
        if is_news && let Err(error) = self.write_status(&self.before().progressing(message)).await {
            return error;
        }
        std::future::pending().await
    }

    /// Ends when the object was deleted or its spec changed: what a hanging pass would bring in is
    /// not wanted any more, and a deletion must not wait for a registry.
    #[expect(clippy::disallowed_methods, reason = "a look at memory, once a second")]
    async fn superseded(&self) {
        let key = ObjectRef::<Stored>::new(&self.id.name).within(&self.id.namespace);
        let is_same = |now: &Arc<Stored>| now.meta().generation == self.object.metadata.generation;
        loop {
            tokio::time::sleep(STILL_CURRENT).await;
            if !self.context.objects.get(&key).is_some_and(|now| is_same(&now)) {
                return;
            }
        }
    }

    async fn succeeded(&self, request: &Request, outcome: &Outcome, inputs: Digest) -> Result<Action, kube::Error> {
        let status = self.before().succeeded(request, outcome);
        if outcome.manifest.is_some() {
            tracing::info!(object = %self.id, image = %outcome.pinned, "published");
        }
        self.write_status(&status).await?;
        let next = with_jitter(request.interval, &self.id.uid);
        let remembered = Remembered { inputs: Some(inputs), due: Some(Instant::now() + next), ..Remembered::default() };
        self.context.memory.set(&self.id.uid, remembered);
        self.tidy_up(request, outcome).await?;
        Ok(Action::requeue(next))
    }

    async fn failed(
        &self,
        request: Option<&Request>,
        failure: Failure,
        inputs: Digest,
        remembered: Remembered,
    ) -> Result<Action, kube::Error> {
        tracing::warn!(object = %self.id, reason = %failure.reason, remedy = failure.reason.remedy(), "{}", failure.message);
        self.write_status(&self.before().failed(&failure)).await?;
        let failures = if remembered.inputs.as_ref() == Some(&inputs) { remembered.failures + 1 } else { 1 };
        let interval = request.map_or(Duration::from_secs(600), |request| request.interval);
        let refused = match (&failure.candidate, request) {
            (Some(digest), Some(request)) if failure.class == Class::Stalled => {
                let fingerprint = request.fingerprint.as_str().to_owned();
                Some((Revision { digest: digest.clone(), fingerprint }, failure.clone()))
            }
            (Some(_) | None, _) => None,
        };
        let pause = with_jitter(pause(&failure, failures, interval), &self.id.uid);
        let now = Instant::now();
        let remembered =
            Remembered { inputs: Some(inputs), due: Some(now + pause), failures, failure: Some(failure), refused };
        let action = Action::requeue(remembered.next_look(now));
        self.context.memory.set(&self.id.uid, remembered);
        Ok(action)
    }

    /// After status has been written: what nobody names any more goes.
    async fn tidy_up(&self, request: &Request, outcome: &Outcome) -> Result<(), kube::Error> {
        let outputs = &self.context.engine.outputs;
        for old in &self.status.outputs {
            let kept = outcome.published.iter().any(|new| new.kind == old.kind && new.location == old.location);
            if !kept && let Err(error) = outputs.withdraw(&self.id, &old.kind, &old.location).await {
                tracing::warn!(object = %self.id, output = %old.location, %error, "an old output stays behind");
            }
        }
        if outcome.manifest.is_some()
            && let Err(error) = outputs.prune(request).await
        {
            tracing::warn!(object = %self.id, %error, "old trees stay behind until the next revision");
        }
        if !has_volume(request) {
            self.set_finalizer(false).await?;
        }
        Ok(())
    }

    /// Deletion needs no registry, and no volume that still works.
    async fn clean_up(&self) -> Result<Action, kube::Error> {
        if !self.has_finalizer() {
            self.context.memory.forget(&self.id.uid);
            return Ok(until_changed());
        }
        if let Err(error) = self.context.engine.outputs.remove_from_volumes(&self.id).await {
            let remembered = self.context.memory.get(&self.id.uid);
            let failures = if remembered.inputs.is_none() { remembered.failures + 1 } else { 1 };
            tracing::warn!(object = %self.id, %error, failures, "the volume could not be cleaned");
            if failures < CLEANING_TRIES {
                self.context.memory.set(&self.id.uid, Remembered { failures, ..Remembered::default() });
                return Ok(Action::requeue(AFTER_API_ERROR));
            }
            let note = format!("deleted, but its files stay on the volume: {error}");
            self.publish(&event::warning(Reason::StorageFailed, note)).await;
        }
        self.context.memory.forget(&self.id.uid);
        self.set_finalizer(false).await?;
        Ok(until_changed())
    }

    async fn ensure_finalizer(&self, request: &Request) -> Result<(), kube::Error> {
        if has_volume(request) { self.set_finalizer(true).await } else { Ok(()) }
    }

    fn has_finalizer(&self) -> bool {
        self.object.finalizers().iter().any(|name| name == api::FINALIZER)
    }

    /// Replaces the list that was read, and only that one: somebody else's finalizer is not lost.
    async fn set_finalizer(&self, wanted: bool) -> Result<(), kube::Error> {
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
        self.context.metrics.api_write("finalizer");
        match self.api.patch_metadata(&self.id.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes status and its Event, where anything but time has changed.
    async fn write_status(&self, status: &OCIArtifactStatus) -> Result<(), kube::Error> {
        if *status == self.status {
            return Ok(());
        }
        let patch = json!({
            "apiVersion": OCIArtifact::api_version(&()),
            "kind": OCIArtifact::kind(&()),
            // A new object of the same name must not get the old one's status.
            "metadata": {"uid": self.object.metadata.uid},
            "status": status,
        });
        self.context.metrics.api_write("status");
        let params = PatchParams::apply(api::MANAGER).force();
        match self.api.patch_status(&self.id.name, &params, &Patch::Apply(patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(error),
        }
        if let Some(event) = event::of_change(&self.status, status) {
            self.publish(&event).await;
        }
        Ok(())
    }

    async fn publish(&self, news: &News) {
        publish_event(self.context, news, self.object.object_ref(&())).await;
    }

    fn before(&self) -> report::Before<'_> {
        report::Before {
            status: &self.status,
            generation: self.object.metadata.generation.unwrap_or_default(),
            requested_at: self.requested_at(),
            now: now(),
        }
    }

    fn requested_at(&self) -> Option<&str> {
        let annotations = self.object.annotations();
        annotations.get(api::REQUESTED_AT).or_else(|| annotations.get(api::REQUESTED_AT_FLUX)).map(String::as_str)
    }

    /// What status names as served.
    fn recorded(&self) -> Option<Revision> {
        let digest = self.status.artifact.as_ref()?.digest.parse().ok()?;
        Some(Revision { digest, fingerprint: self.status.fingerprints.as_ref()?.content.clone() })
    }
}

/// Lost Events are logged, not retried: they tell, they do not decide.
async fn publish_event<R>(context: &Context<R>, news: &News, object: ObjectReference) {
    context.metrics.api_write("event");
    let name = object.name.clone();
    if let Err(error) = event::publish(&context.client, object, news, now()).await {
        tracing::warn!(object = ?name, %error, "an Event was lost");
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the clock of reports and Events is read")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn has_volume(request: &Request) -> bool {
    request.targets.iter().any(|target| matches!(target.place, Place::Volume { .. }))
}

fn id(object: &OCIArtifact) -> ObjectId {
    ObjectId {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
    }
}
