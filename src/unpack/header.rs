//! The blocks of a tar, and what its headers say, read strictly (POSIX pax, "ustar Interchange Format").
//!
//! The `tar` crate knows where in a header a field is. Its own reader takes for numbers what others do not,
//! wraps those that are too large, and so may look for the next header where no other program does.

use std::io::{self, Read, Take};

use tar::Header;

use super::decoder::fill;
use crate::oci::{Digest, Hasher};

/// Bytes of a block, which everything in a tar is a multiple of.
const BLOCK: usize = 512;
/// Where a header has its checksum, and what it is one of.
const CHECKSUM: std::ops::Range<usize> = 148..156;
const MAGIC: std::ops::Range<usize> = 257..265;
/// What is there: in POSIX, in GNU's own format, in what was before both.
const MAGICS: [&[u8; 8]; 3] = [b"ustar\x0000", b"ustar  \0", &[0; 8]];

/// A tar that is read from its start to its end, hashed on demand.
pub(super) struct Blocks<R> {
    inner: R,
    hasher: Option<Hasher>,
    /// Bytes that were read.
    read: u64,
    /// Where the next header is.
    next: u64,
    /// Nothing came any more.
    at_end: bool,
}

/// What is behind the last entry.
pub(super) enum End {
    /// An end marker, zeros, and nothing else.
    Marked,
    /// Nothing.
    Unmarked,
    /// Something.
    Data,
}

impl<R: Read> Blocks<R> {
    pub(super) fn new(inner: R, hasher: Option<Hasher>) -> Self {
        Self { inner, hasher, read: 0, next: 0, at_end: false }
    }

    /// The next header, whatever is left of the content before it; `None` at a block of zeros, or where there is no more.
    pub(super) fn header(&mut self) -> io::Result<Option<Header>> {
        let cut = || io::Error::other("it ends in the middle, so something is missing");
        let mut padding = [0; BLOCK];
        while self.next > self.read {
            let want = usize::try_from(self.next - self.read).unwrap_or(BLOCK).min(BLOCK);
            if fill(self, padding.get_mut(..want).unwrap_or_default())? < want {
                return Err(cut());
            }
        }
        let mut header = Header::new_old();
        match fill(self, header.as_mut_bytes())? {
            0 => return Ok(None),
            BLOCK => self.next = self.read,
            _ => return Err(cut()),
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if adds_up(header.as_bytes()) {
            return Ok(Some(header));
        }
        Err(io::Error::other("a header of the tar is none by its checksum; it is broken there, or no tar archive"))
    }

    /// The content behind the header that came last.
    pub(super) fn content(&mut self, size: u64) -> Take<&mut Self> {
        let padded = size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64);
        self.next = self.read.saturating_add(padded);
        self.take(size)
    }

    /// Reads to the end, once there are no more headers: what comes, and the digest of everything, where it was asked for.
    pub(super) fn end(mut self) -> io::Result<(End, Option<Digest>)> {
        // The first block of a marker was taken for a header, unless there was nothing at all. There are two.
        let (mut buffer, mut zeros, is_marked) = (vec![0; 64 * 1024], 0_u64, !self.at_end);
        loop {
            let read = self.read(&mut buffer)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok((End::Data, None));
            }
            zeros = zeros.saturating_add(read as u64);
        }
        let end = if is_marked && zeros >= BLOCK as u64 { End::Marked } else { End::Unmarked };
        Ok((end, self.hasher.map(Hasher::finish)))
    }
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.at_end = read == 0;
        self.read = self.read.saturating_add(read as u64);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(buffer.get(..read).unwrap_or_default());
        }
        Ok(read)
    }
}

/// True where the bytes start with a tar header, or with the end of an empty tar.
pub(super) fn is_tar(start: &[u8]) -> bool {
    let Some(block) = start.get(..BLOCK) else { return false };
    block.iter().all(|byte| *byte == 0) || adds_up(block)
}

