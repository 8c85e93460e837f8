//! Zip files with arbitrary values in every field (APPNOTE.TXT 6.3.10, sections 4.3 and 4.5).

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// Compression methods: stored, and deflated.
pub(super) const STORED: u16 = 0;
pub(super) const DEFLATED: u16 = 8;
/// General purpose bits: encrypted; sizes follow the data; names are UTF-8.
pub(super) const ENCRYPTED: u16 = 1;
pub(super) const STREAMED: u16 = 1 << 3;
pub(super) const UTF8: u16 = 1 << 11;

/// Local or central header of an entry.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) packed: u32,
    pub(super) size: u32,
    pub(super) extra: Vec<u8>,
}

/// Entry: local header, data, and central header in the directory.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) local: Header,
    pub(super) data: Vec<u8>,
    pub(super) central: Header,
    /// Unix kind and mode, written to the upper half of the external attributes.
    pub(super) mode: u32,
    /// False offset of the local header in the directory; `None` for the correct offset.
    pub(super) offset: Option<u32>,
    /// True if the directory lists the entry.
    pub(super) listed: bool,
}

/// End record, with the comment after it and the zip64 records before it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending {
    /// False counts of entries, on this disk and in total; `directory` has a false size and offset of the directory.
    pub(super) entries: Option<[u16; 2]>,
    pub(super) directory: Option<[u32; 2]>,
    pub(super) disk: u16,
    pub(super) comment: Vec<u8>,
    /// False length of the comment.
    pub(super) comment_length: Option<u16>,
    /// Differences in a zip64 end record and its locator; `None` writes neither.
    pub(super) zip64: Option<Zip64>,
}

/// Numbers added to the correct values in a zip64 end record: entries, size and offset of the directory; and to the
/// offset of the record in the locator.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Zip64 {
    pub(super) more_entries: u64,
    pub(super) more_bytes: u64,
    pub(super) later: u64,
    pub(super) record_later: u64,
}

fn made(name: impl AsRef<[u8]>, method: u16, packed: Vec<u8>, content: &[u8]) -> Entry {
    let mut crc = Crc::new();
    crc.update(content);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let name = name.as_ref().to_vec();
    let flags = if name.is_ascii() { 0 } else { UTF8 };
    let header = Header {
        name,
        flags,
        method,
        crc: crc.sum(),
        packed: length(&packed),
        size: length(content),
        extra: Vec::new(),
    };
    Entry { local: header.clone(), data: packed, central: header, mode: 0o100_644, offset: None, listed: true }
}

