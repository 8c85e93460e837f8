//! Writes that the API server has refused, kept so that they can be rehearsed again without a registry.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::OutputError;
use super::api_object::Kind;

/// KiB of content that are kept for all objects together. Beyond it a rehearsal is made without content, which finds
/// missing rights and quotas, and policies that do not look at the content.
const KEPT_KIB: usize = 32 * 1024;

/// A refused write. Clones share it.
#[derive(Clone)]
pub struct Rehearsal(Arc<(Rehearsed, Option<OwnedSemaphorePermit>)>);

/// The object that was to be written.
pub(super) enum Rehearsed {
    ConfigMap(ConfigMap),
    Secret(Secret),
}

/// Room for refused writes.
#[derive(Debug)]
pub(super) struct Rehearsals(Arc<Semaphore>);

impl Default for Rehearsals {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(KEPT_KIB)))
    }
}

impl Rehearsals {
    /// Adds the write to the refusal of it.
    pub(super) fn keep(&self, error: OutputError, write: Rehearsed) -> OutputError {
        let OutputError::Refused { kind, name, code, message, .. } = error else { return error };
        let kib = write.bytes().div_ceil(1024).max(1);
        let permit = Arc::clone(&self.0).try_acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX)).ok();
        let write = if permit.is_some() { write } else { write.without_content() };
        let rehearsal = Some(Rehearsal(Arc::new((write, permit))));
        OutputError::Refused { kind, name, code, message, rehearsal }
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

/// Content, of a Secret even, is in no log.
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
