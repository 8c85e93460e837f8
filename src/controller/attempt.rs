//! One pass for one object: *prepare* may be given up at any time, *commit* may not.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector::Store;

use super::context::{Context, is_current};
use super::dereference::{Asked, Inputs};
use super::integrity;
use super::lookups::Trusted;
use super::memory::Remembered;
use super::subject::Subject;
use crate::api::Reason;
use crate::api::stored::Stored;
use crate::failure::{Class, Failure};
use crate::oci::{Digest, Repository};
use crate::pass::{self, Attendant, Before, Committed, Outcome, Progressed, Switching, Wanted};
use crate::registry::Registry;
use crate::request::{ObjectId, Request};
use crate::trust::Basis;

/// Duration after which a running pass is reported in status.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(5);
/// Interval of checks for a change of the object during a pass.
const STILL_CURRENT: Duration = Duration::from_secs(1);

/// Result of a pass.
pub(super) enum Ended {
    /// The outputs already held the wanted revision.
    Kept(Box<Outcome>),
    /// The outputs were switched. Their lock is held until the outcome is recorded and this value dropped.
    Committed(Box<Committed>),
    Failed(Failure),
    /// The operator is shutting down, or the object has changed. Nothing was switched.
    GivenUp,
}

/// Runs a pass.
pub(super) async fn attempt<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    inputs: &Inputs,
    remembered: &Remembered,
) -> Ended {
    let refused = remembered.refused.clone().filter(|_| remembered.inputs.as_ref() == Some(&inputs.mark));
    let before = Before { refused, is_forced: subject.is_forced(), ..integrity::before(subject, request, remembered) };
    // Checked first, so that objects of an unusable volume do not occupy one of the concurrent passes at a registry.
    // A denied object needs no turn, and must still be withdrawn.
    if request.requirement.denied().is_none()
        && let Err(error) = context.engine.outputs.check_volumes(request)
    {
        return Ended::Failed(error.into());
    }
    let wanted = wanted(subject, context, inputs);
    let progressed = tokio::select! {
        progressed = in_turn(subject, context, request, &before, &wanted) => progressed,
        () = context.shutdown.cancelled() => return Ended::GivenUp,
        () = unwanted(&wanted) => return Ended::GivenUp,
    };
    // From here on only a change of the object ends the pass, and only before the first switch.
    let witness = Witness { subject, request };
    match progressed {
        Ok(Progressed::Kept(outcome)) => Ended::Kept(outcome),
        Ok(Progressed::Prepared(prepared)) => match prepared.commit(&context.engine, &witness).await {
            Ok(Some(committed)) => Ended::Committed(Box::new(committed)),
            Ok(None) => Ended::GivenUp,
            Err(failure) => Ended::Failed(failure),
        },
        // A failure under outdated requirements is no verdict under the current ones.
        Err(_) if !wanted.is_wanted() => Ended::GivenUp,
        Err(failure) => Ended::Failed(failure),
    }
}

/// Returns when the outcome of a pass would not be switched any more: a long pass must not delay a policy change.
#[expect(clippy::disallowed_methods, reason = "a look at memory, once a second")]
async fn unwanted(wanted: &Wanted) {
    while wanted.is_wanted() {
        tokio::time::sleep(STILL_CURRENT).await;
    }
}

/// Waits for a turn at the registry, and prepares. Nothing is written before the turn, so objects that wait for a slow
/// registry cost memory only.
async fn in_turn<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    before: &Before,
    wanted: &Wanted,
) -> Result<Progressed, Failure> {
    let turn = context.engine.turn(request).await;
    tokio::select! {
        progressed = pass::prepare(&context.engine, &turn, request, before, wanted) => progressed,
        never = announce(subject, request) => match never {},
    }
}

/// Reports in status that a pass over a new spec takes long. The pass does not depend on this write.
#[expect(clippy::disallowed_methods, reason = "this is the timer")]
async fn announce(subject: &Subject<'_>, request: &Request) -> std::convert::Infallible {
    tokio::time::sleep(ANNOUNCE_AFTER).await;
    let known = subject.status();
    if known.observed_generation != subject.generation() {
        let message = format!("fetching and publishing {}", request.reference);
        subject.write_status(&subject.report(&known).progressing(&message)).await;
    }
    std::future::pending().await
}

