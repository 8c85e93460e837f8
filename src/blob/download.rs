//! One transfer of one blob into a file: counted, hashed, and gone on with where it broke.

use futures::StreamExt;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};

use super::{BlobError, Source};
use crate::oci::{Descriptor, Hasher};
use crate::registry::{BlobStream, Registry, RegistryError};
use crate::storage::StorageError;

/// Most bytes collected before they are written.
const BUFFER: usize = 256 * 1024;
/// How often one blob is gone on with after its transfer broke.
const MOST_RESUMES: u32 = 5;

/// What has been written so far.
struct Spool<'a> {
    layer: &'a Descriptor,
    file: BufWriter<tokio::fs::File>,
    hasher: Hasher,
    got: u64,
}

/// Downloads `layer` into the empty `file`. `progress` is told how many bytes are there. Nobody is asked for a layer that
/// does not fit on the disk.
pub(super) async fn download<R: Registry>(
    source: &Source<'_, R>,
    layer: &Descriptor,
    file: fs_err::File,
    mut progress: impl FnMut(u64) + Send,
) -> Result<fs_err::File, BlobError> {
    source.scratch.room_for(layer.size)?;
    let (file, path) = file.into_parts();
    // Each write to a tokio file is a trip to another thread: few and large ones.
    let buffer = usize::try_from(layer.size).unwrap_or(BUFFER).min(BUFFER);
    let file = BufWriter::with_capacity(buffer, tokio::fs::File::from_std(file));
    let mut spool = Spool { layer, file, hasher: Hasher::default(), got: 0 };
    let repository = source.approved.pinned().repository();
    let mut resumes = 0;
    loop {
        let body = source.registry.blob(source.access, repository, layer, spool.got).await?;
        if body.from != spool.got {
            spool.start_over().await?;
        }
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
    Ok(fs_err::File::from_parts(spool.finish().await?, path))
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
            self.file.write_all(&chunk).await.map_err(self.failed())?;
            self.got = got;
            progress(got);
        }
        Ok(())
    }

    /// Forgets everything: the registry has begun anew.
    async fn start_over(&mut self) -> Result<(), BlobError> {
        // Seeking writes what was collected first.
        self.file.rewind().await.map_err(self.failed())?;
        self.file.get_mut().set_len(0).await.map_err(self.failed())?;
        (self.hasher, self.got) = (Hasher::default(), 0);
        Ok(())
    }

    /// The file, if its digest is the layer's.
    async fn finish(mut self) -> Result<std::fs::File, BlobError> {
        self.file.flush().await.map_err(self.failed())?;
        let digest = self.hasher.finish();
        if digest != self.layer.digest {
            let what = format!("layer {}", self.layer.digest.short());
            return Err(RegistryError::DigestMismatch { what, wanted: self.layer.digest.clone(), got: digest }.into());
        }
        Ok(self.file.into_inner().into_std().await)
    }

    fn failed(&self) -> impl Fn(std::io::Error) -> StorageError + use<> {
        let what = format!("spool layer {}", self.layer.digest.short());
        move |error| StorageError::from_io(what.clone(), &error)
    }
}
