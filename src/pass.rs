//! One pass over one object: the chain of the crate, step by step.
//!
//! The controller and `supercargo sync` both use it. A pass has no access to status, Events or
//! tables: it returns its findings and changes, or the one [`Failure`] that stopped it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use crate::api::Reason;
use crate::blob::{self, Cache, Progress};
use crate::failure::{Class, Failure};
use crate::oci::{Digest, Manifest};
pub use crate::output::Wanted;
use crate::output::damage::Damage;
use crate::output::location::Location;
use crate::output::{Done, Lock, NotSwitched, Outputs, Published, Ready};
use crate::permits::{Permits, Seat};
use crate::plan::{self, Plan, Revision};
use crate::registry::{self, Pinned, Registry, RegistryError};
use crate::request::{Limits, ObjectId, Place, Request};
use crate::storage::Call;
use crate::trust::{self, Approved, Basis, TrustError};
use crate::unpack::staged::{Node, Staged};
use crate::unpack::{self, Stop};

mod stage;

use stage::Stage;

mod look;

pub use look::{Look, Records, look, read};

pub mod turns;

use turns::{Turn, Turns};

/// Maximum number of top-level names in a report.
const TOP_NAMES: usize = 10;

/// State shared by all passes.
pub struct Engine<R> {
    /// Source of artifacts.
    pub registry: R,
    /// Destinations of files.
    pub outputs: Outputs,
    /// The operator's limits.
    pub limits: Limits,
    /// Cache of layers.
    pub cache: Cache,
    /// Limits for concurrent passes per registry host.
    pub turns: Turns,
    /// Permits for CPU-bound work.
    pub processors: Permits,
    /// Receiver of download progress.
    pub progress: Option<Arc<dyn Progress>>,
}

impl<R> std::fmt::Debug for Engine<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("outputs", &self.outputs).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// State from earlier passes.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// The served revision, as recorded in status.
    pub recorded: Option<Revision>,
    /// Fingerprint of the requirement by which that revision was judged; `None` if nothing was required.
    pub trust: Option<String>,
    /// The last digest that was permanently refused, and the failure.
    pub refused: Option<(Revision, Failure)>,
    /// State of each output as recorded in status, by the output's name.
    pub outputs: Records,
    /// Damage found by a scan; it is published again.
    pub damage: Vec<Damage>,
    /// True if the artifact must be fetched again, layers included.
    pub is_forced: bool,
}

/// A successful pass.
#[derive(Debug)]
pub struct Outcome {
    /// Repository and digest that the reference resolved to.
    pub pinned: Pinned,
    /// State of each output.
    pub published: Vec<Published>,
    /// The manifest, if a revision was published.
    pub manifest: Option<Manifest>,
    /// Basis of the verdict, if the digest was judged in this pass.
    pub basis: Option<Basis>,
    /// Media types of layers that were not fetched because they are metadata, such as signatures.
    pub skipped: Vec<String>,
    /// Damage that was found and published again.
    pub repaired: Vec<Damage>,
    /// Top of the artifact's tree, if it was unpacked.
    pub top: Option<Top>,
}

/// Top of an artifact's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Top {
    /// The first top-level names.
    pub names: Vec<String>,
    /// Name of the single directory that contains everything, if `spec.files.subPath` is not set.
    pub single_directory: Option<String>,
}

/// Result of the part of a pass that can be given up at any time.
#[derive(Debug)]
pub enum Progressed {
    /// Every output already holds the wanted revision.
    Kept(Box<Outcome>),
    /// Every output is ready for its switch.
    Prepared(Box<Prepared>),
}

/// Outputs ready for their switch, with the outcome to report.
#[derive(Debug)]
pub struct Prepared {
    object: ObjectId,
    revision: Revision,
    ready: Vec<Ready>,
    /// Complete except for the state of the outputs.
    outcome: Outcome,
    /// Names of the outputs whose objects are named by their content.
    immutable: BTreeSet<String>,
    wanted: Wanted,
}

/// Switched outputs. Holds the object's lock until dropped: drop it once the outcome is recorded.
#[derive(Debug)]
pub struct Committed {
    /// The outcome.
    pub outcome: Outcome,
    _lock: Lock,
}

/// Journal of a commit: the outputs about to be switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switching {
    /// The revision of the switch.
    pub revision: Revision,
    /// Names of the outputs that change.
    pub outputs: Vec<String>,
    /// List digest of each volume output, changed or not.
    pub lists: BTreeMap<String, Digest>,
    /// Location of each immutable object, which depends on its content.
    pub locations: BTreeMap<String, Location>,
}

