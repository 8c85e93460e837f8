//! `cargo demo`: the command line at work within minutes of a clone, with Rust alone.
//!
//! ```text
//! story ──▶ artifact ──▶ registry (in memory, on a loopback port)
//!   │                        ▲
//!   └─────▶ program: supercargo, as built from this checkout ──▶ files below the demo's directory
//! ```
//!
//! Everything is in one directory, which is removed at the end, also after Ctrl-C; `--keep` leaves it. With
//! `--cluster` this program becomes the demo of the end-to-end harness.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a demo shows things")]

mod artifact;
mod program;
mod registry;
mod show;
mod story;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// Show supercargo at work, without a cluster and without a network.
///
/// Starts a registry in memory. The supercargo of this checkout then packages a directory, pushes and signs it, verifies
/// it, publishes its files, follows the tag as it moves, and refuses two artifacts.
#[derive(Debug, Parser)]
#[command(name = "cargo demo")]
struct Arguments {
    /// Work in this new directory, and leave it at the end.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Run the demo with a Kubernetes control plane instead, which needs Go; options after this one are passed to it.
    #[arg(long, value_name = "OPTION", num_args = 0.., allow_hyphen_values = true, conflicts_with = "keep")]
    cluster: Option<Vec<OsString>>,
}

/// Directory of the demo: a temporary one, removed when dropped, or that of `--keep`.
enum Directory {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn make(keep: Option<&Path>) -> Result<Self> {
        let Some(keep) = keep else {
            let made = tempfile::Builder::new().prefix("supercargo-demo-").tempdir();
            return Ok(Self::Temporary(made.context("making a temporary directory")?));
        };
        fs_err::create_dir_all(keep)?;
        let is_empty = fs_err::read_dir(keep)?.next().is_none();
        ensure!(is_empty, "--keep: {} is not empty; expected a new or empty directory", keep.display());
        Ok(Self::Kept(fs_err::canonicalize(keep)?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }

    /// Removes a temporary directory.
    fn close(self) -> Result<()> {
        match self {
            Self::Temporary(directory) => directory.close().context("removing the temporary directory"),
            Self::Kept(_) => Ok(()),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.cluster {
        Some(options) => Err(become_cluster_demo(options)),
        None => embedded(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Replaces this process by the demo of the end-to-end harness; returns only if that fails.
fn become_cluster_demo(options: &[OsString]) -> anyhow::Error {
    let mut cargo = Command::new(program::cargo());
    cargo.current_dir(program::workspace()).args(["run", "--bin", "demo-cluster", "--"]).args(options);
    anyhow::Error::from(cargo.exec()).context("starting cargo")
}

fn embedded(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting threads")?;
    // Before there is a directory that a signal could leave behind.
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _guard = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    let directory = Directory::make(arguments.keep.as_deref())?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = story::tell(directory.path(), arguments.keep.is_some()) => result.map(|()| ExitCode::SUCCESS),
            _ = interrupt.recv() => Ok(ExitCode::from(130)),
            _ = terminate.recv() => Ok(ExitCode::from(143)),
            _ = hang_up.recv() => Ok(ExitCode::from(129)),
        }
    });
    // Waits for a program that still runs: it could write to the directory after its removal.
    drop(runtime);
    directory.close()?;
    result
}
