//! Programs that the demo runs: cargo, and the supercargo that it builds.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

/// Returns the Cargo that runs this program.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Returns the root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member)
}

/// Returns the profile that this program was built with, by the name of its directory: `cargo test` must not build
/// everything again with another one.
fn profile() -> Result<OsString> {
    let program = std::env::current_exe()?;
    let directory = program.parent().and_then(Path::file_name).unwrap_or_default();
    Ok(if directory == "debug" { "dev".into() } else { directory.to_owned() })
}

/// Builds supercargo, with Cargo's progress on standard error, and returns the path of the program.
pub(crate) async fn build() -> Result<PathBuf> {
    let mut command = Command::new(cargo());
    // The features are those of the whole workspace, so that `cargo test` and the other demo compile nothing twice.
    command
        .args(["build", "--workspace", "--bin", "supercargo", "--message-format=json-render-diagnostics"])
        .arg("--profile")
        .arg(profile()?)
        .current_dir(workspace())
        .stderr(Stdio::inherit());
    let output = run(command).await.context("running cargo build")?;
    ensure!(output.status.success(), "cargo build ended with {}", output.status);
    let messages = String::from_utf8(output.stdout)?;
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    artifacts
        .filter(|artifact| artifact.pointer("/target/name").is_some_and(|name| name == "supercargo"))
        .find_map(|artifact| artifact.get("executable")?.as_str().map(PathBuf::from))
        .context("cargo named no executable of supercargo")
}

/// Runs a program to its end. If this is dropped before, the program and its children are ended.
pub(crate) async fn run(mut command: Command) -> Result<Output> {
    // A process group of its own, so that the compilers end with cargo.
    let command = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?;
    let mut running = Running::of(&child);
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await?;
    running.0 = None;
    Ok(output?)
}

/// Process group that is ended when this is dropped, unless its leader has ended.
struct Running(Option<Pid>);

impl Running {
    fn of(child: &Child) -> Self {
        Self(i32::try_from(child.id()).ok().and_then(Pid::from_raw))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error means that the group has ended.
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}