/// Returns when the object was deleted or its spec changed.
#[expect(clippy::disallowed_methods, reason = "a look at memory, once a second")]
pub(super) async fn is_superseded(objects: &Store<Stored>, id: &ObjectId, generation: Option<i64>) {
    while is_current(objects, id, generation) {
        tokio::time::sleep(STILL_CURRENT).await;
    }
}

/// The controller's part of a commit.
struct Witness<'a, 's> {
    subject: &'a Subject<'s>,
    request: &'a Request,
}

/// Returns the check that the object, the policies over its repository and the keys are unchanged since the look began,
/// and that the operator is not shutting down. It is repeated just before the switch: a pass may take an hour, and a
/// revision denied by a policy meanwhile must not be published.
pub(super) fn wanted<R: Registry>(subject: &Subject<'_>, context: &Context<R>, inputs: &Inputs) -> Wanted {
    let repository = inputs.request.as_ref().ok().map(|request| request.reference.repository.clone());
    unchanged(subject, context, (repository, inputs.policies.clone()), inputs.trusted.clone())
}

/// Judges the artifact that a request names. `None` if the object, the policies over it or the keys have changed
/// meanwhile, or the operator is shutting down: the verdict would say nothing about what is required now.
pub(super) async fn rejudge<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    asked: &Asked,
) -> Option<Result<Basis, Failure>> {
    let Asked { request, policies, trusted } = asked;
    let repository = Some(request.reference.repository.clone());
    let wanted = unchanged(subject, context, (repository, policies.clone()), trusted.clone());
    let judging = async {
        let turn = context.engine.turn(request).await;
        pass::rejudge(&context.engine, &turn, request).await
    };
    tokio::select! {
        judged = judging => wanted.is_wanted().then_some(judged),
        () = context.shutdown.cancelled() => None,
        () = unwanted(&wanted) => None,
    }
}

fn unchanged<R>(
    subject: &Subject<'_>,
    context: &Context<R>,
    (repository, before): (Option<Repository>, Digest),
    trusted: Trusted,
) -> Wanted {
    let (objects, shutdown) = (context.objects.clone(), context.shutdown.clone());
    let (id, generation) = (subject.id.clone(), subject.stored.metadata.generation);
    let (book, named) = (Arc::clone(&context.policies), Arc::clone(&context.named));
    let is_judged =
        move |namespace: &str| repository.as_ref().is_none_or(|repository| book.over(namespace, repository) == before);
    Wanted::new(move || {
        !shutdown.is_cancelled()
            && is_current(&objects, &id, generation)
            && is_judged(&id.namespace)
            && named.are_unchanged(&trusted)
    })
}

impl Attendant for Witness<'_, '_> {
    /// Writes the journal. A first publication needs none, because there is no earlier revision, unless it creates an
    /// immutable object, whose name is recorded in status only.
    async fn begin(&self, outcome: &Outcome, switching: &Switching) -> Result<(), Failure> {
        let known = self.subject.status();
        if known.artifact.is_none() && switching.locations.is_empty() {
            return Ok(());
        }
        let status = self.subject.report(&known).switching(self.request, outcome, switching);
        match self.subject.write_journal(&status).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::internal("the object was deleted during the pass")),
            Err(error) => {
                let message = format!("status.switching cannot be written, so no output was switched: {error}");
                Err(Failure::new(Class::Retry, Reason::StorageFailed, message))
            }
        }
    }
}

/// Publishes the recorded revision again by its digest, if it is damaged and the pass failed with another digest or
/// none: status names the recorded revision as served.
pub(super) async fn restore<R: Registry>(
    subject: &Subject<'_>,
    context: &Context<R>,
    request: &Request,
    failure: &Failure,
    inputs: &Inputs,
    remembered: &mut Remembered,
) {
    let Some(recorded) = subject.recorded() else { return };
    let is_tried = failure.candidate.as_ref() == Some(&recorded.digest);
    if remembered.damage.is_empty() || is_tried || recorded.fingerprint != request.fingerprint {
        return;
    }
    let mut request = request.clone();
    (request.reference.digest, request.selection) = (Some(recorded.digest), None);
    if let Ended::Committed(committed) = attempt(subject, context, &request, inputs, remembered).await {
        integrity::report_repaired(subject, context, &committed.outcome, remembered).await;
        remembered.damage.clear();
        remembered.read_due = integrity::next_reading(subject, context);
        remembered.repairs = Some(remembered.repaired(std::time::Instant::now()));
    }
}
