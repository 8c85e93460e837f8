//! `supercargo unpack`: one layer from a file, as a user and a script run it.

mod interruptions;
mod layers;
mod refusals;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use supercargo_e2e::run::Output;

use crate::support::case::{Case, Test};
use crate::support::command::{refused, run};
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

/// Checks for a failure with this code and reason, whose message has these words.
fn failed(output: &Output, code: i32, reason: &str, words: &[&str]) -> Result<()> {
    refused(output, code, reason)?;
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
