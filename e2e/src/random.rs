//! Names that no other run has.

use std::fmt::Write;

use anyhow::Result;

/// Returns `prefix` with 12 random hex digits.
pub(crate) fn name(prefix: &str) -> Result<String> {
    let mut random = [0_u8; 6];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(random.iter().fold(prefix.to_owned(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    }))
}
