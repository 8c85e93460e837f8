//! Compression of valid tars: none, gzip or zstd.

use anyhow::Result;

use crate::archive::gzip;

#[derive(Debug, Clone, Copy)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    pub(super) fn pack(self, tar: &[u8]) -> Result<Vec<u8>> {
        Ok(match self {
            Self::None => tar.to_vec(),
            Self::Gzip => gzip(tar)?,
            Self::Zstd => zstd(tar)?,
        })
    }
}

/// Compresses bytes into one zstd frame with a checksum.
pub(super) fn zstd(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1)?;
    encoder.include_checksum(true)?;
    std::io::Write::write_all(&mut encoder, bytes)?;
    Ok(encoder.finish()?)
}
