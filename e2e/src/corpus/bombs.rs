//! Decompression bombs: small artifacts that expand to far more bytes, entries or work.
//!
//! The expanded content of most bombs never exists in memory as a whole: it is written straight into the compressor.

mod claims;
mod entries;
mod layers;
mod streams;
mod zips;

use std::io::{self, Write};

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::TAR;
use crate::hostile::artifact::Artifact;

/// Limit of extracted bytes in a run over the bombs.
pub const EXTRACTED_BYTES: u64 = 48 << 20;
/// Limit of the bytes of one layer.
pub const LAYER_BYTES: u64 = 8 << 20;
/// Limit of entries. Even with one 4 KiB disk block for each file, this many files stay below [`EXTRACTED_BYTES`].
pub const ENTRIES: u64 = 10_000;

/// Buffer of zeros, written repeatedly.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Placeholder for a number in a template.
const MARK: &[u8] = b"########";
/// Bytes of a tar header that hold its checksum.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Artifact that tries to exhaust memory, disk or processor time.
#[derive(Debug, Clone)]
pub struct Bomb {
    pub name: &'static str,
    pub artifact: Artifact,
    /// Fields of the spec that are required for the artifact to be unpacked.
    pub spec: Value,
    pub outcome: Outcome,
    /// Size in bytes of the decoder's window that no limit forbids. The decoder needs as much memory.
    pub window: u64,
}

/// Expected outcome of a bomb.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Refused for one of these reasons, with this text in the message.
    Refused(&'static [&'static str], String),
    /// Published, or refused by a limit, within the allowed resources.
    Anything,
    /// Published: the artifact looks like a bomb but is harmless.
    Published,
}

/// Returns all bombs.
pub fn all() -> Result<Vec<Bomb>> {
    let mut bombs = [streams::bombs()?, entries::bombs()?, layers::bombs()?, claims::bombs()].concat();
    bombs.extend(zips::bombs());
    Ok(bombs)
}

/// Makes an artifact that looks like an image, with a config of this many bytes, above the limit, which is not read.
pub fn config_of(name: &'static str, bytes: usize) -> Result<Bomb> {
    layers::config_of(name, bytes)
}

impl Bomb {
    /// Makes a bomb of one layer, refused by a limit.
    fn limited(name: &'static str, flag: &str, layer: &[u8]) -> Self {
        Self::refused(name, super::LIMIT, flag, layer)
    }

    fn refused(name: &'static str, reasons: &'static [&'static str], says: &str, layer: &[u8]) -> Self {
        let artifact = super::artifact(&[(TAR, layer)]);
        Self { name, artifact, spec: json!({}), outcome: Outcome::Refused(reasons, says.to_owned()), window: 0 }
    }

    /// Returns the total size of all blobs in bytes, as transferred.
    pub fn packed(&self) -> u64 {
        self.artifact.blobs.values().map(|bytes| bytes.len() as u64).sum()
    }
}

/// Compresses the output of `write` into one gzip member.
fn gzip(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    write(&mut encoder)?;
    Ok(encoder.finish()?)
}

fn zeros(out: &mut dyn Write, mut bytes: usize) -> io::Result<()> {
    while bytes > 0 {
        let some = ZEROS.get(..bytes.min(ZEROS.len())).unwrap_or_default();
        out.write_all(some)?;
        bytes -= some.len();
    }
    Ok(())
}

/// Writes the template `count` times, with an ascending number in place of [`MARK`]. If the mark is in the first
/// header, the header's checksum is updated.
fn numbered(out: &mut dyn Write, template: &[u8], count: u32) -> io::Result<()> {
    let Some(place) = template.windows(MARK.len()).position(|window| window == MARK) else {
        return Err(io::Error::other("a template without a mark"));
    };
    let mut blocks = template.to_vec();
    let sum = |blocks: &[u8]| -> u32 { blocks.iter().take(512).map(|byte| u32::from(*byte)).sum() };
    if let Some(field) = blocks.get_mut(CHECKSUM) {
        field.fill(b' ');
    }
    let without = sum(&blocks) - if place < 512 { sum(MARK) } else { 0 };
    for number in 0..count {
        let digits = format!("{number:08}");
        let all = without + if place < 512 { sum(digits.as_bytes()) } else { 0 };
        copy(&mut blocks, place, digits.as_bytes());
        copy(&mut blocks, CHECKSUM.start, format!("{all:06o}\0 ").as_bytes());
        out.write_all(&blocks)?;
    }
    Ok(())
}

fn copy(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(field) = into.get_mut(at..at + bytes.len()) {
        field.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tar::{blocks, file, pax};
    use super::*;

    #[test]
    fn numbered_headers_add_up() {
        for template in [blocks([file("a########", "x")]), blocks([pax(&[("path", "b########")]), file("x", "x")])] {
            let mut tar = Vec::new();
            numbered(&mut tar, &template, 12).unwrap();
            zeros(&mut tar, 1024).unwrap();
            let mut archive = ::tar::Archive::new(tar.as_slice());
            let names: Vec<_> =
                archive.entries().unwrap().map(|entry| entry.unwrap().path_bytes().into_owned()).collect();
            assert_eq!(names.len(), 12);
            assert!(names[11].ends_with(b"00000011"), "{names:?}");
        }
    }
}
