//! Time and memory of one command.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::hostile::memory::Watch;
use crate::run::{Run, tail};

/// Timeout of one command.
const LIMIT: Duration = Duration::from_secs(3600);

/// Time and memory of one command.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub wall: Duration,
    /// User and system time of all threads and processes.
    pub cpu: Duration,
    /// Peak of private memory in bytes, sampled every 20 ms.
    pub memory: u64,
    /// Peak of resident memory in bytes, of the process alone, as the kernel counts it.
    pub resident: u64,
}

/// Runs a command and requires exit code 0. `name` is the name of its log.
pub async fn command(run: &Run, name: &str, program: &Path, arguments: &[&str]) -> Result<Figures> {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let (cpu, started) = (run.cpu_of_ended()?, Instant::now());
    let mut service = run.service(name, program, &arguments, &[]).await?;
    let watch = Watch::start(service.process.pid())?;
    let exit = service.process.wait(LIMIT).await?.with_context(|| format!("{name} did not end"))?;
    let wall = started.elapsed();
    ensure!(exit.success(), "{name} ended with {exit}; {}", tail(&service.log, 15));
    let cpu = run.cpu_of_ended()?.saturating_sub(cpu);
    Ok(Figures { wall, cpu, memory: watch.most(), resident: watch.most_resident() })
}
