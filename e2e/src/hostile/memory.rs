//! Private memory of a process, sampled from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio::time::interval;

const PACE: Duration = Duration::from_millis(20);

/// Returns `RssAnon` (proc(5)) in bytes: memory that no other process can use, without mapped files.
pub fn private_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "RssAnon:")
}

/// Returns `VmHWM` (proc(5)) in bytes: the peak of resident memory, mapped files included.
pub fn peak_resident_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, field: &str) -> Result<u64> {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{field} no number"))?;
    Ok(kibibytes * 1024)
}

/// Sampling of a process's private memory that keeps the peak; dropping it ends the sampling.
#[derive(Debug)]
pub struct Watch {
    pub before: u64,
    most: Arc<AtomicU64>,
    most_resident: Arc<AtomicU64>,
    watching: JoinHandle<()>,
}

impl Watch {
    pub fn start(pid: u32) -> Result<Self> {
        let before = private_bytes(pid)?;
        let most = Arc::new(AtomicU64::new(before));
        let most_resident = Arc::<AtomicU64>::default();
        let (shared, shared_resident) = (Arc::clone(&most), Arc::clone(&most_resident));
        let watching = tokio::spawn(async move {
            let mut ticks = interval(PACE);
            // Ends with the process, which callers detect by other means.
            while let (Ok(now), Ok(resident)) = (private_bytes(pid), peak_resident_bytes(pid)) {
                shared.fetch_max(now, Ordering::Relaxed);
                shared_resident.fetch_max(resident, Ordering::Relaxed);
                ticks.tick().await;
            }
        });
        Ok(Self { before, most, most_resident, watching })
    }

    /// Returns the peak in bytes.
    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// Returns the peak of resident memory in bytes.
    pub fn most_resident(&self) -> u64 {
        self.most_resident.load(Ordering::Relaxed)
    }

    /// Returns the growth in bytes from the start to the peak.
    pub fn rise(&self) -> u64 {
        self.most.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