/// The part of a commit that depends on the caller.
pub trait Attendant: Sync {
    /// Records durably that several outputs are about to be switched. On an error nothing is switched.
    fn begin(&self, outcome: &Outcome, switching: &Switching) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Attendant for commands over files: nothing else changes the object, and no journal exists.
#[derive(Debug)]
pub struct Unattended;

impl Attendant for Unattended {
    async fn begin(&self, _: &Outcome, _: &Switching) -> Result<(), Failure> {
        Ok(())
    }
}

impl<R> Engine<R> {
    /// Waits for a turn at the request's registry. The wait does not count against `spec.timeout`.
    pub async fn turn(&self, request: &Request) -> Turn {
        self.turns.wait(&request.object.namespace, &request.reference.repository).await
    }
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
            committed.map(|committed| committed.outcome).ok_or_else(|| Failure::internal("given up"))
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
    let step = Step::new(engine, request);
    let steps = Box::pin(steps(engine, request, before, wanted, &step));
    let result = step.seat.within(request.timeout, steps).await;
    result.unwrap_or_else(|| Err(Failure::timeout(request.timeout, step.now())))
}

impl Prepared {
    /// Switches all outputs, or none. Must not be cancelled after the first switch: await it to its end and record the
    /// outcome. `None` if the object has changed meanwhile; then nothing was switched.
    pub async fn commit<R>(self, engine: &Engine<R>, attendant: &impl Attendant) -> Result<Option<Committed>, Failure> {
        let Self { object, revision, ready, outcome, immutable, wanted } = self;
        let lock = engine.outputs.lock(&object).await?;
        if !wanted.is_wanted() {
            return Ok(None);
        }
        let changing = ready.iter().filter(|ready| ready.is_change());
        let outputs: Vec<_> = changing.filter_map(Ready::published).map(|published| published.output.clone()).collect();
        let is_immutable = |published: &&Published| immutable.contains(&published.output);
        let location = |published: &Published| (published.output.clone(), published.location.clone());
        let published = || ready.iter().filter_map(Ready::published);
        let locations: BTreeMap<_, _> = published().filter(is_immutable).map(location).collect();
        let changes_immutable = outputs.iter().any(|output| locations.contains_key(output));
        if outputs.len() > 1 || changes_immutable {
            let list = |published: &Published| Some((published.output.clone(), published.list_digest.clone()?));
            let lists = published().filter_map(list).collect();
            attendant.begin(&outcome, &Switching { revision, outputs, lists, locations }).await?;
            crate::failpoint::reach("journal");
            // The write takes as long as the API server takes.
            if !wanted.is_wanted() {
                return Ok(None);
            }
        }
        let switched = engine.outputs.switch(&object, &ready, &lock, now()).await;
        // Off the runtime: removing a replaced tree takes many filesystem calls.
        tokio::task::spawn_blocking(move || drop(ready)).await.map_err(Failure::internal)?;
        let Done { mut published, removed } = switched.map_err(|NotSwitched { error, stuck }| {
            let failure = Failure::from(error).of(outcome.pinned.digest());
            if stuck.is_empty() {
                failure
            } else {
                failure.with_note(&format!("and could not be reverted: {}", stuck.join("; ")))
            }
        })?;
        for published in &mut published {
            published.skipped += outcome.skipped.len() as u64;
        }
        let repaired = outcome.repaired.into_iter().chain(removed).collect();
        Ok(Some(Committed { outcome: Outcome { published, repaired, ..outcome }, _lock: lock }))
    }
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
    let pinned = resolve(engine, request, step).await?;
    match (plan::decide(request, &pinned, &look.observed), &before.refused) {
        (Plan::Keep, _) => Ok(Progressed::Kept(Box::new(Outcome::kept(pinned, look, None)))),
        (Plan::Reapprove, _) => {
            let basis = judge(engine, request, &pinned, step).await.map_err(|failure| failure.of(pinned.digest()))?;
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

impl Outcome {
    /// Creates an outcome without a publication: every output already holds the revision.
    fn kept(pinned: Pinned, look: Look, basis: Option<Basis>) -> Self {
        let published = look.held.into_iter().flatten().collect();
        Self { pinned, published, manifest: None, basis, skipped: Vec::new(), repaired: Vec::new(), top: None }
    }
}

/// Judges the digest that the request names without fetching it, within `spec.timeout`. Requires the [`Turn`] from
/// [`Engine::turn`].
pub async fn rejudge<R: Registry>(engine: &Engine<R>, _turn: &Turn, request: &Request) -> Result<Basis, Failure> {
    let step = Step::new(engine, request);
    let judging = async {
        check_denied(request)?;
        let pinned = resolve(engine, request, &step).await?;
        judge(engine, request, &pinned, &step).await.map_err(|failure| failure.of(pinned.digest()))
    };
    let judged = step.seat.within(request.timeout, judging).await;
    judged.unwrap_or_else(|| Err(Failure::timeout(request.timeout, step.now())))
}

async fn resolve<R: Registry>(engine: &Engine<R>, request: &Request, step: &Step) -> Result<Pinned, RegistryError> {
    let (reference, selection) = (&request.reference, request.selection.as_ref());
    registry::resolve(&engine.registry, &request.access, reference, selection, &step.seat).await
}

fn check_denied(request: &Request) -> Result<(), Failure> {
    request.requirement.denied().map_or(Ok(()), |objection| Err(objection.into()))
}

/// Judges a digest that is already published.
async fn judge<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    pinned: &Pinned,
    step: &Step,
) -> Result<Basis, Failure> {
    step.set("verifying signatures");
    let (registry, access) = (&engine.registry, &request.access);
    let judged = trust::judge(registry, access, pinned, &request.requirement, &step.seat, now()).await;
    if let Err(TrustError::Missing { .. } | TrustError::Invalid { .. }) = &judged {
        // A missing signature means something only if the registry still shows the artifact itself: with expired
        // credentials, or behind a captive proxy, everything is missing.
        let limit = engine.limits.manifest_bytes.value();
        registry::document(registry, access, pinned.repository(), pinned.digest(), limit).await?;
    }
    Ok(judged?)
}

/// True if cached layers were removed from a full volume to make room: publishing has priority over the cache. If the
/// content can never fit, nothing is removed.
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

/// Runs the steps from a digest to outputs that are ready for their switch.
async fn fetch<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    pinned: Pinned,
    look: Look,
    wanted: &Wanted,
    step: &Step,
) -> Result<Prepared, Failure> {
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
        trust::approve(&engine.registry, &request.access, pinned, manifest, &request.requirement, &step.seat, now())
            .await?;
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
        tracing::info!(object = %request.object, %layers, "metadata layers are not fetched");
    }
    let revision = revision(request, &pinned);
    let (published, repaired) = (Vec::new(), look.damage);
    let outcome = Outcome { pinned, published, manifest: Some(manifest), basis: Some(basis), skipped, repaired, top };
    let immutable = request.targets.iter().filter(|target| target.place.is_immutable());
    let immutable = immutable.map(|target| target.output.clone()).collect();
    let (object, wanted) = (request.object.clone(), wanted.clone());
    Ok(Prepared { object, revision, ready, outcome, immutable, wanted })
}

fn revision(request: &Request, pinned: &Pinned) -> Revision {
    Revision { digest: pinned.digest().clone(), fingerprint: request.fingerprint.as_str().to_owned() }
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
    let top = stages.first().map(|stage| top(request, &stage.staged));
    let ready = prepare_outputs(engine, request, approved.pinned(), look, &stages, wanted).await;
    // Leftovers may be a whole tree after a failure, so a thread of the volume removes them.
    for stage in stages {
        let pool = stage.staged.pool().clone();
        // A volume that does not respond runs this once it responds again.
        let _ = pool.run(Call::Long, move || drop(stage)).await;
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
    all.sort_by_key(|(_, (target, _))| matches!(target.place, Place::Volume { .. }));
    let mut ready = Vec::with_capacity(all.len());
    crate::failpoint::reach("prepare-begin");
    for (number, (target, held)) in all {
        let stage = stages.iter().find(|stage| stage.place.is_for(target));
        let staged = &stage.ok_or_else(|| Failure::internal("no stage was made"))?.staged;
        let held = held.as_ref().filter(|held| held.revision == revision);
        let made = match (&target.place, held) {
            // Only a revision recorded in status is trusted: a writer on the volume may have forged the rest.
            (Place::Volume { .. }, Some(held)) if is_recorded => Ready::Held(Box::new(held.clone())),
            (Place::Volume { .. } | Place::ConfigMap(_) | Place::Secret { .. } | Place::Directory, _) => {
                engine.outputs.prepare(request, target, pinned, staged, &stop, wanted).await?
            }
        };
        ready.push((number, made));
    }
    crate::failpoint::reach("prepare-end");
    ready.sort_by_key(|(number, _)| *number);
    Ok(ready.into_iter().map(|(_, made)| made).collect())
}

fn top(request: &Request, staged: &Staged) -> Top {
    // With filters, the single directory may be one of several in the artifact.
    let is_whole = request.files.filter.is_all() && request.targets.iter().all(|target| target.filter.is_all());
    let top = || staged.nodes().iter().filter(|(path, _)| path.depth() == 1);
    let single = match (top().next(), top().nth(1)) {
        (Some((path, Node::Directory)), None) if request.files.sub_path.is_root() && is_whole => Some(path.to_string()),
        (Some(_) | None, _) => None,
    };
    Top { names: top().take(TOP_NAMES).map(|(path, _)| path.to_string()).collect(), single_directory: single }
}

/// Returns the time at which trusted roots must be valid.
#[expect(clippy::disallowed_methods, reason = "the one place where a pass reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Current step of a pass, for a timeout's message, and its seat at the processors.
struct Step {
    name: Mutex<&'static str>,
    seat: Seat,
}

impl Step {
    fn new<R>(engine: &Engine<R>, request: &Request) -> Self {
        Self { name: Mutex::default(), seat: engine.processors.seat(&request.object.namespace) }
    }

    fn set(&self, step: &'static str) {
        *self.name.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = step;
    }

    fn now(&self) -> &'static str {
        let step = *self.name.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if step.is_empty() { "looking at the outputs" } else { step }
    }
}

#[cfg(test)]
mod tests;
