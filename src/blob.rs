//! Layers: spooled to a file, counted, hashed completely, and only then passed on.
//!
//! No decoder ever reads from the network. A decoder stops at the end of *its* stream, so a digest that is checked at
//! the end of the *transport's* stream would never be checked.
//!
//! If several objects need one layer, one of them downloads it. The others use the [`Cache`] after the registry has
//! confirmed that their credentials may read the layer: they share the file that is in use, or copy the kept file and
//! hash the copy. The wait for another object's download is bounded (see `flight`).
//!
//! Layers are unpacked from files without a name, which no other process can open: see `Scratch::nameless`.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::oci::Descriptor;
use crate::registry::{Access, LocalFile, Registry, Right};
use crate::storage::{Call, OnVolume, Scratch, StorageError};
use crate::trust::Approved;

mod cache;
mod download;
mod error;
mod flight;
mod key;
mod source;
mod store;
mod verified;

pub use cache::Cache;
pub use error::BlobError;
pub use key::Key;
pub use source::{Progress, Source};
pub use store::{CacheLimits, ContentStore};
pub(crate) use verified::BlobReader;
pub use verified::VerifiedBlob;

use store::Found;
use verified::{Bytes, check_size};

/// Fetches one layer of an approved manifest. `progress` receives the number of bytes available so far.
pub async fn fetch<R: Registry>(
    source: &Source<'_, R>,
    layer: &Descriptor,
    mut progress: impl FnMut(u64) + Send,
) -> Result<VerifiedBlob, BlobError> {
    check_size(layer, source.limit)?;
    let verified = |bytes| VerifiedBlob::new(bytes, layer);
    if let Some(data) = &layer.data {
        // Inline data of the manifest, whose size and digest were checked when it was parsed.
        progress(layer.size);
        let (scratch, written, data) = (Arc::clone(source.scratch), layer.clone(), data.clone());
        let write = move || write(&scratch, &written, &data);
        let file = source.scratch.pool().run(Call::Short, write).await??;
        return Ok(verified(sealed(source, layer, file).await?));
    }
    if let Some(local) = source.registry.local(layer).await.filter(|local| local.is(layer)) {
        progress(layer.size);
        return Ok(verified(OnVolume::new(source.scratch.pool(), Bytes::Open(local))));
    }
    if let Some(store) = source.store.filter(|store| store.keeps(layer.size))
        && let Some(bytes) = fetch_shared(source, store, layer, &mut progress).await?
    {
        return Ok(verified(bytes));
    }
    // Downloaded for this object only.
    let file = download::download(source, layer, progress).await?;
    Ok(verified(sealed(source, layer, file).await?))
}

/// Returns a layer that other objects use too, from the store or from a download that they wait for. `None` if this
/// object has to download it for itself: the turn took too long, or the registry does not report the right to read.
async fn fetch_shared<R: Registry>(
    source: &Source<'_, R>,
    store: &Arc<ContentStore>,
    layer: &Descriptor,
    progress: &mut (impl FnMut(u64) + Send),
) -> Result<Option<OnVolume<Bytes>>, BlobError> {
    let repository = source.approved.pinned().repository();
    let key = Key::new(&source.access.origin(repository), &layer.digest);
    // Flights are per repository: the owner of another repository could delay this one at will.
    let flight = store.flights.join(&key, repository);
    let Some(mut turn) = flight.turn(layer.size).await else { return Ok(None) };
    let mut found = store.find(&key, layer.size).await?;
    if found.is_some() {
        // The layer is there: followers need not wait for this object's authorization check.
        drop(turn);
        match source.registry.may_read_blob(source.access, repository, layer).await? {
            Right::Granted => {}
            Right::Unknown => return Ok(None),
        }
        turn = match flight.turn(layer.size).await {
            Some(turn) => turn,
            None => return Ok(None),
        };
        // A layer in use stays valid. A kept file may have been replaced, or may be in use by now.
        if matches!(found.as_ref().and_then(OnVolume::get), Some(Found::Kept(_))) {
            found = store.find(&key, layer.size).await?;
        }
    }
    if let Some(found) = found
        && let Some(bytes) = used(source, store, &key, found, layer).await?
    {
        store.count_hit();
        tracing::debug!("layer {} is in the cache of layers", layer.digest.short());
        progress(layer.size);
        return Ok(Some(bytes));
    }
    let progress = |done| {
        flight.progressed(done);
        progress(done);
    };
    let file = download::download(source, layer, progress).await?;
    let bytes = kept(source, store, &key, file, layer).await?;
    drop(turn);
    store.tidy().await;
    Ok(Some(bytes))
}

