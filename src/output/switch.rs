//! All outputs of one revision, switched together.
//!
//! ```text
//! prepare (each) ─▶ lock ─▶ still wanted? ─▶ API objects, then volumes ─▶ all switched
//!                                                 │ refused
//!                                                 ▼
//!                                  revert what was switched, the last one first
//! ```
//!
//! A filesystem and an API server cannot be switched in one step. Two rules come close: *prepare* does all work that
//! takes time or can be refused, so that each switch is one call; and API objects go first, because they can still be
//! refused, and volumes last, because a rename cannot. Nothing here may be cancelled: the caller awaits it to its end,
//! and each blocking call holds the object's lock.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::damage::Damage;
use super::error::OutputError;
use super::lock::Lock;
use super::outputs::{Outputs, blocking, holding};
use super::published::Published;
use super::{api_object, directory, manifest, volume};
use crate::request::ObjectId;
use crate::request::OutputKind;
use crate::storage::Call;

/// One output that is ready for its switch.
#[derive(Debug)]
pub(crate) enum Ready {
    /// The output already holds the wanted revision.
    Held(Box<Published>),
    /// A tree on a volume.
    Volume(Arc<volume::Ready>),
    /// A ConfigMap that the API server would accept.
    ConfigMap(Box<api_object::Ready<ConfigMap>>),
    /// A Secret that the API server would accept.
    Secret(Box<api_object::Ready<Secret>>),
    /// A manifest for later use with kubectl.
    Manifest(Arc<manifest::Ready>),
    /// A directory named by a command.
    Directory(Arc<directory::Ready>),
}

/// One output after its switch, with the data to revert it.
#[derive(Debug)]
enum Switched {
    /// Nothing was changed.
    Held,
    Volume(Arc<volume::Ready>),
    ConfigMap(Box<api_object::Switched<ConfigMap>>),
    Secret(Box<api_object::Switched<Secret>>),
    Manifest(Arc<manifest::Ready>),
    /// A command's only output: no later switch can fail.
    Directory,
}

/// All outputs after their switch.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// State of each output, in the order of the request.
    pub(crate) published: Vec<Published>,
    /// Keys of other managers that were removed from API objects.
    pub(crate) removed: Vec<Damage>,
}

/// A refused switch. Every output holds its earlier content, except those in `stuck`.
#[derive(Debug)]
pub(crate) struct NotSwitched {
    /// The refusal.
    pub(crate) error: OutputError,
    /// Errors of the outputs that could not be reverted.
    pub(crate) stuck: Vec<String>,
}

impl From<OutputError> for NotSwitched {
    fn from(error: OutputError) -> Self {
        Self { error, stuck: Vec::new() }
    }
}

impl Ready {
    /// Returns the state of the output after its switch.
    pub(crate) fn published(&self) -> Option<&Published> {
        match self {
            Self::Held(published) => Some(published),
            Self::Volume(ready) => Some(ready.published()),
            Self::ConfigMap(ready) => Some(ready.published()),
            Self::Secret(ready) => Some(ready.published()),
            Self::Manifest(ready) => Some(ready.published()),
            Self::Directory(_) => None,
        }
    }

    /// True if the switch changes what consumers read.
    pub(crate) fn is_change(&self) -> bool {
        match self {
            Self::Held(_) => false,
            Self::ConfigMap(ready) => !ready.is_there(),
            Self::Secret(ready) => !ready.is_there(),
            Self::Volume(_) | Self::Manifest(_) | Self::Directory(_) => true,
        }
    }

    /// Returns the position in the order of switches: outputs that can be refused come first.
    fn order(&self) -> u8 {
        match self {
            Self::Held(_) => 0,
            Self::ConfigMap(_) | Self::Secret(_) => 1,
            Self::Manifest(_) => 2,
            Self::Volume(_) => 3,
            Self::Directory(_) => 4,
        }
    }
}

impl Outputs {
    /// Switches all outputs, or none. The caller holds `lock` until the outcome is recorded, and must not be cancelled.
    pub(crate) async fn switch(
        &self,
        object: &ObjectId,
        ready: &[Ready],
        lock: &Lock,
        now: Timestamp,
    ) -> Result<Done, NotSwitched> {
        let mut order: Vec<usize> = (0..ready.len()).collect();
        order.sort_by_key(|number| ready.get(*number).map(Ready::order));
        let mut switched: Vec<Switched> = Vec::with_capacity(ready.len());
        let mut done =
            Done { published: ready.iter().filter_map(Ready::published).cloned().collect(), ..Done::default() };
        for ready in order.into_iter().filter_map(|number| ready.get(number)) {
            if !switched.is_empty() {
                crate::failpoint::reach("switch-between");
            }
            match self.switch_one(object, ready, lock, now).await {
                Ok((one, published)) => {
                    done.published.extend(published);
                    done.removed.extend(one.removed().cloned());
                    switched.push(one);
                }
                Err((error, begun)) => {
                    switched.extend(begun);
                    let stuck = self.revert(object, switched, lock).await;
                    return Err(NotSwitched { error, stuck });
                }
            }
        }
        Ok(done)
    }

