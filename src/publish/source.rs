//! A blob of a registry as the source of an upload.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future, stream};

use super::Place;
use crate::blob::Progress;
use crate::mutex::lock;
use crate::oci::{Descriptor, Repository};
use crate::registry::{Access, Begun, BlobSource, BlobStream, Registry, RegistryError, Sender};

/// Blob of a registry, requested again for each read from another offset.
pub(super) struct RegistrySource<R> {
    registry: Arc<R>,
    access: Access,
    repository: Repository,
    descriptor: Descriptor,
    /// The origin that sent the bytes before; the rest is requested only from it.
    sender: Arc<Mutex<Option<Sender>>>,
}

impl<R: Registry> RegistrySource<R> {
    pub(super) fn new(place: Place<'_, R>, descriptor: &Descriptor) -> Self {
        Self {
            registry: Arc::clone(place.registry),
            access: place.access.clone(),
            repository: place.repository.clone(),
            descriptor: descriptor.clone(),
            sender: Arc::default(),
        }
    }
}

impl<R: Registry> BlobSource for RegistrySource<R> {
    fn read_from(&self, offset: u64) -> BlobStream {
        let (registry, access, repository) = (Arc::clone(&self.registry), self.access.clone(), self.repository.clone());
        let (descriptor, sender) = (self.descriptor.clone(), Arc::clone(&self.sender));
        let opening = async move {
            let known = lock(&sender).clone();
            let begun = known.filter(|_| offset > 0).map(|sender| Begun { bytes: offset, sender });
            let body = registry.blob(&access, &repository, &descriptor, begun.as_ref()).await?;
            *lock(&sender) = Some(body.sender);
            Ok::<_, RegistryError>(skip(body.stream, offset.saturating_sub(body.from)))
        };
        Box::pin(stream::once(opening).try_flatten())
    }
}

/// Drops the first bytes of a stream: a registry without ranges sends the whole blob again.
fn skip(stream: BlobStream, bytes: u64) -> BlobStream {
    let mut left = bytes;
    Box::pin(stream.try_filter_map(move |mut chunk| {
        let cut = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        left = left.saturating_sub(cut as u64);
        let rest = chunk.split_off(cut);
        future::ok((!rest.is_empty()).then_some(rest))
    }))
}

/// Source whose bytes are displayed as they are read.
pub(super) struct Displayed {
    pub(super) source: Box<dyn BlobSource>,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) label: String,
    pub(super) size: u64,
}

impl BlobSource for Displayed {
    fn read_from(&self, offset: u64) -> BlobStream {
        let (progress, label, size, mut done) = (Arc::clone(&self.progress), self.label.clone(), self.size, offset);
        Box::pin(self.source.read_from(offset).inspect(move |chunk| {
            done = done.saturating_add(chunk.as_ref().map_or(0, Bytes::len) as u64);
            progress.downloaded(&label, done, size);
        }))
    }
}
