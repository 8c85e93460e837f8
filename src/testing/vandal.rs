//! A process with write access to a volume that overwrites all it can.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Random;

/// Returns all regular files below a directory. Files that disappear meanwhile are left out.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            Ok(_) | Err(_) => {}
        }
    }
    files
}

/// Damage done by a [`Vandal`].
#[derive(Debug, Default)]
pub(crate) struct Damage {
    /// Number of successful writes.
    pub(crate) writes: u64,
    /// Paths of files that were opened in the directory and had left it before the write was complete. Such a write
    /// cannot be prevented, only detected.
    pub(crate) late: BTreeSet<PathBuf>,
}

/// Opens every file below a directory by name and overwrites bytes in place, repeatedly until stopped. Long pauses let
/// passes succeed between two rounds.
pub(crate) struct Vandal {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Damage>>,
}

impl Vandal {
    pub(crate) fn start(directory: PathBuf, longest_pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut damage, mut numbers) = (Damage::default(), Random::new(1));
            while !stopped.load(Ordering::Relaxed) {
                for path in files_below(&directory) {
                    let Ok(file) = fs_err::OpenOptions::new().write(true).open(&path) else { continue };
                    damage.writes += u64::from(file.file().write_at(b"forged", 1).is_ok());
                    let now = fs_err::read_link(format!("/proc/self/fd/{}", file.file().as_raw_fd())).unwrap();
                    if !now.starts_with(&directory) {
                        damage.late.insert(now);
                    }
                }
                thread::park_timeout(
                    longest_pause.mul_f64(f64::from(u32::try_from(numbers.below(1000)).unwrap()) / 1000.0),
                );
            }
            damage
        });
        Self { stop, thread: Some(thread) }
    }

    pub(crate) fn stop(mut self) -> Damage {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().unwrap();
        thread.thread().unpark();
        thread.join().unwrap()
    }
}

impl Drop for Vandal {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