    /// Switches one output. An error carries the output if it may have been switched nevertheless.
    async fn switch_one(
        &self,
        object: &ObjectId,
        ready: &Ready,
        lock: &Lock,
        now: Timestamp,
    ) -> Result<(Switched, Option<Published>), (OutputError, Option<Switched>)> {
        let plain = |error| (error, None);
        let switched = match ready {
            Ready::Held(_) => Switched::Held,
            Ready::Volume(ready) => {
                crate::failpoint::reach("switch-volume");
                let (lock, one) = (lock.clone(), Arc::clone(ready));
                let switched = || Switched::Volume(Arc::clone(ready));
                let work = ready.pool().run(Call::Short, move || holding(lock, || volume::switch(&one, now)));
                // The rename may have succeeded and its sync failed, or the call may hang.
                work.await.map_err(OutputError::from).flatten().map_err(|error| (error, Some(switched())))?;
                switched()
            }
            Ready::ConfigMap(ready) => {
                crate::failpoint::reach("switch-config-map");
                match self.cluster(OutputKind::ConfigMap).map_err(plain)?.switch(object, ready).await {
                    Ok(Some(switched)) => Switched::ConfigMap(Box::new(switched)),
                    Ok(None) => Switched::Held,
                    Err((error, begun)) => {
                        return Err((error, begun.map(|begun| Switched::ConfigMap(Box::new(begun)))));
                    }
                }
            }
            Ready::Secret(ready) => {
                match self.cluster(OutputKind::Secret).map_err(plain)?.switch(object, ready).await {
                    Ok(Some(switched)) => Switched::Secret(Box::new(switched)),
                    Ok(None) => Switched::Held,
                    Err((error, begun)) => {
                        return Err((error, begun.map(|begun| Switched::Secret(Box::new(begun)))));
                    }
                }
            }
            Ready::Manifest(ready) => {
                let one = Arc::clone(ready);
                blocking(move || manifest::switch(&one)).await.map_err(plain)?;
                Switched::Manifest(Arc::clone(ready))
            }
            Ready::Directory(ready) => {
                let one = Arc::clone(ready);
                let published = blocking(move || one.switch()).await.map_err(plain)?;
                return Ok((Switched::Directory, Some(published)));
            }
        };
        Ok((switched, None))
    }

    /// Restores the earlier state, the last switch first. Returns the errors of outputs that could not be reverted.
    async fn revert(&self, object: &ObjectId, switched: Vec<Switched>, lock: &Lock) -> Vec<String> {
        let mut stuck = Vec::new();
        for one in switched.into_iter().rev() {
            crate::failpoint::reach("revert");
            let reverted = match &one {
                Switched::Held | Switched::Directory => Ok(()),
                Switched::Volume(ready) => {
                    let (lock, one) = (lock.clone(), Arc::clone(ready));
                    let work = ready.pool().run(Call::Short, move || holding(lock, || volume::revert(&one)));
                    work.await.map_err(OutputError::from).flatten()
                }
                Switched::ConfigMap(switched) => match self.cluster(OutputKind::ConfigMap) {
                    Ok(cluster) => cluster.revert(object, switched).await,
                    Err(error) => Err(error),
                },
                Switched::Secret(switched) => match self.cluster(OutputKind::Secret) {
                    Ok(cluster) => cluster.revert(object, switched).await,
                    Err(error) => Err(error),
                },
                Switched::Manifest(ready) => {
                    let ready = Arc::clone(ready);
                    blocking(move || manifest::revert(&ready)).await
                }
            };
            if let Err(error) = reverted {
                tracing::error!(namespace = %object.namespace, name = %object.name, %error, "an output could not be reverted");
                stuck.push(error.to_string());
            }
        }
        stuck
    }
}

impl Switched {
    fn removed(&self) -> Option<&Damage> {
        match self {
            Self::ConfigMap(switched) => switched.removed.as_ref(),
            Self::Secret(switched) => switched.removed.as_ref(),
            Self::Held | Self::Volume(_) | Self::Manifest(_) | Self::Directory => None,
        }
    }
}
