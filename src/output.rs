//! From a stage to what consumers read, and what they read now.
//!
//! Whatever is published stays as it is until its successor is complete. What is there and is not
//! ours is never taken over.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metrics::{Metrics, Scanned};
use crate::oci::Digest;
use crate::plan::Revision;
use crate::registry::Pinned;
use crate::request::{FileFilter, ObjectId, Place, Request, Target};
use crate::storage::{StorageError, Volume};
use crate::unpack::staged::Staged;

pub mod config_map;
pub mod directory;
pub mod integrity;
mod record;
mod scan;
pub mod volume;

use config_map::{ConfigMaps, Prepared};
use directory::Destination;
use integrity::Held;

/// Why something could not be published, or looked at.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The operator has no such volume.
    #[error("output {output} names volume {name:?}; this operator has {have}")]
    NoVolume {
        /// Name of the output.
        output: String,
        /// The volume's name.
        name: String,
        /// The volumes that there are.
        have: String,
    },
    /// Something foreign is in the way, or names do not fit.
    #[error("{0}")]
    Conflict(String),
    /// Somebody has misspelt a pattern of an output, and readers would lose everything.
    #[error("include and exclude of an output leave none of the files; at the top there is {0}")]
    NothingLeft(String),
    /// Too much for the kind of output.
    #[error("{0}")]
    TooLarge(String),
    /// The volume.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The API server.
    #[error("ConfigMap {name}: {source}")]
    Api {
        /// Its name.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// A blocking task did not end by itself.
    #[error("a publishing task was aborted")]
    Aborted,
}

/// What a consumer can see right now in one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Name of the output.
    pub output: String,
    /// `Volume`, `ConfigMap` or `Directory`.
    pub kind: &'static str,
    /// Where to look.
    pub location: String,
    /// What it was made from.
    pub revision: Revision,
    /// Over its files one by one, where they are files.
    pub list_digest: Option<Digest>,
    /// Files, or keys.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Entries that this kind of output cannot hold.
    pub skipped: u64,
}

/// What is known of an output from somewhere else than the output itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What it was made from.
    pub revision: Revision,
    /// Over its files one by one.
    pub list_digest: Digest,
}

/// Everything this process can publish to.
#[derive(Debug)]
pub struct Outputs {
    volumes: BTreeMap<String, Arc<Volume>>,
    /// For artifacts that go to no volume.
    work: Arc<Volume>,
    /// A person's, on the filesystem of the work place.
    directory: Option<Arc<Destination>>,
    config_maps: ConfigMaps,
    metrics: Arc<Metrics>,
}

/// One output, ready to be made visible.
pub(crate) enum Ready {
    /// A tree on a volume.
    Volume(Arc<Volume>),
    /// A ConfigMap that fits.
    ConfigMap(Box<Prepared>),
    /// A person's directory.
    Directory(Arc<Destination>),
    /// What is there is what is wanted.
    Held(Box<Published>),
}

/// Where a stage is made, and of which files.
#[derive(Clone, Debug)]
pub struct StagePlace {
    /// The volume whose filesystem it is on.
    pub volume: Arc<Volume>,
    /// Which of the artifact's files.
    pub filter: FileFilter,
    /// The volume output that it is for; others take what they need of one that has everything.
    output: Option<String>,
}

impl StagePlace {
    /// True where a stage in this place is what `target` is made of.
    pub(crate) fn is_for(&self, target: &Target) -> bool {
        match &target.place {
            Place::Volume { .. } => self.output.as_ref() == Some(&target.output),
            Place::ConfigMap { .. } | Place::Directory => self.filter.is_all(),
        }
    }
}

impl Outputs {
    /// `work` is a private place for stages of artifacts without a volume output.
    pub fn new(
        volumes: BTreeMap<String, Arc<Volume>>,
        work: Arc<Volume>,
        config_maps: ConfigMaps,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { volumes, work, directory: None, config_maps, metrics }
    }

    /// A person's directory and nothing else.
    pub fn to_directory(directory: Arc<Destination>, metrics: Arc<Metrics>) -> Self {
        let work = Arc::clone(directory.stage());
        // Nothing that has this output has another one too.
        let config_maps = ConfigMaps::Directory(work.path().to_owned());
        Self { volumes: BTreeMap::new(), work, directory: Some(directory), config_maps, metrics }
    }

    /// Where stages are needed: one for each volume output, and one with everything for the others.
    pub(crate) fn places(&self, request: &Request) -> Result<Vec<StagePlace>, OutputError> {
        let mut places = Vec::new();
        for target in &request.targets {
            if let Place::Volume { volume } = &target.place {
                let (volume, output) = (self.volume(target, volume)?, Some(target.output.clone()));
                places.push(StagePlace { volume, filter: target.filter.clone(), output });
            }
        }
        if places.is_empty() || request.targets.iter().any(|target| !places.iter().any(|place| place.is_for(target))) {
            places.push(StagePlace { volume: Arc::clone(&self.work), filter: FileFilter::default(), output: None });
        }
        Ok(places)
    }

