//! An operator whose chosen system calls are delayed while the test switches the delays on.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use supercargo_e2e::operator::Settings;
use supercargo_e2e::wait;

use crate::support::case::Case;

/// Switch of the delays, and their log.
pub(super) struct Slow {
    control: PathBuf,
}

impl Slow {
    /// Starts the operator of the test under `faulty` with these rules; the delays are off.
    pub(super) async fn start(case: &mut Case, rules: &str) -> Result<Self> {
        Self::start_with(case, rules, &[]).await
    }

    /// Starts the operator under `faulty` with these rules and further arguments; the delays are off.
    pub(super) async fn start_with(case: &mut Case, rules: &str, extra: &[&str]) -> Result<Self> {
        let mut settings = case.settings()?;
        settings.extra.extend(extra.iter().map(|argument| (*argument).to_owned()));
        Self::start_as(case, rules, settings).await
    }

    /// Starts the operator under `faulty` with these rules and settings; the delays are off.
    pub(super) async fn start_as(case: &mut Case, rules: &str, settings: Settings) -> Result<Self> {
        let control = case.directory.join("delays");
        fs_err::create_dir_all(&control)?;
        let script = case.directory.join("slow-operator");
        let (faulty, binary) = (Path::new(env!("CARGO_BIN_EXE_faulty")), &case.lab.operator_binary);
        let text = format!(
            "#!/bin/sh\nexec '{}' --control '{}' '{rules}' -- '{}' \"$@\"\n",
            faulty.display(),
            control.display(),
            binary.display()
        );
        fs_err::write(&script, text)?;
        fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        case.start_operator_as(&Settings { binary: script, ..settings }).await?;
        Ok(Self { control })
    }

    /// Delays matching calls from now on.
    pub(super) fn on(&self) -> Result<()> {
        Ok(fs_err::write(self.control.join("on"), "")?)
    }

    /// Ends the delays; calls that already wait go on waiting.
    pub(super) fn off(&self) -> Result<()> {
        fs_err::remove_file(self.control.join("on")).context("the delays are not on")
    }

    /// Returns the number of calls delayed so far.
    pub(super) fn delayed(&self) -> usize {
        fs_err::read_to_string(self.control.join("delayed")).map_or(0, |log| log.lines().count())
    }

    /// Waits until more calls than `before` have been delayed.
    pub(super) async fn wait_delayed(&self, before: usize) -> Result<()> {
        wait::until_true(Duration::from_secs(30), "a call to be delayed", || Ok(self.delayed() > before)).await
    }
}
