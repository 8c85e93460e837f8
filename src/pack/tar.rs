//! Tar archives with fixed headers: owner 0, time 0, no name of a user, modes as given.
//!
//! The headers are those that Go's archive/tar writes for such entries, because oras, Flux, kubara and AICR use it, and
//! the digest of the tar is part of their manifests: USTAR where all fields fit, else PAX. The `tar` crate writes other
//! bytes for long names and for checksums.

use std::io::{self, Read, Write};

/// Size of a header and unit of padding, in bytes.
const BLOCK: usize = 512;
/// Size of the field for names, in bytes.
const NAME: usize = 100;
/// Size of the field for the first part of a longer name, in bytes.
const PREFIX: usize = 155;
/// Largest size that fits into its octal field, in bytes.
const MAX_OCTAL_SIZE: u64 = (1 << 33) - 1;
/// Size of the buffer for the content of files, in bytes.
const BUFFER: usize = 256 * 1024;

/// Kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Directory,
    /// A file of this size, in bytes.
    File(u64),
    /// A symbolic link to this target.
    Link(&'a str),
}

/// Writer of an archive.
pub(super) struct TarWriter<W> {
    out: W,
    buffer: Vec<u8>,
}

/// Error of an entry's content.
#[derive(Debug)]
pub(super) enum CopyError {
    /// The file could not be read.
    Read(io::Error),
    /// The archive could not be written.
    Write(io::Error),
    /// The file has more or fewer bytes than its header says.
    Length,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, buffer: vec![0; BUFFER] }
    }

    /// Writes an entry without content: a directory, a link or an empty file.
    pub(super) fn entry(&mut self, name: &str, mode: u32, kind: Kind<'_>) -> io::Result<()> {
        self.out.write_all(&headers(name, mode, kind))
    }

    /// Writes a file of exactly `size` bytes.
    pub(super) fn file(&mut self, name: &str, mode: u32, size: u64, from: &mut impl Read) -> Result<(), CopyError> {
        self.entry(name, mode, Kind::File(size)).map_err(CopyError::Write)?;
        let mut left = size;
        // One byte more than expected is read, to notice a file that has grown.
        loop {
            let most = usize::try_from(left.saturating_add(1)).unwrap_or(BUFFER).min(BUFFER);
            let buffer = self.buffer.get_mut(..most).unwrap_or_default();
            let read = match from.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(CopyError::Read)?,
            };
            if read == 0 {
                break;
            }
            left = left.checked_sub(read as u64).ok_or(CopyError::Length)?;
            self.out.write_all(self.buffer.get(..read).unwrap_or_default()).map_err(CopyError::Write)?;
        }
        if left > 0 {
            return Err(CopyError::Length);
        }
        self.pad(size).map_err(CopyError::Write)
    }

    /// Writes the end of the archive and returns the writer below.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.out.write_all([0; BLOCK].get(..padding(size)).unwrap_or_default())
    }
}

/// Returns the number of bytes from `size` to the next block.
fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    if over == 0 { 0 } else { BLOCK.saturating_sub(over) }
}

/// Returns the header of an entry, after an extended header if a field does not fit.
fn headers(name: &str, mode: u32, kind: Kind<'_>) -> Vec<u8> {
    let (flag, target, size) = match kind {
        Kind::Directory => (b'5', "", 0),
        Kind::File(size) => (b'0', "", size),
        Kind::Link(target) => (b'2', target, 0),
    };
    let is_plain = |text: &str| text.is_ascii() && text.len() <= NAME;
    // Sorted by key, as in Go.
    let records = [
        ("linkpath", (!is_plain(target)).then(|| target.to_owned())),
        ("path", (!is_plain(name)).then(|| name.to_owned())),
        ("size", (size > MAX_OCTAL_SIZE).then(|| size.to_string())),
    ];
    let records: Vec<_> = records.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let header = Header { name, prefix: "", target, flag, mode, size };
    match (records.as_slice(), split(name)) {
        ([], _) => header.block().to_vec(),
        ([("path", _)], Some((prefix, rest))) => Header { name: rest, prefix, ..header }.block().to_vec(),
        _ => {
            let body: String = records.iter().map(|(key, value)| record(key, value)).collect();
            let mut bytes = extended_header(name, body.len() as u64).to_vec();
            bytes.extend(body.as_bytes());
            bytes.resize(bytes.len() + padding(body.len() as u64), 0);
            let (name, target) = (ascii(name), ascii(target));
            bytes.extend(Header { name: &name, target: &target, ..header }.block());
            bytes
        }
    }
}

/// Fields of a header.
#[derive(Clone, Copy)]
struct Header<'a> {
    name: &'a str,
    prefix: &'a str,
    target: &'a str,
    flag: u8,
    mode: u32,
    size: u64,
}

impl Header<'_> {
    fn block(self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        put(&mut block, 0, truncated(self.name).as_bytes());
        put(&mut block, 100, octal(self.mode.into(), 8).as_bytes());
        put(&mut block, 108, octal(0, 8).as_bytes());
        put(&mut block, 116, octal(0, 8).as_bytes());
        if self.size <= MAX_OCTAL_SIZE {
            put(&mut block, 124, octal(self.size, 12).as_bytes());
        } else {
            // In binary. Go writes 0 here, which contradicts the extended header.
            put(&mut block, 124, &[0x80]);
            put(&mut block, 128, &self.size.to_be_bytes());
        }
        put(&mut block, 136, octal(0, 12).as_bytes());
        put(&mut block, 156, &[self.flag]);
        put(&mut block, 157, truncated(self.target).as_bytes());
        put(&mut block, 329, octal(0, 8).as_bytes());
        put(&mut block, 337, octal(0, 8).as_bytes());
        put(&mut block, 345, self.prefix.as_bytes());
        sealed(block)
    }
}

