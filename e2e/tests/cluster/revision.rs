//! Revisions of an artifact that can be told whole from torn: every file says which revision it belongs to, and how many
//! there are.

use std::path::Path;

use anyhow::{Result, ensure};
use supercargo_e2e::archive::noise;
use supercargo_e2e::files::{self, Entry, Tree};

const FILES: usize = 40;

/// A revision whose files have `padding` bytes each that do not compress.
pub(crate) fn tree(revision: u64, padding: usize) -> Tree {
    let file = |number: usize| {
        let mut content = format!("{revision}\n").into_bytes();
        content.extend(noise(padding, revision * 1000 + number as u64));
        (format!("part-{:02}/file-{number:03}", number % 7), Entry::File { content, executable: false })
    };
    (0..FILES).map(file).collect()
}

/// The revision that a directory holds, which must be whole.
pub(crate) fn of(directory: &Path) -> Result<u64> {
    let tree = files::read(directory)?;
    ensure!(tree.len() == FILES, "{} of {FILES} files are there", tree.len());
    let mut seen = None;
    for (path, entry) in &tree {
        let Entry::File { content, .. } = entry else { anyhow::bail!("{path} is {entry:?}") };
        let end = content.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        let revision: u64 = String::from_utf8_lossy(&content[..end]).parse()?;
        let first = *seen.get_or_insert(revision);
        ensure!(first == revision, "{path} is of revision {revision}, others are of {first}");
    }
    Ok(seen.unwrap_or_default())
}

/// The same, byte for byte.
pub(crate) fn check(directory: &Path, padding: usize) -> Result<u64> {
    let revision = of(directory)?;
    ensure!(files::read(directory)? == tree(revision, padding), "a file of revision {revision} has other bytes");
    Ok(revision)
}
