//! One pass over one object: the chain of the crate, step by step.
//!
//! The controller and `supercargo sync` both use it. A pass has no access to status, Events or
//! tables: it returns its findings and changes, or the one [`Failure`] that stopped it.

use crate::failure::Failure;
pub use crate::output::Wanted;
use crate::plan::{self, Plan};
use crate::registry::{self, Pinned, Registry, RegistryError};
use crate::request::{Limits, Request};
use crate::trust::{self, Basis, TrustError};

mod before;
mod commit;
mod engine;
mod fetch;
mod look;
mod outcome;
mod preview;
mod stage;
mod step;
pub mod turns;

pub use before::{Before, Records};
pub use commit::{Attendant, Committed, Prepared, Switching, Unattended};
pub use engine::Engine;
pub use look::{Look, look, read};
pub use outcome::{Outcome, Top};
pub use preview::{Preview, preview};
pub(crate) use stage::check_type;
pub use step::now;

use fetch::fetch;
use step::Step;
use turns::Turn;

/// Result of the part of a pass that can be given up at any time.
#[derive(Debug)]
pub enum Progressed {
    /// Every output already holds the wanted revision.
    Kept(Box<Outcome>),
    /// Every output is ready for its switch.
    Prepared(Box<Prepared>),
}

/// Brings the outputs in line with the request: [`prepare`] and [`Prepared::commit`] for commands over files.
pub async fn pass<R: Registry>(
    engine: &Engine<R>,
    turn: &Turn,
    request: &Request,
    before: &Before,
) -> Result<Outcome, Failure> {
    match prepare(engine, turn, request, before, &Wanted::always()).await? {
        Progressed::Kept(outcome) => Ok(*outcome),
        Progressed::Prepared(prepared) => {
            let committed = prepared.commit(engine, &Unattended).await?;
            committed.map(|committed| committed.outcome).ok_or_else(|| Failure::internal("the pass was cancelled"))
        }
    }
}

/// Runs the part of a pass that consumers cannot see, within `spec.timeout`; waiting for a processor does not count.
/// May be given up at any time by dropping the future: a thread that still works keeps the object's lock until it ends.
/// Requires the [`Turn`] from [`Engine::turn`].
pub async fn prepare<R: Registry>(
    engine: &Engine<R>,
    _turn: &Turn,
    request: &Request,
    before: &Before,
    wanted: &Wanted,
) -> Result<Progressed, Failure> {
    let step = Step::new(&engine.processors, request);
    let steps = Box::pin(steps(engine, request, before, wanted, &step));
    let result = step.seat.within(request.timeout, steps).await;
    result.unwrap_or_else(|| Err(Failure::timeout(request.timeout, step.now())))
}

async fn steps<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    before: &Before,
    wanted: &Wanted,
    step: &Step,
) -> Result<Progressed, Failure> {
    check_denied(request)?;
    // The outputs come first: a conflict at a place is reported before any request is sent.
    let look = look(engine, request, before).await?;
    step.set("resolving the reference");
    let pinned = resolve(&engine.registry, request, step).await?;
    match (plan::decide(request, &pinned, &look.observed), &before.refused) {
        (Plan::Keep, _) => Ok(Progressed::Kept(Box::new(Outcome::kept(pinned, look, None)))),
        (Plan::Reapprove, _) => {
            let basis = judge(&engine.registry, &engine.limits, request, &pinned, step)
                .await
                .map_err(|failure| failure.of(pinned.digest()))?;
            Ok(Progressed::Kept(Box::new(Outcome::kept(pinned, look, Some(basis)))))
        }
        (Plan::Refuse, Some((_, failure))) => Err(failure.clone()),
        (Plan::Publish | Plan::Refuse, _) => {
            let digest = pinned.digest().clone();
            let result = fetch(engine, request, pinned, look, wanted, step).await;
            let prepared = result.map_err(|failure| failure.of(&digest))?;
            Ok(Progressed::Prepared(Box::new(prepared)))
        }
    }
}

/// Judges the digest that the request names without fetching it, within `spec.timeout`. Requires the [`Turn`] from
/// [`Engine::turn`].
pub async fn rejudge<R: Registry>(engine: &Engine<R>, _turn: &Turn, request: &Request) -> Result<Basis, Failure> {
    let step = Step::new(&engine.processors, request);
    let judging = async {
        check_denied(request)?;
        let pinned = resolve(&engine.registry, request, &step).await?;
        judge(&engine.registry, &engine.limits, request, &pinned, &step)
            .await
            .map_err(|failure| failure.of(pinned.digest()))
    };
    let judged = step.seat.within(request.timeout, judging).await;
    judged.unwrap_or_else(|| Err(Failure::timeout(request.timeout, step.now())))
}

async fn resolve<R: Registry>(registry: &R, request: &Request, step: &Step) -> Result<Pinned, RegistryError> {
    let (reference, selection) = (&request.reference, request.selection.as_ref());
    registry::resolve(registry, &request.access, reference, selection, &step.seat).await
}

/// Fails if a policy denies the artifact.
pub(crate) fn check_denied(request: &Request) -> Result<(), Failure> {
    request.requirement.denied().map_or(Ok(()), |objection| Err(objection.into()))
}

/// Judges a digest that is already published.
async fn judge<R: Registry>(
    registry: &R,
    limits: &Limits,
    request: &Request,
    pinned: &Pinned,
    step: &Step,
) -> Result<Basis, Failure> {
    step.set("verifying signatures");
    let access = &request.access;
    let judged = trust::judge(registry, access, pinned, &request.requirement, &step.seat, now()).await;
    if let Err(TrustError::Missing { .. } | TrustError::Invalid { .. }) = &judged {
        // A missing signature means something only if the registry still shows the artifact itself: with expired
        // credentials, or behind a captive proxy, everything is missing.
        let limit = limits.manifest_bytes.value();
        registry::document(registry, access, pinned.repository(), pinned.digest(), limit).await?;
    }
    Ok(judged?)
}

#[cfg(test)]
mod tests;
