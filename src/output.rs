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

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use tokio::sync::watch;

use crate::metrics::{Metrics, Scanned};
use crate::oci::Digest;
use crate::plan::Revision;
use crate::registry::Pinned;
use crate::request::{FileFilter, KeyedObject, Limit, LimitExceeded, Limits, ObjectId, Place, Request, Target};
use crate::storage::{Call, Mount, StorageError, Volume};
use crate::unpack::Stop;
use crate::unpack::read_back::Changed;
use crate::unpack::staged::Staged;

mod api_object;
pub mod damage;
pub mod directory;
pub mod location;
mod lock;
mod manifest;
mod reading;
mod record;
mod rehearsal;
mod scan;
mod switch;
mod volume;

pub(crate) use lock::Lock;
pub use lock::Wanted;
pub use rehearsal::Rehearsal;
pub(crate) use switch::{Done, NotSwitched, Ready};

use api_object::ContentKey;
use damage::{Held, Probed};
use directory::Destination;
use location::{Location, OutputKind, is_content_suffix};
use lock::Locks;
use rehearsal::{Rehearsals, Rehearsed};
use switch::DirectoryReady;
use volume::Quota;

/// Timeout for the lock of an object's outputs. If another change hangs with its volume, the object reports it.
const LONGEST_LOCK: Duration = Duration::from_secs(60);
/// Timeout for the lock before a deleted object's directories are removed; the removal is retried.
const LONGEST_REMOVAL_LOCK: Duration = Duration::from_secs(5);

/// Errors of preparing, switching, reading and removing outputs.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The operator has no volume of this name.
    #[error("output {output} names volume {name:?}; this operator has {have}")]
    NoVolume {
        /// Name of the output.
        output: String,
        /// Name of the volume.
        name: String,
        /// Names of the operator's volumes.
        have: String,
    },
    /// The operator has no memory-backed directory for Secrets.
    #[error(
        "output {0} is a Secret, and this operator has no memory-backed --secret-work-dir. Set the chart value rbac.secretOutputs to true"
    )]
    NoSecretDirectory(String),
    /// Output kind that exists only in a cluster.
    #[error("a {0} output needs a cluster; use a volume or configMap output")]
    NoCluster(OutputKind),
    /// Foreign content at the place, or an API object held by another writer. Says nothing about the artifact.
    #[error("{0}")]
    Obstacle(String),
    /// The place belongs to an earlier object of the same name, which is deleted or being deleted.
    #[error("{what} belongs to an earlier object of this name and is being removed; this object waits for that")]
    Earlier {
        /// The directory or object.
        what: String,
        /// Uid of the earlier object.
        uid: String,
    },
    /// The file names do not fit the output.
    #[error("{0}")]
    Conflict(String),
    /// The output's include and exclude patterns select no file.
    #[error("include and exclude of an output select no file; names at the top of the artifact: {0}")]
    NothingLeft(String),
    /// The files do not fit into the output.
    #[error("{0}")]
    TooLarge(String),
    /// The namespace would exceed its limit on a volume.
    #[error("namespace {namespace} on volume {volume}: {exceeded}")]
    Quota {
        /// The namespace.
        namespace: String,
        /// Name of the volume.
        volume: String,
        /// The exceeded limit.
        exceeded: LimitExceeded,
    },
    /// Error of the volume.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Another process has changed the staged tree before it was published.
    #[error(transparent)]
    Changed(#[from] Changed),
    /// The API server refuses the write: a quota, an admission policy, a missing right or a validation rule.
    #[error("{kind} {name} is refused by the API server: {message}")]
    Refused {
        /// Kind of the object.
        kind: OutputKind,
        /// Name of the object.
        name: String,
        /// HTTP status.
        code: u16,
        /// Message of the API server.
        message: String,
        /// The refused write, to be rehearsed again.
        rehearsal: Option<Rehearsal>,
    },
    /// The API server is unreachable, or temporarily unable to answer.
    #[error("{kind} {name}: {source}")]
    Api {
        /// Kind of the object.
        kind: OutputKind,
        /// Name of the object.
        name: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// The pass was given up before anything was switched.
    #[error("the pass was cancelled before the switch")]
    GivenUp,
    /// Another change of the object's outputs takes too long.
    #[error("the outputs of {0} are being changed by a thread that does not end; tried again")]
    Busy(String),
    /// A blocking task ended by a panic.
    #[error("a blocking task for an output panicked")]
    Aborted,
}

impl OutputError {
    /// True if a volume cannot be used.
    pub(crate) fn is_of_volume(&self) -> bool {
        matches!(self, Self::Storage(error) if error.volume().is_some())
    }
}

/// State of one output: what a consumer reads there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Name of the output.
    pub output: String,
    /// Place of the output.
    pub location: Location,
    /// Source of the content.
    pub revision: Revision,
    /// Digest over the list of files; `None` for outputs that are not files.
    pub list_digest: Option<Digest>,
    /// Number of files or keys.
    pub files: u64,
    /// Total size of the files, in bytes.
    pub bytes: u64,
    /// Number of entries that this kind of output cannot hold.
    pub skipped: u64,
}

