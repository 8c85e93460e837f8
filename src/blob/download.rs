//! One download of one blob into a file: counted, hashed, and resumed after a broken transfer.

use std::sync::Arc;

use fs_err::os::unix::fs::FileExt;
use futures::StreamExt;

use super::error::BlobError;
use super::source::Source;
use crate::oci::{Descriptor, Hasher, Repository};
use crate::registry::{Begun, BlobStream, Registry, RegistryError, Sender};
use crate::storage::{Call, OnVolume, Pool, StorageError};

/// Maximum size of the write buffer, in bytes.
const BUFFER: usize = 256 * 1024;
/// Maximum number of resumes of one blob after broken transfers.
const MOST_RESUMES: u32 = 5;

/// State of a download.
struct Spool<'a> {
    layer: &'a Descriptor,
    pool: &'a Pool,
    /// `None` while a thread of the volume writes to the file.
    file: Option<OnVolume<fs_err::File>>,
    /// Bytes received and not yet written.
    buffer: Vec<u8>,
    hasher: Hasher,
    got: u64,
    /// The origin that sent the bytes so far.
    sender: Option<Sender>,
}

/// Downloads `layer` into a file without a name. `progress` receives the number of bytes received. Fails without
/// sending a request if the layer does not fit on the volume.
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

/// Downloads `layer` into an empty file.
pub(super) async fn download_to<R: Registry>(
    source: &Source<'_, R>,
    layer: &Descriptor,
    file: OnVolume<fs_err::File>,
    mut progress: impl FnMut(u64) + Send,
) -> Result<OnVolume<fs_err::File>, BlobError> {
    // Each write is handed to another thread, so writes are few and large.
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
            // All bytes have arrived, however the transfer ended; the digest decides whether they are right.
            Ok(()) | Err(BlobError::Registry(RegistryError::Unavailable { .. })) if spool.got == layer.size => break,
            Ok(()) => BlobError::Short { layer: layer.digest.short(), got: spool.got, wanted: layer.size },
            Err(error @ BlobError::Registry(RegistryError::Unavailable { .. })) => error,
            Err(error) => return Err(error),
        };
        // A resume without progress would be repeated endlessly.
        if spool.got == before || resumes == MOST_RESUMES {
            return Err(broken);
        }
        resumes += 1;
        tracing::debug!(layer = %layer.digest.short(), got = spool.got, error = %broken, "the transfer was interrupted; resuming it");
    }
    spool.finish(repository).await
}

impl Spool<'_> {
    /// Receives the body to its end.
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

    /// Appends the buffer to the file.
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

    /// Returns the received part, for a request that resumes after it.
    fn begun(&self) -> Option<Begun> {
        let sender = self.sender.clone().filter(|_| self.got > 0)?;
        Some(Begun { bytes: self.got, sender })
    }

    /// Discards everything received: the sender restarted from the first byte.
    async fn start_over(&mut self) -> Result<(), BlobError> {
        self.on_file(|file| file.set_len(0)).await?;
        (self.hasher, self.got) = (Hasher::default(), 0);
        self.buffer.clear();
        Ok(())
    }

    /// Returns the file if its digest is the layer's.
    async fn finish(mut self, repository: &Repository) -> Result<OnVolume<fs_err::File>, BlobError> {
        self.flush().await?;
        if self.hasher.finish() != self.layer.digest {
            // The same error as for all other wrong bytes from another origin, so that it reveals nothing about them.
            let what = format!("blob {} of {repository}", self.layer.digest.short());
            let sender = self.sender.unwrap_or_else(|| Sender::registry(repository));
            return Err(sender.other_bytes(what).into());
        }
        self.file.take().ok_or(BlobError::Aborted)
    }

    /// Runs `work` on the file, on a thread of the volume.
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
