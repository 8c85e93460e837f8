//! Tar entries with arbitrary values in every field (POSIX.1-2024, pax, "ustar Interchange Format").

use std::ops::Range;

pub(super) const BLOCK: usize = 512;

pub(super) const NAME: Range<usize> = 0..100;
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const KIND: Range<usize> = 156..157;
pub(super) const TARGET: Range<usize> = 157..257;
pub(super) const MAGIC: Range<usize> = 257..265;
pub(super) const UNAME: Range<usize> = 265..297;
pub(super) const DEVICE: Range<usize> = 329..345;
pub(super) const PREFIX: Range<usize> = 345..500;

/// Name of extended headers, which belong to the next entry.
const EXTENSION: &str = "PaxHeaders/mallory";

/// Header and body of an entry.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    header: [u8; BLOCK],
    body: Vec<u8>,
    sum: Sum,
}

/// Checksum of a header.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sum {
    Right,
    /// Sum of signed bytes, as some old programs computed it.
    Signed,
    /// These bytes instead of a sum.
    Bytes(&'static [u8]),
}

/// Makes an entry of any kind, without a body.
pub(super) fn entry(kind: u8, name: impl AsRef<[u8]>) -> Entry {
    let entry = Entry { header: [0; BLOCK], body: Vec::new(), sum: Sum::Right };
    let entry = entry.put(NAME, name).put(MODE, "0000644\0").put(UID, "0000000\0").put(116..124, "0000000\0");
    entry.size(0).put(MTIME, "00000000000\0").put(KIND, [kind]).put(MAGIC, "ustar\x0000")
}

pub(super) fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Entry {
    entry(b'0', name).body(content)
}

pub(super) fn directory(name: impl AsRef<[u8]>) -> Entry {
    entry(b'5', name).mode(0o755)
}

pub(super) fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    entry(b'2', name).put(TARGET, target).mode(0o777)
}

pub(super) fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    entry(b'1', name).put(TARGET, target)
}

/// Makes an extended header with these records.
pub(super) fn pax(records: &[(&str, &str)]) -> Entry {
    pax_bytes(records.iter().flat_map(|(key, value)| record(key, value)).collect::<Vec<_>>())
}

/// Makes an extended header with any body.
pub(super) fn pax_bytes(body: impl AsRef<[u8]>) -> Entry {
    entry(b'x', EXTENSION).body(body)
}

/// Makes a global header, which applies to all later entries.
pub(super) fn global(records: &[(&str, &str)]) -> Entry {
    entry(b'g', EXTENSION).body(records.iter().flat_map(|(key, value)| record(key, value)).collect::<Vec<_>>())
}

/// Makes a GNU long name, with the trailing NUL that GNU tar writes.
pub(super) fn long_name(name: &str) -> Entry {
    entry(b'L', EXTENSION).body(format!("{name}\0"))
}

/// Makes a GNU long link name.
pub(super) fn long_link(target: &str) -> Entry {
    entry(b'K', EXTENSION).body(format!("{target}\0"))
}

/// Makes a record `LENGTH KEY=VALUE\n`, whose length includes itself.
pub(super) fn record(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let rest = [b" ", key.as_ref(), b"=", value.as_ref(), b"\n"].concat();
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    [length.to_string().into_bytes(), rest].concat()
}

impl Entry {
    /// Replaces the bytes of a field; the rest of the field becomes zero.
    pub(super) fn put(mut self, field: Range<usize>, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        debug_assert!(bytes.len() <= field.len(), "{} bytes do not fit into {field:?}", bytes.len());
        let slots = self.header.get_mut(field).into_iter().flatten();
        for (slot, byte) in slots.zip(bytes.iter().copied().chain(std::iter::repeat(0))) {
            *slot = byte;
        }
        self
    }

    /// Sets the body and its size.
    pub(super) fn body(self, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref().to_vec();
        Self { body: body.clone(), ..self.size(body.len() as u64) }
    }

    /// Sets the size, independent of the body.
    pub(super) fn size(self, size: u64) -> Self {
        self.put(SIZE, format!("{size:011o}\0"))
    }

    pub(super) fn mode(self, mode: u32) -> Self {
        self.put(MODE, format!("{mode:07o}\0"))
    }

    pub(super) fn sum(self, sum: Sum) -> Self {
        Self { sum, ..self }
    }

    /// Returns header, body, and zeros up to the next block.
    fn bytes(&self) -> Vec<u8> {
        let spaces = self.clone().put(CHECKSUM, "        ");
        let sum = match self.sum {
            Sum::Right => octal(spaces.header.iter().map(|byte| i64::from(*byte)).sum()),
            Sum::Signed => octal(spaces.header.iter().map(|byte| i64::from(byte.cast_signed())).sum()),
            Sum::Bytes(bytes) => bytes.to_vec(),
        };
        let header = spaces.put(CHECKSUM, sum).header;
        let padding = self.body.len().next_multiple_of(BLOCK) - self.body.len();
        [&header, self.body.as_slice(), &vec![0; padding]].concat()
    }
}

fn octal(sum: i64) -> Vec<u8> {
    format!("{sum:06o}\0 ").into_bytes()
}

/// Concatenates entries, without an end marker.
pub(super) fn blocks(entries: impl IntoIterator<Item = Entry>) -> Vec<u8> {
    entries.into_iter().flat_map(|entry| entry.bytes()).collect()
}

/// Appends the end marker.
pub(super) fn ended(mut tar: Vec<u8>) -> Vec<u8> {
    tar.extend([0; 2 * BLOCK]);
    tar
}
