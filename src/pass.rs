//! One pass over one object: the chain of the crate, step by step.
//!
//! The controller and `supercargo sync` both call [`pass`]. It knows nothing of status, events or
//! tables: it answers with what was found and done, or with the one [`Failure`] that stopped it.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use crate::api::Reason;
use crate::blob::{self, Cache, Progress, Source, VerifiedBlob};
use crate::failure::Failure;
use crate::oci::Manifest;
use crate::plan::{self, Observed, Plan, Revision};
use crate::publish::{Outputs, Published};
use crate::registry::turns::{Turn, Turns};
use crate::registry::{self, Pinned, Registry};
use crate::request::{Limits, Request};
use crate::storage::{Scratch, Volume};
use crate::trust::{self, Approved};
use crate::unpack::staged::Staged;
use crate::unpack::{self, Stop};

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
    /// The last digest that was refused for good, and why.
    pub refused: Option<(Revision, Failure)>,
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
    // Looked at first: a place that is not ours is refused before anybody is asked for anything.
    let (held, observed) = observe(engine, request, before).await?;
    step.set("resolving the reference");
    let pinned =
        registry::resolve(&engine.registry, &request.access, &request.reference, request.selection.as_ref()).await?;
    match (plan::decide(request, &pinned, &observed), &before.refused) {
        (Plan::Keep, _) => Ok(Outcome { pinned, published: held.into_iter().flatten().collect(), manifest: None }),
        (Plan::Refuse, Some((_, failure))) => Err(failure.clone()),
        (Plan::Publish | Plan::Refuse, _) => {
            let digest = pinned.digest().clone();
            let mut result = publish(engine, request, pinned.clone(), step).await;
            if let Err(failure) = &result
                && room_was_made(engine, request, failure).await
            {
                result = publish(engine, request, pinned, step).await;
            }
            result.map_err(|failure| failure.of(&digest))
        }
    }
}

/// What each target holds now, and the same as [`plan::decide`] wants it. Asks no registry.
pub async fn observe<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    before: &Before,
) -> Result<(Vec<Option<Published>>, Observed), Failure> {
    let mut held = Vec::with_capacity(request.targets.len());
    for target in &request.targets {
        held.push(engine.outputs.probe(&request.object, target).await?);
    }
    let observed = Observed {
        recorded: before.recorded.clone(),
        outputs: held.iter().map(|held| held.as_ref().map(|held| held.revision.clone())).collect(),
        refused: before.refused.as_ref().map(|(revision, _)| revision.clone()),
    };
    Ok((held, observed))
}

/// True where a volume was full and is not any more, because layers that were kept on it are given up: what is
/// to be published comes before what may be used again.
async fn room_was_made<R: Registry>(engine: &Engine<R>, request: &Request, failure: &Failure) -> bool {
    if failure.reason != Reason::StorageFull {
        return false;
    }
    let Ok(volumes) = engine.outputs.stages(request) else { return false };
    let made = engine.cache.make_room(&volumes).await;
    if made {
        tracing::info!(object = %request.object, full = %failure.message, "kept layers were given up to make room");
    }
    made
}

async fn publish<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    pinned: Pinned,
    step: &Step,
) -> Result<Outcome, Failure> {
    step.set("fetching the manifest");
    let manifest = registry::manifest(&engine.registry, &request.access, &pinned, request.platform.as_ref()).await?;
    let approved = trust::approve(pinned, manifest);
    let stages = stage(engine, request, &approved, step).await?;
    step.set("publishing");
    let published = make_visible(engine, request, approved.pinned(), &stages).await;
    // What was not moved away, a whole tree where something failed, is work for the disk to remove.
    tokio::task::spawn_blocking(move || drop(stages)).await.map_err(Failure::internal)?;
    let published = published?;
    let (pinned, manifest) = approved.into_parts();
    Ok(Outcome { pinned, published, manifest: Some(manifest) })
}

/// Everything that can be refused is refused before the first output changes.
async fn make_visible<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    pinned: &Pinned,
    stages: &[(Arc<Volume>, Arc<Staged>)],
) -> Result<Vec<Published>, Failure> {
    let Some((_, first)) = stages.first() else { return Err(Failure::internal("no stage was made")) };
    let mut ready = Vec::with_capacity(request.targets.len());
    for target in &request.targets {
        ready.push(engine.outputs.prepare(request, target, pinned, first).await?);
    }
    let mut published = Vec::with_capacity(request.targets.len());
    for (target, ready) in request.targets.iter().zip(ready) {
        let staged = ready.stage_among(stages).unwrap_or(first);
        published.push(engine.outputs.commit(request, target, pinned, ready, staged).await?);
    }
    Ok(published)
}

/// Fetches the layers once, and unpacks them on each filesystem that wants them.
async fn stage<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    approved: &Approved,
    step: &Step,
) -> Result<Vec<(Arc<Volume>, Arc<Staged>)>, Failure> {
    let volumes = engine.outputs.stages(request)?;
    let mut stages = Vec::with_capacity(volumes.len());
    let mut blobs: Option<Vec<VerifiedBlob>> = None;
    for volume in volumes {
        let scratch = volume.scratch()?;
        let fetched = if let Some(blobs) = blobs.take() {
            blobs
        } else {
            step.set("fetching layers");
            fetch(engine, request, approved, &volume, &scratch).await?
        };
        step.set("unpacking");
        let permit = Arc::clone(&engine.unpacking).acquire_owned().await.map_err(Failure::internal)?;
        let stop = Stop::new();
        // A pass that is given up drops this future, and with it the guard, which stops the thread.
        let guard = stop.clone().drop_guard();
        let (manifest, sub_path, limits) = (approved.manifest().clone(), request.sub_path.clone(), engine.limits);
        let work = tokio::task::spawn_blocking(move || {
            let mut blobs = fetched;
            let tree = unpack::into_tree(scratch, &manifest, &mut blobs, &limits, &stop)?;
            // Making it durable waits for the disk, not the processor.
            drop(permit);
            Ok::<_, unpack::UnpackError>((tree.finish(&sub_path)?, blobs))
        });
        let (staged, unpacked) = work.await.map_err(Failure::internal)??;
        drop(guard.disarm());
        blobs = Some(unpacked);
        stages.push((volume, Arc::new(staged)));
    }
    Ok(stages)
}

async fn fetch<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    approved: &Approved,
    volume: &Arc<Volume>,
    scratch: &Scratch,
) -> Result<Vec<VerifiedBlob>, Failure> {
    let layers: Vec<_> = approved.manifest().layers.iter().filter(|layer| unpack::is_content(layer)).collect();
    let total = layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
    let object = request.object.to_string();
    let source = Source {
        registry: &engine.registry,
        access: &request.access,
        approved,
        scratch,
        store: engine.cache.on(volume),
        processors: &engine.unpacking,
        limit: engine.limits.layer_bytes,
    };
    let mut before = 0_u64;
    let mut blobs = Vec::with_capacity(layers.len());
    for layer in layers {
        let progress = |bytes: u64| {
            if let Some(progress) = &engine.progress {
                progress.downloaded(&object, before.saturating_add(bytes), total);
            }
        };
        blobs.push(blob::fetch(&source, layer, progress).await?);
        before = before.saturating_add(layer.size);
    }
    Ok(blobs)
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
