//! From an approved manifest to complete trees: layers are fetched and unpacked side by side.
//!
//! A layer is unpacked as soon as all of it is there, while the next ones are fetched; what depends
//! on the order of layers is done once all are unpacked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use tokio::sync::{OnceCell, Semaphore};

use super::{Engine, Step};
use crate::api::Reason;
use crate::api::spec::LayerMode;
use crate::blob::{self, Source, VerifiedBlob};
use crate::failure::{Class, Failure};
use crate::oci::{Descriptor, Manifest, media_type};
use crate::output::StagePlace;
use crate::registry::Registry;
use crate::request::{Limits, Request};
use crate::storage::{Call, OnVolume, Pool, Scratch, StorageError};
use crate::trust::Approved;
use crate::unpack::image::{self, Kind};
use crate::unpack::staged::Staged;
use crate::unpack::{self, Dropped, LayerTree, Stop, UnpackError, Unpacker};

/// Layers of one artifact that are fetched at once, as container runtimes do by default.
const DOWNLOADS: usize = 3;
/// Layers that are under way at once: those that are fetched, unpacked, or wait for a processor.
const LAYERS: usize = 8;

/// A complete tree, and which outputs it is for.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) place: StagePlace,
    pub(super) staged: Arc<Staged>,
}

/// What the artifact must be before anything of it is fetched.
pub(super) fn check_type(request: &Request, manifest: &Manifest) -> Result<(), Failure> {
    let allowed = &request.artifact_types;
    if allowed.is_empty() || allowed.matches(&manifest.artifact_type) {
        return Ok(());
    }
    let message = format!(
        "the artifact is \"{}\"; spec.artifactTypes allows {}",
        manifest.artifact_type,
        allowed.texts().join(", ")
    );
    Err(Failure::new(Class::Stalled, Reason::UnexpectedArtifactType, message))
}

/// The layers that are fetched, in the order of the manifest.
pub(super) fn wanted<'a>(
    request: &Request,
    manifest: &'a Manifest,
    limits: &Limits,
) -> Result<Vec<&'a Descriptor>, Failure> {
    if let Err(exceeded) = limits.layers.check(manifest.layers.len() as u64) {
        return Err(Failure::new(Class::Stalled, Reason::LimitExceeded, format!("the manifest has {exceeded}")));
    }
    let content = manifest.layers.iter().filter(|layer| unpack::is_content(layer));
    let wanted: Vec<_> = content.filter(|layer| request.layers.selects(layer)).collect();
    // Who pushes no file pushes an empty descriptor. Readers of a signature have got the wrong artifact.
    let is_nothing = manifest.layers.iter().all(|layer| layer.media_type == media_type::OCI_EMPTY);
    let is_all = request.layers.is_all();
    if !wanted.is_empty() || (is_all && is_nothing) {
        return Ok(wanted);
    }
    let layers = manifest.layers.iter().filter(|layer| is_all || unpack::is_content(layer));
    let mut found: Vec<_> = layers.map(|layer| layer.media_type.as_str()).collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(5);
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    let what = if is_all {
        "the artifact has nothing but signatures and attestations"
    } else {
        "spec.layers selects none of the artifact's layers"
    };
    let message = format!("{what}; it has {found}");
    Err(Failure::new(Class::Stalled, Reason::NoMatchingLayer, message))
}

