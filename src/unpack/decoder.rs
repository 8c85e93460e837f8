//! Compression: told by its magic number, undone while counting.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::Stop;
use crate::oci::Hasher;

/// Input buffer of the decoder: large reads are what makes inflate fast.
const BUFFER: usize = 256 * 1024;
/// Bytes that may come out of an archive besides those of its files: headers and padding.
const OVERHEAD_PER_ENTRY: u64 = 4 * 1024;
/// Largest window of a zstd frame, as a power of two: 128 MiB, what `zstd -d` takes without being asked
/// (RFC 8878 section 3.1.1.1.2). It is allocated before a byte comes out.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How bytes are compressed, whatever their media type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
    /// One that no layer of the image-spec has; its name.
    Unsupported(&'static str),
}

/// Reads up to `head.len()` bytes and tells the compression by them.
pub(super) fn sniff(reader: &mut impl Read, head: &mut [u8]) -> io::Result<Compression> {
    let read = fill(reader, head)?;
    let head = head.get(..read).unwrap_or_default();
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        Compression::Gzip
    } else if is_zstd(head) {
        Compression::Zstd
    } else if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        Compression::Unsupported("xz")
    } else if head.starts_with(b"BZh") {
        Compression::Unsupported("bzip2")
    } else {
        Compression::None
    })
}

/// A frame, or a skippable one, with which a stream may begin as well (RFC 8878 section 3.1).
fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || matches!(head, [first, 0x2a, 0x4d, 0x18, ..] if (0x50..=0x5f).contains(first))
}

/// Reads until the buffer is full or the input ends; how many bytes there were.
pub(super) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The decompressed bytes of a layer, counted against a limit and, on demand, hashed. Fails once it is stopped.
pub(super) struct Decoder<R: Read> {
    inner: Inner<R>,
    left: u64,
    hasher: Option<Hasher>,
    stop: Stop,
}

enum Inner<R: Read> {
    Plain(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    /// Several frames are read as one stream, as several members of gzip are.
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<R>>>),
}

/// Where a [`Decoder`] stopped because its limit was reached.
#[derive(Debug, thiserror::Error)]
#[error("more bytes than allowed")]
pub(super) struct LimitReached;

impl<R: Read> Decoder<R> {
    /// `limit` is in bytes that come out. Fails where there is no decoder for the compression.
    pub(super) fn new(reader: R, compression: Compression, limit: u64, hash: bool, stop: Stop) -> io::Result<Self> {
        let reader = BufReader::with_capacity(BUFFER, reader);
        let inner = match compression {
            Compression::None => Inner::Plain(reader),
            Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(reader))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Inner::Zstd(Box::new(decoder))
            }
            Compression::Unsupported(name) => return Err(io::Error::other(format!("{name} is not supported"))),
        };
        Ok(Self { inner, left: limit, hasher: hash.then(Hasher::default), stop })
    }

    /// The hash of everything read, if it was asked for.
    pub(super) fn into_hasher(self) -> Option<Hasher> {
        self.hasher
    }
}

/// The limit that lets `bytes` of files in `entries` entries through.
pub(super) fn limit_for(bytes: u64, entries: u64) -> u64 {
    bytes.saturating_add(entries.saturating_mul(OVERHEAD_PER_ENTRY))
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        let read = match &mut self.inner {
            Inner::Plain(reader) => reader.read(buffer)?,
            Inner::Gzip(decoder) => decoder.read(buffer)?,
            Inner::Zstd(decoder) => decoder.read(buffer)?,
        };
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(LimitReached))?;
        if let (Some(hasher), Some(bytes)) = (&mut self.hasher, buffer.get(..read)) {
            hasher.update(bytes);
        }
        Ok(read)
    }
}

/// Reads to the end; false where anything but zeros comes.
pub(super) fn rest_is_zeros(reader: &mut impl Read) -> io::Result<bool> {
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(true);
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let read = bytes.len();
        reader.consume(read);
    }
}
