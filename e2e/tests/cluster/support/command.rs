//! Runs of `supercargo` as a user runs it, and the form of its refusals.

use anyhow::{Context, Result, ensure};
use supercargo_e2e::run::{Invocation, Output};

use crate::support::case::Case;

/// Returns an invocation of the operator's binary.
pub(crate) fn command(case: &Case, arguments: &[&str]) -> Invocation {
    // The configuration of the user who runs the tests must have no effect.
    let command = case.lab.run.command(&case.lab.operator_binary).args(arguments);
    let command = command.env("HOME", case.directory.to_string_lossy());
    ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "OCI_USERNAME", "OCI_PASSWORD", "HTTPS_PROXY", "HTTP_PROXY"]
        .into_iter()
        .fold(command, |command, name| command.env(name, ""))
}

pub(crate) async fn run(case: &Case, arguments: &[&str]) -> Result<Output> {
    command(case, arguments).output().await
}

/// Returns the standard output of a command that has to succeed.
pub(crate) async fn answer(case: &Case, arguments: &[&str]) -> Result<String> {
    let output = run(case, arguments).await?;
    ensure!(output.exit.success(), "{arguments:?} ended with {}: {}", output.exit, output.stderr);
    Ok(output.stdout)
}

/// Returns the digest at the end of the reference that a command printed.
pub(crate) fn digest(printed: &str) -> Result<&str> {
    Ok(printed.trim().rsplit_once('@').with_context(|| format!("no digest in {printed:?}"))?.1)
}

/// Checks that a command failed with this code and reason, on one line and with empty standard output.
pub(crate) fn refused(output: &Output, code: i32, reason: &str) -> Result<()> {
    let told = output.stderr.starts_with(&format!("error: {reason}: ")) && output.stderr.lines().count() == 1;
    let fits = output.exit.code == Some(code) && told && output.stdout.is_empty();
    ensure!(fits, "not {code}, {reason}, but {}: {:?}, {:?}", output.exit, output.stderr, output.stdout);
    Ok(())
}