/// Fetches the layers once, and unpacks them in each place that wants them.
pub(super) async fn stage<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    approved: &Approved,
    is_forced: bool,
    step: &Step,
) -> Result<Vec<Stage>, Failure> {
    let limits = engine.limits.lowered(&request.limits);
    let mut layers = wanted(request, approved.manifest(), &limits)?;
    // A layer over itself changes nothing, whatever is in it.
    layers.dedup();
    let mut work =
        Work { engine, request, approved, step, limits: &limits, layers: &layers, is_forced, is_image: None };
    let places = engine.outputs.places(request)?;
    let mut stages = Vec::with_capacity(places.len());
    let mut slots = slots(&layers);
    let last = places.len().saturating_sub(1);
    for (number, place) in places.into_iter().enumerate() {
        // What no place wants any more is given back as soon as it is unpacked.
        let slots = if number == last { std::mem::take(&mut slots) } else { slots.clone() };
        let made = place.volume.run(Call::Short, |volume| volume.scratch());
        let scratch: Result<_, StorageError> = made.await;
        let scratch = Arc::new(scratch?);
        let result = work.in_place(&place, Arc::clone(&scratch), slots).await;
        // It goes here where the pass has failed, and nothing else needs it.
        let pool = scratch.pool().clone();
        let _ = pool.run(Call::Long, move || drop(scratch)).await;
        stages.push(Stage { staged: result?, place });
    }
    Ok(stages)
}

/// Whether layers hide what is in layers before them. The config is read only where nothing else says so.
async fn is_image<R: Registry>(request: &Request, source: &Source<'_, R>, limits: &Limits) -> Result<bool, Failure> {
    let manifest = source.approved.manifest();
    if request.unpacking.mode == LayerMode::File {
        return Ok(false);
    }
    let kind = match image::kind(manifest) {
        Kind::ByConfig => {
            // A layer's bytes go to a file, a config's into memory.
            let limit = limits.config_bytes;
            let blob = blob::fetch(&Source { limit, ..*source }, &manifest.config, |_| {}).await?;
            let config = source.scratch.pool().run(Call::Short, move || blob.bytes(limit)).await??;
            image::kind_by_config(manifest, &config)
        }
        kind @ (Kind::Image | Kind::Artifact) => kind,
    };
    Ok(kind == Kind::Image)
}

/// What is done for each place.
struct Work<'a, R> {
    engine: &'a Engine<R>,
    request: &'a Request,
    approved: &'a Approved,
    step: &'a Step,
    limits: &'a Limits,
    layers: &'a [&'a Descriptor],
    /// Kept layers are not used.
    is_forced: bool,
    /// Whether the artifact is a container image, once that is known.
    is_image: Option<bool>,
}

/// Where a layer is once it is fetched. It is held for as long as somebody has its slot.
type Slot = Arc<OnceCell<VerifiedBlob>>;

/// A slot for each layer: the same one where they have the same bytes, which are fetched and held once.
fn slots(layers: &[&Descriptor]) -> Vec<Slot> {
    let mut by_bytes: HashMap<_, Slot> = HashMap::new();
    let slots = layers.iter().map(|layer| Arc::clone(by_bytes.entry((&layer.digest, layer.size)).or_default()));
    slots.collect()
}

