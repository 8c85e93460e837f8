//! Disks that fail, disks that are full, and kernels that lack a call: `supercargo sync` and `pull` under faults.
//!
//! ```text
//! cargo test -p supercargo-e2e --test faults
//!
//! this program ─▶ guardian ─▶ [unshare --mount ─▶] this program, inside ─▶ [faulty fsync=EIO --] supercargo sync
//!                                                    │ a registry on loopback
//!                                                    └ a small filesystem, where the test mounts one
//! ```
//!
//! Mounting needs root. With `CI=true` the tests that mount run, and fail without root; otherwise they are listed as
//! ignored.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that finds something else than it expects is to fail"
)]

mod calls;
mod full;
mod walk;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Conclusion, Trial};
use supercargo_e2e::guardian;
use supercargo_e2e::lab::note;
use supercargo_e2e::operator::{self, Profile};
use supercargo_e2e::run::Run;

use world::World;

/// Longest time for one test.
const LIMIT: Duration = Duration::from_secs(180);
/// First argument of a process that runs one test.
const FLAG: &str = "--one-test";

/// Body of a test; returns its report.
type Body = for<'a> fn(&'a mut World) -> LocalBoxFuture<'a, Result<String>>;

/// Privileges that a test needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// A mount namespace, which needs root.
    Mounts,
}

const TESTS: [(&str, Needs, Body); 8] = [
    ("each_call_that_fails_is_told_and_leaves_the_old_tree", Needs::Nothing, |world| Box::pin(calls::each(world))),
    ("wherever_a_call_begins_to_fail_a_whole_tree_is_there", Needs::Nothing, |world| Box::pin(calls::anywhere(world))),
    ("a_pull_whose_calls_fail_leaves_the_directory_as_it_was", Needs::Nothing, |world| Box::pin(calls::pull(world))),
    ("without_openat2_everything_works", Needs::Nothing, |world| Box::pin(walk::sync(world))),
    ("without_openat2_the_unit_tests_pass", Needs::Nothing, |world| Box::pin(walk::unit_tests(world))),
    ("what_is_mounted_inside_a_volume_is_not_entered", Needs::Mounts, |world| Box::pin(walk::mounts(world))),
    ("a_full_disk_is_told_and_left_as_it_was", Needs::Mounts, |world| Box::pin(full::bytes(world))),
    ("a_disk_without_inodes_is_told_and_left_as_it_was", Needs::Mounts, |world| Box::pin(full::inodes(world))),
];

fn main() -> ExitCode {
    guardian::serve_if_asked();
    serve_if_asked();
    let arguments = Arguments::from_args();
    let may_mount = rustix::process::geteuid().is_root() || std::env::var("CI").as_deref() == Ok("true");
    let is_ignored = |needs| needs == Needs::Mounts && !may_mount;
    let names =
        || TESTS.iter().map(|(name, needs, _)| Trial::test(*name, || Ok(())).with_ignored_flag(is_ignored(*needs)));
    if !may_mount {
        note("the tests that mount something are ignored: it takes root (with CI=true they would fail)");
    }
    if arguments.list || names().all(|trial| arguments.is_filtered_out(&trial)) {
        return libtest_mimic::run(&arguments, names().collect()).exit_code();
    }
    match run(&arguments, is_ignored) {
        Ok(conclusion) => conclusion.exit_code(),
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, is_ignored: impl Fn(Needs) -> bool) -> Result<Conclusion> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let run = Run::start()?;
    let built = runtime.block_on(async {
        anyhow::Ok((operator::build(&run, Profile::Dev).await?, walk::build_unit_tests(&run).await?))
    });
    let (binary, unit_tests) = built.inspect_err(|_| drop(run.close()))?;
    let trials = TESTS.iter().map(|(name, needs, _)| {
        let (run, handle, programs) = (run.clone(), runtime.handle().clone(), [binary.clone(), unit_tests.clone()]);
        let trial = Trial::test(*name, move || Ok(handle.block_on(one(&run, name, *needs, &programs))?));
        trial.with_ignored_flag(is_ignored(*needs))
    });
    let conclusion = libtest_mimic::run(arguments, trials.collect());
    run.close()?;
    Ok(conclusion)
}

/// Starts this program again for one test; the output of that process is the report.
async fn one(run: &Run, name: &str, needs: Needs, programs: &[PathBuf; 2]) -> Result<(), String> {
    let outcome = async {
        let directory = run.subdirectory(name)?;
        let this = std::env::current_exe()?;
        let arguments = [Path::new(FLAG), Path::new(name), &directory, &programs[0], &programs[1]];
        let command = match needs {
            Needs::Nothing => run.command(&this),
            Needs::Mounts => {
                ensure!(
                    rustix::process::geteuid().is_root(),
                    "mounting takes root, which CI is expected to have: run this test with sudo"
                );
                run.command(Path::new("unshare")).arg("--mount").arg(this.to_string_lossy())
            }
        };
        let output = command.args(arguments.map(Path::to_string_lossy)).limit(LIMIT).output().await?;
        if !output.exit.success() {
            bail!("{}\n{}{}", output.exit, output.stdout, output.stderr);
        }
        note(output.stdout.trim_end());
        Ok(())
    };
    outcome.await.map_err(|error| format!("{error:#}"))
}

/// Runs one test if this process was started for it, then exits.
fn serve_if_asked() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, name, directory, binary, unit_tests] = arguments.as_slice() else { return };
    if flag != FLAG {
        return;
    }
    let outcome = serve(name, Path::new(directory), [binary, unit_tests].map(PathBuf::from));
    let (text, code) = match outcome {
        Ok(report) => (report, 0),
        Err(error) => (format!("{error:#}"), 1),
    };
    // The parent process may have ended.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    std::process::exit(code);
}

fn serve(name: &str, directory: &Path, programs: [PathBuf; 2]) -> Result<String> {
    let (.., body) = TESTS.iter().find(|(known, ..)| *known == name).context("no such test")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { body(&mut World::start(directory, programs).await?).await })
}
