//! Outputs: the places where consumers read published content.
//!
//! ```text
//! probe    the current state of an output
//! prepare  everything durable under its final name, every refusable write rehearsed; nothing visible changes
//! switch   all outputs of one revision together; reverted if one is refused
//! withdraw consumers lose content that was refused
//! remove   an output, or its object, is gone
//! prune    old revisions go
//! sweep    leftovers of crashes, and of objects whose deletion was missed
//! ```
//!
//! Each verb has one `match` over the kinds of outputs, so the compiler shows what a new kind has to decide. Published
//! content stays unchanged until its successor is complete. Foreign files or objects are never taken over.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::metrics::Scanned;
use crate::registry::Pinned;
use crate::request::{KeyedObject, ObjectId, OutputKind, Place, Request, Target};
use crate::storage::Volume;
use crate::unpack::Stop;
use crate::unpack::staged::Staged;

mod api_object;
mod below;
pub mod damage;
mod deleted;
pub mod directory;
mod error;
pub mod location;
mod lock;
mod manifest;
mod outputs;
mod published;
mod reading;
mod record;
mod rehearsal;
mod scan;
mod stage_place;
mod switch;
mod volume;
mod witness;

pub use deleted::remove_owned;
pub use error::{Loss, OutputError};
pub(crate) use lock::Lock;
pub use lock::Wanted;
pub use manifest::{manifests, remove as remove_manifest};
pub use outputs::{ApiObjects, Outputs};
pub use published::{Published, Recorded, Retention};
pub use rehearsal::Rehearsal;
pub use stage_place::StagePlace;
pub(crate) use switch::{Done, NotSwitched, Ready};
pub use volume::{Listed, listed, owned};

use damage::{Held, Probed};
use location::{Location, current_name};
use outputs::blocking;
use rehearsal::Rehearsed;

impl Outputs {
    /// Returns the current state of the target. Reads no file of a volume.
    pub(crate) async fn probe(
        &self,
        object: &ObjectId,
        target: &Target,
        recorded: Option<Recorded>,
    ) -> Result<Probed, OutputError> {
        match &target.place {
            Place::Volume { volume } => {
                let look = move |place: volume::Place| volume::probe(&place, recorded.as_ref());
                let held = self.at(object, target, volume, look).await?;
                self.metrics.scanned(Scanned::Names, held.found());
                Ok(held.into())
            }
            Place::ConfigMap(keyed) => {
                let place = api_object::Place::new(object, target, keyed, None);
                let Some(name) = current_name(keyed, recorded.as_ref().map(|recorded| &recorded.location)) else {
                    return Ok(Held::Nothing.into());
                };
                let (found, is_in_cluster) = match &self.api_objects {
                    ApiObjects::Cluster(_) => {
                        (self.cluster(OutputKind::ConfigMap)?.get::<ConfigMap>(object, &name).await?, true)
                    }
                    ApiObjects::Directory(root) => {
                        let (root, object) = (root.clone(), object.clone());
                        (blocking(move || Ok(manifest::read(&root, &object, &name))).await?, false)
                    }
                };
                api_object::probed(found.as_ref(), place, &self.content_key, is_in_cluster)
            }
            Place::Secret { keyed, kind } => {
                let place = api_object::Place::new(object, target, keyed, Some(kind));
                let Some(name) = current_name(keyed, recorded.as_ref().map(|recorded| &recorded.location)) else {
                    return Ok(Held::Nothing.into());
                };
                let found = self.cluster(OutputKind::Secret)?.get::<Secret>(object, &name).await?;
                api_object::probed(found.as_ref(), place, &self.content_key, true)
            }
            Place::Directory => {
                let directory = self.directory(target)?;
                blocking(move || directory.check().map(|()| Held::Nothing.into())).await
            }
        }
    }