/// Returns the header of extended records for the entry `name`, as Go names it.
fn extended_header(name: &str, size: u64) -> [u8; BLOCK] {
    let (directory, file) = name.rsplit_once('/').map_or(("", name), |(above, file)| (above, file));
    let slash = if directory.is_empty() { "" } else { "/" };
    let name = ascii(&format!("{directory}{slash}PaxHeaders.0/{file}"));
    let name = name.get(..NAME).unwrap_or(&name).trim_end_matches('/');
    let mut block = [0; BLOCK];
    put(&mut block, 0, name.as_bytes());
    for at in [100, 108, 116] {
        put(&mut block, at, octal(0, 8).as_bytes());
    }
    put(&mut block, 124, octal(size, 12).as_bytes());
    put(&mut block, 136, octal(0, 12).as_bytes());
    put(&mut block, 156, b"x");
    sealed(block)
}

/// Adds the magic number and the checksum.
fn sealed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 148, b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put(&mut block, 148, octal(sum, 7).as_bytes());
    block
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    if let Some(field) = block.get_mut(at..at.saturating_add(bytes.len())) {
        field.copy_from_slice(bytes);
    }
}

/// Returns the digits for a field of `width` bytes, with its NUL.
fn octal(number: u64, width: usize) -> String {
    format!("{number:0>digits$o}\0", digits = width.saturating_sub(1))
}

/// Returns the part of a name that its field holds. Some readers take a file whose field ends with a slash for a
/// directory.
fn truncated(name: &str) -> &str {
    match name.get(..NAME) {
        Some(start) if name.len() > NAME => start.trim_end_matches('/'),
        _ => name,
    }
}

/// Splits a long name at a slash, so that both parts fit into their fields.
fn split(name: &str) -> Option<(&str, &str)> {
    if name.len() <= NAME || !name.is_ascii() {
        return None;
    }
    let (prefix, _) = name.get(..name.len().min(PREFIX + 1))?.rsplit_once('/')?;
    let rest = name.get(prefix.len() + 1..)?;
    (!prefix.is_empty() && (1..=NAME).contains(&rest.len())).then_some((prefix, rest))
}

/// Returns an extended record (POSIX pax, "pax Extended Header"), whose length includes itself.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let digits = |number: usize| number.to_string().len();
    let mut size = rest + digits(rest);
    if rest + digits(size) != size {
        size = rest + digits(size);
    }
    format!("{size} {key}={value}\n")
}

fn ascii(text: &str) -> String {
    text.chars().filter(char::is_ascii).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<(String, tar::EntryType, u32, u64, String)> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let target = entry.link_name_bytes().map(|target| text(&target)).unwrap_or_default();
                let header = entry.header();
                (text(&entry.path_bytes()), header.entry_type(), header.mode().unwrap(), entry.size(), target)
            })
            .collect()
    }

    #[test]
    fn entries_of_every_length_are_read_back() {
        let long = |length: usize| "d/".repeat(length / 2);
        let names = [
            "a".to_owned(),
            "x".repeat(100),
            "x".repeat(101),
            format!("{}{}", long(100), "y".repeat(60)),
            format!("{}{}", long(155), "y".repeat(101)),
            format!("{}{}", long(400), "z"),
            "ä".repeat(60),
            format!("{}ö", "x/".repeat(49)),
        ];
        for name in names {
            let mut writer = TarWriter::new(Vec::new());
            writer.entry(&name, 0o755, Kind::Directory).unwrap();
            writer.file(&name, 0o644, 3, &mut b"abc".as_slice()).unwrap();
            writer.entry("link", 0o777, Kind::Link(&name)).unwrap();
            let bytes = writer.finish().unwrap();
            let (directory, file, link) = (tar::EntryType::Directory, tar::EntryType::Regular, tar::EntryType::Symlink);
            let want = [
                (name.clone(), directory, 0o755, 0, String::new()),
                (name.clone(), file, 0o644, 3, String::new()),
                ("link".to_owned(), link, 0o777, 0, name.clone()),
            ];
            assert_eq!(read(&bytes), want, "{name}");
            assert_eq!(bytes.len() % BLOCK, 0);
        }
    }

    #[test]
    fn a_size_above_the_octal_field_is_written_twice_and_equal() {
        let bytes = headers("big", 0o644, Kind::File(1 << 33));
        let body = &bytes[BLOCK..BLOCK + 19];
        assert_eq!(body, b"19 size=8589934592\n");
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes().copy_from_slice(&bytes[2 * BLOCK..]);
        assert_eq!(header.entry_size().unwrap(), 1 << 33);
    }

    #[test]
    fn a_file_of_another_length_is_an_error() {
        for content in [b"ab".as_slice(), b"abcd"] {
            let mut writer = TarWriter::new(Vec::new());
            let result = writer.file("a", 0o644, 3, &mut &*content);
            assert!(matches!(result, Err(CopyError::Length)), "{result:?}");
        }
    }

    #[test]
    fn lengths_of_records_include_their_own_digits() {
        for length in [0, 1, 5, 87, 88, 89, 90, 91, 985, 990, 995, 9_990] {
            let record = record("path", &"x".repeat(length));
            let (size, _) = record.split_once(' ').unwrap();
            assert_eq!(size.parse::<usize>().unwrap(), record.len(), "{length}");
        }
    }
}