/// Returns the found file after verifying that it is the layer; `None` if it is not.
async fn used<R>(
    source: &Source<'_, R>,
    store: &Arc<ContentStore>,
    key: &Key,
    found: OnVolume<Found>,
    layer: &Descriptor,
) -> Result<Option<OnVolume<Bytes>>, BlobError> {
    // A layer in use was verified before and is not read again.
    let hashes = !matches!(found.get(), Some(Found::InUse(_)));
    let (store, key, layer) = (Arc::clone(store), key.clone(), layer.clone());
    let work = source.work(hashes, move |scratch, stop| {
        let bytes = match found.take() {
            Some(Found::InUse(used)) => Some(Bytes::Used(used)),
            Some(Found::Kept(file)) => match store.copy(&key, &file, &layer, scratch, stop)? {
                Some(file) if scratch.is_nameless_private() => {
                    Some(Bytes::Used(store.share(&key, file, layer.size, true)))
                }
                Some(file) => Some(sealed_now(scratch, &layer, Arc::new(file), stop)?),
                None => None,
            },
            None => None,
        };
        Ok(bytes.map(|bytes| OnVolume::new(scratch.pool(), bytes)))
    });
    work.await
}

/// Returns a downloaded layer, shares it with other objects, and keeps it in the store.
async fn kept<R>(
    source: &Source<'_, R>,
    store: &Arc<ContentStore>,
    key: &Key,
    file: OnVolume<fs_err::File>,
    layer: &Descriptor,
) -> Result<OnVolume<Bytes>, BlobError> {
    let (store, key, layer) = (Arc::clone(store), key.clone(), layer.clone());
    let work = source.work(!source.scratch.is_nameless_private(), move |scratch, stop| {
        let file = file.take().ok_or(BlobError::Aborted)?;
        let bytes = if scratch.is_nameless_private() {
            Bytes::Used(store.share(&key, file, layer.size, false))
        } else {
            let file = Arc::new(file);
            store.keep_copy(&key, &file, scratch, layer.size, stop);
            sealed_now(scratch, &layer, file, stop)?
        };
        Ok(OnVolume::new(scratch.pool(), bytes))
    });
    work.await
}

/// Returns the keys under which the layers of an artifact are kept.
pub fn keys(access: &Access, approved: &Approved) -> Vec<Key> {
    let origin = access.origin(approved.pinned().repository());
    approved.manifest().layers.iter().map(|layer| Key::new(&origin, &layer.digest)).collect()
}

/// Spools inline data, whose size was limited when it was parsed.
fn write(scratch: &Scratch, layer: &Descriptor, data: &[u8]) -> Result<OnVolume<fs_err::File>, StorageError> {
    let mut file = scratch.nameless()?;
    let written = std::io::Write::write_all(&mut file, data);
    written.map_err(|error| StorageError::from_io(format!("spool layer {}", layer.digest.short()), &error))?;
    Ok(OnVolume::new(scratch.pool(), file))
}

/// Returns a completely written and hashed layer as a file without a name. If another process may have opened the
/// file before it lost its name, the file is hashed again, and [`VerifiedBlob::is_unchanged`] must be checked after
/// reading.
async fn sealed<R>(
    source: &Source<'_, R>,
    layer: &Descriptor,
    file: OnVolume<fs_err::File>,
) -> Result<OnVolume<Bytes>, BlobError> {
    let layer = layer.clone();
    let work = source.work(!source.scratch.is_nameless_private(), move |scratch, stop| {
        let file = Arc::new(file.take().ok_or(BlobError::Aborted)?);
        Ok(OnVolume::new(scratch.pool(), sealed_now(scratch, &layer, file, stop)?))
    });
    work.await
}

/// Implements [`sealed`]. Blocking.
fn sealed_now(
    scratch: &Scratch,
    layer: &Descriptor,
    file: Arc<fs_err::File>,
    stop: &CancellationToken,
) -> Result<Bytes, BlobError> {
    if scratch.is_nameless_private() {
        return Arc::try_unwrap(file).map(Bytes::Own).map_err(|_| BlobError::Aborted);
    }
    let what = || format!("read layer {} again", layer.digest.short());
    let local = LocalFile::read(file, stop).map_err(|error| StorageError::from_io(what(), &error))?;
    if local.is(layer) { Ok(Bytes::Open(local)) } else { Err(BlobError::Changed { layer: layer.digest.short() }) }
}

#[cfg(test)]
mod tests;