    /// What the target holds now. No file on a volume is read for it.
    pub(crate) async fn probe(
        &self,
        object: &ObjectId,
        target: &Target,
        recorded: Option<Recorded>,
    ) -> Result<Held, OutputError> {
        let held = match &target.place {
            Place::Volume { volume } => {
                let (volume, object, name) = (self.volume(target, volume)?, object.clone(), volume.clone());
                let output = target.output.clone();
                blocking(move || volume::probe(&volume, &name, &object, &output, recorded.as_ref())).await?
            }
            Place::ConfigMap { name, .. } => {
                let held = self.config_maps.probe(object, &target.output, name).await?;
                return Ok(held.map_or(Held::Nothing, Held::Whole));
            }
            Place::Directory => {
                let directory = self.directory(target)?;
                return blocking(move || directory.check().map(|()| Held::Nothing)).await;
            }
        };
        self.metrics.scanned(Scanned::Names, held.found());
        Ok(held)
    }

    /// Everything that can be refused is refused here, before anything is visible.
    pub(crate) async fn prepare(
        &self,
        request: &Request,
        target: &Target,
        pinned: &Pinned,
        staged: &Arc<Staged>,
    ) -> Result<Ready, OutputError> {
        match &target.place {
            Place::Volume { volume } => Ok(Ready::Volume(self.volume(target, volume)?)),
            Place::ConfigMap { name, immutable, separator } => {
                let (staged, separator, filter) = (Arc::clone(staged), separator.clone(), target.filter.clone());
                let content = blocking(move || config_map::content::read(&staged, &separator, &filter)).await?;
                let prepared = config_map::prepare(request, &target.output, name, *immutable, pinned, content);
                Ok(Ready::ConfigMap(Box::new(prepared)))
            }
            Place::Directory => Ok(Ready::Directory(self.directory(target)?)),
        }
    }

    /// Makes one output visible. Doing it twice is doing it once.
    pub(crate) async fn commit(
        &self,
        request: &Request,
        target: &Target,
        pinned: &Pinned,
        ready: Ready,
        staged: &Arc<Staged>,
    ) -> Result<Published, OutputError> {
        match ready {
            Ready::Held(published) => Ok(*published),
            Ready::Volume(volume) => {
                let (staged, pinned, object) = (Arc::clone(staged), pinned.clone(), request.object.clone());
                let (fingerprint, target) = (request.fingerprint.clone(), target.clone());
                blocking(move || volume::commit(&volume, &target, &object, &pinned, &fingerprint, &staged)).await
            }
            Ready::ConfigMap(prepared) => self.config_maps.commit(&request.object, *prepared, &self.metrics).await,
            Ready::Directory(directory) => {
                let (staged, pinned) = (Arc::clone(staged), pinned.clone());
                let (fingerprint, output) = (request.fingerprint.clone(), target.output.clone());
                blocking(move || directory.commit(output, &pinned, &fingerprint, &staged)).await
            }
        }
    }

    /// Takes away what an output held that the spec does not name any more.
    pub async fn withdraw(&self, object: &ObjectId, kind: &str, location: &str) -> Result<(), OutputError> {
        if kind == volume::KIND {
            let Some(volume) = location.split(':').next().and_then(|name| self.volumes.get(name)) else {
                return Ok(());
            };
            let (volume, object) = (Arc::clone(volume), object.clone());
            return blocking(move || volume::remove(&volume, &object)).await;
        }
        self.config_maps.withdraw(object, location, &self.metrics).await
    }

    /// Takes away what consumers read, on every volume and in those ConfigMaps; what they mount stays. One place that cannot
    /// be cleared does not keep the others.
    pub async fn clear(&self, object: &ObjectId, config_maps: &[&str]) -> Result<(), OutputError> {
        let mut cleared = Ok(());
        for volume in self.volumes.values() {
            let (volume, object) = (Arc::clone(volume), object.clone());
            cleared = cleared.and(blocking(move || volume::clear(&volume, &object)).await);
        }
        for name in config_maps {
            cleared = cleared.and(self.config_maps.withdraw(object, name, &self.metrics).await);
        }
        cleared
    }

    /// Removes the object's directory from every volume that has one.
    pub async fn remove_from_volumes(&self, object: &ObjectId) -> Result<(), OutputError> {
        for volume in self.volumes.values() {
            let (volume, object) = (Arc::clone(volume), object.clone());
            blocking(move || volume::remove(&volume, &object)).await?;
        }
        Ok(())
    }

    /// Removes old trees. Only after status has been written, so that status never names what is gone.
    pub async fn prune(&self, request: &Request) -> Result<(), OutputError> {
        for target in &request.targets {
            if let Place::Volume { volume } = &target.place {
                let (volume, object) = (self.volume(target, volume)?, request.object.clone());
                blocking(move || volume::prune(&volume, &object)).await?;
            }
        }
        Ok(())
    }

    fn directory(&self, target: &Target) -> Result<Arc<Destination>, OutputError> {
        let nowhere =
            || OutputError::Conflict(format!("output {} is for a directory, and none was named", target.output));
        self.directory.clone().ok_or_else(nowhere)
    }

    fn volume(&self, target: &Target, name: &str) -> Result<Arc<Volume>, OutputError> {
        self.volumes.get(name).cloned().ok_or_else(|| OutputError::NoVolume {
            output: target.output.clone(),
            name: name.to_owned(),
            have: match self.volumes.len() {
                0 => "no volume".to_owned(),
                _ => self.volumes.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
            },
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OutputError> + Send + 'static,
) -> Result<T, OutputError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| OutputError::Aborted)?
}
