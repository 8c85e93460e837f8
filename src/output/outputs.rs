//! All places that this process can publish to, found by name, and the locks under which their content changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use super::api_object::{self, ContentKey};
use super::directory::Destination;
use super::error::OutputError;
use super::lock::{Lock, Locks};
use super::published::Retention;
use super::rehearsal::Rehearsals;
use super::volume::{self, Quota};
use crate::metrics::Metrics;
use crate::request::OutputKind;
use crate::request::{Limit, Limits, ObjectId, Target};
use crate::storage::{Call, Mount, StorageError, Volume};

/// Timeout for the lock of an object's outputs. If another change hangs with its volume, the object reports it.
const LONGEST_LOCK: Duration = Duration::from_secs(60);

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
    pub(super) volumes: BTreeMap<String, Arc<Mount>>,
    /// Stages of artifacts without a volume output.
    pub(super) work: Arc<Mount>,
    /// Stages of artifacts for Secrets, on a memory-backed filesystem.
    pub(super) secret_work: Option<Arc<Mount>>,
    /// Directory named by a command, on the filesystem of `work`.
    pub(super) directory: Option<Arc<Destination>>,
    pub(super) api_objects: ApiObjects,
    pub(super) content_key: ContentKey,
    /// True if the volumes belong to this installation alone.
    is_owner: bool,
    pub(super) retention: Retention,
    pub(super) quota: Arc<Quota>,
    pub(super) locks: Locks,
    pub(super) rehearsals: Rehearsals,
    /// Notifications of volumes that can be used again.
    recovered: watch::Receiver<()>,
    pub(super) metrics: Arc<Metrics>,
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

    /// Returns the name and the directory of each volume.
    pub(crate) fn volume_paths(&self) -> impl Iterator<Item = (&str, &std::path::Path)> {
        self.volumes.iter().map(|(name, mount)| (name.as_str(), mount.path()))
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

    /// True if the volume of this name can be used now.
    pub(crate) fn is_usable(&self, volume: &str) -> bool {
        self.volumes.get(volume).is_none_or(|mount| mount.pool().state().is_none())
    }

    /// Waits for the right to change the outputs of `object`. Times out, because a hanging thread may hold it.
    pub(crate) async fn lock(&self, object: &ObjectId) -> Result<Lock, OutputError> {
        let lock = tokio::time::timeout(LONGEST_LOCK, self.locks.acquire(object)).await;
        lock.map_err(|_| OutputError::Busy(object.to_string()))
    }

    /// Runs work on a volume while holding the object's lock, to its end even if the caller is dropped. Work that was
    /// given up before it began does nothing.
    pub(super) async fn locked<T: Send + 'static>(
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
        mount.run(Call::Long(&object.namespace), work).await
    }

    /// Runs work on the place of an output on a volume.
    pub(super) async fn at<T: Send + 'static>(
        &self,
        object: &ObjectId,
        target: &Target,
        name: &str,
        work: impl FnOnce(volume::Place) -> Result<T, OutputError> + Send + 'static,
    ) -> Result<T, OutputError> {
        let (mount, seed) = (self.volume(target, name)?, volume::Place::on(object, target, name));
        mount.run(Call::Long(&object.namespace), move |volume| work(seed(volume))).await
    }

    pub(super) fn directory(&self, target: &Target) -> Result<Arc<Destination>, OutputError> {
        let nowhere = || {
            OutputError::Conflict(format!("output {} is a directory, but the command has no directory", target.output))
        };
        self.directory.clone().ok_or_else(nowhere)
    }

    pub(super) fn cluster(&self, kind: OutputKind) -> Result<api_object::Cluster<'_>, OutputError> {
        match &self.api_objects {
            ApiObjects::Cluster(client) => Ok(api_object::Cluster { client, metrics: &self.metrics }),
            ApiObjects::Directory(_) => Err(OutputError::NoCluster(kind)),
        }
    }

    /// Returns a volume named in status. If it is not configured, its outputs stay in status: they cannot be removed.
    pub(super) fn configured(&self, name: &str) -> Result<Arc<Mount>, OutputError> {
        self.volumes.get(name).cloned().ok_or_else(|| self.no_volume("status.outputs", name))
    }

    pub(super) fn volume(&self, target: &Target, name: &str) -> Result<Arc<Mount>, OutputError> {
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

/// Holds a lock until the work is done.
pub(super) fn holding<T>(lock: Lock, work: impl FnOnce() -> T) -> T {
    let done = work();
    drop(lock);
    done
}

/// Runs work that may block on a thread of the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OutputError> + Send + 'static,
) -> Result<T, OutputError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| OutputError::Aborted)?
}