    /// Prepares one output for the switch: durable under its final name, and rehearsed if it can be refused. Consumers
    /// see no change. A thread that outlives its pass keeps the object's lock.
    pub(crate) async fn prepare(
        &self,
        request: &Request,
        target: &Target,
        pinned: &Pinned,
        staged: &Arc<Staged>,
        stop: &Stop,
        wanted: &Wanted,
    ) -> Result<Ready, OutputError> {
        let object = &request.object;
        match &target.place {
            Place::Volume { volume } => {
                let (mount, seed) = (self.volume(target, volume)?, volume::Place::on(object, target, volume));
                let (staged, pinned, fingerprint) = (Arc::clone(staged), pinned.clone(), request.fingerprint.clone());
                let (given_up, quota) = (stop.clone(), Arc::clone(&self.quota));
                let work = move |on: &Arc<Volume>| {
                    volume::prepare(&seed(on), &pinned, &fingerprint, &staged, &quota, &given_up)
                };
                let (stop, wanted) = (stop.clone(), wanted.clone());
                let is_given_up = move || stop.is_cancelled() || !wanted.is_wanted();
                Ok(Ready::Volume(Arc::new(self.locked(&mount, object, is_given_up, work).await?)))
            }
            Place::ConfigMap(keyed) => self.prepare_config_map(request, target, keyed, pinned, staged).await,
            Place::Secret { keyed, kind } => {
                let cluster = self.cluster(OutputKind::Secret)?;
                let content = api_object::content::of(target, keyed, staged, &object.namespace).await?;
                let place = api_object::Place::new(object, target, keyed, Some(kind));
                let (secret, published) =
                    api_object::build::<Secret>(place, request, pinned, &content, &self.content_key);
                let prepared = cluster.prepare(object, secret.clone(), published).await;
                let prepared =
                    prepared.map_err(|error| error.rehearsed(|| self.rehearsals.keep(Rehearsed::Secret(secret))));
                Ok(Ready::Secret(Box::new(prepared?)))
            }
            Place::Directory => Ok(Ready::Directory(Arc::new(directory::Ready {
                destination: self.directory(target)?,
                output: target.output.clone(),
                pinned: pinned.clone(),
                fingerprint: request.fingerprint.clone(),
                staged: Arc::clone(staged),
            }))),
        }
    }

    /// Prepares a ConfigMap in a cluster, or its manifest without one.
    async fn prepare_config_map(
        &self,
        request: &Request,
        target: &Target,
        keyed: &KeyedObject,
        pinned: &Pinned,
        staged: &Arc<Staged>,
    ) -> Result<Ready, OutputError> {
        let object = &request.object;
        let content = api_object::content::of(target, keyed, staged, &object.namespace).await?;
        let place = api_object::Place::new(object, target, keyed, None);
        let (map, published) = api_object::build::<ConfigMap>(place, request, pinned, &content, &self.content_key);
        match &self.api_objects {
            ApiObjects::Cluster(_) => {
                let cluster = self.cluster(OutputKind::ConfigMap)?;
                let prepared = cluster.prepare(object, map.clone(), published).await;
                let prepared =
                    prepared.map_err(|error| error.rehearsed(|| self.rehearsals.keep(Rehearsed::ConfigMap(map))));
                Ok(Ready::ConfigMap(Box::new(prepared?)))
            }
            ApiObjects::Directory(root) => {
                let (root, object) = (root.clone(), object.clone());
                let work = move || manifest::prepare(&root, &object, &map, published);
                Ok(Ready::Manifest(Arc::new(blocking(work).await?)))
            }
        }
    }

    /// Rehearses a refused write again. Returns true if the API server would accept it now.
    pub(crate) async fn rehearse(&self, object: &ObjectId, rehearsal: &Rehearsal) -> bool {
        let Ok(cluster) = self.cluster(OutputKind::ConfigMap) else { return true };
        let refused = match rehearsal.rehearsed() {
            Rehearsed::ConfigMap(map) => cluster.rehearse(object, map).await,
            Rehearsed::Secret(secret) => cluster.rehearse(object, secret).await,
        };
        !matches!(refused, Err(OutputError::Refused { .. } | OutputError::Api { .. }))
    }

