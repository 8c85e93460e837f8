//! Copies for the hard links of an archive.
//!
//! A copy is made from the file on the volume, which another process may have changed. Each copy must have the bytes
//! that came out of the archive. The digest of an original may become known later than the copy is made.

use super::nodes::Nodes;
use super::path::EntryPath;
use super::read_back::Changed;
use crate::oci::Digest;

/// Copies whose digests have not been compared with their originals yet.
#[derive(Debug, Default)]
pub(super) struct Copies(Vec<(EntryPath, Original)>);

/// Expected content of a copy.
#[derive(Debug)]
enum Original {
    /// Content with this digest.
    Known(Digest),
    /// Content of the file at this path, whose digest is not known yet.
    Pending(EntryPath),
}

impl Copies {
    /// Adds a copy of the file `of`, whose digest is `known` or still pending.
    pub(super) fn add(&mut self, path: &EntryPath, of: &EntryPath, known: Option<Digest>) {
        let original = known.map_or_else(|| Original::Pending(of.clone()), Original::Known);
        self.0.push((path.clone(), original));
    }

    /// Compares each copy with its original. All digests must be known.
    pub(super) fn check(self, nodes: &Nodes) -> Result<(), Changed> {
        for (path, original) in self.0 {
            let expected = match &original {
                Original::Known(digest) => Some(digest),
                Original::Pending(path) => nodes.digest(path),
            };
            if expected.is_none() || nodes.digest(&path) != expected {
                return Err(Changed::new(path.as_str(), "the copy for a hard link differs from the unpacked bytes"));
            }
        }
        Ok(())
    }
}
