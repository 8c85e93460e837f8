//! Body of an upload: a part of a blob, hashed from the blob's first byte on.
//!
//! The last byte of a blob is sent only if the digest is right, so that a registry never completes other bytes, even
//! one that does not check digests. Positions of the hash are kept on the way: an upload that is continued in the
//! middle reads a few megabytes again, not the whole blob.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::mutex::lock;
use crate::oci::{Descriptor, Digest, Hasher};
use crate::registry::{BlobSource, BlobStream, RegistryError};

/// Distance of two kept positions, in bytes.
const STEP: u64 = 16 * 1024 * 1024;

/// State of the hash at an offset.
#[derive(Clone, Debug, Default)]
struct Position {
    at: u64,
    hasher: Hasher,
}

/// Bytes of a blob that is uploaded.
pub(super) struct Body<'a> {
    source: &'a dyn BlobSource,
    digest: Digest,
    size: u64,
    what: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Kept positions, in order.
    kept: Vec<Position>,
    /// Error of the source, which the HTTP client would hide.
    failed: Option<RegistryError>,
}

impl<'a> Body<'a> {
    pub(super) fn new(source: &'a dyn BlobSource, descriptor: &Descriptor, what: String) -> Self {
        Self { source, digest: descriptor.digest.clone(), size: descriptor.size, what, state: Arc::default() }
    }

    /// Returns the error of the source since the last call.
    pub(super) fn take_error(&self) -> Option<RegistryError> {
        lock(&self.state).failed.take()
    }

    /// Opens the bytes from `from` to `to`.
    pub(super) fn open(&self, from: u64, to: u64) -> BlobStream {
        let start = lock(&self.state).kept.iter().rfind(|kept| kept.at <= from).cloned().unwrap_or_default();
        let part = Part {
            chunks: self.source.read_from(start.at),
            position: start,
            from,
            to,
            size: self.size,
            digest: self.digest.clone(),
            what: self.what.clone(),
            state: Arc::clone(&self.state),
        };
        Box::pin(stream::unfold(Some(part), async |part| {
            let mut part = part?;
            match part.next().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(part))),
                Ok(None) => None,
                Err(error) => {
                    let broken =
                        RegistryError::Unavailable { host: "the source".to_owned(), problem: error.to_string() };
                    lock(&part.state).failed = Some(error);
                    Some((Err(broken), None))
                }
            }
        }))
    }
}

/// Part of a blob that is being sent.
struct Part {
    chunks: BlobStream,
    position: Position,
    from: u64,
    to: u64,
    size: u64,
    digest: Digest,
    what: String,
    state: Arc<Mutex<State>>,
}