impl<R: Registry> Work<'_, R> {
    /// The tree for one place. Layers whose slots are filled are not fetched again.
    async fn in_place(
        &mut self,
        place: &StagePlace,
        scratch: Arc<Scratch>,
        slots: Vec<Slot>,
    ) -> Result<Arc<Staged>, Failure> {
        self.step.set("fetching and unpacking layers");
        let source = Source {
            registry: &self.engine.registry,
            access: &self.request.access,
            approved: self.approved,
            scratch: &scratch,
            store: self.engine.cache.on(&place.volume).filter(|_| place.is_cached && !self.is_forced),
            seat: &self.step.seat,
            limit: self.limits.layer_bytes,
        };
        let is_image = match self.is_image {
            Some(known) => known,
            None => *self.is_image.insert(self::is_image(self.request, &source, self.limits).await?),
        };
        let stop = Stop::new();
        // A pass that is given up drops this future, and with it the guard, which stops the threads.
        let _guard = stop.clone().drop_guard();
        let (manifest, unpacking) = (self.approved.manifest().clone(), self.request.unpacking);
        let unpacker = Unpacker::new(Arc::clone(&scratch), manifest, is_image, unpacking, self.limits, stop);
        let unpacker = Arc::new(unpacker);
        let trees = self.layers(&source, &unpacker, slots).await?;
        self.step.set("making the files durable");
        let (files, filter) = (self.request.files.clone(), place.filter.clone());
        let finish = move || {
            let trees = trees.into_iter().filter_map(OnVolume::take).collect();
            unpacker.finish(trees, &files, &filter)
        };
        Ok(Arc::new(scratch.pool().run(Call::Long, finish).await??))
    }

    /// The layers' trees, in their order. Of several failures it is the first layer's that is told.
    async fn layers(
        &self,
        source: &Source<'_, R>,
        unpacker: &Arc<Unpacker>,
        slots: Vec<Slot>,
    ) -> Result<Vec<OnVolume<LayerTree>>, Failure> {
        let mut counted = HashSet::new();
        let fetched = self.layers.iter().filter(|layer| counted.insert((&layer.digest, layer.size)));
        let total = fetched.fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
        let (downloads, done) = (Semaphore::new(DOWNLOADS), AtomicU64::new(0));
        let each = self.layers.iter().zip(slots).enumerate().map(|(number, (layer, slot))| {
            let (downloads, done) = (&downloads, &done);
            async move {
                let fetch = async || {
                    let _permit = downloads.acquire().await.map_err(Failure::internal)?;
                    self.fetch(source, layer, done, total).await
                };
                let blob = slot.get_or_try_init(fetch).await?.as_layer(layer);
                drop(slot);
                let blob = blob.ok_or_else(|| Failure::internal("a slot has another layer"))?;
                self.unpack(source.scratch.pool(), unpacker, number, blob).await
            }
        });
        let each: Vec<_> = each.collect();
        futures::stream::iter(each).buffered(LAYERS).try_collect().await
    }

    async fn fetch(
        &self,
        source: &Source<'_, R>,
        layer: &Descriptor,
        done: &AtomicU64,
        total: u64,
    ) -> Result<VerifiedBlob, Failure> {
        let (object, mut before) = (self.request.object.to_string(), 0_u64);
        let progress = |bytes: u64| {
            let new = bytes.saturating_sub(before);
            let all = done.fetch_add(new, Ordering::Relaxed).saturating_add(new);
            before = before.max(bytes);
            if let Some(progress) = &self.engine.progress {
                progress.downloaded(&object, all.min(total), total);
            }
        };
        Ok(blob::fetch(source, layer, progress).await?)
    }

    async fn unpack(
        &self,
        pool: &Pool,
        unpacker: &Arc<Unpacker>,
        number: usize,
        blob: VerifiedBlob,
    ) -> Result<OnVolume<LayerTree>, Failure> {
        let slot = pool.slot(Call::Long).await?;
        // Held here and not by the thread, which may hang with its volume.
        let _permit = self.step.seat.permit().await;
        let (unpacker, pool) = (Arc::clone(unpacker), pool.clone());
        let short = blob.descriptor().digest.short();
        let work = slot.run(move || -> Result<_, UnpackError> {
            let (tree, dropped) = unpacker.layer(number, &blob)?;
            drop(blob);
            Ok((OnVolume::new(&pool, tree), dropped))
        });
        let limit = self.limits.unpack_seconds;
        let Ok(done) = tokio::time::timeout(Duration::from_secs(limit.value()), work).await else {
            // The guard of the caller ends the thread.
            let message = format!("layer {short}: {}", limit.exceeded());
            return Err(Failure::new(Class::Stalled, Reason::LimitExceeded, message));
        };
        let (tree, dropped) = done??;
        if dropped != Dropped::default() {
            let Dropped { owners, special_bits, attributes } = dropped;
            tracing::info!(object = %self.request.object, layer = %short, owners, special_bits, attributes, "dropped: owners, setuid, setgid and sticky bits, extended attributes");
        }
        Ok(tree)
    }
}
