//! Writes that the API server has refused, kept for another rehearsal without a registry.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::api_object::Kind;

/// Limit for the kept content of all objects together, in KiB. Beyond it a rehearsal has no content: it still finds
/// missing rights, quotas, and policies that ignore the content.
const KEPT_KIB: usize = 32 * 1024;

/// A refused write. Clones share it.
#[derive(Clone)]
pub struct Rehearsal(Arc<(Rehearsed, Option<OwnedSemaphorePermit>)>);

/// The object that was refused.
pub(super) enum Rehearsed {
    ConfigMap(ConfigMap),
    Secret(Secret),
}

/// Memory budget for refused writes.
#[derive(Debug)]
pub(super) struct Rehearsals(Arc<Semaphore>);

impl Default for Rehearsals {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(KEPT_KIB)))
    }
}

impl Rehearsals {
    /// Keeps a refused write, without its content if the limit is reached.
    pub(super) fn keep(&self, write: Rehearsed) -> Rehearsal {
        let kib = write.bytes().div_ceil(1024).max(1);
        let permit = Arc::clone(&self.0).try_acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX)).ok();
        let write = if permit.is_some() { write } else { write.without_content() };
        Rehearsal(Arc::new((write, permit)))
    }
}

impl Rehearsal {
    pub(super) fn rehearsed(&self) -> &Rehearsed {
        &self.0.0
    }
}

impl Rehearsed {
    fn bytes(&self) -> usize {
        let sum = |entries: Vec<(&str, &[u8])>| entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        match self {
            Self::ConfigMap(map) => sum(map.entries()),
            Self::Secret(secret) => sum(secret.entries()),
        }
    }

    fn without_content(self) -> Self {
        match self {
            Self::ConfigMap(map) => Self::ConfigMap(map.without_content()),
            Self::Secret(secret) => Self::Secret(secret.without_content()),
        }
    }
}

/// Prints no content, because it may be a Secret's.
impl fmt::Debug for Rehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rehearsal")
    }
}

impl PartialEq for Rehearsal {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Rehearsal {}
