//! From a digest to outputs that are ready for their switch.

use super::commit::Prepared;
use super::engine::Engine;
use super::look::Look;
use super::outcome::{Outcome, Top};
use super::stage::{self, Stage};
use super::step::{Step, now};
use crate::api::Reason;
use crate::blob;
use crate::failure::{Class, Failure};
use crate::output::{Ready, Wanted};
use crate::plan::Revision;
use crate::registry::{self, Pinned, Registry, RegistryError};
use crate::request::{Limits, Request};
use crate::storage::Call;
use crate::trust::{self, Approved};
use crate::unpack::{self, Stop};

/// Runs the steps from a digest to outputs that are ready for their switch.
pub(super) async fn fetch<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    pinned: Pinned,
    look: Look,
    wanted: &Wanted,
    step: &Step,
) -> Result<Prepared, Failure> {
    let approved = approve(&engine.registry, &engine.limits, request, pinned, step).await?;
    let mut prepared = stage_and_prepare(engine, request, &approved, &look, wanted, step).await;
    if let Err(failure) = &prepared
        && room_was_made(engine, request, &approved, failure).await
    {
        prepared = stage_and_prepare(engine, request, &approved, &look, wanted, step).await;
    }
    let (ready, top) = prepared?;
    let (pinned, manifest, basis) = approved.into_parts();
    let skipped = manifest.layers.iter().filter(|layer| !unpack::is_content(layer));
    let skipped: Vec<_> = skipped.map(|layer| layer.media_type.clone()).collect();
    if !skipped.is_empty() {
        let layers = skipped.join(", ");
        tracing::info!(namespace = %request.object.namespace, name = %request.object.name, %layers, "metadata layers are not fetched");
    }
    let revision = revision(request, &pinned);
    let (published, repaired) = (Vec::new(), look.damage);
    let outcome = Outcome { pinned, published, manifest: Some(manifest), basis: Some(basis), skipped, repaired, top };
    let immutable = request.targets.iter().filter(|target| target.place.is_immutable());
    let immutable = immutable.map(|target| target.output.clone()).collect();
    let (object, wanted) = (request.object.clone(), wanted.clone());
    Ok(Prepared { object, revision, ready, outcome, immutable, wanted })
}

/// Fetches the manifest, and judges the digest.
pub(super) async fn approve<R: Registry>(
    registry: &R,
    limits: &Limits,
    request: &Request,
    pinned: Pinned,
    step: &Step,
) -> Result<Approved, Failure> {
    step.set("fetching the manifest");
    let (platform, limit) = (request.platform.as_ref(), limits.manifest_bytes);
    let manifest = registry::manifest(registry, &request.access, &pinned, platform, limit.value()).await;
    let manifest = manifest.map_err(|error| {
        if let RegistryError::TooLarge { what, .. } = &error {
            let message = format!("{what} has {}", limit.exceeded());
            let failure = Failure::new(Class::Stalled, Reason::LimitExceeded, message);
            return Failure { is_beside_digest: true, ..failure };
        }
        error.into()
    })?;
    stage::check_type(request, &manifest)?;
    step.set("verifying signatures");
    let (access, requirement) = (&request.access, &request.requirement);
    Ok(trust::approve(registry, access, pinned, manifest, requirement, &step.seat, now()).await?)
}

/// True if cached layers were removed from a full volume to make room: publishing has priority over the cache. If the
/// content can never fit, nothing is removed.
pub(super) async fn room_was_made<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    approved: &Approved,
    failure: &Failure,
) -> bool {
    if failure.reason != Reason::StorageFull {
        return false;
    }
    let Ok(places) = engine.outputs.places(request) else { return false };
    let volumes: Vec<_> = places.into_iter().map(|place| place.volume).collect();
    let own = blob::keys(&request.access, approved);
    let made = engine.cache.make_room(&volumes, failure.lacks.unwrap_or(0), &own).await;
    if made {
        tracing::info!(namespace = %request.object.namespace, name = %request.object.name, full = %failure.message, "cached layers were removed to make room");
    }
    made
}

fn revision(request: &Request, pinned: &Pinned) -> Revision {
    Revision { digest: pinned.digest().clone(), fingerprint: request.fingerprint.clone() }
}

async fn stage_and_prepare<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    approved: &Approved,
    look: &Look,
    wanted: &Wanted,
    step: &Step,
) -> Result<(Vec<Ready>, Option<Top>), Failure> {
    if request.targets.is_empty() {
        // Without outputs the pass only resolves and verifies.
        return Ok((Vec::new(), None));
    }
    let stages = stage::stage(engine, request, approved, look.observed.is_forced, step).await?;
    step.set("preparing the outputs");
    let top = stages.first().map(|stage| Top::of(request, &stage.staged));
    let ready = prepare_outputs(engine, request, approved.pinned(), look, &stages, wanted).await;
    // Leftovers may be a whole tree after a failure, so a thread of the volume removes them.
    for stage in stages {
        let pool = stage.staged.pool().clone();
        // A volume that does not respond runs this once it responds again.
        let _ = pool.run(Call::Long(&request.object.namespace), move || drop(stage)).await;
    }
    Ok((ready?, top))
}

/// Prepares every output, those that can be refused first. A volume output that already holds the recorded revision
/// intact is not switched to another copy of it.
async fn prepare_outputs<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    pinned: &Pinned,
    look: &Look,
    stages: &[Stage],
    wanted: &Wanted,
) -> Result<Vec<Ready>, Failure> {
    let revision = revision(request, pinned);
    let is_recorded = look.observed.recorded.as_ref() == Some(&revision) && !look.observed.is_forced;
    let stop = Stop::new();
    // Dropping the future of a pass drops this guard, which stops work that has not started.
    let _guard = stop.clone().drop_guard();
    let mut all: Vec<_> = request.targets.iter().zip(&look.held).enumerate().collect();
    all.sort_by_key(|(_, (target, _))| target.place.volume().is_some());
    let mut ready = Vec::with_capacity(all.len());
    crate::failpoint::reach("prepare-begin");
    for (number, (target, held)) in all {
        let stage = stages.iter().find(|stage| stage.place.is_for(target));
        let staged = &stage.ok_or_else(|| Failure::internal("no stage was made"))?.staged;
        let held = held.as_ref().filter(|held| held.revision == revision);
        let made = match held.filter(|_| is_recorded && target.place.volume().is_some()) {
            // Only a revision recorded in status is trusted: a writer on the volume may have forged the rest.
            Some(held) => Ready::Held(Box::new(held.clone())),
            None => engine.outputs.prepare(request, target, pinned, staged, &stop, wanted).await?,
        };
        ready.push((number, made));
    }
    crate::failpoint::reach("prepare-end");
    ready.sort_by_key(|(number, _)| *number);
    Ok(ready.into_iter().map(|(_, made)| made).collect())
}
