//! The blocks of a tar and the fields of its headers, parsed strictly (POSIX pax, "ustar Interchange Format").
//!
//! The `tar` crate locates the fields in a header. Its own parser accepts numbers that other programs reject and
//! wraps those that are too large, so it could look for the next header where no other program does.

use std::io::{self, Read, Take};

use tar::Header;

use super::decoder::fill;
use crate::oci::{Digest, Hasher};

/// Size of a block; everything in a tar is a multiple of it.
const BLOCK: usize = 512;
/// Positions of the checksum and of the format's magic number in a header.
const CHECKSUM: std::ops::Range<usize> = 148..156;
const MAGIC: std::ops::Range<usize> = 257..265;
/// Magic numbers of POSIX, of GNU's own format, and of the format before both.
const MAGICS: [&[u8; 8]; 3] = [b"ustar\x0000", b"ustar  \0", &[0; 8]];

/// A tar that is read sequentially, and hashed if requested.
pub(super) struct Blocks<R> {
    inner: R,
    hasher: Option<Hasher>,
    /// Number of bytes read.
    read: u64,
    /// Offset of the next header.
    next: u64,
    /// True after a read that returned no bytes.
    at_end: bool,
}

/// Data after the last entry.
pub(super) enum End {
    /// An end marker, then only zeros.
    Marked,
    /// No complete end marker; at most zeros.
    Unmarked,
    /// Other data.
    Data,
}

impl<R: Read> Blocks<R> {
    pub(super) fn new(inner: R, hasher: Option<Hasher>) -> Self {
        Self { inner, hasher, read: 0, next: 0, at_end: false }
    }

    /// Reads the next header, skipping the rest of the content before it; `None` at a block of zeros and at the end
    /// of the input.
    pub(super) fn header(&mut self) -> io::Result<Option<Header>> {
        let cut = || io::Error::other("truncated archive: it ends inside an entry");
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
        Err(io::Error::other("tar header checksum mismatch: the archive is corrupt, or not a tar archive"))
    }

    /// Returns a reader of the content that belongs to the last header.
    pub(super) fn content(&mut self, size: u64) -> Take<&mut Self> {
        let padded = size.div_ceil(BLOCK as u64).saturating_mul(BLOCK as u64);
        self.next = self.read.saturating_add(padded);
        self.take(size)
    }

    /// Reads to the end after the last header. Returns the kind of data found, and the digest of the whole tar if
    /// requested.
    pub(super) fn end(mut self) -> io::Result<(End, Option<Digest>)> {
        // A marker has two blocks of zeros. The first was consumed as a header, unless the input had ended.
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

/// Returns true if the bytes begin with a tar header, or with the end marker of an empty tar.
pub(super) fn is_tar(start: &[u8]) -> bool {
    let Some(block) = start.get(..BLOCK) else { return false };
    block.iter().all(|byte| *byte == 0) || adds_up(block)
}

/// Returns the size of an entry's content. Fails if two programs could read different sizes, and for unknown formats.
pub(super) fn size(header: &Header) -> Result<u64, &'static str> {
    let magic = header.as_bytes().get(MAGIC).unwrap_or_default();
    if !MAGICS.iter().any(|known| *known == magic) {
        return Err("has an unknown header format; expected ustar, GNU or v7");
    }
    number(&header.as_old().size).ok_or("has an invalid size: not a number")
}

/// Returns the permissions of an entry.
pub(super) fn mode(header: &Header) -> Result<u64, &'static str> {
    number(&header.as_old().mode).ok_or("has an invalid mode: not a number")
}

/// Returns true if a name or a link's target continues after a NUL in its field: some programs stop there.
pub(super) fn has_bytes_behind_nul(header: &Header) -> bool {
    let old = header.as_old();
    let prefix = header.as_ustar().map_or(&[][..], |ustar| &ustar.prefix);
    [&old.name[..], &old.linkname, prefix].iter().any(|field| {
        let mut behind = field.iter().skip_while(|byte| **byte != 0);
        behind.any(|byte| *byte != 0)
    })
}

/// Parses octal digits, with leading spaces, and with trailing spaces and NULs; or a binary number, marked by the
/// highest bit alone, as GNU writes numbers that are too large for the digits.
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

/// Returns true if the header's checksum is correct; the checksum field itself counts as spaces.
fn adds_up(block: &[u8]) -> bool {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let field = block.get(CHECKSUM).unwrap_or_default();
    number(field).is_some_and(|stored| stored + sum(field) == sum(block) + u64::from(b' ') * CHECKSUM.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_numbers_are_rejected() {
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
    fn the_next_header_follows_the_content_even_if_it_was_read_in_part() {
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
