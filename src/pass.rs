//! One pass over one object: the chain of the crate, step by step.
//!
//! The controller and `supercargo sync` both call [`pass`]. It knows nothing of status, events or
//! tables: it answers with what was found and done, or with the one [`Failure`] that stopped it.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::api::Reason;
use crate::blob::{self, Cache, Progress};
use crate::failure::{Class, Failure};
use crate::oci::Manifest;
use crate::output::integrity::Damage;
use crate::output::{Outputs, Published, Ready};
use crate::plan::{self, Plan, Revision};
use crate::registry::turns::{Turn, Turns};
use crate::registry::{self, Pinned, Registry, RegistryError};
use crate::request::{Limits, Place, Request};
use crate::trust::{self, Approved, Basis, TrustError};
use crate::unpack;

mod stage;

use stage::Stage;

mod look;

pub use look::{Lists, Look, look, read};

/// What passes share.
pub struct Engine<R> {
    /// Where artifacts come from.
    pub registry: R,
    /// Where files go.
    pub outputs: Outputs,
    /// The operator's bounds.
    pub limits: Limits,
    /// The layers that are kept.
    pub cache: Cache,
    /// How many passes may be busy with one registry.
    pub turns: Turns,
    /// One permit per core: unpacking is work for the processor.
    pub unpacking: Arc<Semaphore>,
    /// Who is told how far downloads are.
    pub progress: Option<Arc<dyn Progress>>,
}

impl<R> std::fmt::Debug for Engine<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("outputs", &self.outputs).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What earlier passes left behind.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// What the object's status names as served.
    pub recorded: Option<Revision>,
    /// Fingerprint of the requirement by which that was judged; `None` where nothing was required.
    pub trust: Option<String>,
    /// The last digest that was refused for good, and why.
    pub refused: Option<(Revision, Failure)>,
    /// List digests of the revision that is recorded, where they are recorded too.
    pub lists: Lists,
    /// What reading the outputs' files has found. They are published again.
    pub damage: Vec<Damage>,
}

/// A pass that ended well.
#[derive(Debug)]
pub struct Outcome {
    /// What the reference means now.
    pub pinned: Pinned,
    /// What each output holds now.
    pub published: Vec<Published>,
    /// The manifest, where a new revision was published.
    pub manifest: Option<Manifest>,
    /// What the verdict rests on, where the digest was judged now.
    pub basis: Option<Basis>,
    /// Media types of its layers that are about the content, and were not fetched: signatures, say.
    pub skipped: Vec<String>,
    /// What was found damaged, and published again.
    pub repaired: Vec<Damage>,
}

impl<R> Engine<R> {
    /// Waits for a turn at the request's registry. The wait does not count against `spec.timeout`.
    pub async fn turn(&self, request: &Request) -> Turn {
        self.turns.wait(&request.object.namespace, &request.reference.repository).await
    }
}

/// Brings the outputs in line with the request, within `spec.timeout`. Asks for the [`Turn`] that
/// [`Engine::turn`] gives.
pub async fn pass<R: Registry>(
    engine: &Engine<R>,
    _turn: &Turn,
    request: &Request,
    before: &Before,
) -> Result<Outcome, Failure> {
    let step = Step::default();
    match tokio::time::timeout(request.timeout, steps(engine, request, before, &step)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::timeout(request.timeout, step.now())),
    }
}

async fn steps<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    before: &Before,
    step: &Step,
) -> Result<Outcome, Failure> {
    check_denied(request)?;
    // Looked at first: a place that is not ours is refused before anybody is asked for anything.
    let look = look(engine, request, before).await?;
    step.set("resolving the reference");
    let pinned =
        registry::resolve(&engine.registry, &request.access, &request.reference, request.selection.as_ref()).await?;
    match (plan::decide(request, &pinned, &look.observed), &before.refused) {
        (Plan::Keep, _) => Ok(Outcome::kept(pinned, look, None)),
        (Plan::Reapprove, _) => {
            let basis = judge(engine, request, &pinned, step).await.map_err(|failure| failure.of(pinned.digest()))?;
            Ok(Outcome::kept(pinned, look, Some(basis)))
        }
        (Plan::Refuse, Some((_, failure))) => Err(failure.clone()),
        (Plan::Publish | Plan::Refuse, _) => {
            let digest = pinned.digest().clone();
            let result = publish(engine, request, pinned, &look, step).await;
            result.map(|outcome| Outcome { repaired: look.damage, ..outcome }).map_err(|failure| failure.of(&digest))
        }
    }
}

impl Outcome {
    /// Nothing was published: everything is there.
    fn kept(pinned: Pinned, look: Look, basis: Option<Basis>) -> Self {
        let published = look.held.into_iter().flatten().collect();
        Self { pinned, published, manifest: None, basis, skipped: Vec::new(), repaired: Vec::new() }
    }
}

/// Judges the digest that the request names, and fetches nothing of it, within `spec.timeout`. Asks for the [`Turn`] that
/// [`Engine::turn`] gives.
pub async fn rejudge<R: Registry>(engine: &Engine<R>, _turn: &Turn, request: &Request) -> Result<Basis, Failure> {
    let step = Step::default();
    let judging = async {
        check_denied(request)?;
        let (reference, selection) = (&request.reference, request.selection.as_ref());
        let pinned = registry::resolve(&engine.registry, &request.access, reference, selection).await?;
        judge(engine, request, &pinned, &step).await.map_err(|failure| failure.of(pinned.digest()))
    };
    tokio::time::timeout(request.timeout, judging)
        .await
        .unwrap_or_else(|_| Err(Failure::timeout(request.timeout, step.now())))
}

