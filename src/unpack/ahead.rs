//! Decoding on a separate thread, a few buffers ahead of the reader.
//!
//! Inflating takes a whole processor, and hashing and writing the result take another half. On one thread they would
//! slow unpacking down accordingly.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::decoder::fill;

/// Size of a buffer, in bytes: large enough to make the handover cheap, small enough for a cache.
const BUFFER: usize = 128 * 1024;
/// Number of buffers that may be decoded ahead of the reader.
const BUFFERS: usize = 16;

/// Reader of the decoded bytes, in order.
pub(super) struct Ahead {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    /// Number of bytes of `current` that were read.
    read: usize,
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    Reached,
    /// By an error, which was returned.
    Broken,
}

/// Runs `reading` while a thread reads `decoder`. An error is returned at most one buffer before the byte that it
/// belongs to. The thread ends with `reading`.
pub(super) fn read_ahead<T>(decoder: impl Read + Send, reading: impl FnOnce(&mut Ahead) -> T) -> T {
    let (to_reader, full) = sync_channel(BUFFERS);
    let (empty, from_reader) = sync_channel(BUFFERS);
    let mut ahead = Ahead { full, empty, current: Vec::new(), read: 0, end: None };
    thread::scope(|scope| {
        scope.spawn(move || decode(decoder, &to_reader, &from_reader));
        let result = reading(&mut ahead);
        // Closes the channels, which ends the thread.
        drop(ahead);
        result
    })
}

fn decode(mut decoder: impl Read, full: &SyncSender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) {
    loop {
        let mut buffer = empty.try_recv().unwrap_or_default();
        buffer.resize(BUFFER, 0);
        match fill(&mut decoder, &mut buffer) {
            Ok(0) => return,
            Ok(filled) => {
                buffer.truncate(filled);
                if full.send(Ok(buffer)).is_err() {
                    return;
                }
            }
            Err(error) => {
                // The reader may be gone.
                let _ = full.send(Err(error));
                return;
            }
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.read == self.current.len() {
            match self.end {
                Some(End::Reached) => return Ok(0),
                Some(End::Broken) => return Err(io::Error::other("read after an error")),
                None => {}
            }
            let next = match self.full.recv() {
                Ok(Ok(next)) => next,
                Ok(Err(error)) => {
                    self.end = Some(End::Broken);
                    return Err(error);
                }
                Err(_) => {
                    self.end = Some(End::Reached);
                    return Ok(0);
                }
            };
            let used = std::mem::replace(&mut self.current, next);
            self.read = 0;
            // If the channel is full, the buffer is freed.
            let _ = self.empty.try_send(used);
        }
        let left = self.current.get(self.read..).unwrap_or_default();
        let count = left.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_before_the_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let bytes: Vec<u8> = (0..5_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut read = Vec::new();
        let result = read_ahead(bytes.as_slice(), |ahead| ahead.read_to_end(&mut read).unwrap());
        assert!(result == bytes.len() && read == bytes);
        let mut read = Vec::new();
        let error = read_ahead(io::repeat(7).take(200_000).chain(Broken), |ahead| ahead.read_to_end(&mut read));
        assert_eq!(error.unwrap_err().to_string(), "broken");
    }

    #[test]
    fn a_reader_that_stops_does_not_wait_for_the_rest() {
        read_ahead(io::repeat(1), |ahead| ahead.read_exact(&mut [0; 10]).unwrap());
    }
}