/// State of one output as recorded in status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Source of the content.
    pub revision: Revision,
    /// Digest over the list of files.
    pub list_digest: Option<Digest>,
    /// Place of the output.
    pub location: Location,
}

/// Retention of earlier revisions: the newest ones, and all that were replaced recently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Number of earlier revisions to keep besides the current one.
    pub count: usize,
    /// Minimum time to keep a revision after it was replaced.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { count: 2, age: Duration::from_secs(120) }
    }
}

/// Destination of ConfigMaps and Secrets.
#[derive(Clone)]
pub enum ApiObjects {
    /// A cluster.
    Cluster(Client),
    /// Manifests `<directory>/<namespace>/<object>/<name>.yaml`, for later use with kubectl.
    Directory(PathBuf),
}

impl std::fmt::Debug for ApiObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster(_) => f.write_str("Cluster"),
            Self::Directory(path) => write!(f, "Directory({})", path.display()),
        }
    }
}

/// All places that this process can publish to.
#[derive(Debug)]
pub struct Outputs {
    volumes: BTreeMap<String, Arc<Mount>>,
    /// Stages of artifacts without a volume output.
    work: Arc<Mount>,
    /// Stages of artifacts for Secrets, on a memory-backed filesystem.
    secret_work: Option<Arc<Mount>>,
    /// Directory named by a command, on the filesystem of `work`.
    directory: Option<Arc<Destination>>,
    api_objects: ApiObjects,
    content_key: ContentKey,
    /// True if the volumes belong to this installation alone.
    is_owner: bool,
    retention: Retention,
    quota: Arc<Quota>,
    locks: Locks,
    rehearsals: Rehearsals,
    /// Notifications of volumes that can be used again.
    recovered: watch::Receiver<()>,
    metrics: Arc<Metrics>,
}

/// Place of a stage, with the filter for its files.
#[derive(Clone, Debug)]
pub struct StagePlace {
    /// Volume on whose filesystem the stage is.
    pub volume: Arc<Mount>,
    /// Filter for the artifact's files.
    pub filter: FileFilter,
    /// True if layers may be cached on the same volume. False for Secrets.
    pub is_cached: bool,
    /// The volume output that the stage is for; `None` for a stage with all files, for the other outputs.
    output: Option<String>,
}

impl StagePlace {
    /// True if `target` is published from a stage in this place.
    pub(crate) fn is_for(&self, target: &Target) -> bool {
        match &target.place {
            Place::Volume { .. } => self.output.as_ref() == Some(&target.output),
            Place::ConfigMap(_) | Place::Secret { .. } | Place::Directory => self.filter.is_all(),
        }
    }
}

