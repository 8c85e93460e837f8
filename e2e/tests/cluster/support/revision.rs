//! Revisions of an artifact whose completeness can be checked: every file names its revision, and the number of files
//! is fixed.

use std::path::Path;

use anyhow::{Result, ensure};
use supercargo_e2e::archive::noise;
use supercargo_e2e::files::{self, Entry, Tree};

const FILES: usize = 40;

/// Returns a revision whose files have `padding` incompressible bytes each.
pub(crate) fn tree(revision: u64, padding: usize) -> Tree {
    let file = |number: usize| {
        let mut content = format!("{revision}\n").into_bytes();
        content.extend(noise(padding, revision * 1000 + number as u64));
        (format!("part-{:02}/file-{number:03}", number % 7), Entry::File { content, executable: false })
    };
    (0..FILES).map(file).collect()
}

/// Returns the revision in a directory; fails unless it is complete.
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

/// Returns the revision in a directory; fails unless it is equal byte by byte.
pub(crate) fn check(directory: &Path, padding: usize) -> Result<u64> {
    let revision = of(directory)?;
    ensure!(files::read(directory)? == tree(revision, padding), "a file of revision {revision} has other bytes");
    Ok(revision)
}