fn check_denied(request: &Request) -> Result<(), Failure> {
    request.requirement.denied().map_or(Ok(()), |objection| Err(objection.into()))
}

/// What signatures say of a digest that is published already.
async fn judge<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    pinned: &Pinned,
    step: &Step,
) -> Result<Basis, Failure> {
    step.set("verifying signatures");
    let (registry, access) = (&engine.registry, &request.access);
    let judged = trust::judge(registry, access, pinned, &request.requirement, now()).await;
    if let Err(TrustError::Missing { .. } | TrustError::Invalid { .. }) = &judged {
        // One that hides the artifact too, from those whose credentials have ended, say, tells nothing by that, and neither
        // does something else that answers in its place.
        let limit = engine.limits.manifest_bytes.value();
        registry::document(registry, access, pinned.repository(), pinned.digest(), limit).await?;
    }
    Ok(judged?)
}

/// True where a volume was full and is not any more, because layers that were kept on it are given up: what is
/// to be published comes before what may be used again. What never fits drives out nothing.
async fn room_was_made<R: Registry>(
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
        tracing::info!(object = %request.object, full = %failure.message, "kept layers were given up to make room");
    }
    made
}

async fn publish<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    pinned: Pinned,
    look: &Look,
    step: &Step,
) -> Result<Outcome, Failure> {
    step.set("fetching the manifest");
    let (platform, limit) = (request.platform.as_ref(), engine.limits.manifest_bytes);
    let manifest = registry::manifest(&engine.registry, &request.access, &pinned, platform, limit.value()).await;
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
    let approved =
        trust::approve(&engine.registry, &request.access, pinned, manifest, &request.requirement, now()).await?;
    let mut published = stage_and_show(engine, request, &approved, look, step).await;
    if let Err(failure) = &published
        && room_was_made(engine, request, &approved, failure).await
    {
        published = stage_and_show(engine, request, &approved, look, step).await;
    }
    let mut published = published?;
    let (pinned, manifest, basis) = approved.into_parts();
    let skipped = manifest.layers.iter().filter(|layer| !unpack::is_content(layer));
    let skipped: Vec<_> = skipped.map(|layer| layer.media_type.clone()).collect();
    for published in &mut published {
        published.skipped += skipped.len() as u64;
    }
    if !skipped.is_empty() {
        let layers = skipped.join(", ");
        tracing::info!(object = %request.object, %layers, "layers that are about the content were not fetched");
    }
    Ok(Outcome { pinned, published, manifest: Some(manifest), basis: Some(basis), skipped, repaired: Vec::new() })
}

async fn stage_and_show<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    approved: &Approved,
    look: &Look,
    step: &Step,
) -> Result<Vec<Published>, Failure> {
    let stages = stage::stage(engine, request, approved, step).await?;
    step.set("publishing");
    let published = make_visible(engine, request, approved.pinned(), look, &stages).await;
    // What was not moved away, a whole tree where something failed, is work for the disk to remove.
    tokio::task::spawn_blocking(move || drop(stages)).await.map_err(Failure::internal)?;
    published
}

/// Everything that can be refused is refused before the first output changes. A volume that holds the very revision
/// already, whole and by the record, is not switched to another copy of it.
async fn make_visible<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    pinned: &Pinned,
    look: &Look,
    stages: &[Stage],
) -> Result<Vec<Published>, Failure> {
    let wanted = Revision { digest: pinned.digest().clone(), fingerprint: request.fingerprint.as_str().to_owned() };
    let is_recorded = look.observed.recorded.as_ref() == Some(&wanted);
    let stays = |held: &&Published| is_recorded && held.revision == wanted;
    let mut ready = Vec::with_capacity(request.targets.len());
    for (target, held) in request.targets.iter().zip(&look.held) {
        let stage = stages.iter().find(|stage| stage.place.is_for(target));
        let staged = &stage.ok_or_else(|| Failure::internal("no stage was made"))?.staged;
        let made = match (&target.place, held.as_ref().filter(stays)) {
            (Place::Volume { .. }, Some(held)) => Ready::Held(Box::new(held.clone())),
            (Place::Volume { .. } | Place::ConfigMap { .. } | Place::Directory, _) => {
                engine.outputs.prepare(request, target, pinned, staged).await?
            }
        };
        ready.push((made, staged));
    }
    let mut published = Vec::with_capacity(request.targets.len());
    for (target, (ready, staged)) in request.targets.iter().zip(ready) {
        published.push(engine.outputs.commit(request, target, pinned, ready, staged).await?);
    }
    Ok(published)
}

/// The time at which trusted roots must be valid.
#[expect(clippy::disallowed_methods, reason = "the one place where a pass reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Which step a pass is in, for the message of a timeout.
#[derive(Default)]
struct Step(Mutex<&'static str>);

impl Step {
    fn set(&self, step: &'static str) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = step;
    }

    fn now(&self) -> &'static str {
        let step = *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if step.is_empty() { "looking at the outputs" } else { step }
    }
}

#[cfg(test)]
mod tests;
