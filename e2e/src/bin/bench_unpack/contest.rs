//! One round: `supercargo unpack`, `tar` and inflate-only run once each.

use std::io::{BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::bufread::MultiGzDecoder;
use rustix::time::{ClockId, clock_gettime};
use supercargo_e2e::hostile::memory::Watch;
use supercargo_e2e::run::{Run, tail};

/// Timeout of one command.
const LIMIT: Duration = Duration::from_secs(3600);
/// Size in bytes of the inflater's input buffer and of its output buffer.
const BUFFER: usize = 256 * 1024;

/// Time and memory of one command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) wall: Duration,
    /// User and system time of all threads and processes.
    pub(crate) cpu: Duration,
    /// Peak of private memory in bytes, sampled every 20 ms.
    pub(crate) memory: u64,
}

/// Figures of one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) supercargo: Figures,
    pub(crate) tar: Figures,
    pub(crate) inflate: Figures,
}

pub(crate) async fn round(run: &Run, binary: &Path, archive: &Path) -> Result<Round> {
    let (archive_text, out) = (archive.display().to_string(), run.directory().join("out"));
    let out_text = out.display().to_string();
    // A GiB of small files can exceed the default entry limit.
    let limits = ["--max-entries", "1000000", "--max-extracted-bytes", "4Gi", "--timeout", "1h"];
    let arguments = [&["unpack", &archive_text, "-o", &out_text], limits.as_slice()].concat();
    let supercargo = command(run, "supercargo", binary, &arguments).await?;
    fs_err::remove_dir_all(&out)?;
    fs_err::create_dir(&out)?;
    let tar = command(run, "tar", Path::new("tar"), &["-xzf", &archive_text, "-C", &out_text]).await?;
    fs_err::remove_dir_all(&out)?;
    let archive = archive.to_owned();
    let inflate = tokio::task::spawn_blocking(move || inflate(&archive)).await??;
    Ok(Round { supercargo, tar, inflate })
}

/// Runs a command and requires exit code 0. `name` is the name of its log.
pub(crate) async fn command(run: &Run, name: &str, program: &Path, arguments: &[&str]) -> Result<Figures> {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let (cpu, started) = (run.cpu_of_ended()?, Instant::now());
    let mut service = run.service(name, program, &arguments, &[]).await?;
    let watch = Watch::start(service.process.pid())?;
    let exit = service.process.wait(LIMIT).await?.with_context(|| format!("{name} did not end"))?;
    let wall = started.elapsed();
    ensure!(exit.success(), "{name} ended with {exit}; {}", tail(&service.log, 15));
    Ok(Figures { wall, cpu: run.cpu_of_ended()?.saturating_sub(cpu), memory: watch.most() })
}

/// Inflates and discards the output, with the pass's settings: one thread, large buffers, checksums verified.
fn inflate(archive: &Path) -> Result<Figures> {
    let thread_time = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
    let (cpu, started) = (thread_time()?, Instant::now());
    let mut decoder = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, fs_err::File::open(archive)?));
    let mut buffer = vec![0; BUFFER];
    while decoder.read(&mut buffer)? > 0 {}
    Ok(Figures { wall: started.elapsed(), cpu: thread_time()?.saturating_sub(cpu), memory: 0 })
}
