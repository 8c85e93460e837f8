//! Entries of the central directory.

use rawzip::extra_fields::{ExtraFieldId, ExtraFields};
use rawzip::{CompressionMethod, CreatorSystem, EntryFlags, ZipArchiveEntryWayfinder, ZipFileHeaderRecord};

use crate::unpack::error::UnpackError;

/// File types in a mode (stat.h).
pub(super) const KIND: u32 = 0o170_000;
pub(super) const DIRECTORY: u32 = 0o040_000;
pub(super) const REGULAR: u32 = 0o100_000;
pub(super) const SYMLINK: u32 = 0o120_000;
/// Value of a size that is in an extra field instead (APPNOTE.TXT section 4.4.8). A file of exactly this size cannot
/// be distinguished from one whose size is missing.
const ELSEWHERE: u64 = 0xffff_ffff;
/// The attribute of DOS for a directory.
const DOS_DIRECTORY: u32 = 0x10;
/// An entry of the central directory.
pub(super) struct Record {
    pub(super) name: Vec<u8>,
    pub(super) flags: EntryFlags,
    pub(super) method: CompressionMethod,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) packed: u64,
    pub(super) crc: u32,
    /// Offset of the local header.
    pub(super) header: u64,
    pub(super) place: ZipArchiveEntryWayfinder,
}

impl Record {
    pub(super) fn new(entry: &ZipFileHeaderRecord<'_>) -> Result<Self, UnpackError> {
        let record = Self {
            name: entry.file_path().as_ref().to_vec(),
            flags: entry.flags(),
            method: entry.compression_method(),
            mode: mode(entry),
            size: entry.uncompressed_size_hint(),
            packed: entry.compressed_size_hint(),
            crc: entry.crc32(),
            header: entry.local_header_offset(),
            place: entry.wayfinder(),
        };
        check_extra(&record.name, entry.extra_fields()).map_err(|problem| record.refused(problem))?;
        if [record.size, record.packed].contains(&ELSEWHERE) {
            return Err(record.refused("has a size that no header stores"));
        }
        Ok(record)
    }

    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    pub(super) fn refused(&self, problem: &str) -> UnpackError {
        UnpackError::entry(&self.shown(), problem)
    }
}

/// Returns the type and permissions, if the creator's system has them (APPNOTE.TXT sections 4.4.2 and 4.4.15).
/// Returns 0 otherwise; then the name decides between file and directory.
fn mode(entry: &ZipFileHeaderRecord<'_>) -> u32 {
    let attributes = entry.external_attributes();
    match entry.version_made_by().creator_system() {
        CreatorSystem::UNIX | CreatorSystem::MACOS => attributes >> 16,
        _ if attributes & DOS_DIRECTORY != 0 => DIRECTORY,
        _ => 0,
    }
}

/// Rejects extra fields (APPNOTE.TXT section 4.5) that programs interpret differently.
pub(super) fn check_extra(name: &[u8], mut fields: ExtraFields<'_>) -> Result<(), &'static str> {
    let mut sizes = 0;
    for (id, data) in &mut fields {
        // The field has a version, a checksum and a name (section 4.6.9).
        if id == ExtraFieldId::INFO_ZIP_UNICODE_PATH && data.get(5..) != Some(name) {
            return Err("has different names in its headers");
        }
        sizes += u32::from(id == ExtraFieldId::ZIP64);
    }
    if sizes > 1 {
        return Err("has several ZIP64 extra fields");
    }
    // Some programs write up to three zeros for alignment.
    if fields.remaining_bytes().iter().any(|byte| *byte != 0) {
        return Err("has trailing data in its extra fields");
    }
    Ok(())
}
