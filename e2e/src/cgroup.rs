//! Control group with a memory limit, like the group that the kubelet creates for a container.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{random, wait};

/// Mount points: of control groups version 2, and of the memory controller of version 1.
const UNIFIED: &str = "/sys/fs/cgroup";
const MEMORY: &str = "/sys/fs/cgroup/memory";

/// Names of files in a group.
#[derive(Debug, Clone, Copy)]
struct Files {
    root: &'static str,
    limit: &'static str,
    most: &'static str,
    /// File with a line `oom_kill NUMBER`.
    kills: &'static str,
}

const FILES_2: Files = Files { root: UNIFIED, limit: "memory.max", most: "memory.peak", kills: "memory.events" };
const FILES_1: Files = Files {
    root: MEMORY,
    limit: "memory.limit_in_bytes",
    most: "memory.max_usage_in_bytes",
    kills: "memory.oom_control",
};

/// Control group with a memory limit.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    files: Files,
}

/// Returns true if this process may create groups with a memory limit.
pub fn may_limit() -> bool {
    let probe = random::name("supercargo-probe-").and_then(|name| Cgroup::create(&name, 1 << 30));
    probe.is_ok_and(|group| fs_err::remove_dir(&group.path).is_ok())
}

/// Removes the group of a run that has ended, if there is one.
pub(crate) fn remove_of(run_dir: &Path) {
    if let Some(name) = run_dir.file_name() {
        for root in [UNIFIED, MEMORY] {
            let _ = fs_err::remove_dir(Path::new(root).join(name));
        }
    }
}

impl Cgroup {
    /// Creates the group of a run, whose processes together may use at most `bytes` bytes of memory. It has the name of
    /// the run's directory, because other machines may show the same groups; the guardian removes it at the latest.
    pub fn of(run_dir: &Path, bytes: u64) -> Result<Self> {
        let name = run_dir.file_name().and_then(|name| name.to_str()).context("the run has no name")?;
        Self::create(name, bytes)
    }

    fn create(name: &str, bytes: u64) -> Result<Self> {
        let files = if Path::new(MEMORY).join(FILES_1.limit).exists() { FILES_1 } else { FILES_2 };
        let group = Self { path: Path::new(files.root).join(name), files };
        fs_err::create_dir(&group.path)?;
        let limited = fs_err::write(group.path.join(files.limit), bytes.to_string());
        if let Err(error) = limited {
            let _ = fs_err::remove_dir(&group.path);
            return Err(error.into());
        }
        Ok(group)
    }

    /// Returns the file to which a process writes its PID to join the group; its children then belong to the group too.
    pub fn entrance(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Returns the peak memory of the group in bytes, page cache included.
    pub fn most(&self) -> Result<u64> {
        let text = fs_err::read_to_string(self.path.join(self.files.most))?;
        text.trim().parse().with_context(|| format!("{} is no number", self.files.most))
    }

    /// Returns the number of processes killed because the limit was reached.
    pub fn kills(&self) -> Result<u64> {
        let text = fs_err::read_to_string(self.path.join(self.files.kills))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill ")).context("no oom_kill in the events")?;
        line.trim().parse().context("oom_kill is no number")
    }

    /// Waits until the last process has exited, and removes the group.
    pub async fn remove(self) -> Result<()> {
        let gone = || Ok(fs_err::remove_dir(&self.path).is_ok());
        wait::until_true(Duration::from_secs(20), "the control group to be empty", gone).await
    }
}
