//! `cargo bench-unpack`: how fast archives become files, and what that takes in memory.
//!
//! Two archives, source text and binaries, are made on tmpfs. Then, in turns: `supercargo unpack`, from the start of the
//! process to its end; `tar -xzf`; and nothing but inflating, one thread, with the library that supercargo has. With
//! `--large` an artifact of 10 GiB in 40 layers is pulled from a registry as well. Prints figures; decides nothing.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod contest;
mod large;
mod source;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use supercargo_e2e::guardian;
use supercargo_e2e::lab::note;
use supercargo_e2e::operator::{self, Profile};
use supercargo_e2e::run::Run;
use supercargo_e2e::signals;

use source::Source;

/// Unpacks a tar.gz of source text and one of binaries, and prints how long that took beside `tar -xzf` and beside
/// nothing but inflating.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-unpack")]
struct Arguments {
    /// Where archives and files are made: on tmpfs, or the disk is what is measured. Takes three times the content.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    directory: PathBuf,
    /// How often each is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// MiB of files in each archive; 0 leaves this part out.
    #[arg(long, default_value_t = 1024)]
    content: u64,
    /// Also pulls an artifact of many layers of 256 MiB each, of which this is the number, such as 40. The directory
    /// for temporary files then takes the content and twice the layers: 20 GiB for 40.
    #[arg(long, value_name = "LAYERS", default_value_t = 0, default_missing_value = "40", num_args = 0..=1)]
    large: u32,
}

fn main() -> ExitCode {
    // Before any runtime: the guardian has its own way of living.
    guardian::serve_if_asked();
    measure_all(&Arguments::parse())
}

#[tokio::main]
async fn measure_all(arguments: &Arguments) -> ExitCode {
    let runs = || Ok::<_, anyhow::Error>((Run::start_in(&arguments.directory)?, Run::start()?));
    let outcome = match runs() {
        Err(error) => Err(error),
        Ok((quick, roomy)) => {
            let close = || quick.close().and_then(|_| roomy.close()).map(drop);
            tokio::select! {
                outcome = bench(&quick, &roomy, arguments) => outcome.and_then(|()| close()),
                code = signals::asked_to_end() => {
                    let _ = close();
                    return ExitCode::from(u8::try_from(code).unwrap_or(1));
                }
            }
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// `quick` is where speed is measured, `roomy` where there is room.
async fn bench(quick: &Run, roomy: &Run, arguments: &Arguments) -> Result<()> {
    note("building supercargo …");
    let binary = operator::build(roomy, Profile::Release).await?;
    if arguments.content > 0 {
        table::print_machine(quick.directory(), arguments.rounds)?;
        for source in [Source::text()?, Source::binaries()?] {
            speed(quick, &binary, source, arguments).await?;
        }
    }
    if arguments.large > 0 {
        let figures = large::measure(roomy, &binary, arguments.large).await?;
        table::print_large(&figures);
    }
    Ok(())
}

async fn speed(run: &Run, binary: &Path, source: Source, arguments: &Arguments) -> Result<()> {
    let name = source.name;
    note(&format!("{name}: making an archive of {} MiB …", arguments.content));
    let (path, bytes) = (run.directory().join("archive.tar.gz"), arguments.content << 20);
    let made = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || source.archive(&path, bytes)).await?.context("making an archive")?
    };
    let packed = fs_err::metadata(&path)?.len();
    let mut rounds = Vec::new();
    for round in 1..=arguments.rounds {
        note(&format!("{name}: round {round} of {} …", arguments.rounds));
        rounds.push(contest::round(run, binary, &path).await?);
    }
    fs_err::remove_file(&path)?;
    table::print_speed(name, &made, packed, &rounds);
    Ok(())
}
