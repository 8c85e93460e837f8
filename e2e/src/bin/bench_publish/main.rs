//! `cargo bench-publish`: speed and memory of packaging and pushing a directory.
//!
//! A directory of small files and some large ones, half of which cannot be compressed, is created on tmpfs, and a
//! registry keeps its content there too. Each round measures in turn: `supercargo package` and `push`, by way of the
//! cache and of a layout; a push of the same layout with the crate oci-client; `tar` and `crane append`; and `oras push`.
//! Then the artifact is promoted within the registry.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod contest;
mod oci_client;
mod source;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use supercargo_e2e::guardian;
use supercargo_e2e::lab::note;
use supercargo_e2e::operator::{self, Profile};
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::run::Run;
use supercargo_e2e::signals;
use supercargo_e2e::tools::{LayoutTools, Tools};

use contest::Contest;
use oci_client::Competitor;

/// Compare the speed of `supercargo package` and `push` with oci-client, `crane append` and `oras push`.
///
/// `--content 64 --rounds 1 --directory /tmp` is a try that takes seconds.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-publish")]
struct Arguments {
    /// Directory for files, caches and the registry; on tmpfs, or the disk is measured too. Needs ten times `--content`.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    directory: PathBuf,
    /// Number of measurements of each command.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// MiB of files.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..))]
    content: u64,
    #[command(subcommand)]
    competitor: Option<Competitor>,
}

fn main() -> ExitCode {
    // Before any runtime starts: in the guardian process this call never returns.
    guardian::serve_if_asked();
    measure_all(&Arguments::parse())
}

#[tokio::main]
async fn measure_all(arguments: &Arguments) -> ExitCode {
    if let Some(competitor) = &arguments.competitor {
        return ended(competitor.run().await);
    }
    let outcome = match Run::start_in(&arguments.directory) {
        Err(error) => Err(error),
        Ok(run) => tokio::select! {
            outcome = bench(&run, arguments) => outcome.and_then(|()| run.close().map(drop)),
            code = signals::asked_to_end() => {
                let _ = run.close();
                return ExitCode::from(u8::try_from(code).unwrap_or(1));
            }
        },
    };
    ended(outcome)
}

fn ended(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn bench(run: &Run, arguments: &Arguments) -> Result<()> {
    let (tools, layout_tools) = (Tools::get(run).await?, LayoutTools::get(run).await?);
    note("building supercargo …");
    let binary = operator::build(run, Profile::Release).await?;
    note(&format!("making a directory of {} MiB …", arguments.content));
    let source = run.directory().join("source");
    let made = {
        let (source, bytes) = (source.clone(), arguments.content << 20);
        tokio::task::spawn_blocking(move || source::write(&source, bytes)).await??
    };
    table::print_machine(run.directory(), arguments.rounds, made)?;
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        note(&format!("round {number} of {} …", arguments.rounds));
        // Each round has a registry of its own, so that none finds the blobs of another.
        let options = Options { durable: true, ..Options::default() };
        let registry = Registry::start(run, &tools, &format!("publish-{number}"), &options).await?;
        let contest = Contest {
            run,
            binary: &binary,
            oras: &tools.oras,
            crane: &layout_tools.crane,
            source: &source,
            registry: &registry,
        };
        rounds.push(contest.round().await?);
    }
    table::print(&rounds);
    Ok(())
}
