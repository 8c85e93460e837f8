//! Limits on all layers of one artifact together, counted while they are unpacked in parallel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::UnpackError;
use super::path::EntryPath;
use crate::request::{Limit, LimitExceeded, Limits};

/// Bytes of a tar per entry in addition to its file: headers and padding.
const OVERHEAD_PER_ENTRY: u64 = 4 * 1024;
/// Number of decoded bytes below which the ratio is not enforced: a few small files of zeros are not a bomb.
const RATIO_FROM: u64 = 1 << 20;

/// Length of a path or target that counts as one more entry, in bytes: all of them stay in memory until the tree is
/// published.
const TEXT_PER_ENTRY: usize = 256;
/// Bytes in a path for the trailing NUL that the kernel expects.
const NUL: u64 = 1;

/// Counters of one artifact.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) limits: Limits,
    /// Total size of files.
    bytes: AtomicU64,
    entries: AtomicU64,
    /// Bytes read or decoded, in files or not: they are the processor time that unpacking costs.
    decoded: AtomicU64,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        let (bytes, entries, decoded) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { limits: *limits, bytes, entries, decoded }
    }

    /// Counts a file before any of its bytes are written.
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

    /// Counts the target of a link at `path` in the same way.
    pub(super) fn target(&self, path: &EntryPath, target: &str) -> Result<(), UnpackError> {
        self.entries(path, target.len() / TEXT_PER_ENTRY)
    }

    fn entries(&self, path: &EntryPath, more: usize) -> Result<(), UnpackError> {
        let more = more as u64;
        let count = self.entries.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        self.limits.entries.check(count).map_err(|exceeded| UnpackError::limit_at(path, exceeded))
    }

    /// Checks the length and depth of a path, which parsing does not limit.
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

    /// Counts a layer of `size` bytes each time it is unpacked. Decoded bytes count as far as they exceed `size`.
    pub(super) fn layer(self: &Arc<Self>, size: u64) -> Result<Allowance, LimitExceeded> {
        self.decode(size)?;
        let by_ratio = size.saturating_mul(self.limits.ratio.value()).max(RATIO_FROM);
        Ok(Allowance { budget: Arc::clone(self), counted: size, by_ratio })
    }

    fn decode(&self, bytes: u64) -> Result<(), LimitExceeded> {
        let Limits { extracted_bytes, entries, .. } = self.limits;
        let headers = entries.value().saturating_mul(OVERHEAD_PER_ENTRY);
        let most = extracted_bytes.value().saturating_add(headers);
        let add = |before: u64| Some(before.saturating_add(bytes));
        let before = self.decoded.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).unwrap_or(u64::MAX);
        if before.saturating_add(bytes) > most { Err(extracted_bytes.exceeded()) } else { Ok(()) }
    }
}

/// Number of bytes that may be decoded from one layer: limited by its size times the ratio, and by the artifact's
/// budget.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    budget: Arc<Budget>,
    /// Bytes of this layer that are already counted for the artifact.
    counted: u64,
    /// Bytes left by the ratio.
    by_ratio: u64,
}

impl Allowance {
    /// Counts bytes decoded from the layer.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), LimitExceeded> {
        let left = self.by_ratio.checked_sub(bytes);
        self.by_ratio = left.ok_or_else(|| self.budget.limits.ratio.exceeded())?;
        let counted = self.counted.min(bytes);
        self.counted = self.counted.saturating_sub(counted);
        self.budget.decode(bytes.saturating_sub(counted))
    }

    /// Returns the limit on the window of a zstd frame.
    pub(super) fn window(&self) -> Limit {
        self.budget.limits.zstd_window
    }
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
        // Entries and targets, and true if they are within the limit of three.
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
    fn small_layers_are_exempt_from_the_ratio_limit() {
        let budget = Arc::new(Budget::new(&Limits::default()));
        let flag = |size: u64, bytes: u64| budget.layer(size).unwrap().take(bytes).map_err(|error| error.to_string());
        assert!(flag(100, 1 << 20).is_ok() && flag(1 << 20, 200 << 20).is_ok());
        assert!(flag(100, (1 << 20) + 1).unwrap_err().contains("--max-ratio"));
        assert!(flag(1 << 20, (200 << 20) + 1).unwrap_err().contains("--max-ratio"));
    }

    #[test]
    fn decoded_bytes_of_all_layers_share_one_budget() {
        let limits = Limits::default();
        let limits =
            Limits { extracted_bytes: limits.extracted_bytes.set(6000), entries: limits.entries.set(1), ..limits };
        // Size of each layer and its decoded bytes, and true if they are within 6000 bytes plus those of one header.
        let rows: [(&[(u64, u64)], bool); 6] = [
            (&[(10, 10_096)], true),
            (&[(10, 10_097)], false),
            (&[(10, 5000), (10, 5000), (10, 96)], true),
            (&[(10, 5000), (10, 5000), (10, 97)], false),
            (&[(5000, 1), (5000, 5000)], true),
            (&[(5000, 0), (5000, 0), (97, 0)], false),
        ];
        for (number, (layers, fits)) in rows.into_iter().enumerate() {
            let budget = Arc::new(Budget::new(&limits));
            let result = layers.iter().try_for_each(|(size, bytes)| budget.layer(*size)?.take(*bytes));
            assert_eq!(result.is_ok(), fits, "row {number}: {result:?}");
        }
    }
}
