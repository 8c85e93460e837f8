//! Zip archives: `rawzip` parses the records, every decision is made here.
//!
//! A zip describes each file twice, in a local header before the file and in the central directory at the end, and
//! programs differ in which description they use. So the same bytes, with the same digest and signature, could have
//! different content for a scanner and for a consumer. An archive is accepted only if it can be read in one way: both
//! descriptions and the data descriptor agree, each name has one encoding, and the files follow each other from the
//! first byte to the directory, with no more than a data descriptor's length between them and nothing before or
//! after. Files that share bytes are rejected, because with them a few kilobytes expand to terabytes. Relaxing any of
//! these checks would make the content depend on the reader again.

use std::io::{self, BufReader, Read};

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, FileReader, RECOMMENDED_BUFFER_SIZE, ZipArchive, ZipEntry};

use super::budget::Allowance;
use super::error::UnpackError;
use super::layer::Extract;
use super::path::{EntryPath, link_target, shortened};
use super::tree::LayerTree;
use super::{Dropped, Stop};
use crate::request::Limit;

mod end;
mod record;

use record::{DIRECTORY, KIND, REGULAR, Record, SYMLINK, check_extra};

/// Size of the buffer for compressed bytes.
const BUFFER: usize = 64 * 1024;
/// Maximum size of the name and extra fields in a local header: each has a length of 16 bits.
const LOCAL_HEADER: usize = 2 * 65_536;
/// Maximum length of a symbolic link's target.
const MAX_TARGET: u64 = 4096;
/// Bits of a mode that are not applied: setuid, setgid, sticky.
const SPECIAL_BITS: u32 = 0o7000;

/// Flag of an entry that is a patch of a file (APPNOTE.TXT section 4.4.4).
const PATCH: u16 = 1 << 5;
/// Maximum size of a data descriptor: signature, checksum, two sizes of 8 bytes (APPNOTE.TXT section 4.3.9).
const MAX_GAP: u64 = 24;

/// An open zip, and the conversion of its errors.
struct Zip<'a, B> {
    archive: ZipArchive<FileReader>,
    how: &'a Extract,
    stop: &'a Stop,
    broken: &'a B,
}

/// Extracts a zip into the tree. `broken` converts read errors.
pub(super) fn extract(
    tree: &mut LayerTree,
    file: std::fs::File,
    mut allowance: Allowance,
    how: &Extract,
    stop: &Stop,
    broken: &impl Fn(io::Error) -> UnpackError,
) -> Result<Dropped, UnpackError> {
    let length = file.metadata().map_err(broken)?.len();
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let archive = ZipArchive::from_file(file, &mut buffer);
    let archive = archive.map_err(|error| broken(io::Error::other(error.to_string())))?;
    let zip = Zip { archive, how, stop, broken };
    if zip.archive.end_offset() != length {
        return Err(zip.refuse("trailing data after the end of the archive"));
    }
    let records = zip.directory(&mut buffer, tree.limits().entries)?;
    for record in &records {
        allowance.take(record.size).map_err(|exceeded| UnpackError::limit_at(&record.shown(), exceeded))?;
    }
    zip.check_places(&records)?;
    let mut dropped = Dropped::default();
    for record in &records {
        if stop.is_cancelled() {
            return Err(UnpackError::Stopped);
        }
        dropped.special_bits += u64::from(record.mode & SPECIAL_BITS != 0);
        zip.extract_entry(tree, record)?;
    }
    Ok(dropped)
}

