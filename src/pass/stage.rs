//! From an approved manifest to complete trees: layers are fetched and unpacked side by side.
//!
//! A layer is unpacked as soon as all of it is there, while the next ones are fetched; what depends
//! on the order of layers is done once all are unpacked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use super::{Engine, Step};
use crate::api::Reason;
use crate::api::spec::LayerMode;
use crate::blob::{self, Source, VerifiedBlob};
use crate::failure::{Class, Failure};
use crate::oci::{Descriptor, Manifest};
use crate::publish::StagePlace;
use crate::registry::Registry;
use crate::request::{Limits, Request};
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
    let content = || manifest.layers.iter().filter(|layer| unpack::is_content(layer));
    let wanted: Vec<_> = content().filter(|layer| request.layers.selects(layer)).collect();
    if !wanted.is_empty() || request.layers.is_all() {
        return Ok(wanted);
    }
    let mut found: Vec<_> = content().map(|layer| layer.media_type.as_str()).collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(5);
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    let message = format!("spec.layers selects none of the artifact's layers; it has {found}");
    Err(Failure::new(Class::Stalled, Reason::NoMatchingLayer, message))
}

/// Fetches the layers once, and unpacks them in each place that wants them.
pub(super) async fn stage<R: Registry>(
    engine: &Engine<R>,
    request: &Request,
    approved: &Approved,
    step: &Step,
) -> Result<Vec<Stage>, Failure> {
    let limits = engine.limits.lowered(&request.limits);
    let layers = wanted(request, approved.manifest(), &limits)?;
    let places = engine.outputs.places(request)?;
    let mut stages = Vec::with_capacity(places.len());
    let mut blobs: Vec<Option<VerifiedBlob>> = layers.iter().map(|_| None).collect();
    let mut is_image = None;
    for place in places {
        step.set("fetching and unpacking layers");
        let scratch = Arc::new(place.volume.scratch()?);
        let source = Source {
            registry: &engine.registry,
            access: &request.access,
            approved,
            scratch: &scratch,
            store: engine.cache.on(&place.volume),
            processors: &engine.unpacking,
            limit: limits.layer_bytes,
        };
        let is_image = match is_image {
            Some(known) => known,
            None => *is_image.insert(self::is_image(request, &source).await?),
        };
        let stop = Stop::new();
        // A pass that is given up drops this future, and with it the guard, which stops the threads.
        let _guard = stop.clone().drop_guard();
        let manifest = approved.manifest().clone();
        let unpacker =
            Arc::new(Unpacker::new(Arc::clone(&scratch), manifest, is_image, request.unpacking, &limits, stop));
        let work = Work { engine, request, source: &source, unpacker: &unpacker, limits: &limits };
        let (trees, used) = work.layers(&layers, std::mem::take(&mut blobs)).await?;
        blobs = used;
        step.set("making the files durable");
        let (files, filter) = (request.files.clone(), place.filter.clone());
        let finish = tokio::task::spawn_blocking(move || unpacker.finish(trees, &files, &filter));
        let staged = Arc::new(finish.await.map_err(Failure::internal)??);
        stages.push(Stage { place, staged });
    }
    Ok(stages)
}

/// Whether layers hide what is in layers before them. The config is read only where nothing else says so.
async fn is_image<R: Registry>(request: &Request, source: &Source<'_, R>) -> Result<bool, Failure> {
    let manifest = source.approved.manifest();
    if request.unpacking.mode == LayerMode::File {
        return Ok(false);
    }
    let kind = match image::kind(manifest) {
        Kind::ByConfig => {
            let mut blob = blob::fetch(source, &manifest.config, |_| {}).await?;
            let config = blob.bytes().map_err(|error| Failure::new(Class::Retry, Reason::StorageFailed, error))?;
            image::kind_by_config(manifest, &config)
        }
        kind @ (Kind::Image | Kind::Artifact) => kind,
    };
    Ok(kind == Kind::Image)
}

/// What is done with each layer for one place.
struct Work<'a, R> {
    engine: &'a Engine<R>,
    request: &'a Request,
    source: &'a Source<'a, R>,
    unpacker: &'a Arc<Unpacker>,
    limits: &'a Limits,
}

impl<R: Registry> Work<'_, R> {
    /// The layers' trees and the layers, in their order. `blobs` are those that are there already. Of several
    /// failures it is the first layer's that is told.
    async fn layers(
        &self,
        layers: &[&Descriptor],
        blobs: Vec<Option<VerifiedBlob>>,
    ) -> Result<(Vec<LayerTree>, Vec<Option<VerifiedBlob>>), Failure> {
        let total = layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
        let (downloads, done) = (Semaphore::new(DOWNLOADS), AtomicU64::new(0));
        let each = layers.iter().zip(blobs).enumerate().map(|(number, (layer, blob))| {
            let (downloads, done) = (&downloads, &done);
            async move {
                let blob = if let Some(blob) = blob {
                    blob
                } else {
                    let _permit = downloads.acquire().await.map_err(Failure::internal)?;
                    self.fetch(layer, done, total).await?
                };
                self.unpack(number, blob).await
            }
        });
        let each: Vec<_> = each.collect();
        let unpacked: Vec<_> = futures::stream::iter(each).buffered(LAYERS).try_collect().await?;
        Ok(unpacked.into_iter().map(|(tree, blob)| (tree, Some(blob))).unzip())
    }

    async fn fetch(&self, layer: &Descriptor, done: &AtomicU64, total: u64) -> Result<VerifiedBlob, Failure> {
        let (object, mut before) = (self.request.object.to_string(), 0_u64);
        let progress = |bytes: u64| {
            let all = done.fetch_add(bytes.saturating_sub(before), Ordering::Relaxed);
            let all = all.saturating_add(bytes.saturating_sub(before));
            before = before.max(bytes);
            if let Some(progress) = &self.engine.progress {
                progress.downloaded(&object, all.min(total), total);
            }
        };
        Ok(blob::fetch(self.source, layer, progress).await?)
    }

    async fn unpack(&self, number: usize, mut blob: VerifiedBlob) -> Result<(LayerTree, VerifiedBlob), Failure> {
        let permit = Arc::clone(&self.engine.unpacking).acquire_owned().await.map_err(Failure::internal)?;
        let unpacker = Arc::clone(self.unpacker);
        let short = blob.descriptor().digest.short();
        let work = tokio::task::spawn_blocking(move || {
            let (tree, dropped) = unpacker.layer(number, &mut blob)?;
            drop(permit);
            Ok::<_, UnpackError>((tree, dropped, blob))
        });
        let limit = self.limits.unpack_seconds;
        let Ok(done) = tokio::time::timeout(Duration::from_secs(limit.value()), work).await else {
            // The guard of the caller ends the thread.
            let message = format!("layer {short}: {}", limit.exceeded());
            return Err(Failure::new(Class::Stalled, Reason::LimitExceeded, message));
        };
        let (tree, dropped, blob) = done.map_err(Failure::internal)??;
        if dropped != Dropped::default() {
            let Dropped { owners, special_bits, attributes } = dropped;
            tracing::info!(object = %self.request.object, layer = %short, owners, special_bits, attributes, "dropped: owners, setuid, setgid and sticky bits, extended attributes");
        }
        Ok((tree, blob))
    }
}