impl Part {
    /// Returns the next bytes between `from` and `to`.
    async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        while self.position.at < self.to {
            let Some(chunk) = self.chunks.next().await else {
                let problem = format!("{} ends after {} of {} bytes", self.what, self.position.at, self.size);
                return Err(RegistryError::Protocol { host: "the source".to_owned(), problem });
            };
            let mut chunk = chunk?;
            let start = self.position.at;
            let left = usize::try_from(self.to.saturating_sub(start)).unwrap_or(usize::MAX);
            chunk.truncate(left);
            self.advance(&chunk)?;
            let skipped = usize::try_from(self.from.saturating_sub(start)).unwrap_or(usize::MAX);
            if skipped < chunk.len() {
                return Ok(Some(chunk.slice(skipped..)));
            }
        }
        // A blob without bytes is compared too.
        if self.size == 0 { self.check().map(|()| None) } else { Ok(None) }
    }

    fn advance(&mut self, chunk: &[u8]) -> Result<(), RegistryError> {
        self.position.hasher.update(chunk);
        self.position.at = self.position.at.saturating_add(chunk.len() as u64);
        if self.position.at == self.size {
            return self.check();
        }
        let mut state = lock(&self.state);
        let last = state.kept.last().map_or(0, |kept| kept.at);
        if self.position.at >= last.saturating_add(STEP) {
            state.kept.push(self.position.clone());
        }
        Ok(())
    }

    fn check(&self) -> Result<(), RegistryError> {
        if self.position.hasher.clone().finish() == self.digest {
            return Ok(());
        }
        Err(RegistryError::DigestMismatch { what: self.what.clone(), host: "the source".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    fn descriptor(bytes: &[u8]) -> Descriptor {
        let value = serde_json::json!({"mediaType": "a/b", "digest": Digest::of(bytes), "size": bytes.len()});
        serde_json::from_value(value).unwrap()
    }

    async fn read(body: &Body<'_>, from: u64, to: u64) -> Result<Vec<u8>, RegistryError> {
        let mut all = Vec::new();
        let mut stream = body.open(from, to);
        while let Some(chunk) = stream.try_next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }

    /// A source of small chunks that records where it was opened.
    struct InChunks(Vec<u8>, usize, Mutex<Vec<u64>>);

    impl BlobSource for InChunks {
        fn read_from(&self, offset: u64) -> BlobStream {
            self.2.lock().unwrap().push(offset);
            let rest = self.0[usize::try_from(offset).unwrap()..].chunks(self.1);
            let chunks: Vec<_> = rest.map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
            Box::pin(stream::iter(chunks))
        }
    }

    #[tokio::test]
    async fn every_part_is_the_bytes_between_its_offsets() {
        let bytes: Vec<u8> = (0..100).collect();
        for length in [1, 7, 100] {
            let source = InChunks(bytes.clone(), length, Mutex::default());
            let body = Body::new(&source, &descriptor(&bytes), "x".to_owned());
            for (from, to) in [(0, 100), (0, 50), (50, 100), (99, 100), (13, 14), (100, 100)] {
                let part = read(&body, from, to).await.unwrap();
                assert_eq!(part, bytes[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()]);
            }
        }
        let nothing = Bytes::new();
        assert!(read(&Body::new(&nothing, &descriptor(b""), "x".to_owned()), 0, 0).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_end_of_other_bytes_is_not_sent() {
        let wanted = descriptor(b"0123456789");
        for other in [b"012345678X".as_slice(), b"X123456789", b"012345678"] {
            let source = InChunks(other.to_vec(), 4, Mutex::default());
            let body = Body::new(&source, &wanted, "x".to_owned());
            let mut sent = 0;
            let mut stream = body.open(0, 10);
            let error = loop {
                match stream.next().await {
                    Some(Ok(chunk)) => sent += chunk.len(),
                    Some(Err(error)) => break error,
                    None => panic!("{other:?} was sent"),
                }
            };
            assert!(sent < 10, "{error}");
            let kept = body.take_error().unwrap();
            assert!(matches!(kept, RegistryError::DigestMismatch { .. } | RegistryError::Protocol { .. }), "{kept}");
            assert!(body.take_error().is_none());
        }
        // A source that is longer than the blob: only the blob is sent.
        let source = InChunks(b"0123456789X".to_vec(), 4, Mutex::default());
        let body = Body::new(&source, &wanted, "x".to_owned());
        assert_eq!(read(&body, 0, 10).await.unwrap(), b"0123456789");
        let empty = Bytes::from_static(b"x");
        let mut wanted = wanted;
        wanted.size = 0;
        let body = Body::new(&empty, &wanted, "x".to_owned());
        assert!(read(&body, 0, 0).await.is_err(), "no bytes under the digest of others");
    }

    #[tokio::test]
    async fn a_continued_part_reads_from_a_kept_position() {
        let size = usize::try_from(3 * STEP).unwrap() + 5;
        let bytes = vec![7; size];
        let source = InChunks(bytes.clone(), 1 << 20, Mutex::default());
        let body = Body::new(&source, &descriptor(&bytes), "x".to_owned());
        read(&body, 0, 3 * STEP).await.unwrap();
        let rest = read(&body, 2 * STEP + 3, size as u64).await.unwrap();
        assert_eq!(rest.len(), size - usize::try_from(2 * STEP).unwrap() - 3);
        assert_eq!(*source.2.lock().unwrap(), [0, 2 * STEP]);
    }
}
