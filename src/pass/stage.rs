//! From an approved manifest to complete trees: layers are fetched and unpacked side by side.
//!
//! A layer is unpacked as soon as it is complete, while the next ones are fetched. Work that
//! depends on the order of layers is done once all are unpacked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use tokio::sync::{OnceCell, Semaphore};

use super::engine::Engine;
use super::step::Step;
use crate::api::Reason;
use crate::api::vocabulary::LayerMode;
use crate::blob::{self, Source, VerifiedBlob};
use crate::failure::{Class, Failure};
use crate::oci::{Descriptor, Manifest, media_type};
use crate::output::StagePlace;
use crate::registry::Registry;
use crate::request::{Field, Limits, Request};
use crate::storage::{Call, OnVolume, Pool, Scratch, StorageError};
use crate::trust::Approved;
use crate::unpack::image::{self, Kind};
use crate::unpack::staged::Staged;
use crate::unpack::{self, Dropped, LayerTree, Stop, UnpackError, Unpacker};

/// Maximum concurrent downloads for one artifact, as in container runtimes by default.
const DOWNLOADS: usize = 3;
/// Maximum layers in progress: fetched, unpacked, or waiting for a processor.
const LAYERS: usize = 8;

/// A complete tree, and the place that it was made for.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) place: StagePlace,
    pub(super) staged: Arc<Staged>,
}

/// Checks the artifact type, before any layer is fetched.
pub(crate) fn check_type(request: &Request, manifest: &Manifest) -> Result<(), Failure> {
    let allowed = &request.artifact_types;
    if allowed.is_empty() || allowed.matches(&manifest.artifact_type) {
        return Ok(());
    }
    let message = |spelling| {
        let (found, field, allowed) =
            (&manifest.artifact_type, Field::ArtifactTypes.name(spelling), allowed.texts().join(", "));
        format!("artifact type \"{found}\" is not in {field}; expected {allowed}")
    };
    Err(Failure::naming(Class::Stalled, Reason::UnexpectedArtifactType, message))
}

/// Returns the layers to fetch, in the order of the manifest.
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
    // An artifact without files has empty descriptors as layers. One with signatures only is a wrong reference.
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
    let message = |spelling| match (is_all, Field::Layers.name(spelling)) {
        (true, _) => {
            format!("the artifact has nothing but signatures and attestations; media types of its layers: {found}")
        }
        (false, field) => {
            format!("no layer of the artifact is selected by {field}; media types of its layers: {found}")
        }
    };
    Err(Failure::naming(Class::Stalled, Reason::NoMatchingLayer, message))
}

/// Fetches each layer once, and unpacks it in every place.
pub(super) async fn stage<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    approved: &Approved,
    is_forced: bool,
    step: &Step,
) -> Result<Vec<Stage>, Failure> {
    let limits = engine.limits.lowered(&request.limits);
    let mut layers = wanted(request, approved.manifest(), &limits)?;
    // Applying the same layer twice in a row changes nothing.
    layers.dedup();
    let mut work =
        Work { engine, request, approved, step, limits: &limits, layers: &layers, is_forced, is_image: None };
    let places = engine.outputs.places(request)?;
    let mut stages = Vec::with_capacity(places.len());
    let mut slots = slots(&layers);
    let last = places.len().saturating_sub(1);
    for (number, place) in places.into_iter().enumerate() {
        // At the last place each layer is released as soon as it is unpacked.
        let slots = if number == last { std::mem::take(&mut slots) } else { slots.clone() };
        let made = place.volume.run(Call::Short, |volume| volume.scratch());
        let scratch: Result<_, StorageError> = made.await;
        let scratch = Arc::new(scratch?);
        let result = work.in_place(&place, Arc::clone(&scratch), slots).await;
        // If the pass has failed, this drops the last holder.
        let pool = scratch.pool().clone();
        let _ = pool.run(Call::Long(&request.object.namespace), move || drop(scratch)).await;
        stages.push(Stage { staged: result?, place });
    }
    Ok(stages)
}

/// True if layers may hide files of earlier layers. The config is read only if nothing else decides.
async fn is_image<R: Registry>(request: &Request, source: &Source<'_, R>, limits: &Limits) -> Result<bool, Failure> {
    let manifest = source.approved.manifest();
    if request.unpacking.mode == LayerMode::File {
        return Ok(false);
    }
    let kind = match image::kind(manifest) {
        Kind::ByConfig => {
            // A layer's bytes go to a file, a config's into memory, so the limit is smaller.
            let limit = limits.config_bytes;
            let blob = blob::fetch(&Source { limit, ..*source }, &manifest.config, |_| {}).await?;
            let config = source.scratch.pool().run(Call::Short, move || blob.bytes(limit)).await??;
            image::kind_by_config(manifest, &config)
        }
        kind @ (Kind::Image | Kind::Artifact) => kind,
    };
    Ok(kind == Kind::Image)
}

/// Input of the work for each place.
struct Work<'a, R> {
    engine: &'a Engine<R>,
    request: &'a Request,
    approved: &'a Approved,
    step: &'a Step,
    limits: &'a Limits,
    layers: &'a [&'a Descriptor],
    /// True if cached layers must not be used.
    is_forced: bool,
    /// True for a container image; `None` until known.
    is_image: Option<bool>,
}

/// Holder of a layer once it is fetched. The layer is kept while its slot is held.
type Slot = Arc<OnceCell<VerifiedBlob>>;

/// Returns a slot for each layer. Layers with the same bytes share one, so they are fetched and held once.
fn slots(layers: &[&Descriptor]) -> Vec<Slot> {
    let mut by_bytes: HashMap<_, Slot> = HashMap::new();
    let slots = layers.iter().map(|layer| Arc::clone(by_bytes.entry((&layer.digest, layer.size)).or_default()));
    slots.collect()
}

impl<R: Registry> Work<'_, R> {
    /// Returns the tree for one place. Layers in filled slots are not fetched again.
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
        // Dropping the future of a pass drops this guard, which stops the threads.
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
        let slot = scratch.pool().slot_for(&self.step.seat).await?;
        Ok(Arc::new(slot.run(finish).await??))
    }

    /// Returns the layers' trees in order. If several layers fail, reports the failure of the first one.
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
                let blob = blob.ok_or_else(|| Failure::internal("a slot holds another layer"))?;
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
        let slot = pool.slot_for(&self.step.seat).await?;
        // Held by the future, not by the thread, which may hang with its volume.
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
            // The caller's guard stops the thread.
            let message = format!("layer {short}: {}", limit.exceeded());
            return Err(Failure::new(Class::Stalled, Reason::LimitExceeded, message));
        };
        let (tree, dropped) = done??;
        if dropped != Dropped::default() {
            let Dropped { owners, special_bits, attributes } = dropped;
            let object = &self.request.object;
            tracing::info!(namespace = %object.namespace, name = %object.name, layer = %short, owners, special_bits, attributes, "dropped: owners, setuid, setgid and sticky bits, extended attributes");
        }
        Ok(tree)
    }
}
