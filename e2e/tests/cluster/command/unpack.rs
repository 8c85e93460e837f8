//! `supercargo unpack`: one layer from a file, as a user and a script run it.

mod interruptions;
mod layers;
mod refusals;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use supercargo_e2e::run::Output;

use crate::support::case::{Case, Test};
use crate::support::command::run;
use crate::support::pull_directory::PullDirectory;

/// Annotation that requests unpacking of a titled layer.
const MARK: &str = "io.deis.oras.content.unpack=true";
/// Large enough to be read for seconds; a sparse file without bytes on the disk.
const LARGE: u64 = 32 << 30;

pub(crate) fn tests() -> Vec<Test> {
    [layers::tests(), refusals::tests(), interruptions::tests()].concat()
}

/// Runs the command on a file of the test, into the test's place.
async fn unpack(case: &Case, place: &PullDirectory, file: &Path, options: &[&str]) -> Result<Output> {
    run(case, &[&["unpack", &file.to_string_lossy(), "-o", &place.out], options].concat()).await
}

fn write(case: &Case, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = case.directory.join(name);
    fs_err::write(&path, bytes)?;
    Ok(path)
}

/// Returns the verdict: all of standard output is one line of JSON.
fn verdict(output: &Output) -> Result<Value> {
    let is_line = output.stdout.ends_with('\n') && output.stdout.lines().count() == 1;
    ensure!(is_line, "ended with {}, not one line: {:?}, {:?}", output.exit, output.stdout, output.stderr);
    Ok(serde_json::from_str(&output.stdout)?)
}

/// Checks for a failure with this code, verdict and reason, whose message has these words and is repeated on standard
/// error.
fn failed(output: &Output, code: i32, kind: &str, reason: &str, words: &[&str]) -> Result<()> {
    let found = verdict(output)?;
    let message = found["message"].as_str().context("no message")?;
    ensure!(
        output.exit.code == Some(code) && found["verdict"] == kind && found["reason"] == reason,
        "not {code}, {kind}, {reason}, but {} and {found}",
        output.exit
    );
    let told = output.stderr.starts_with(&format!("error: {reason}: {message}")) && output.stderr.lines().count() == 1;
    ensure!(told, "standard error says {:?}, not {message:?}", output.stderr);
    for word in words {
        ensure!(output.stderr.contains(word), "{word:?} is not in {:?}", output.stderr);
    }
    Ok(())
}

/// Checks that neither the directory nor anything beside it exists.
fn nothing_there(place: &PullDirectory) -> Result<()> {
    ensure!(!Path::new(&place.out).exists(), "there is a directory");
    place.nothing_beside()
}