impl Outputs {
    /// Creates the outputs. `work` is a private place for stages of artifacts without a volume output.
    pub fn new(
        volumes: BTreeMap<String, Arc<Mount>>,
        work: Arc<Mount>,
        api_objects: ApiObjects,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StorageError> {
        let content_key = ContentKey::generate().map_err(|errno| StorageError::new("make a key", errno))?;
        Ok(Self {
            volumes,
            work,
            secret_work: None,
            directory: None,
            api_objects,
            content_key,
            is_owner: false,
            retention: Retention::default(),
            quota: Arc::new(Quota::new(Limits::DEFAULT.namespace_bytes)),
            locks: Locks::default(),
            rehearsals: Rehearsals::default(),
            recovered: watch::channel(()).1,
            metrics,
        })
    }

    /// Creates outputs with a command's directory only.
    pub fn to_directory(directory: Arc<Destination>, metrics: Arc<Metrics>) -> Result<Self, StorageError> {
        let work = Mount::of(Arc::clone(directory.stage()));
        // Never used: the directory is the only output of a command.
        let api_objects = ApiObjects::Directory(work.path().to_owned());
        Ok(Self { directory: Some(directory), ..Self::new(BTreeMap::new(), work, api_objects, metrics)? })
    }

    /// Adds a memory-backed place for stages of Secrets.
    #[must_use]
    pub fn with_secret_work(self, secret_work: Option<Arc<Mount>>) -> Self {
        Self { secret_work, ..self }
    }

    /// Sets whether every volume was claimed for this installation. If so, a directory without an object in this
    /// cluster is a leftover of this cluster's own objects, and may be removed.
    #[must_use]
    pub fn with_ownership(self, is_owner: bool) -> Self {
        Self { is_owner, ..self }
    }

    /// True if the volumes belong to this installation alone.
    pub(crate) fn is_owner(&self) -> bool {
        self.is_owner
    }

    /// Sets the retention of earlier revisions.
    #[must_use]
    pub fn with_retention(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Sets the limit for the size of a namespace on each volume, in bytes.
    #[must_use]
    pub fn with_namespace_bytes(self, most: Limit) -> Self {
        Self { quota: Arc::new(Quota::new(most)), ..self }
    }

    /// Returns the retention of earlier revisions.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// Sets the notifications of volumes that can be used again.
    #[must_use]
    pub fn with_recovered(self, recovered: watch::Receiver<()>) -> Self {
        Self { recovered, ..self }
    }

    /// Returns the notifications of volumes that can be used again.
    pub(crate) fn recovered(&self) -> watch::Receiver<()> {
        self.recovered.clone()
    }

    /// Fails if a volume of the request cannot be used now.
    pub(crate) fn check_volumes(&self, request: &Request) -> Result<(), OutputError> {
        let states = self.places(request)?.into_iter().filter_map(|place| place.volume.pool().state());
        states.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
    }

    /// True if the volume of this name can be used now.
    pub(crate) fn is_usable(&self, volume: &str) -> bool {
        self.volumes.get(volume).is_none_or(|mount| mount.pool().state().is_none())
    }

    /// Waits for the right to change the outputs of `object`. Times out, because a hanging thread may hold it.
    pub(crate) async fn lock(&self, object: &ObjectId) -> Result<Lock, OutputError> {
        let lock = tokio::time::timeout(LONGEST_LOCK, self.locks.acquire(object)).await;
        lock.map_err(|_| OutputError::Busy(object.to_string()))
    }

    /// Returns the places of stages: one for each volume output, and one with all files for the other outputs.
    pub(crate) fn places(&self, request: &Request) -> Result<Vec<StagePlace>, OutputError> {
        let mut places = Vec::new();
        for target in &request.targets {
            let (volume, filter, output) = match &target.place {
                Place::Volume { volume } => {
                    (self.volume(target, volume)?, target.filter.clone(), Some(target.output.clone()))
                }
                Place::ConfigMap(_) | Place::Directory => (Arc::clone(&self.work), FileFilter::default(), None),
                Place::Secret { .. } => {
                    let missing = || OutputError::NoSecretDirectory(target.output.clone());
                    (self.secret_work.clone().ok_or_else(missing)?, FileFilter::default(), None)
                }
            };
            if output.is_some() || !places.iter().any(|place: &StagePlace| place.is_for(target)) {
                let is_cached = !matches!(target.place, Place::Secret { .. });
                places.push(StagePlace { volume, filter, is_cached, output });
            }
        }
        Ok(places)
    }

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
                let place = keyed_place(object, target, keyed, None);
                let Some(name) = current_name(keyed, recorded.as_ref()) else { return Ok(Held::Nothing.into()) };
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
                let place = keyed_place(object, target, keyed, Some(kind));
                let Some(name) = current_name(keyed, recorded.as_ref()) else { return Ok(Held::Nothing.into()) };
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
                let (mount, seed) = (self.volume(target, volume)?, place_of(object, target, volume));
                let (staged, pinned, fingerprint) = (Arc::clone(staged), pinned.clone(), request.fingerprint.clone());
                let (given_up, quota) = (stop.clone(), Arc::clone(&self.quota));
                let work = move |on: &Arc<Volume>| {
                    volume::prepare(&seed(on), &pinned, &fingerprint, &staged, &quota, &given_up)
                };
                let (stop, wanted) = (stop.clone(), wanted.clone());
                let is_given_up = move || stop.is_cancelled() || !wanted.is_wanted();
                Ok(Ready::Volume(Arc::new(self.locked(&mount, object, is_given_up, work).await?)))
            }
            Place::ConfigMap(keyed) => {
                let content = content(target, keyed, staged).await?;
                let place = keyed_place(object, target, keyed, None);
                let (map, published) =
                    api_object::build::<ConfigMap>(place, request, pinned, &content, &self.content_key);
                match &self.api_objects {
                    ApiObjects::Cluster(_) => {
                        let cluster = self.cluster(OutputKind::ConfigMap)?;
                        let prepared = cluster.prepare(object, map.clone(), published).await;
                        let prepared = prepared.map_err(|error| self.rehearsals.keep(error, Rehearsed::ConfigMap(map)));
                        Ok(Ready::ConfigMap(Box::new(prepared?)))
                    }
                    ApiObjects::Directory(root) => {
                        let (root, object) = (root.clone(), object.clone());
                        let work = move || manifest::prepare(&root, &object, &map, published);
                        Ok(Ready::Manifest(Arc::new(blocking(work).await?)))
                    }
                }
            }
            Place::Secret { keyed, kind } => {
                let cluster = self.cluster(OutputKind::Secret)?;
                let content = content(target, keyed, staged).await?;
                let place = keyed_place(object, target, keyed, Some(kind));
                let (secret, published) =
                    api_object::build::<Secret>(place, request, pinned, &content, &self.content_key);
                let prepared = cluster.prepare(object, secret.clone(), published).await;
                let prepared = prepared.map_err(|error| self.rehearsals.keep(error, Rehearsed::Secret(secret)));
                Ok(Ready::Secret(Box::new(prepared?)))
            }
            Place::Directory => Ok(Ready::Directory(Arc::new(DirectoryReady {
                destination: self.directory(target)?,
                output: target.output.clone(),
                pinned: pinned.clone(),
                fingerprint: request.fingerprint.clone(),
                staged: Arc::clone(staged),
            }))),
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
        match location {
            Location::ConfigMap(name) => {
                let cluster = self.cluster(OutputKind::ConfigMap)?;
                cluster.remove_added_keys::<ConfigMap>(object, name, &self.content_key).await
            }
            Location::Secret(name) => {
                let cluster = self.cluster(OutputKind::Secret)?;
                cluster.remove_added_keys::<Secret>(object, name, &self.content_key).await
            }
            // A damaged tree is replaced as a whole.
            Location::Volume(_) | Location::Directory(_) => Ok(()),
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
        match &target.place {
            Place::Volume { volume } => {
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
            // The content of API objects is stored nowhere except in the artifact.
            Place::ConfigMap(_) | Place::Secret { .. } | Place::Directory => {
                match self.probe(object, target, Some(wanted.clone())).await?.held {
                    Held::Whole(published) if published.revision == wanted.revision => {
                        Ok(Some(Ready::Held(Box::new(published))))
                    }
                    Held::Whole(_) | Held::Nothing | Held::Unknown(_) | Held::Doubtful(_) | Held::Damaged(..) => {
                        Ok(None)
                    }
                }
            }
        }
    }

    /// Removes refused content from a location. The object's directory stays, because consumers mount it.
    pub(crate) async fn withdraw(&self, object: &ObjectId, location: &Location) -> Result<(), OutputError> {
        match location {
            Location::Volume(name) => {
                let (mount, id) = (self.configured(name)?, object.clone());
                self.locked(&mount, object, || false, move |volume| volume::withdraw(volume, &id)).await
            }
            Location::ConfigMap(_) | Location::Secret(_) | Location::Directory(_) => {
                self.remove(object, location).await
            }
        }
    }

    /// Removes an output that is no longer in the spec. Absent and foreign ones are success.
    pub(crate) async fn remove(&self, object: &ObjectId, location: &Location) -> Result<(), OutputError> {
        match location {
            Location::Volume(name) => {
                let (mount, id) = (self.configured(name)?, object.clone());
                self.locked(&mount, object, || false, move |volume| volume::remove(volume, &id)).await
            }
            Location::ConfigMap(name) => match &self.api_objects {
                ApiObjects::Cluster(_) => self.cluster(OutputKind::ConfigMap)?.remove::<ConfigMap>(object, name).await,
                ApiObjects::Directory(root) => {
                    let (root, object, name) = (root.clone(), object.clone(), name.clone());
                    blocking(move || manifest::remove(&root, &object, &name)).await
                }
            },
            Location::Secret(name) => self.cluster(OutputKind::Secret)?.remove::<Secret>(object, name).await,
            // Commands remove nothing.
            Location::Directory(_) => Ok(()),
        }
    }

    /// Removes the directories of a deleted object from every volume. Tries all, and returns those that failed.
    pub async fn remove_object(&self, object: &ObjectId) -> Vec<(String, OutputError)> {
        let removals = self.volumes.iter().map(async |(name, mount)| {
            let id = object.clone();
            let removal = async {
                let acquired = mount.pool().unless_down(self.locks.acquire(object));
                let lock = tokio::time::timeout(LONGEST_REMOVAL_LOCK, acquired).await;
                let lock = lock.map_err(|_| OutputError::Busy(object.to_string()))??;
                mount.run(Call::Long, move |volume| holding(lock, || volume::remove(volume, &id))).await
            };
            Some((name.clone(), removal.await.err()?))
        });
        futures::future::join_all(removals).await.into_iter().flatten().collect()
    }

    /// Returns the objects that have a directory on any volume, with their uids.
    pub async fn owners(&self, namespaces: &[String]) -> Vec<ObjectId> {
        let looks = self.volumes.iter().map(async |(name, mount)| {
            let watched = namespaces.to_vec();
            let is_watched = move |namespace: &str| watched.is_empty() || watched.iter().any(|one| one == namespace);
            let owners: Result<_, OutputError> =
                mount.run(Call::Long, move |volume| volume::owners(volume, is_watched)).await;
            owners.unwrap_or_else(|error| {
                tracing::warn!(volume = %name, %error, "a volume cannot be looked through for leftovers");
                Vec::new()
            })
        });
        let mut found: Vec<_> = futures::future::join_all(looks).await.concat();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Removes old revisions from the target; returns the time at which the next one may go. Must be called after the
    /// status write, so that status never names content that is gone.
    pub async fn prune(
        &self,
        object: &ObjectId,
        target: &Target,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, OutputError> {
        match &target.place {
            Place::Volume { volume } => {
                let (mount, id, retention) = (self.volume(target, volume)?, object.clone(), self.retention);
                self.locked(&mount, object, || false, move |volume| volume::prune(volume, &id, retention, now)).await
            }
            // Earlier objects are listed in status, and removed by their location.
            Place::ConfigMap(_) | Place::Secret { .. } | Place::Directory => Ok(None),
        }
    }

    /// Runs work on a volume while holding the object's lock, to its end even if the caller is dropped. Work that was
    /// given up before it began does nothing.
    async fn locked<T: Send + 'static>(
        &self,
        mount: &Arc<Mount>,
        object: &ObjectId,
        is_given_up: impl FnOnce() -> bool + Send + 'static,
        work: impl FnOnce(&Arc<Volume>) -> Result<T, OutputError> + Send + 'static,
    ) -> Result<T, OutputError> {
        let lock = mount.pool().unless_down(self.locks.acquire(object)).await?;
        let work = move |volume: &Arc<Volume>| {
            holding(lock, || if is_given_up() { Err(OutputError::GivenUp) } else { work(volume) })
        };
        mount.run(Call::Long, work).await
    }

    /// Runs work on the place of an output on a volume.
    async fn at<T: Send + 'static>(
        &self,
        object: &ObjectId,
        target: &Target,
        name: &str,
        work: impl FnOnce(volume::Place) -> Result<T, OutputError> + Send + 'static,
    ) -> Result<T, OutputError> {
        let (mount, seed) = (self.volume(target, name)?, place_of(object, target, name));
        mount.run(Call::Long, move |volume| work(seed(volume))).await
    }

    fn directory(&self, target: &Target) -> Result<Arc<Destination>, OutputError> {
        let nowhere =
            || OutputError::Conflict(format!("output {} is a directory, and the command names none", target.output));
        self.directory.clone().ok_or_else(nowhere)
    }

    fn cluster(&self, kind: OutputKind) -> Result<api_object::Cluster<'_>, OutputError> {
        match &self.api_objects {
            ApiObjects::Cluster(client) => Ok(api_object::Cluster { client, metrics: &self.metrics }),
            ApiObjects::Directory(_) => Err(OutputError::NoCluster(kind)),
        }
    }

    /// Returns a volume named in status. If it is not configured, its outputs stay in status: they cannot be removed.
    fn configured(&self, name: &str) -> Result<Arc<Mount>, OutputError> {
        self.volumes.get(name).cloned().ok_or_else(|| self.no_volume("status.outputs", name))
    }

    fn volume(&self, target: &Target, name: &str) -> Result<Arc<Mount>, OutputError> {
        self.volumes.get(name).cloned().ok_or_else(|| self.no_volume(&target.output, name))
    }

    fn no_volume(&self, output: &str, name: &str) -> OutputError {
        OutputError::NoVolume {
            output: output.to_owned(),
            name: name.to_owned(),
            have: match self.volumes.len() {
                0 => "no volume".to_owned(),
                _ => self.volumes.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
            },
        }
    }
}

/// Returns a constructor for the place of an output on a volume, for use once the volume is open.
fn place_of(object: &ObjectId, target: &Target, name: &str) -> impl FnOnce(&Arc<Volume>) -> volume::Place + use<> {
    let (object, output, name) = (object.clone(), target.output.clone(), name.to_owned());
    move |volume| volume::Place { volume: Arc::clone(volume), name, object, output }
}

/// Holds a lock until the work is done.
fn holding<T>(lock: Lock, work: impl FnOnce() -> T) -> T {
    let done = work();
    drop(lock);
    done
}

fn keyed_place<'a>(
    object: &'a ObjectId,
    target: &'a Target,
    keyed: &'a KeyedObject,
    secret_type: Option<&'a String>,
) -> api_object::Place<'a> {
    api_object::Place { object, output: &target.output, keyed, secret_type: secret_type.map(String::as_str) }
}

/// Returns the name of the API object that consumers read now; `None` for an immutable one that is not in status.
fn current_name(keyed: &KeyedObject, recorded: Option<&Recorded>) -> Option<String> {
    if !keyed.immutable {
        return Some(keyed.name.clone());
    }
    match &recorded?.location {
        Location::ConfigMap(name) | Location::Secret(name) => {
            name.strip_prefix(&keyed.name).filter(|rest| is_content_suffix(rest)).map(|_| name.clone())
        }
        Location::Volume(_) | Location::Directory(_) => None,
    }
}

async fn content(
    target: &Target,
    keyed: &KeyedObject,
    staged: &Arc<Staged>,
) -> Result<api_object::content::Content, OutputError> {
    let (staged, separator, filter) = (Arc::clone(staged), keyed.separator.clone(), target.filter.clone());
    let pool = staged.pool().clone();
    pool.run(Call::Long, move || api_object::content::read(&staged, &separator, &filter)).await?
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OutputError> + Send + 'static,
) -> Result<T, OutputError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| OutputError::Aborted)?
}