    /// Removes keys that others have added to an output whose own content is intact. Needs no registry.
    pub(crate) async fn remove_additions(&self, object: &ObjectId, location: &Location) -> Result<(), OutputError> {
        let Location { kind, name } = location;
        match kind {
            OutputKind::ConfigMap => {
                let cluster = self.cluster(*kind)?;
                cluster.remove_added_keys::<ConfigMap>(object, name, &self.content_key).await
            }
            OutputKind::Secret => {
                let cluster = self.cluster(*kind)?;
                cluster.remove_added_keys::<Secret>(object, name, &self.content_key).await
            }
            // A damaged tree is replaced as a whole.
            OutputKind::Volume | OutputKind::Directory => Ok(()),
        }
    }

    /// Finds an output that an earlier process has prepared or switched for `wanted`, and verifies it: all files are
    /// read, and must match the list digest in the journal. `None` if the output needs the artifact.
    pub(crate) async fn prepared(
        &self,
        object: &ObjectId,
        target: &Target,
        wanted: &Recorded,
    ) -> Result<Option<Ready>, OutputError> {
        let Some(volume) = target.place.volume() else {
            // The content of API objects is stored nowhere except in the artifact.
            return match self.probe(object, target, Some(wanted.clone())).await?.held {
                Held::Whole(published) if published.revision == wanted.revision => {
                    Ok(Some(Ready::Held(Box::new(published))))
                }
                Held::Whole(_) | Held::Nothing | Held::Unknown(_) | Held::Doubtful(_) | Held::Damaged(..) => Ok(None),
            };
        };
        let (Some(list), revision) = (wanted.list_digest.clone(), wanted.revision.clone()) else {
            return Ok(None);
        };
        let find = move |place: volume::Place| volume::prepared(&place, &revision, &list);
        let found = self.at(object, target, volume, find).await?;
        Ok(found.map(|ready| {
            if ready.is_current() {
                Ready::Held(Box::new(ready.published().clone()))
            } else {
                Ready::Volume(Arc::new(ready))
            }
        }))
    }

    /// Removes refused content from a location. The object's directory stays, because consumers mount it.
    pub(crate) async fn withdraw(&self, object: &ObjectId, location: &Location) -> Result<(), OutputError> {
        if location.kind != OutputKind::Volume {
            return self.remove(object, location).await;
        }
        let (mount, id) = (self.configured(&location.name)?, object.clone());
        self.locked(&mount, object, || false, move |volume| volume::withdraw(volume, &id)).await
    }

    /// Removes an output that is no longer in the spec. Absent and foreign ones are success.
    pub(crate) async fn remove(&self, object: &ObjectId, location: &Location) -> Result<(), OutputError> {
        let Location { kind, name } = location;
        match kind {
            OutputKind::Volume => {
                let (mount, id) = (self.configured(name)?, object.clone());
                self.locked(&mount, object, || false, move |volume| volume::remove(volume, &id)).await
            }
            OutputKind::ConfigMap => match &self.api_objects {
                ApiObjects::Cluster(_) => self.cluster(*kind)?.remove::<ConfigMap>(object, name).await,
                ApiObjects::Directory(root) => {
                    let (root, object, name) = (root.clone(), object.clone(), name.clone());
                    blocking(move || manifest::remove(&root, &object, &name)).await
                }
            },
            OutputKind::Secret => self.cluster(*kind)?.remove::<Secret>(object, name).await,
            // Commands remove nothing.
            OutputKind::Directory => Ok(()),
        }
    }

    /// Removes old revisions from the target; returns the time at which the next one may go. Must be called after the
    /// status write, so that status never names content that is gone.
    pub async fn prune(
        &self,
        object: &ObjectId,
        target: &Target,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, OutputError> {
        // Earlier API objects are listed in status, and removed by their location.
        let Some(volume) = target.place.volume() else { return Ok(None) };
        let (mount, id, retention) = (self.volume(target, volume)?, object.clone(), self.retention);
        self.locked(&mount, object, || false, move |volume| volume::prune(volume, &id, retention, now)).await
    }
}
