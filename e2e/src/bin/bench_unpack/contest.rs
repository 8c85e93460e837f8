//! One round: `supercargo unpack`, `tar` and inflate-only run once each.

use std::io::{BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use flate2::bufread::MultiGzDecoder;
use rustix::time::{ClockId, clock_gettime};
use supercargo_e2e::measured::{Figures, command};
use supercargo_e2e::run::Run;

/// Size in bytes of the inflater's input buffer and of its output buffer.
const BUFFER: usize = 256 * 1024;

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

/// Inflates and discards the output, with the pass's settings: one thread, large buffers, checksums verified.
fn inflate(archive: &Path) -> Result<Figures> {
    let thread_time = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
    let (cpu, started) = (thread_time()?, Instant::now());
    let mut decoder = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, fs_err::File::open(archive)?));
    let mut buffer = vec![0; BUFFER];
    while decoder.read(&mut buffer)? > 0 {}
    Ok(Figures { wall: started.elapsed(), cpu: thread_time()?.saturating_sub(cpu), ..Figures::default() })
}