pub(super) fn stored(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Entry {
    made(name, STORED, content.as_ref().to_vec(), content.as_ref())
}

pub(super) fn deflated(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Entry {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    // Writing into memory cannot fail.
    let packed = encoder.write_all(content.as_ref()).and_then(|()| encoder.finish()).unwrap_or_default();
    made(name, DEFLATED, packed, content.as_ref())
}

pub(super) fn directory(name: &str) -> Entry {
    stored(name, "").mode(0o040_755)
}

pub(super) fn symlink(name: &str, target: impl AsRef<[u8]>) -> Entry {
    stored(name, target).mode(0o120_777)
}

impl Entry {
    /// Changes both headers in the same way.
    pub(super) fn both(mut self, change: impl Fn(&mut Header)) -> Self {
        change(&mut self.local);
        change(&mut self.central);
        self
    }

    pub(super) fn local(mut self, change: impl Fn(&mut Header)) -> Self {
        change(&mut self.local);
        self
    }

    pub(super) fn central(mut self, change: impl Fn(&mut Header)) -> Self {
        change(&mut self.central);
        self
    }

    pub(super) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub(super) fn at(self, offset: u32) -> Self {
        Self { offset: Some(offset), ..self }
    }

    pub(super) fn unlisted(self) -> Self {
        Self { listed: false, ..self }
    }

    /// Moves checksum and sizes behind the data, like a streaming writer that does not know them in advance.
    pub(super) fn streamed(mut self) -> Self {
        let (crc, packed, size) = (self.central.crc, self.central.packed, self.central.size);
        self.data.extend([&b"PK\x07\x08"[..], &crc.to_le_bytes(), &packed.to_le_bytes(), &size.to_le_bytes()].concat());
        let entry = self.both(|header| header.flags |= STREAMED);
        entry.local(|header| (header.crc, header.packed, header.size) = (0, 0, 0))
    }
}

impl Header {
    /// Returns the fields from the general purpose bits to the length of the extra field.
    fn middle(&self) -> Vec<u8> {
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes();
        // The earliest MS-DOS date: 1980-01-01.
        let times = [0, 0, 0x21, 0];
        let sizes = [self.crc.to_le_bytes(), self.packed.to_le_bytes(), self.size.to_le_bytes()].concat();
        [
            &self.flags.to_le_bytes()[..],
            &self.method.to_le_bytes(),
            &times,
            &sizes,
            &length(&self.name),
            &length(&self.extra),
        ]
        .concat()
    }
}

/// Makes a complete zip file.
pub(super) fn archive(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    archive_with(Vec::new(), entries, &Ending::default())
}

/// Makes a zip file behind some leading bytes, with a custom end.
pub(super) fn archive_with(before: Vec<u8>, entries: impl IntoIterator<Item = Entry>, ending: &Ending) -> Vec<u8> {
    let (mut bytes, mut central, mut listed) = (before, Vec::new(), 0_u16);
    for entry in entries {
        let place = entry.offset.unwrap_or_else(|| u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        bytes.extend([&b"PK\x03\x04\x14\0"[..], &entry.local.middle(), &entry.local.name, &entry.local.extra].concat());
        bytes.extend(&entry.data);
        if entry.listed {
            listed += 1;
            // Made by Unix; no comment; disk 0; no internal attributes.
            central.extend([&b"PK\x01\x02\x14\x03\x14\0"[..], &entry.central.middle(), &[0; 6]].concat());
            central.extend([&(entry.mode << 16).to_le_bytes()[..], &place.to_le_bytes()].concat());
            central.extend([entry.central.name, entry.central.extra].concat());
        }
    }
    let place = bytes.len();
    bytes.extend(&central);
    end(&mut bytes, listed, central.len(), place, ending);
    bytes
}

fn end(bytes: &mut Vec<u8>, listed: u16, length: usize, place: usize, ending: &Ending) {
    if let Some(lies) = ending.zip64 {
        let record = bytes.len() as u64 + lies.record_later;
        let entries = (u64::from(listed) + lies.more_entries).to_le_bytes();
        let numbers = [length as u64 + lies.more_bytes, place as u64 + lies.later].map(u64::to_le_bytes).concat();
        bytes.extend(
            [&b"PK\x06\x06"[..], &44_u64.to_le_bytes(), &[45, 3, 45, 0], &[0; 8], &entries, &entries, &numbers]
                .concat(),
        );
        bytes.extend([&b"PK\x06\x07"[..], &[0; 4], &record.to_le_bytes(), &1_u32.to_le_bytes()].concat());
    }
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let full = if ending.zip64.is_some() {
        ([u16::MAX; 2], [u32::MAX; 2])
    } else {
        ([listed; 2], [short(length), short(place)])
    };
    let (entries, directory) = (ending.entries.unwrap_or(full.0), ending.directory.unwrap_or(full.1));
    let comment = ending.comment_length.unwrap_or(u16::try_from(ending.comment.len()).unwrap_or(u16::MAX));
    bytes.extend([&b"PK\x05\x06"[..], &ending.disk.to_le_bytes(), &ending.disk.to_le_bytes()].concat());
    bytes.extend(entries.map(u16::to_le_bytes).concat());
    bytes.extend(directory.map(u32::to_le_bytes).concat());
    bytes.extend([&comment.to_le_bytes()[..], &ending.comment].concat());
}

/// Makes an extra field from its number and data.
pub(super) fn extra(id: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    [&id.to_le_bytes()[..], &length.to_le_bytes(), data].concat()
}

/// Makes the extra field with 64-bit sizes; the header's own sizes must be all ones.
pub(super) fn zip64_extra(size: u64, packed: u64) -> Vec<u8> {
    extra(1, &[size.to_le_bytes(), packed.to_le_bytes()].concat())
}
