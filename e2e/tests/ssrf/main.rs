//! Server-side request forgery: `supercargo sync` in a network namespace where every closed address answers.
//!
//! ```text
//! cargo test -p supercargo-e2e --test ssrf
//!
//! this program ─▶ guardian ─▶ unshare --net --mount ─▶ this program, inside ─▶ supercargo sync
//!                                                        │ canaries at 169.254.169.254, 127.0.0.1, ::1, ...
//!                                                        │ a name server whose answers change
//!                                                        └ an evil registry at 10.77.0.1, the only open address
//! ```
//!
//! A network namespace needs root. With `CI=true` the tests run, and fail without root; otherwise they are listed as
//! ignored.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that finds something else than it expects is to fail"
)]

mod ambient;
mod inside;
mod rebinding;
mod spellings;
mod ways;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use libtest_mimic::{Arguments, Conclusion, Trial};
use supercargo_e2e::guardian;
use supercargo_e2e::lab::note;
use supercargo_e2e::operator::{self, Profile};
use supercargo_e2e::run::Run;

/// Longest time for one test inside its namespace.
const LIMIT: Duration = Duration::from_secs(180);

/// Tests that run inside a namespace, by name.
const TESTS: [(&str, inside::Body); 3] = [
    ("no_spelling_of_a_closed_address_is_dialled_whoever_names_it", |inside| Box::pin(ways::test(inside))),
    ("a_name_that_changes_its_mind_leads_nowhere_else", |inside| Box::pin(rebinding::test(inside))),
    ("a_secret_runs_no_helper_and_uses_no_login_of_the_user", |inside| Box::pin(ambient::test(inside))),
];

fn main() -> ExitCode {
    guardian::serve_if_asked();
    inside::serve_if_asked(&TESTS);
    let arguments = Arguments::from_args();
    let ignored = !rustix::process::geteuid().is_root() && std::env::var("CI").as_deref() != Ok("true");
    let names = || TESTS.iter().map(|(name, _)| Trial::test(*name, || Ok(())).with_ignored_flag(ignored));
    if arguments.list || ignored || names().all(|trial| arguments.is_filtered_out(&trial)) {
        if ignored {
            note("the tests in a network namespace are ignored: making one takes root (with CI=true they would fail)");
        }
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

fn run(arguments: &Arguments) -> Result<Conclusion> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "making a network namespace takes root, which CI is expected to have: run this test with sudo"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let run = Run::start()?;
    let binary = runtime.block_on(operator::build(&run, Profile::Dev)).inspect_err(|_| drop(run.close()))?;
    let trials = TESTS.iter().map(|(name, _)| {
        let (run, binary, handle) = (run.clone(), binary.clone(), runtime.handle().clone());
        Trial::test(*name, move || Ok(handle.block_on(in_a_namespace(&run, name, &binary))?))
    });
    let conclusion = libtest_mimic::run(arguments, trials.collect());
    run.close()?;
    Ok(conclusion)
}

/// Starts this program again inside a namespace; the output of that process is the report.
async fn in_a_namespace(run: &Run, name: &str, binary: &Path) -> Result<(), String> {
    let outcome = async {
        let directory = run.subdirectory(name)?;
        let this = std::env::current_exe()?;
        let arguments = [&this, Path::new(inside::FLAG), Path::new(name), &directory, binary];
        let unshare = run.command(Path::new("unshare")).args(["--net", "--mount"]).limit(LIMIT);
        let output = unshare.args(arguments.map(|argument| argument.to_string_lossy())).output().await?;
        if !output.exit.success() {
            bail!("inside the namespace: {}\n{}{}", output.exit, output.stdout, output.stderr);
        }
        note(output.stdout.trim_end());
        Ok(())
    };
    outcome.await.map_err(|error| format!("{error:#}"))
}
