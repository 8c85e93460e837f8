//! Memory for zstd windows, determined from the headers of frames and blocks before decoding.
//!
//! A window may be as wide as `--max-zstd-window`, and each decoder allocates its own. The windows that compressors
//! use by default are small. Wider ones are decoded one at a time, so that memory does not grow with the number of
//! processors.

use std::io::{BufReader, Read, Seek};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::mutex::lock;

/// The widest window of levels up to 19, which every decoder is expected to support (RFC 8878 section 3.1.1.1.2).
pub(super) const USUAL: u64 = 8 << 20;
/// Magic number of a frame.
const FRAME: u32 = 0xfd2f_b528;
/// Size of the read buffer, in bytes: headers are one block apart, which is at most twice as much.
const BUFFER: usize = 64 * 1024;

/// Longest wait for another wide window, whose thread may hang with its volume.
const PATIENCE: Duration = Duration::from_secs(60);

/// True while a decoder of this process has a wide window.
static IS_TAKEN: Mutex<bool> = Mutex::new(false);
static GIVEN_BACK: Condvar = Condvar::new();

/// The right to a wide window, until dropped.
pub(super) struct Wide {
    is_only: bool,
}

impl Wide {
    /// Waits until no other wide window is in memory, at most for [`PATIENCE`].
    pub(super) fn wait() -> Self {
        let taken = lock(&IS_TAKEN);
        let waited = GIVEN_BACK.wait_timeout_while(taken, PATIENCE, |taken| *taken);
        let (mut taken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        *taken = true;
        Self { is_only: !waited.timed_out() }
    }
}

impl Drop for Wide {
    fn drop(&mut self) {
        if self.is_only {
            *lock(&IS_TAKEN) = false;
            GIVEN_BACK.notify_one();
        }
    }
}

/// Returns true if a frame needs a window above [`USUAL`]. The scan ends at data that is not a frame, which the
/// decoder rejects. A wide frame after it is rejected too, because the decoder's window is limited by this result.
pub(super) fn is_wide(stream: impl Read + Seek) -> bool {
    let mut headers = Headers(BufReader::with_capacity(BUFFER, stream));
    while let Some(window) = headers.frame() {
        if window > USUAL {
            return true;
        }
    }
    false
}

/// Reader of a zstd stream's headers, which skips everything between them.
struct Headers<R: Read + Seek>(BufReader<R>);

impl<R: Read + Seek> Headers<R> {
    /// Reads the headers of the next frame and returns its window; `None` if there is no frame.
    fn frame(&mut self) -> Option<u64> {
        let magic = u32::try_from(self.number(4)?).ok()?;
        if magic & 0xffff_fff0 == 0x184d_2a50 {
            let size = self.number(4)?;
            self.skip(size)?;
            return Some(0);
        }
        if magic != FRAME {
            return None;
        }
        let descriptor = self.number(1)?;
        let (size_flag, is_single, has_checksum) =
            (descriptor >> 6, descriptor >> 5 & 1 == 1, descriptor >> 2 & 1 == 1);
        let mut window = 0;
        if !is_single {
            let byte = self.number(1)?;
            let base = 1_u64 << (10 + (byte >> 3));
            window = base + base / 8 * (byte & 7);
        }
        let dictionary = [0, 1, 2, 4].get(usize::try_from(descriptor & 3).ok()?).copied()?;
        self.skip(dictionary)?;
        let size = match (size_flag, is_single) {
            (0, false) => 0,
            (0, true) => self.number(1)?,
            (1, _) => self.number(2)?.saturating_add(256),
            (2, _) => self.number(4)?,
            _ => self.number(8)?,
        };
        if is_single {
            window = size;
        }
        if window > USUAL {
            return Some(window);
        }
        loop {
            let block = self.number(3)?;
            match block >> 1 & 3 {
                // An RLE block: one byte, repeated.
                1 => self.skip(1)?,
                0 | 2 => self.skip(block >> 3)?,
                _ => return None,
            }
            if block & 1 == 1 {
                break;
            }
        }
        self.skip(if has_checksum { 4 } else { 0 })?;
        Some(window)
    }

    /// Reads a little-endian number of `bytes` bytes.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let mut all = [0; 8];
        self.0.read_exact(all.get_mut(..bytes)?).ok()?;
        Some(u64::from_le_bytes(all))
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        self.0.seek_relative(i64::try_from(bytes).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;
    use crate::testing::Random;

    fn frame(window_log: u32, bytes: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.include_checksum(window_log.is_multiple_of(2)).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_widest_window_of_all_frames_is_found() {
        let mut random = Random::new(1);
        let noise: Vec<u8> = (0..300_000).map(|_| random.next().to_le_bytes()[0]).collect();
        let zeros = vec![0; 3 << 20];
        let skippable = [&[0x5f, 0x2a, 0x4d, 0x18], 1000_u32.to_le_bytes().as_slice(), &[7; 1000]].concat();
        let usual = [frame(23, &noise), frame(10, &zeros), skippable.clone(), frame(20, b"")].concat();
        let single = zstd::bulk::compress(&zeros, 1).unwrap();
        let large = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0][..], &(9_u32 << 20).to_le_bytes(), &[1, 0, 0]].concat();
        let mantissa = [&[0x28, 0xb5, 0x2f, 0xfd, 0, (23 - 10) << 3 | 1][..], &[1, 0, 0]].concat();
        let rows = [
            ("nothing", Vec::new(), false),
            ("usual ones", usual.clone(), false),
            ("a wide one", frame(24, &noise), true),
            ("behind others", [usual.as_slice(), &skippable, &frame(27, b"x")].concat(), true),
            ("small and in one piece", single, false),
            ("in one piece", large, true),
            ("a little wider", mantissa, true),
            ("cut", usual[..usual.len() - 1].to_vec(), false),
            ("no frame", b"anything else".to_vec(), false),
            ("a wide one behind what is no frame", [b"anything".as_slice(), &frame(27, b"x")].concat(), false),
        ];
        for (label, bytes, wide) in rows {
            assert_eq!(is_wide(Cursor::new(bytes)), wide, "{label}");
        }
    }
}
