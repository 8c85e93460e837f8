//! Files named on the command line, read whole up to a size limit.

use std::io::Read;
use std::path::Path;

pub(crate) mod objects;

/// Largest file that is read.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Reads a file. Errors name its path.
pub(crate) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    up_to(MAX_FILE, fs_err::File::open(path)?)
}

/// Reads everything, or fails if it is more than `limit` bytes.
pub(crate) fn up_to(limit: u64, reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}
