//! One transfer of one blob into a file: counted, hashed, and gone on with where it broke.

use std::sync::Arc;

use fs_err::os::unix::fs::FileExt;
use futures::StreamExt;

use super::{BlobError, Source};
use crate::oci::{Descriptor, Hasher, Repository};
use crate::registry::{Begun, BlobStream, Registry, RegistryError, Sender};
use crate::storage::{Call, OnVolume, Pool, StorageError};

/// Most bytes collected before they are written.
const BUFFER: usize = 256 * 1024;
/// How often one blob is gone on with after its transfer broke.
const MOST_RESUMES: u32 = 5;

/// What has been written so far.
struct Spool<'a> {
    layer: &'a Descriptor,
    pool: &'a Pool,
    /// A thread of the volume has it while it writes.
    file: Option<OnVolume<fs_err::File>>,
    /// Bytes that were not written yet.
    buffer: Vec<u8>,
    hasher: Hasher,
    got: u64,
    /// The origin that sent them.
    sender: Option<Sender>,
}

/// Downloads `layer` into a file without a name. `progress` is told how many bytes are there. Nobody is asked for a layer
/// that does not fit on the disk.
pub(super) async fn download<R: Registry>(
    source: &Source<'_, R>,
    layer: &Descriptor,
    progress: impl FnMut(u64) + Send,
) -> Result<OnVolume<fs_err::File>, BlobError> {
    let (scratch, size) = (Arc::clone(source.scratch), layer.size);
    let made = move || {
        scratch.room_for(size)?;
        Ok::<_, StorageError>(OnVolume::new(scratch.pool(), scratch.nameless()?))
    };
    let file = source.scratch.pool().run(Call::Short, made).await??;
    download_to(source, layer, file, progress).await
}

/// The same into an empty file.
pub(super) async fn download_to<R: Registry>(
    source: &Source<'_, R>,
    layer: &Descriptor,
    file: OnVolume<fs_err::File>,
    mut progress: impl FnMut(u64) + Send,
) -> Result<OnVolume<fs_err::File>, BlobError> {
    // Each write is a trip to another thread: few and large ones.
    let buffer = Vec::with_capacity(usize::try_from(layer.size).unwrap_or(BUFFER).min(BUFFER));
    let (pool, hasher) = (source.scratch.pool(), Hasher::default());
    let mut spool = Spool { layer, pool, file: Some(file), buffer, hasher, got: 0, sender: None };
    let repository = source.approved.pinned().repository();
    let mut resumes = 0;
    loop {
        let begun = spool.begun();
        let body = source.registry.blob(source.access, repository, layer, begun.as_ref()).await?;
        if body.from != spool.got {
            spool.start_over().await?;
        }
        spool.sender = Some(body.sender);
        let before = spool.got;
        let ended = spool.pour(body.stream, &mut progress).await;
        let broken = match ended {
            // All of it is there, however it ended; the digest says what it is worth.
            Ok(()) | Err(BlobError::Registry(RegistryError::Unavailable { .. })) if spool.got == layer.size => break,
            Ok(()) => BlobError::Short { layer: layer.digest.short(), got: spool.got, wanted: layer.size },
            Err(error @ BlobError::Registry(RegistryError::Unavailable { .. })) => error,
            Err(error) => return Err(error),
        };
        // One that brings nothing would bring nothing for ever.
        if spool.got == before || resumes == MOST_RESUMES {
            return Err(broken);
        }
        resumes += 1;
        tracing::debug!(layer = %layer.digest.short(), got = spool.got, error = %broken, "the transfer broke and is resumed");
    }
    spool.finish(repository).await
}

impl Spool<'_> {
    /// Writes what comes until it ends.
    async fn pour(&mut self, mut stream: BlobStream, progress: &mut (impl FnMut(u64) + Send)) -> Result<(), BlobError> {
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            let got = self.got.saturating_add(chunk.len() as u64);
            if got > self.layer.size {
                let what = format!("layer {}", self.layer.digest.short());
                return Err(RegistryError::LongerThanNamed { what, size: self.layer.size }.into());
            }
            self.hasher.update(&chunk);
            self.buffer.extend_from_slice(&chunk);
            self.got = got;
            if self.buffer.len() >= BUFFER {
                self.flush().await?;
            }
            progress(got);
        }
        Ok(())
    }

    /// Writes what was collected behind what was written.
    async fn flush(&mut self) -> Result<(), BlobError> {
        let at = self.got.saturating_sub(self.buffer.len() as u64);
        let mut buffer = std::mem::take(&mut self.buffer);
        self.buffer = self
            .on_file(move |file| {
                file.write_all_at(&buffer, at)?;
                buffer.clear();
                Ok(buffer)
            })
            .await?;
        Ok(())
    }

    /// The part that is there, for a request for the rest.
    fn begun(&self) -> Option<Begun> {
        let sender = self.sender.clone().filter(|_| self.got > 0)?;
        Some(Begun { bytes: self.got, sender })
    }

    /// Forgets everything: the blob has begun anew.
    async fn start_over(&mut self) -> Result<(), BlobError> {
        self.on_file(|file| file.set_len(0)).await?;
        (self.hasher, self.got) = (Hasher::default(), 0);
        self.buffer.clear();
        Ok(())
    }

    /// The file, if its digest is the layer's.
    async fn finish(mut self, repository: &Repository) -> Result<OnVolume<fs_err::File>, BlobError> {
        self.flush().await?;
        if self.hasher.finish() != self.layer.digest {
            // In the words of every other error about bytes of another origin.
            let what = format!("blob {} of {repository}", self.layer.digest.short());
            let sender = self.sender.unwrap_or_else(|| Sender::registry(repository));
            return Err(sender.other_bytes(what).into());
        }
        self.file.take().ok_or(BlobError::Aborted)
    }

    /// Does something with the file, by a thread of the volume.
    async fn on_file<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&fs_err::File) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        let file = self.file.take().ok_or(BlobError::Aborted)?;
        let worked = self.pool.run(Call::Short, move || {
            let done = file.get().map(work);
            (file, done)
        });
        let (file, done) = worked.await?;
        self.file = Some(file);
        Ok(done.ok_or(BlobError::Aborted)?.map_err(self.failed())?)
    }

    fn failed(&self) -> impl Fn(std::io::Error) -> StorageError + use<> {
        let what = format!("spool layer {}", self.layer.digest.short());
        move |error| StorageError::from_io(what.clone(), &error)
    }
}
