//! What happens to one object, from the wake-up to the next one.
//!
//! ```text
//! stored object ─▶ deleted? suspended? ─▶ Secrets ─▶ Request ─▶ files? ─▶ early? ─▶ pass ─▶ status ─▶ tidy up
//! ```
//!
//! Every way out of a pass goes through `report`: a failing object always says so.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use super::integrity::with_damage;
use super::memory::{Remembered, pause, with_jitter};
use super::subject::{self, Subject};
use super::{Context, Stored, dereference, event, until_changed};
use crate::api::{OCIArtifactSpec, OCIArtifactStatus, Reason};
use crate::failure::{Class, Failure};
use crate::oci::{Digest, Hasher, Reference};
use crate::pass::{self, Look, Outcome, pass};
use crate::plan::Revision;
use crate::registry::Registry;
use crate::request::{Place, Request, RequestError};

/// A pass that takes longer than this is announced in status.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(5);
/// How often a pass looks whether its object has changed meanwhile.
const STILL_CURRENT: Duration = Duration::from_secs(1);
/// Pause where the object in memory is older than the status that was written last. Its own ConfigMap may
/// wake it up before the watch has brought that, and whoever acted then would undo what was written.
const BEHIND: Duration = Duration::from_millis(200);
/// Pause where signatures are asked for and the first try to get a root has not ended. Its end wakes up everything.
const AWAITING_ROOT: Duration = Duration::from_secs(5);
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
            let news = event::warning(Reason::InvalidSpec, message);
            subject::publish_event(&context.client, &context.metrics, &news, stored.object_ref(&())).await;
            return Ok(until_changed());
        }
    };
    let started = Instant::now();
    let subject = Subject::new(object, &context.client, &context.metrics);
    let id = subject.id.clone();
    let action = match (Reconcile { subject, context: &context, started }).run().await {
        Ok(action) => action,
        Err(error) => {
            tracing::warn!(object = %id, %error, "the API server refused; trying again");
            Action::requeue(AFTER_API_ERROR)
        }
    };
    tracing::debug!(object = %id, took = ?started.elapsed(), "looked at");
    Ok(action)
}

/// One look at one object.
pub(super) struct Reconcile<'a, R> {
    pub(super) subject: Subject<'a>,
    pub(super) context: &'a Context<R>,
    started: Instant,
}

