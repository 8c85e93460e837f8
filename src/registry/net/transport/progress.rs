//! Limits on the time of requests whose body is stored: an upload may take hours, but not a minute without a byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;

use crate::registry::BlobStream;

/// Longest time without progress of a body.
const STALLED: Duration = Duration::from_secs(60);
/// Longest time until the response once the body is sent. An object store copies a large upload when it is completed.
const STORING: Duration = Duration::from_secs(300);

/// Number of bytes of a body that the connection has taken, and the limits on its time.
#[derive(Debug)]
pub(super) struct Progress {
    taken: Arc<AtomicU64>,
    stalled: Duration,
    storing: Duration,
}

/// A request that made no progress for this time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stalled(pub(super) Duration);

impl Default for Progress {
    fn default() -> Self {
        Self { taken: Arc::default(), stalled: STALLED, storing: STORING }
    }
}

impl Progress {
    /// Counts the bytes of a body from its start.
    pub(super) fn watch(&self, body: BlobStream) -> BlobStream {
        let taken = Arc::clone(&self.taken);
        taken.store(0, Ordering::Relaxed);
        Box::pin(body.inspect(move |chunk| {
            let length = chunk.as_ref().map_or(0, bytes::Bytes::len);
            taken.fetch_add(length as u64, Ordering::Relaxed);
        }))
    }

    /// Waits for the response to a request with a body of `length` bytes.
    pub(super) async fn limit<T>(&self, length: u64, response: impl Future<Output = T>) -> Result<T, Stalled> {
        let mut response = std::pin::pin!(response);
        loop {
            let before = self.taken.load(Ordering::Relaxed);
            let limit = if before < length { self.stalled } else { self.storing };
            match tokio::time::timeout(limit, &mut response).await {
                Ok(response) => return Ok(response),
                Err(_) if self.taken.load(Ordering::Relaxed) == before => return Err(Stalled(limit)),
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn the_limit_is_on_the_time_without_a_byte() {
        let [stalled, storing, long] = [1, 2, 60_000].map(Duration::from_millis);
        let never = std::future::pending::<()>;
        let body = || -> BlobStream { Box::pin(stream::iter([Ok(Bytes::from_static(b"xy"))])) };
        let taking = async |progress: &Progress| {
            let mut body = progress.watch(body());
            while body.next().await.is_some() {}
        };
        let progress = Progress { stalled, storing: long, ..Progress::default() };
        assert_eq!(progress.limit(2, never()).await, Err(Stalled(stalled)), "no byte is taken");
        let progress = Progress { stalled: long, storing, ..Progress::default() };
        taking(&progress).await;
        assert_eq!(progress.limit(2, never()).await, Err(Stalled(storing)), "every byte is taken");
        // Each time limit ends with another byte taken.
        let progress = Progress { stalled, storing: long, ..Progress::default() };
        let mut left = 20;
        let chunks = stream::poll_fn(|_| {
            left -= 1;
            std::task::Poll::Ready((left > 0).then(|| Ok(Bytes::from_static(b"x"))))
        });
        let bytes: Vec<_> = chunks.collect().await;
        let mut body = progress.watch(Box::pin(stream::iter(bytes)));
        let sending = async {
            while body.next().await.is_some() {
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(progress.limit(20, sending).await, Ok(()));
    }
}
