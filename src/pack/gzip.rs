//! Gzip on several threads. The result depends on the bytes alone.
//!
//! The input is cut into blocks of a fixed size. Each is deflated with the end of the block before as its dictionary,
//! and ends on a byte boundary, so that the results can be put one after the other: one member with one deflate stream,
//! which every reader accepts. Neither the number of threads nor the sizes of the writes have an effect.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::mutex::lock;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Size of a block, in bytes.
const BLOCK: usize = 512 * 1024;
/// Part of the block before that can be referred to: the window of deflate, in bytes.
const WINDOW: usize = 32 * 1024;
/// Level of compression: zlib's default.
const LEVEL: u32 = 6;
/// Maximum number of threads. Each has one block, and one waits for it.
const MAX_THREADS: usize = 8;
/// Header without name and time, of an unknown system (RFC 1952 section 2.3), as Go writes it.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Writer that compresses to `out`.
pub(super) struct Gzip<W> {
    out: W,
    block: Vec<u8>,
    /// End of the block before.
    window: Vec<u8>,
    crc: Crc,
    jobs: SyncSender<Job>,
    /// Results in the order of their blocks.
    results: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    threads: usize,
}

struct Job {
    block: Vec<u8>,
    window: Vec<u8>,
    is_last: bool,
    result: SyncSender<io::Result<Vec<u8>>>,
}

impl<W: Write> Gzip<W> {
    /// Writes the header and starts a thread for each processor.
    pub(super) fn new(out: W) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        Self::with_threads(out, threads)
    }

    fn with_threads(mut out: W, threads: usize) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        let (jobs, queue) = sync_channel(threads);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("gzip".to_owned()).spawn(move || work(&queue))?;
        }
        let (block, window) = (Vec::with_capacity(BLOCK), Vec::new());
        Ok(Self { out, block, window, crc: Crc::new(), jobs, results: VecDeque::new(), threads })
    }

    /// Writes the rest and the trailer, and returns the writer below.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.compress(true)?;
        while let Some(result) = self.results.pop_front() {
            self.take(&result)?;
        }
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        // Modulo 2^32, as the format defines it.
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    /// Hands the block to a thread.
    fn compress(&mut self, is_last: bool) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let tail = block.get(block.len().saturating_sub(WINDOW)..).unwrap_or_default().to_vec();
        let window = std::mem::replace(&mut self.window, tail);
        let (result, receiver) = sync_channel(1);
        if self.results.len() > self.threads
            && let Some(first) = self.results.pop_front()
        {
            self.take(&first)?;
        }
        self.jobs.send(Job { block, window, is_last, result }).map_err(|_| gone())?;
        self.results.push_back(receiver);
        Ok(())
    }

    fn take(&mut self, result: &Receiver<io::Result<Vec<u8>>>) -> io::Result<()> {
        let compressed = result.recv().map_err(|_| gone())??;
        self.out.write_all(&compressed)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only here, because the last block is compressed in another way.
        if self.block.len() == BLOCK {
            self.compress(false)?;
        }
        let taken = bytes.len().min(BLOCK.saturating_sub(self.block.len()));
        let bytes = bytes.get(..taken).unwrap_or_default();
        self.crc.update(bytes);
        self.block.extend_from_slice(bytes);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses has ended")
}

/// Compresses blocks until the writer is gone.
fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = lock(queue).recv();
        let Ok(Job { block, window, is_last, result }) = job else { return };
        // The writer may have failed.
        let _ = result.send(deflated(&block, &window, is_last));
    }
}

/// Returns a block as a part of a deflate stream, which ends on a byte boundary.
fn deflated(block: &[u8], window: &[u8], is_last: bool) -> io::Result<Vec<u8>> {
    let mut compress = Compress::new(Compression::new(LEVEL), false);
    if !window.is_empty() {
        compress.set_dictionary(window)?;
    }
    let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut out = Vec::with_capacity(block.len() / 2 + 1024);
    loop {
        let read = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
        let status = compress.compress_vec(block.get(read..).unwrap_or_default(), &mut out, flush)?;
        let is_whole = match status {
            Status::StreamEnd => true,
            // With room left there is nothing more to write.
            Status::Ok | Status::BufError => !is_last && out.len() < out.capacity(),
        };
        if is_whole {
            return Ok(out);
        }
        out.reserve(block.len() / 2 + 1024);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn compressed(bytes: &[u8], threads: usize, step: usize) -> Vec<u8> {
        let mut gzip = Gzip::with_threads(Vec::new(), threads).unwrap();
        for part in bytes.chunks(step) {
            gzip.write_all(part).unwrap();
        }
        gzip.finish().unwrap()
    }

    /// Returns bytes of which every third part cannot be compressed.
    fn mixed(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        (0..length)
            .map(|at| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if at / 70_000 % 3 == 0 { (state >> 56) as u8 } else { (at / 100 % 50).to_le_bytes()[0] }
            })
            .collect()
    }

    #[test]
    fn the_result_depends_on_the_bytes_alone() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 4 * BLOCK + 12_345] {
            let bytes = mixed(length);
            let first = compressed(&bytes, 1, 1 << 20);
            let mut back = Vec::new();
            flate2::bufread::GzDecoder::new(first.as_slice()).read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{length}");
            for (threads, step) in [(2, 4096), (7, 100_003), (3, BLOCK)] {
                assert!(compressed(&bytes, threads, step) == first, "{length} {threads} {step}");
            }
        }
    }

    #[test]
    fn blocks_refer_to_the_block_before() {
        let bytes = mixed(WINDOW / 2).repeat(128);
        assert_eq!(bytes.len(), 4 * BLOCK);
        // Half a window once, and two bytes for each match. Without the block before: four times half a window.
        let length = compressed(&bytes, 2, 4096).len();
        assert!(length < 3 * WINDOW / 2, "{length}");
    }

    #[test]
    fn an_error_of_the_writer_below_is_returned() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if bytes.len() == HEADER.len() { Ok(bytes.len()) } else { Err(io::ErrorKind::StorageFull.into()) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut gzip = Gzip::with_threads(Full, 2).unwrap();
        let bytes = mixed(BLOCK);
        let error = (0..20).find_map(|_| gzip.write_all(&bytes).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
