//! Archives built byte by byte, for content that standard tools refuse to write.

use std::io::Write;

use anyhow::{Result, ensure};
use flate2::{Compression, write::GzEncoder};
use tar::{EntryType, Header};

/// Tar under construction. Names are written as given, without validation.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// Appends a regular file.
    pub fn file(self, name: &str, content: &[u8]) -> Result<Self> {
        self.entry(name, EntryType::Regular, "", content)
    }

    /// Appends a symbolic link.
    pub fn link(self, name: &str, target: &str) -> Result<Self> {
        self.entry(name, EntryType::Symlink, target, b"")
    }

    /// Appends a hard link.
    pub fn hard_link(self, name: &str, target: &str) -> Result<Self> {
        self.entry(name, EntryType::Link, target, b"")
    }

    /// Returns the archive with its end marker.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0_u8; 1024]);
        self.bytes
    }

    /// Returns the archive with its end marker, compressed with gzip.
    pub fn gzip(self) -> Result<Vec<u8>> {
        gzip(&self.finish())
    }

    fn entry(mut self, name: &str, kind: EntryType, target: &str, content: &[u8]) -> Result<Self> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        put(&mut header.as_old_mut().name, name)?;
        put(&mut header.as_old_mut().linkname, target)?;
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(content);
        let padding = content.len().next_multiple_of(512) - content.len();
        self.bytes.resize(self.bytes.len() + padding, 0);
        Ok(self)
    }
}

fn put(field: &mut [u8; 100], text: &str) -> Result<()> {
    ensure!(text.len() < field.len(), "a name of {} bytes does not fit", text.len());
    for (slot, byte) in field.iter_mut().zip(text.bytes()) {
        *slot = byte;
    }
    Ok(())
}

/// Compresses bytes into one gzip member.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Returns incompressible bytes that depend only on the seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
