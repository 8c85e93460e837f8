//! One round: each of the three does its work once.

use std::io::{BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::bufread::MultiGzDecoder;
use rustix::time::{ClockId, clock_gettime};
use supercargo_e2e::hostile::memory::Watch;
use supercargo_e2e::run::{Run, tail};

/// Longest time for one command.
const LIMIT: Duration = Duration::from_secs(3600);
/// Buffers of the inflater, in and out.
const BUFFER: usize = 256 * 1024;

/// What a piece of work took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) wall: Duration,
    /// User and system time of every thread and process.
    pub(crate) cpu: Duration,
    /// The most that was seen, in bytes; looked at every 20 ms.
    pub(crate) memory: u64,
}

/// The figures of one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) supercargo: Figures,
    pub(crate) tar: Figures,
    pub(crate) inflate: Figures,
}

pub(crate) async fn round(run: &Run, binary: &Path, archive: &Path) -> Result<Round> {
    let (archive_text, out) = (archive.display().to_string(), run.directory().join("out"));
    let out_text = out.display().to_string();
    // A GiB of small files may be more of them than an operator allows where nobody says otherwise.
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

/// Runs a command to its end, which has to be a good one. `name` is that of its log.
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

/// Inflates to nowhere, as the pass does it: one thread, large buffers, checksums compared.
fn inflate(archive: &Path) -> Result<Figures> {
    let thread_time = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
    let (cpu, started) = (thread_time()?, Instant::now());
    let mut decoder = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, fs_err::File::open(archive)?));
    let mut buffer = vec![0; BUFFER];
    while decoder.read(&mut buffer)? > 0 {}
    Ok(Figures { wall: started.elapsed(), cpu: thread_time()?.saturating_sub(cpu), memory: 0 })
}
