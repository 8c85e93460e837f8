//! Commands that end early: by Ctrl-C or SIGTERM at several moments, and by a standard output that nobody reads.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::classes::problem;
use super::table::{self, Cell};
use super::world::World;
use crate::support::case::{Case, tests};

tests!(a_closed_standard_output_is_reported_like_any_other_failure, an_interrupted_command_leaves_nothing_behind,);

/// Moments of the signal after the start of the command, in milliseconds.
const MOMENTS: [u64; 7] = [0, 15, 40, 100, 250, 600, 1500];

/// Lines of commands that write. After an interruption `{new}` and everything beside it does not exist.
const WRITING: [&str; 10] = [
    "pull {large} --plain-http -o {new}",
    "unpackage {large} {new}",
    "export {large} -o {new}",
    "generate-key-pair --output-key-prefix {new}",
    "login {host} --username u --password-stdin --docker-config {new} --plain-http",
    "pin -f {pinnable} --plain-http",
    "lock -f {large-object} -o {new}",
    "import vendir {vendir} -o {new}",
    "diff {large} {large-source} --plain-http",
    "catalog add {name} --catalog {catalog}",
];

/// Lines of commands that write to a cache, a layout or a root, which stays usable.
const STORING: [&str; 6] = [
    "pull {large} --plain-http",
    "import {archive}",
    "package {large-source} --ref {large}",
    "push {large-source} {place}:stopped --plain-http",
    "sync -f {large-object} --root {directory}",
    "policy record {image} --plain-http -o {recorded}",
];

async fn a_closed_standard_output_is_reported_like_any_other_failure(case: &mut Case) -> Result<()> {
    let world = World::new(case).await?;
    let mut wrong = Vec::new();
    for row in table::rows() {
        let Cell::Ends(line) = row.good else { continue };
        let has_format = world.has_format(row.command).await?;
        let line = format!("{} {line}{}", row.command, if has_format { " --format json -q" } else { " -q" });
        let output = world.run_to_closed_pipe(&line).await?;
        wrong.extend(problem(&output, 1).map(|problem| format!("{line}: {problem}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn an_interrupted_command_leaves_nothing_behind(case: &mut Case) -> Result<()> {
    let world = World::new(case).await?;
    let mut interrupted = 0;
    for (number, line) in WRITING.into_iter().chain(STORING).enumerate() {
        for (moment, signal) in MOMENTS.into_iter().zip([Signal::INT, Signal::TERM].into_iter().cycle()) {
            let before = names(world.directory())?;
            let name = format!("{number}-{moment}");
            let was_stopped = stopped(&world, &name, line, moment, signal).await.context(line)?;
            interrupted += u32::from(was_stopped);
            let after = names(world.directory())?;
            let left: Vec<_> = after.difference(&before).collect();
            ensure!(!was_stopped || left.is_empty(), "{line} after {moment} ms: left {left:?}");
        }
        // The cache has every artifact, whole, that it had before.
        for line in ["unpackage {large} {new}", "unpackage {image} {new}"] {
            let output = world.run(line).await?;
            ensure!(output.exit.success(), "{line}: {}", output.stderr);
        }
    }
    ensure!(interrupted > 20, "only {interrupted} commands were interrupted");
    Ok(())
}

/// Runs a line, and interrupts it at a moment. Returns true if the signal came before its end.
async fn stopped(world: &World<'_>, name: &str, line: &str, moment: u64, signal: Signal) -> Result<bool> {
    let case = world.case();
    let log = format!("{}-stops-{name}", case.space.namespace);
    let (words, environment) = (world.words(line)?, world.environment());
    let mut command = case.lab.run.service(&log, &case.lab.operator_binary, &words, &environment).await?;
    if command.process.wait(Duration::from_millis(moment)).await?.is_none() {
        let pid = i32::try_from(command.process.pid()).ok().and_then(Pid::from_raw).context("no process")?;
        // The command may end meanwhile.
        let _ = kill_process(pid, signal);
    }
    let exit = command.process.wait(Duration::from_secs(30)).await?.context("the signal did not end it")?;
    let said = fs_err::read_to_string(&command.log)?;
    match (exit.code, exit.signal) {
        (Some(code), None) if code == 128 + signal.as_raw() => {
            ensure!(said == "error: interrupted\n", "after {moment} ms: {said:?}");
            Ok(true)
        }
        // Before the command listens, the signal has its default effect.
        (_, Some(by)) if by == signal.as_raw() => Ok(true),
        // Standard input is empty, so login is refused once it reads the password.
        (Some(0 | 4), None) => Ok(false),
        (..) => anyhow::bail!("after {moment} ms: {exit}: {said:?}"),
    }
}

/// Returns the names of everything in the directory of the test, without what is in the cache.
fn names(directory: &Path) -> Result<BTreeSet<String>> {
    let entries =
        fs_err::read_dir(directory)?.chain(fs_err::read_dir(directory.join("catalog/services")).into_iter().flatten());
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
