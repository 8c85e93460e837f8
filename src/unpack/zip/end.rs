//! The records at the end of a zip (APPNOTE.TXT sections 4.3.14 to 4.3.16).
//!
//! `rawzip` reads only the fields that it needs to find the directory. Other programs use other fields, so all of
//! them are checked.

use std::io;

use rawzip::{FileReader, ReaderAt, ZipArchive};

/// Sizes in bytes of the end record without its comment, of the ZIP64 locator before it, and of the ZIP64 end record
/// that the locator points to.
const END: usize = 22;
const LOCATOR: usize = 20;
const RECORD: usize = 56;
/// Number of bytes of the ZIP64 end record that its own length does not count.
const UNCOUNTED: u64 = 12;

/// Description of the directory in an end record.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Numbers {
    /// Numbers of the disk with this record, and of the disk on which the directory begins.
    disks: [u64; 2],
    /// Number of entries on this disk, and on all disks.
    entries: [u64; 2],
    bytes: u64,
    start: u64,
}

/// Checks the end records, and returns the number of entries in the directory.
pub(super) fn entries(archive: &ZipArchive<FileReader>) -> io::Result<u64> {
    let refuse = |problem: &str| Err(io::Error::other(problem.to_owned()));
    let at = archive.eocd_offset();
    let end: [u8; END] = read(archive, at)?;
    let number = |from, length| number(&end, from, length);
    let short = Numbers {
        disks: [number(4, 2), number(6, 2)],
        entries: [number(8, 2), number(10, 2)],
        bytes: number(12, 4),
        start: number(16, 4),
    };
    let (numbers, at) = match zip64(archive, at)? {
        None => (short, at),
        Some((long, at)) if short.stands_for(&long) => (long, at),
        Some(_) => return refuse("the end record and the ZIP64 end record disagree"),
    };
    if numbers.disks != [0, 0] {
        return refuse("multi-part archives are not supported");
    }
    if numbers.entries[0] != numbers.entries[1] {
        return refuse("the end record has two different numbers of entries");
    }
    if numbers.start != archive.directory_offset() || numbers.start.checked_add(numbers.bytes) != Some(at) {
        return refuse("the offset or length of the central directory differs from the end record");
    }
    Ok(numbers.entries[1])
}

/// Returns the contents and the offset of the ZIP64 end record, if the archive has one.
fn zip64(archive: &ZipArchive<FileReader>, end: u64) -> io::Result<Option<(Numbers, u64)>> {
    let Some(before) = end.checked_sub(LOCATOR as u64) else { return Ok(None) };
    let locator: [u8; LOCATOR] = read(archive, before)?;
    if !locator.starts_with(b"PK\x06\x07") {
        return Ok(None);
    }
    let (disk, at, disks) = (number(&locator, 4, 4), number(&locator, 8, 8), number(&locator, 16, 4));
    let fits = at.checked_add(RECORD as u64).is_some_and(|behind| behind <= before);
    let record: [u8; RECORD] = if fits { read(archive, at)? } else { [0; RECORD] };
    let number = |from, length| number(&record, from, length);
    let is_right = record.starts_with(b"PK\x06\x06")
        && at.checked_add(UNCOUNTED).and_then(|from| from.checked_add(number(4, 8))) == Some(before)
        && disk == 0
        && disks <= 1;
    if !is_right {
        return Err(io::Error::other("no ZIP64 end record at the offset in its locator"));
    }
    let numbers = Numbers {
        disks: [number(16, 4), number(20, 4)],
        entries: [number(24, 8), number(32, 8)],
        bytes: number(40, 8),
        start: number(48, 8),
    };
    Ok(Some((numbers, at)))
}

impl Numbers {
    /// Returns true if each number equals that of the ZIP64 record, or refers to it by having all bits set.
    fn stands_for(&self, long: &Self) -> bool {
        let same = |short: u64, long: u64, bits: u32| short == long || short == (1 << bits) - 1;
        let pairs = self.disks.iter().chain(&self.entries).zip(long.disks.iter().chain(&long.entries));
        pairs.into_iter().all(|(short, long)| same(*short, *long, 16))
            && same(self.bytes, long.bytes, 32)
            && same(self.start, long.start, 32)
    }
}

fn read<const N: usize>(archive: &ZipArchive<FileReader>, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    archive.get_ref().read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Reads a little-endian number, as all numbers in a zip are.
fn number(bytes: &[u8], from: usize, length: usize) -> u64 {
    let bytes = bytes.iter().skip(from).take(length);
    bytes.rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
