//! Layers in use: files without a name, each shared by all objects that use the layer at the same time.
//!
//! The bytes were verified when the file was written, and no other process can open it, so every authorized object
//! shares the file without hashing it again. A downloaded layer is linked into the store only when its last use ends,
//! because a named file can no longer be trusted. All of this happens under one lock, so that a layer is always found
//! either here or in the store, and is never downloaded twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::ContentStore;
use crate::blob::key::Key;
use crate::mutex::lock;

/// The layers in use on one volume.
#[derive(Debug, Default)]
pub(super) struct InUse(Mutex<HashMap<Key, Layer>>);

#[derive(Debug)]
struct Layer {
    file: Arc<fs_err::File>,
    size: u64,
    uses: usize,
    /// True for a copy of a layer that is already in the store.
    is_kept: bool,
}

/// One use of a layer, until dropped.
#[derive(Debug)]
pub(in crate::blob) struct Use {
    store: Arc<ContentStore>,
    key: Key,
    file: Arc<fs_err::File>,
}

impl Use {
    pub(in crate::blob) fn file(&self) -> &Arc<fs_err::File> {
        &self.file
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut layers = self.store.in_use.layers();
        let Some(layer) = layers.get_mut(&self.key) else { return };
        layer.uses = layer.uses.saturating_sub(1);
        if layer.uses > 0 {
            return;
        }
        if let Some(layer) = layers.remove(&self.key).filter(|layer| !layer.is_kept) {
            // Under the lock, so that the next lookup finds the layer in the store.
            self.store.keep(&self.key, &layer.file, layer.size);
        }
    }
}

impl InUse {
    fn layers(&self) -> MutexGuard<'_, HashMap<Key, Layer>> {
        lock(&self.0)
    }

    /// Returns the total size and the number of the layers that will be linked into the store.
    pub(super) fn to_come(&self) -> (u64, usize) {
        let layers = self.layers();
        let new = layers.values().filter(|layer| !layer.is_kept);
        new.fold((0, 0), |(bytes, count), layer| (layer.size.saturating_add(bytes), count.saturating_add(1)))
    }
}

impl ContentStore {
    /// Begins a use of the layer if it is in use with this `size`; otherwise returns the result of `kept`, called
    /// under the lock.
    pub(super) fn use_or<T>(
        self: &Arc<Self>,
        key: &Key,
        size: u64,
        kept: impl FnOnce() -> Option<T>,
    ) -> Option<Result<Use, T>> {
        let mut layers = self.in_use.layers();
        match layers.get_mut(key).filter(|layer| layer.size == size) {
            Some(layer) => {
                layer.uses = layer.uses.saturating_add(1);
                Some(Ok(Use { store: Arc::clone(self), key: key.clone(), file: Arc::clone(&layer.file) }))
            }
            None => kept().map(Err),
        }
    }

    /// Begins a use of a verified layer in a file without a name. If a download of the same bytes from another
    /// repository is already in use, that file is used instead.
    pub(in crate::blob) fn share(self: &Arc<Self>, key: &Key, file: fs_err::File, size: u64, is_kept: bool) -> Use {
        let mut layers = self.in_use.layers();
        let new = || Layer { file: Arc::new(file), size, uses: 0, is_kept };
        let layer = layers.entry(key.clone()).or_insert_with(new);
        layer.uses = layer.uses.saturating_add(1);
        Use { store: Arc::clone(self), key: key.clone(), file: Arc::clone(&layer.file) }
    }

    #[cfg(test)]
    pub(in crate::blob) fn uses(&self, key: &Key) -> usize {
        self.in_use.layers().get(key).map_or(0, |layer| layer.uses)
    }
}
