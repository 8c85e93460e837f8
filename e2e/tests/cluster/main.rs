//! End-to-end tests against a real control plane, real registries and real clients.
//!
//! ```text
//! cargo test -p supercargo-e2e --test cluster                   all of them
//! cargo test -p supercargo-e2e --test cluster output::kill      those whose name contains this
//! cargo test -p supercargo-e2e --test cluster -- --list         only the names
//! ```
//!
//! The tools are installed before the first test starts, with visible progress. One control plane serves all tests;
//! each test has a namespace and an operator process of its own. Nothing is left behind, except the logs of a failed
//! run.

#![deny(dead_code, reason = "a test that no list names would never run")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that finds something else than it expects is to fail"
)]

mod artifact;
mod command;
mod operations;
mod output;
mod policy;
mod registry;
mod signature;
mod support;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Conclusion, Trial};
use supercargo_e2e::guardian;
use supercargo_e2e::lab::{Lab, note};
use supercargo_e2e::operator::Profile;
use supercargo_e2e::registry::Options;
use supercargo_e2e::run::Run;
use supercargo_e2e::signals;

use support::case::{self, Test};

/// Modules whose tests need the signing tools, which take minutes to build.
const SIGNING: [&str; 4] =
    ["signature::signing::", "signature::verify::", "signature::negatives::", "command::readers::signatures::"];
/// Each test runs an operator process; more than this at once only wait for each other.
const MOST_THREADS: usize = 4;

fn main() -> ExitCode {
    guardian::serve_if_asked();
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or_else(|| Some(threads()));
    let names =
        || tests().into_iter().map(|test| Trial::test(test.name, || Ok(())).with_ignored_flag(is_ignored(&test)));
    if arguments.list || names().all(|trial| arguments.is_filtered_out(&trial)) {
        return libtest_mimic::run(&arguments, names().collect()).exit_code();
    }
    match run(&arguments) {
        Ok(conclusion) => conclusion.exit_code(),
        Err(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn tests() -> Vec<Test> {
    [
        // Tests that load the processors run apart from tests that measure waiting times.
        artifact::tests(),
        output::tests(),
        operations::tests(),
        registry::tests(),
        command::tests(),
        registry::misbehaving(),
        signature::tests(),
        policy::tests(),
        registry::crowded(),
    ]
    .concat()
}

/// Returns true if the test needs root, to mount a filesystem, to become another user or to limit memory, and this
/// process is not root. Where `CI` is `true` such a test runs, and fails.
fn is_ignored(test: &Test) -> bool {
    let mounts = test.name.starts_with("operations::full_volume::")
        || command::AS_ROOT.iter().any(|end| test.name.ends_with(end));
    (mounts && !support::privileges::may_mount()) || (test.name.ends_with(artifact::LIMITED) && !artifact::may_limit())
}

/// Returns true if any test that will run belongs to one of the [`SIGNING`] modules.
fn signs(arguments: &Arguments) -> bool {
    let mut chosen = tests().into_iter().filter(|test| SIGNING.iter().any(|module| test.name.starts_with(module)));
    chosen.any(|test| !arguments.is_filtered_out(&Trial::test(test.name, || Ok(()))))
}

/// Returns true if the operator is tested as it is shipped, for proofs that measure it.
fn is_release() -> bool {
    std::env::var_os("SUPERCARGO_RELEASE").is_some()
}

fn run(arguments: &Arguments) -> anyhow::Result<Conclusion> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let run = Run::start()?;
    runtime.spawn(end_on_signal());
    let lab = runtime.block_on(async {
        let profile = if is_release() { Profile::Release } else { Profile::Dev };
        let lab = Lab::start(&run, profile, &Options::default()).await?;
        if signs(arguments) {
            lab.signing_tools().await?;
        }
        anyhow::Ok(lab)
    });
    let lab = Arc::new(lab.inspect_err(|_| keep_logs(&run))?);
    let trials = tests().into_iter().enumerate().map(|(number, test)| {
        let (lab, handle) = (Arc::clone(&lab), runtime.handle().clone());
        let trial = Trial::test(test.name, move || Ok(handle.block_on(case::run(&lab, number, test))?));
        trial.with_ignored_flag(is_ignored(&test))
    });
    let conclusion = libtest_mimic::run(arguments, trials.collect());
    drop(lab);
    if let Some(logs) = run.close()? {
        note(&format!("the logs of this run are in {}", logs.display()));
    }
    Ok(conclusion)
}

fn keep_logs(run: &Run) {
    run.failed();
    if let Ok(Some(logs)) = run.close() {
        note(&format!("the logs of this run are in {}", logs.display()));
    }
}

/// Ends the harness at once on Ctrl-C and SIGTERM, including all tests. The guardian then ends the other processes and
/// cleans up: by then no process of the harness can start another one.
async fn end_on_signal() {
    let code = signals::asked_to_end().await;
    note("interrupted; everything that was started is being ended");
    std::process::exit(code);
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get() + 1).min(MOST_THREADS)
}
