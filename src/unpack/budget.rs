//! What the layers of one artifact may cost together, counted while they are unpacked side by side.

use std::sync::atomic::{AtomicU64, Ordering};

use super::UnpackError;
use super::path::EntryPath;
use crate::request::{Limit, LimitExceeded, Limits};

/// Bytes of tar that an entry takes besides its file: headers and padding.
const OVERHEAD_PER_ENTRY: u64 = 4 * 1024;
/// Below this the ratio is not asked for: a few small files full of zeros are no bomb.
const RATIO_FROM: u64 = 1 << 20;

/// Bytes of a path or target that count as one more entry: all of them are in memory until the tree is published.
const TEXT_PER_ENTRY: usize = 256;
/// What a path takes behind its last byte where it is handed to the kernel.
const NUL: u64 = 1;

/// Counts for one artifact.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) limits: Limits,
    bytes: AtomicU64,
    entries: AtomicU64,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { limits: *limits, bytes: AtomicU64::new(0), entries: AtomicU64::new(0) }
    }

    /// Counts a file before a byte of it is written.
    pub(super) fn file(&self, path: &EntryPath, size: u64) -> Result<(), UnpackError> {
        let at = |exceeded| UnpackError::limit_at(path, exceeded);
        self.limits.file_bytes.check(size).map_err(at)?;
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        self.limits.extracted_bytes.check(before.saturating_add(size)).map_err(at)
    }

    /// Counts an entry, and one more for each [`TEXT_PER_ENTRY`] bytes of its path.
    pub(super) fn entry(&self, path: &EntryPath) -> Result<(), UnpackError> {
        self.entries(path, 1 + path.as_str().len() / TEXT_PER_ENTRY)
    }

    /// Counts what a link at `path` leads to in the same way.
    pub(super) fn target(&self, path: &EntryPath, target: &str) -> Result<(), UnpackError> {
        self.entries(path, target.len() / TEXT_PER_ENTRY)
    }

    fn entries(&self, path: &EntryPath, more: usize) -> Result<(), UnpackError> {
        let more = more as u64;
        let count = self.entries.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        self.limits.entries.check(count).map_err(|exceeded| UnpackError::limit_at(path, exceeded))
    }

    /// Checks a path, which nothing has looked at the length of.
    pub(super) fn path(&self, path: &EntryPath) -> Result<(), UnpackError> {
        let (limits, text) = (&self.limits, path.as_str());
        let longest = text.split('/').map(str::len).max().unwrap_or_default();
        let checks = [
            limits.path_bytes.check((text.len() as u64).saturating_add(NUL)),
            limits.name_bytes.check(longest as u64),
            limits.depth.check(path.depth() as u64),
        ];
        checks.into_iter().collect::<Result<(), _>>().map_err(|exceeded| UnpackError::limit_at(path, exceeded))
    }

    /// What may come out of a layer of `size` bytes.
    pub(super) fn allowance(&self, size: u64) -> Allowance {
        let Limits { extracted_bytes, entries, ratio, .. } = self.limits;
        let headers = entries.value().saturating_mul(OVERHEAD_PER_ENTRY);
        let all = extracted_bytes.value().saturating_add(headers);
        let by_ratio = size.saturating_mul(ratio.value()).max(RATIO_FROM);
        let (left, exceeded) =
            if by_ratio < all { (by_ratio, ratio.exceeded()) } else { (all, extracted_bytes.exceeded()) };
        Allowance { left, exceeded, window: self.limits.zstd_window }
    }
}

/// What may come out of one layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// So many bytes,
    pub(super) left: u64,
    /// and what is said about more.
    pub(super) exceeded: LimitExceeded,
    /// Bytes that a zstd frame may refer back.
    pub(super) window: Limit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_and_targets_count_as_several_entries() {
        let entries = Limits::default().entries.set(3);
        let short = EntryPath::parse(b"a").unwrap();
        let long = EntryPath::parse("n/".repeat(300).as_bytes()).unwrap();
        let target = "t".repeat(256);
        // Entries and targets → whether they are within three.
        let rows: [(&[(&EntryPath, &str)], bool); 6] = [
            (&[(&short, ""), (&short, ""), (&short, "")], true),
            (&[(&short, ""), (&short, ""), (&short, ""), (&short, "")], false),
            (&[(&long, "")], true),
            (&[(&long, ""), (&short, "")], false),
            (&[(&short, &target), (&short, "")], true),
            (&[(&short, &target), (&short, &target)], false),
        ];
        for (number, (added, fits)) in rows.into_iter().enumerate() {
            let budget = Budget::new(&Limits { entries, ..Limits::default() });
            let result = added.iter().try_for_each(|(path, target)| {
                budget.entry(path)?;
                budget.target(path, target)
            });
            assert_eq!(result.is_ok(), fits, "row {number}: {result:?}");
        }
    }

    #[test]
    fn small_layers_are_not_asked_for_their_ratio() {
        let budget = Budget::new(&Limits::default());
        assert_eq!(budget.allowance(100).left, 1 << 20);
        assert_eq!(budget.allowance(1 << 20).left, 200 << 20);
        assert!(budget.allowance(1 << 40).exceeded.to_string().contains("--max-extracted-bytes"));
    }
}