impl<B: Fn(io::Error) -> UnpackError> Zip<'_, B> {
    fn refuse(&self, problem: &str) -> UnpackError {
        (self.broken)(io::Error::other(problem.to_owned()))
    }

    /// Returns the entry at the offset that the directory gives.
    fn entry(&self, record: &Record) -> Result<ZipEntry<'_, FileReader>, UnpackError> {
        let refuse = |error| record.refused(&format!("is not at the offset in the central directory: {error}"));
        self.archive.get_entry(record.place).map_err(refuse)
    }

    /// Reads the central directory.
    fn directory(&self, buffer: &mut [u8], limit: Limit) -> Result<Vec<Record>, UnpackError> {
        let count = end::entries(&self.archive).map_err(self.broken)?;
        let (mut records, mut entries) = (Vec::new(), self.archive.entries(buffer));
        while let Some(entry) = entries.next_entry().map_err(|error| self.refuse(&error.to_string()))? {
            let within = limit.check(records.len() as u64 + 1);
            within.map_err(|exceeded| UnpackError::limit_in(&self.how.layer, exceeded))?;
            records.push(Record::new(&entry)?);
        }
        if records.len() as u64 == count {
            Ok(records)
        } else {
            Err(self.refuse("the number of entries differs from the end record"))
        }
    }

    /// Checks that the files follow each other without overlap, from the start of the archive to its directory.
    fn check_places(&self, records: &[Record]) -> Result<(), UnpackError> {
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            places.push((record.header, self.entry(record)?.compressed_data_range().1, record));
        }
        places.sort_unstable_by_key(|(start, ..)| *start);
        let mut end = 0;
        for (start, data_end, record) in places {
            if start < end {
                return Err(record.refused("overlaps another entry"));
            }
            // A data descriptor may follow a file, for programs that read the archive as a stream.
            if start - end > MAX_GAP || (end == 0 && start > 0) {
                return Err(record.refused("follows data that belongs to no entry"));
            }
            end = data_end;
        }
        match self.archive.directory_offset().checked_sub(end) {
            None => Err(self.refuse("file data overlaps the central directory")),
            // A program that reads the archive as a stream would find an entry there.
            Some(gap) if gap > MAX_GAP || (end == 0 && gap > 0) => {
                Err(self.refuse("data before the central directory belongs to no entry"))
            }
            Some(_) => Ok(()),
        }
    }

    fn extract_entry(&self, tree: &mut LayerTree, record: &Record) -> Result<(), UnpackError> {
        let named = EntryPath::parse(&record.name).map_err(|problem| UnpackError::name(&record.name, problem))?;
        let path = self.how.place(&named)?;
        self.check_twins(record)?;
        let is_directory = record.name.ends_with(b"/");
        match record.mode & KIND {
            DIRECTORY | REGULAR | 0 if is_directory && record.size == 0 => {
                // Its bytes are none, however they are packed: those who read them as they come could find an entry there.
                if record.packed > 0 {
                    self.read(record, |_, _| Ok(()))?;
                }
                tree.add_directory(&path)
            }
            REGULAR | 0 if !is_directory => {
                let executable = record.mode & 0o111 != 0;
                self.read(record, |mut reader, broken| {
                    tree.add_file(&path, executable, record.size, &mut reader, &broken)
                })
            }
            SYMLINK if !is_directory && record.size <= MAX_TARGET => {
                let mut target = Vec::new();
                self.read(record, |reader, broken| {
                    reader.take(MAX_TARGET + 1).read_to_end(&mut target).map_err(broken).map(drop)
                })?;
                let target = link_target(&path, &target)
                    .map_err(|problem| record.refused(&format!("is a link whose target {problem}")))?;
                tree.add_link(&path, &target)
            }
            DIRECTORY | REGULAR | SYMLINK | 0 => Err(record.refused("has a kind that contradicts its name or size")),
            _ => Err(record.refused("has an unsupported kind; expected a file, directory or symbolic link")),
        }
    }

    /// Checks that the local header and the data descriptor agree with the directory.
    fn check_twins(&self, record: &Record) -> Result<(), UnpackError> {
        let mut buffer = vec![0; LOCAL_HEADER];
        let entry = self.entry(record)?;
        let unreadable = |error| record.refused(&format!("is not at the offset in the central directory: {error}"));
        let local = entry.local_header(&mut buffer).map_err(unreadable)?;
        if local.file_path().as_ref() != record.name {
            return Err(record.refused("has different names in its headers"));
        }
        check_extra(&record.name, local.extra_fields()).map_err(|problem| record.refused(problem))?;
        let same = |one: u64, other: u64| one == other || (record.flags.has_data_descriptor() && one == 0);
        let agrees = local.flags() == record.flags
            && local.compression_method() == record.method
            && same(local.compressed_size_hint(), record.packed)
            && same(local.uncompressed_size_hint(), record.size)
            && same(local.crc32().into(), record.crc.into());
        let descriptor = entry.reader().data_descriptor().map_err(unreadable)?;
        let agrees = agrees
            && descriptor.is_none_or(|stated| {
                let stated = (stated.crc32(), stated.compressed_size(), stated.uncompressed_size());
                stated == (record.crc, record.packed, record.size)
            });
        if !agrees {
            return Err(
                record.refused("has a local header or data descriptor that disagrees with the central directory")
            );
        }
        if record.flags.is_encrypted() || record.flags.has_strong_encryption() || record.flags.is_masked() {
            return Err(record.refused("is encrypted"));
        }
        if record.flags.bits() & PATCH != 0 {
            return Err(record.refused("is a patch; expected a file"));
        }
        if !record.name.is_ascii() && !record.flags.is_utf8() {
            return Err(record.refused("has a non-ASCII name without the UTF-8 flag"));
        }
        Ok(())
    }

    /// Reads a file to its end, and checks its size, packed size and checksum.
    fn read(
        &self,
        record: &Record,
        reading: impl FnOnce(&mut dyn Read, &dyn Fn(io::Error) -> UnpackError) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        let entry = self.entry(record)?;
        let broken = |error: io::Error| {
            if self.stop.is_cancelled() {
                UnpackError::Stopped
            } else {
                record.refused(&format!("is corrupt: {error}"))
            }
        };
        let packed = BufReader::with_capacity(BUFFER, entry.reader());
        let rest = match record.method {
            CompressionMethod::STORE => {
                let mut reader = entry.verifying_reader(packed);
                reading(&mut reader, &broken)?;
                at_end(&mut reader).map_err(broken)?;
                record.packed.checked_sub(record.size)
            }
            CompressionMethod::DEFLATE => {
                let mut reader = entry.verifying_reader(DeflateDecoder::new(packed));
                reading(&mut reader, &broken)?;
                at_end(&mut reader).map_err(broken)?;
                record.packed.checked_sub(reader.into_inner().total_in())
            }
            _ => {
                return Err(UnpackError::Method {
                    entry: shortened(&record.shown()),
                    method: record.method.to_string(),
                });
            }
        };
        if rest == Some(0) { Ok(()) } else { Err(record.refused("has trailing data")) }
    }
}

/// Reads the end of the file, where the checksum is compared.
fn at_end(reader: &mut impl Read) -> io::Result<()> {
    match reader.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("longer than its declared size")),
    }
}
