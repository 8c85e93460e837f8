//! Detection of the compression by magic number, and counted decompression.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::budget::Allowance;
use super::{Stop, window};
use crate::request::LimitExceeded;

/// Size of the decoder's input buffer, in bytes: large reads make inflating fast.
const BUFFER: usize = 256 * 1024;

/// Detected compression, independent of the media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
    /// A format that the image-spec does not allow for layers; its name.
    Unsupported(&'static str),
}

/// Format detected from a layer's first bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sniffed {
    pub(super) compression: Compression,
    pub(super) is_zip: bool,
}

/// Magic numbers and names of formats that the image-spec does not allow for layers.
const OTHERS: [(&[u8], &str); 8] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x9d", "compress"),
    (b"LZIP", "lzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"\x89LZO\0", "lzop"),
];

/// Detects the format of a layer by its first bytes.
pub(super) fn sniff(reader: &mut impl Read) -> io::Result<Sniffed> {
    let mut head = [0_u8; 16];
    let read = fill(reader, &mut head)?;
    let head = head.get(..read).unwrap_or_default();
    let compression = if head.starts_with(&[0x1f, 0x8b]) {
        Compression::Gzip
    } else if is_zstd(head) {
        Compression::Zstd
    } else if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        Compression::Unsupported(name)
    } else {
        Compression::None
    };
    // The header of the first file, or the end of the central directory if the archive has no files.
    Ok(Sniffed { compression, is_zip: head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") })
}

/// Returns true for a frame or a skippable frame, which may begin a stream too (RFC 8878 section 3.1).
fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || matches!(head, [first, 0x2a, 0x4d, 0x18, ..] if (0x50..=0x5f).contains(first))
}

/// Reads until the buffer is full or the input ends; returns the number of bytes.
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

/// Compression to decode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) compression: Compression,
    /// True if the zstd window may be as wide as the limit, instead of the usual width.
    pub(super) is_wide: bool,
}

/// Reader of a layer's decompressed bytes, which are counted against its allowance. Fails when stopped.
pub(super) struct Decoder<R: Read> {
    inner: Inner<R>,
    allowance: Allowance,
    stop: Stop,
}

enum Inner<R: Read> {
    Plain(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    /// Reads several frames as one stream, like several members of gzip.
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<R>>>),
}

impl<R: Read> Decoder<R> {
    /// Creates a decoder. Fails if the compression is not supported.
    pub(super) fn new(reader: R, wanted: Wanted, allowance: Allowance, stop: Stop) -> io::Result<Self> {
        let reader = BufReader::with_capacity(BUFFER, reader);
        let inner = match wanted.compression {
            Compression::None => Inner::Plain(reader),
            Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(reader))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
                // The window is allocated before the first byte is decoded (RFC 8878 section 3.1.1.1.2).
                let most = allowance.window().value().max(2);
                let most = if wanted.is_wide { most } else { most.min(window::USUAL) };
                decoder.window_log_max(most.ilog2())?;
                Inner::Zstd(Box::new(decoder))
            }
            Compression::Unsupported(name) => return Err(io::Error::other(format!("unsupported compression {name}"))),
        };
        Ok(Self { inner, allowance, stop })
    }

    /// Replaces zstd's error about a window that is too wide, which has no code of its own, by the exceeded limit.
    fn explained(&self, error: io::Error) -> io::Error {
        if matches!(self.inner, Inner::Zstd(_)) && error.to_string().contains("too much memory") {
            io::Error::other(self.allowance.window().exceeded())
        } else {
            error
        }
    }
}

/// Returns the limit that an error of a [`Decoder`] reports.
pub(super) fn limit_of(error: &io::Error) -> Option<LimitExceeded> {
    // The tar reader wraps the error in an error of its own.
    let first: &(dyn std::error::Error + 'static) = error.get_ref()?;
    std::iter::successors(Some(first), |cause| match cause.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as _),
        None => cause.source(),
    })
    .find_map(|cause| cause.downcast_ref().copied())
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        let read = match &mut self.inner {
            Inner::Plain(reader) => reader.read(buffer),
            Inner::Gzip(decoder) => decoder.read(buffer),
            Inner::Zstd(decoder) => decoder.read(buffer),
        };
        let read = read.map_err(|error| self.explained(error))?;
        self.allowance.take(read as u64).map_err(io::Error::other)?;
        Ok(read)
    }
}
