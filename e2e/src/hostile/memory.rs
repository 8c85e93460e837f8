//! The private memory of a process, watched from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio::time::interval;

const PACE: Duration = Duration::from_millis(20);

/// Bytes of `RssAnon` (proc(5)): what nobody else could use, files that are mapped left out.
pub fn private_bytes(pid: u32) -> Result<u64> {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon in the status")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().context("RssAnon is no number")?;
    Ok(kibibytes * 1024)
}

/// Remembers the most that a process had; dropping it ends the watching.
#[derive(Debug)]
pub struct Watch {
    pub before: u64,
    most: Arc<AtomicU64>,
    watching: JoinHandle<()>,
}

impl Watch {
    pub fn start(pid: u32) -> Result<Self> {
        let before = private_bytes(pid)?;
        let most = Arc::new(AtomicU64::new(before));
        let shared = Arc::clone(&most);
        let watching = tokio::spawn(async move {
            let mut ticks = interval(PACE);
            // Ends with the process: whoever asks for the figure notices that by other means.
            while let Ok(now) = private_bytes(pid) {
                shared.fetch_max(now, Ordering::Relaxed);
                ticks.tick().await;
            }
        });
        Ok(Self { before, most, watching })
    }

    /// The most bytes that it had.
    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// How far it rose above what it had at the start.
    pub fn rise(&self) -> u64 {
        self.most.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
