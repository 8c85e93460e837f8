//! `cargo bench-unpack`: speed and memory of unpacking archives.
//!
//! Two archives, source text and binaries, are created on tmpfs. Each round measures in turn: `supercargo unpack`, from
//! process start to exit; `tar -xzf`; and inflating alone, on one thread, with supercargo's inflate library. With
//! `--large` an artifact of 10 GiB in 40 layers is pulled from a registry as well. Prints figures without a verdict.

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

/// Compare the speed of `supercargo unpack` with `tar -xzf` and with inflating alone, on source text and on binaries.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-unpack")]
struct Arguments {
    /// Directory for archives and files; on tmpfs, or the disk is measured too. Needs three times `--content`.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    directory: PathBuf,
    /// Number of measurements of each command.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// MiB of files in each archive; 0 skips these measurements.
    #[arg(long, default_value_t = 1024)]
    content: u64,
    /// Also pull an artifact with this number of layers of 256 MiB each, such as 40.
    ///
    /// The directory for temporary files then takes the content and twice the compressed layers: 20 GiB for 40.
    #[arg(long, value_name = "LAYERS", default_value_t = 0, default_missing_value = "40", num_args = 0..=1)]
    large: u32,
}

fn main() -> ExitCode {
    // Before any runtime starts: in the guardian process this call never returns.
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

/// Runs the measurements: those of speed in `quick`, on tmpfs, and the large pull in `roomy`, on disk.
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