impl<R: Registry> Reconcile<'_, R> {
    async fn run(self) -> Result<Action, kube::Error> {
        let Subject { object, id, .. } = &self.subject;
        let is_behind = self.subject.version() < self.context.memory.written(&id.uid);
        if is_behind || !self.context.policies.is_listed() {
            return Ok(Action::requeue(BEHIND));
        }
        if object.metadata.deletion_timestamp.is_some() {
            return self.clean_up().await;
        }
        if object.spec.suspend {
            self.context.memory.forget(&id.uid);
            self.write_status(&self.subject.before().suspended()).await?;
            return Ok(until_changed());
        }
        let mut inputs = Hasher::default();
        let request = self.request(&object.spec, &mut inputs).await;
        if self.awaits_root(&request) {
            return Ok(Action::requeue(AWAITING_ROOT));
        }
        self.mark_served(&mut inputs).await;
        inputs.update(format!("{} {:?}", self.subject.generation(), self.subject.requested_at()).as_bytes());
        let inputs = inputs.finish();
        let mut remembered = self.context.memory.get(&id.uid);
        let is_early = remembered.is_early(&inputs, Instant::now());
        let look = match &request {
            // One that waits to be tried again is looked at when it is.
            Ok(request) if !is_early || remembered.failure.is_none() => self.examine(request, &mut remembered).await,
            Ok(_) | Err(_) => None,
        };
        if is_early && self.is_as_left(&remembered, &request, look.as_ref()).await {
            let next = remembered.next_look(Instant::now());
            self.context.memory.set(&id.uid, remembered);
            return Ok(Action::requeue(next));
        }
        let request = match request {
            Err(failure) => return self.failed(None, failure, inputs, remembered).await,
            Ok(request) => request,
        };
        match self.pass(&request, &inputs, &remembered).await? {
            Some(Ok(outcome)) => self.succeeded(&request, &outcome, inputs, &remembered).await,
            Some(Err(failure)) => {
                self.restore(&request, &failure, &inputs, &mut remembered).await?;
                let failure = with_damage(failure, &remembered.damage);
                self.failed(Some(&request), failure, inputs, remembered).await
            }
            None => Ok(Action::requeue(Duration::ZERO)),
        }
    }

    /// True where signatures are asked for before it is known whose root verifies them.
    fn awaits_root(&self, request: &Result<Request, Failure>) -> bool {
        let asks = request.as_ref().is_ok_and(|request| !request.requirement.is_empty());
        asks && !self.context.public_root.is_settled()
    }

    async fn write_status(&self, status: &OCIArtifactStatus) -> Result<(), kube::Error> {
        if let Some(version) = self.subject.write_status(status).await? {
            self.context.memory.wrote(&self.subject.id.uid, version);
        }
        Ok(())
    }

    /// A spec of the object together with what it refers to.
    pub(super) async fn request(&self, spec: &OCIArtifactSpec, inputs: &mut Hasher) -> Result<Request, Failure> {
        let (client, namespace) = (&self.context.client, &self.subject.id.namespace);
        let mut referred = dereference::referred(client, namespace, spec, inputs).await?;
        let Reference { repository, .. } = spec.image.parse().map_err(RequestError::Image)?;
        referred.policies = self.context.policies.of(client, namespace, &repository, inputs).await?;
        let referred = referred.with_public_root(self.context.public_root.fetched());
        let request = Request::parse(self.subject.id.clone(), spec, &referred)?;
        // A root that was fetched is no object of the cluster, so nothing else tells that it is another one.
        inputs.update(format!("{:?}", request.requirement.fingerprint()).as_bytes());
        Ok(request)
    }

    /// Between two polls: do the outputs still hold what they held, or is the obstacle still there?
    async fn is_as_left(
        &self,
        remembered: &Remembered,
        request: &Result<Request, Failure>,
        look: Option<&Look>,
    ) -> bool {
        let Ok(request) = request else { return true };
        match &remembered.failure {
            Some(failure) if failure.reason == Reason::OutputConflict && failure.candidate.is_none() => {
                pass::look(&self.context.engine, request, &self.before(remembered)).await.is_err()
            }
            Some(_) => true,
            None => match (look, self.subject.recorded()) {
                (Some(look), Some(recorded)) => {
                    remembered.damage.is_empty() && look.observed.holds(request, &recorded.digest)
                }
                (Some(_) | None, _) => false,
            },
        }
    }

    /// Runs the pass; announces a long one; `None` where it was given up, for the operator is
    /// shutting down or the object is not what it was.
    pub(super) async fn pass(
        &self,
        request: &Request,
        inputs: &Digest,
        remembered: &Remembered,
    ) -> Result<Option<Result<Outcome, Failure>>, kube::Error> {
        let refused = remembered.refused.clone().filter(|_| remembered.inputs.as_ref() == Some(inputs));
        let before = pass::Before { refused, ..self.before(remembered) };
        tokio::select! {
            result = self.in_turn(request, &before) => result.map(Some),
            () = self.context.shutdown.cancelled() => Ok(None),
            () = self.superseded() => Ok(None),
        }
    }

    /// Waits for a turn at the registry. Nothing is written before it: objects that wait for a slow
    /// registry cost memory only.
    async fn in_turn(&self, request: &Request, before: &pass::Before) -> Result<Result<Outcome, Failure>, kube::Error> {
        let engine = &self.context.engine;
        let turn = engine.turn(request).await;
        if has_volume(request) {
            self.subject.set_finalizer(true).await?;
        }
        tokio::select! {
            result = pass(engine, &turn, request, before) => Ok(result),
            error = self.announce(request) => Err(error),
        }
    }

    /// Says in status that a pass over a new spec takes long. Ends only with an error of the API server.
    #[expect(clippy::disallowed_methods, reason = "this is the timer")]
    async fn announce(&self, request: &Request) -> kube::Error {
        tokio::time::sleep(ANNOUNCE_AFTER).await;
        let message = format!("bringing in {}", request.reference);
        if self.subject.status.observed_generation != self.subject.generation()
            && let Err(error) = self.write_status(&self.subject.before().progressing(&message)).await
        {
            return error;
        }
        std::future::pending().await
    }

    /// Ends when the object was deleted or its spec changed: what a hanging pass would bring in is
    /// not wanted any more, and a deletion must not wait for a registry.
    #[expect(clippy::disallowed_methods, reason = "a look at memory, once a second")]
    pub(super) async fn superseded(&self) {
        let key = ObjectRef::<Stored>::new(&self.subject.id.name).within(&self.subject.id.namespace);
        let is_same = |now: &Arc<Stored>| now.meta().generation == self.subject.object.metadata.generation;
        loop {
            tokio::time::sleep(STILL_CURRENT).await;
            if !self.context.objects.get(&key).is_some_and(|now| is_same(&now)) {
                return;
            }
        }
    }

    async fn succeeded(
        &self,
        request: &Request,
        outcome: &Outcome,
        inputs: Digest,
        before: &Remembered,
    ) -> Result<Action, kube::Error> {
        self.context.metrics.pass_ended(Reason::Succeeded, self.started.elapsed());
        let status = self.subject.before().succeeded(request, outcome);
        if outcome.manifest.is_some() {
            tracing::info!(object = %self.subject.id, image = %outcome.pinned, "published");
        }
        self.write_status(&status).await?;
        if !outcome.skipped.is_empty() {
            let note = format!("not fetched, because about the content: {}", outcome.skipped.join(", "));
            self.subject.publish(&event::normal(Reason::Succeeded, note)).await;
        }
        self.tell_repaired(outcome, &before.damage).await;
        let now = Instant::now();
        let remembered = Remembered {
            inputs: Some(inputs),
            due: Some(now + with_jitter(request.interval, &self.subject.id.uid)),
            asks_secrets: request.asks_secrets,
            read_due: if outcome.manifest.is_some() { self.next_reading() } else { before.read_due },
            ..Remembered::default()
        };
        let next = remembered.next_look(now);
        self.context.memory.set(&self.subject.id.uid, remembered);
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
        self.context.metrics.pass_ended(failure.reason, self.started.elapsed());
        tracing::warn!(object = %self.subject.id, reason = %failure.reason, remedy = failure.reason.remedy(), "{}", failure.message);
        let (failure, status) = self.after_failure(request, failure).await;
        self.write_status(&status).await?;
        let failures = if remembered.inputs.as_ref() == Some(&inputs) { remembered.failures + 1 } else { 1 };
        let interval = request.map_or(Duration::from_secs(600), |request| request.interval);
        let refused = match (&failure.candidate, request) {
            (Some(digest), Some(request)) if failure.class == Class::Stalled && !failure.is_beside_digest => {
                let fingerprint = request.fingerprint.as_str().to_owned();
                Some((Revision { digest: digest.clone(), fingerprint }, failure.clone()))
            }
            (Some(_) | None, _) => None,
        };
        let pause = with_jitter(pause(&failure, failures, interval), &self.subject.id.uid);
        let now = Instant::now();
        let remembered = Remembered {
            inputs: Some(inputs),
            due: Some(now + pause),
            failures,
            failure: Some(failure),
            refused,
            asks_secrets: request.map_or(remembered.asks_secrets, |request| request.asks_secrets),
            ..remembered
        };
        let action = Action::requeue(remembered.next_look(now));
        self.context.memory.set(&self.subject.id.uid, remembered);
        Ok(action)
    }

    /// After status has been written: what nobody names any more goes.
    async fn tidy_up(&self, request: &Request, outcome: &Outcome) -> Result<(), kube::Error> {
        let outputs = &self.context.engine.outputs;
        for old in &self.subject.status.outputs {
            let kept = outcome.published.iter().any(|new| new.kind == old.kind && new.location == old.location);
            if !kept && let Err(error) = outputs.withdraw(&self.subject.id, &old.kind, &old.location).await {
                tracing::warn!(object = %self.subject.id, output = %old.location, %error, "an old output stays behind");
            }
        }
        if outcome.manifest.is_some()
            && let Err(error) = outputs.prune(request).await
        {
            tracing::warn!(object = %self.subject.id, %error, "old trees stay behind until the next revision");
        }
        if !has_volume(request) {
            self.subject.set_finalizer(false).await?;
        }
        Ok(())
    }

    /// Deletion needs no registry, and no volume that still works.
    async fn clean_up(&self) -> Result<Action, kube::Error> {
        if !self.subject.has_finalizer() {
            self.context.memory.forget(&self.subject.id.uid);
            return Ok(until_changed());
        }
        if let Err(error) = self.context.engine.outputs.remove_from_volumes(&self.subject.id).await {
            let remembered = self.context.memory.get(&self.subject.id.uid);
            let failures = if remembered.inputs.is_none() { remembered.failures + 1 } else { 1 };
            tracing::warn!(object = %self.subject.id, %error, failures, "the volume could not be cleaned");
            if failures < CLEANING_TRIES {
                self.context.memory.set(&self.subject.id.uid, Remembered { failures, ..Remembered::default() });
                return Ok(Action::requeue(AFTER_API_ERROR));
            }
            let note = format!("deleted, but its files stay on the volume: {error}");
            self.subject.publish(&event::warning(Reason::StorageFailed, note)).await;
        }
        self.context.memory.forget(&self.subject.id.uid);
        self.subject.set_finalizer(false).await?;
        Ok(until_changed())
    }
}

fn has_volume(request: &Request) -> bool {
    request.targets.iter().any(|target| matches!(target.place, Place::Volume { .. }))
}
