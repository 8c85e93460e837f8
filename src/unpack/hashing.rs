//! Digests of files as they are written: for large layers, on a separate thread.
//!
//! Hashing takes as long as writing. On one thread both would take longer than inflating, and everything would wait
//! for them.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::path::EntryPath;
use crate::oci::{Digest, Hasher};

/// Size of a batch, in bytes: large enough to make the handover cheap, small enough for a cache.
const BATCH: usize = 128 * 1024;
/// Maximum number of files that end in a batch: empty files have no bytes.
const MOST_FILES: usize = 1024;
/// Number of batches in flight.
const BATCHES: usize = 8;

/// Hashes the contents of files, a batch of bytes at a time. The digests are returned later, in the order of the
/// files.
pub(super) struct Hashing {
    batch: Batch,
    worker: Worker,
    /// Files that have ended and whose digests are not available yet.
    pending: VecDeque<EntryPath>,
}

/// Contents of files, concatenated.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    filled: usize,
    /// Offsets at which files end.
    ends: Vec<usize>,
    /// The digests of these files, once computed.
    digests: Vec<Digest>,
}

enum Worker {
    /// State of the file that has not ended yet.
    Here(Hasher),
    Elsewhere {
        full: SyncSender<Batch>,
        done: Receiver<Batch>,
    },
}

/// Error of a hashing thread that ended early.
#[derive(Debug)]
pub(super) struct Aborted;

impl Default for Hashing {
    fn default() -> Self {
        Self { batch: Batch::default(), worker: Worker::Here(Hasher::default()), pending: VecDeque::new() }
    }
}

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashing").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}

impl Hashing {
    /// Hashes on a separate thread, which ends when this value is dropped.
    pub(super) fn elsewhere() -> io::Result<Self> {
        let (full, batches) = sync_channel::<Batch>(BATCHES);
        let (hashed, done) = sync_channel(BATCHES);
        thread::Builder::new().name("hashing".to_owned()).spawn(move || {
            let mut hasher = Hasher::default();
            for mut batch in batches {
                batch.hash(&mut hasher);
                if hashed.send(batch).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { worker: Worker::Elsewhere { full, done }, ..Self::default() })
    }

    /// Returns space for the next bytes of a file, of which `left` are to come: for all of them if a batch can hold
    /// them.
    pub(super) fn room(&mut self, left: u64) -> Result<&mut [u8], Aborted> {
        let wanted = usize::try_from(left).unwrap_or(BATCH).min(BATCH);
        if BATCH - self.batch.filled < wanted {
            self.hand_over()?;
        }
        self.batch.bytes.resize(BATCH, 0);
        let from = self.batch.filled;
        Ok(self.batch.bytes.get_mut(from..from + wanted).unwrap_or_default())
    }

    /// Adds the first `count` bytes of the space to the batch, and returns them.
    pub(super) fn took(&mut self, count: usize) -> &[u8] {
        let from = self.batch.filled;
        self.batch.filled = (from + count).min(self.batch.bytes.len());
        self.batch.bytes.get(from..self.batch.filled).unwrap_or_default()
    }

    /// Ends the current file.
    pub(super) fn ended(&mut self, path: EntryPath) -> Result<(), Aborted> {
        self.batch.ends.push(self.batch.filled);
        self.pending.push_back(path);
        if self.batch.ends.len() < MOST_FILES { Ok(()) } else { self.hand_over() }
    }

    /// Returns the digests that have become available since the last call.
    pub(super) fn made(&mut self) -> impl Iterator<Item = (EntryPath, Digest)> + use<'_> {
        let digests = std::mem::take(&mut self.batch.digests);
        digests.into_iter().filter_map(|digest| Some((self.pending.pop_front()?, digest)))
    }

    /// Waits for all remaining digests.
    pub(super) fn finish(mut self) -> Result<Vec<(EntryPath, Digest)>, Aborted> {
        self.hand_over()?;
        let mut made: Vec<_> = self.made().collect();
        if let Worker::Elsewhere { full, done } = std::mem::replace(&mut self.worker, Worker::Here(Hasher::default())) {
            drop(full);
            for batch in done {
                self.batch.digests = batch.digests;
                made.extend(self.made());
            }
        }
        if self.pending.is_empty() { Ok(made) } else { Err(Aborted) }
    }

    /// Hands the batch over to be hashed, and begins a new one.
    fn hand_over(&mut self) -> Result<(), Aborted> {
        let mut full_batch = std::mem::take(&mut self.batch);
        // Digests that were not returned yet are kept.
        let mut digests = std::mem::take(&mut full_batch.digests);
        match &mut self.worker {
            Worker::Here(hasher) => {
                full_batch.hash(hasher);
                self.batch = full_batch;
                digests.append(&mut self.batch.digests);
            }
            Worker::Elsewhere { full, done } => {
                full.send(full_batch).map_err(|_| Aborted)?;
                while let Ok(mut batch) = done.try_recv() {
                    digests.append(&mut batch.digests);
                    self.batch = batch;
                }
            }
        }
        self.batch.filled = 0;
        self.batch.ends.clear();
        self.batch.digests = digests;
        Ok(())
    }
}

impl Batch {
    /// Hashes the batch; `hasher` holds the state of the file that continues from the previous batch.
    fn hash(&mut self, hasher: &mut Hasher) {
        let mut from = 0;
        for end in &self.ends {
            hasher.update(self.bytes.get(from..*end).unwrap_or_default());
            self.digests.push(std::mem::take(hasher).finish());
            from = *end;
        }
        hasher.update(self.bytes.get(from..self.filled).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes files of these sizes; returns their digests.
    fn digests(mut hashing: Hashing, sizes: &[usize]) -> Vec<(EntryPath, Digest)> {
        let mut made = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            let mut left = *size;
            while left > 0 {
                let room = hashing.room(left as u64).unwrap();
                // Like a reader that returns less than the space allows.
                let count = room.len().min(60_000);
                room[..count].fill(u8::try_from(number % 251).unwrap());
                assert_eq!(hashing.took(count).len(), count);
                left -= count;
            }
            hashing.ended(path(number)).unwrap();
            made.extend(hashing.made());
        }
        made.extend(hashing.finish().unwrap());
        made
    }

    fn path(number: usize) -> EntryPath {
        EntryPath::parse(number.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn each_file_has_its_own_digest_on_either_thread() {
        let mut sizes = vec![0, 1, 5, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 7, 0, 0, 100_000, 60_000];
        sizes.extend((0..5000).map(|number| if number % 3 == 0 { 0 } else { number }));
        let of = |(number, size): (usize, &usize)| {
            (path(number), Digest::of(&vec![u8::try_from(number % 251).unwrap(); *size]))
        };
        let want: Vec<_> = sizes.iter().enumerate().map(of).collect();
        assert!(digests(Hashing::default(), &sizes) == want, "here");
        assert!(digests(Hashing::elsewhere().unwrap(), &sizes) == want, "elsewhere");
    }

    #[test]
    fn digests_become_available_while_files_are_written() {
        let mut hashing = Hashing::default();
        hashing.room(10).unwrap();
        hashing.took(10);
        for number in 0..MOST_FILES {
            hashing.ended(path(number)).unwrap();
        }
        assert_eq!(hashing.made().count(), MOST_FILES);
        assert!(hashing.finish().unwrap().is_empty());
    }
}