/// Bytes of an entry's content. Fails where two programs could find different ones, or the header of another format.
pub(super) fn size(header: &Header) -> Result<u64, &'static str> {
    let magic = header.as_bytes().get(MAGIC).unwrap_or_default();
    if !MAGICS.iter().any(|known| *known == magic) {
        return Err("has a header of an unknown format");
    }
    number(&header.as_old().size).ok_or("has a size that is no number")
}

/// Permissions.
pub(super) fn mode(header: &Header) -> Result<u64, &'static str> {
    number(&header.as_old().mode).ok_or("has a mode that is no number")
}

/// True where a name, or what a link points to, goes on behind a NUL in its field: some programs stop there.
pub(super) fn has_bytes_behind_nul(header: &Header) -> bool {
    let old = header.as_old();
    let prefix = header.as_ustar().map_or(&[][..], |ustar| &ustar.prefix);
    [&old.name[..], &old.linkname, prefix].iter().any(|field| {
        let mut behind = field.iter().skip_while(|byte| **byte != 0);
        behind.any(|byte| *byte != 0)
    })
}

/// Octal digits, spaces before them, spaces and NULs behind; or, marked by the highest bit alone, bytes of a number as
/// GNU writes those that are too large for digits.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, bytes @ ..] = field {
        return bytes.iter().try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let spaces = field.iter().take_while(|byte| **byte == b' ').count();
    let text = field.get(spaces..)?;
    let end = text.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(text.len());
    let (digits, behind) = text.split_at_checked(end)?;
    if digits.is_empty() || behind.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// True where the bytes have the sum that is among them, which counts as spaces itself.
fn adds_up(block: &[u8]) -> bool {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let field = block.get(CHECKSUM).unwrap_or_default();
    number(field).is_some_and(|told| told + sum(field) == sum(block) + u64::from(b' ') * CHECKSUM.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_to_every_program_or_none() {
        let rows: [(&[u8], Option<u64>); 25] = [
            (b"00000000017\0", Some(15)),
            (b"000000000017", Some(15)),
            (b"17\0\0\0\0", Some(15)),
            (b"    17 \0", Some(15)),
            (b"17 \0 \0", Some(15)),
            (b"777777777777", Some(0o777_777_777_777)),
            (&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], Some(256)),
            (&[0x80, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255], Some(u64::MAX)),
            (&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], None),
            (&[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], None),
            (&[0xff; 12], None),
            (b"", None),
            (b"\0\0\0\0", None),
            (b"    ", None),
            (b"18\0", None),
            (b"+7\0", None),
            (b"-7\0", None),
            (b"0x7\0", None),
            (b"1 7\0", None),
            (b"1\x007\0", None),
            (b"\x001\0", None),
            (b"7\t", None),
            (b"\t7", None),
            (b"17x", None),
            (b"7\x00x", None),
        ];
        for (field, want) in rows {
            assert_eq!(number(field), want, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn the_next_header_is_behind_the_content_whatever_was_read_of_it() {
        let mut tar = Vec::new();
        for (name, size) in [("a", 700_usize), ("b", 512), ("c", 0)] {
            let mut header = Header::new_ustar();
            header.as_old_mut().name[0] = name.as_bytes()[0];
            header.set_size(size as u64);
            header.set_cksum();
            tar.extend(header.as_bytes());
            tar.resize(tar.len() + size.next_multiple_of(512), b'x');
        }
        tar.resize(tar.len() + 1024, 0);
        for partly in [0, 1, 512, 700] {
            let (mut blocks, mut names) = (Blocks::new(tar.as_slice(), None), Vec::new());
            while let Some(header) = blocks.header().unwrap() {
                names.push(header.as_old().name[0]);
                let mut content = Vec::new();
                let size = size(&header).unwrap();
                blocks.content(size).take(partly).read_to_end(&mut content).unwrap();
                assert_eq!(content.len() as u64, partly.min(size));
            }
            assert_eq!(names, b"abc");
            assert!(matches!(blocks.end().unwrap(), (End::Marked, None)));
        }
        let mut cut = Blocks::new(&tar[..600], None);
        cut.header().unwrap().unwrap();
        cut.content(u64::MAX).read_exact(&mut [0; 10]).unwrap();
        assert!(cut.header().is_err());
    }
}
