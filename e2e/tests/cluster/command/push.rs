//! `supercargo push`: a directory of files, interruptions at every byte, and pushes of one tag at once.

mod directory;
mod kill;
mod race;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use supercargo_e2e::gate::Gate;
use supercargo_e2e::run::Service;
use supercargo_e2e::wait;

use crate::support::case::{Case, Test};

/// Longest time until a process reaches a byte, or ends.
pub(super) const REACHED: Duration = Duration::from_secs(30);

pub(crate) fn tests() -> Vec<Test> {
    [directory::tests(), kill::tests(), race::tests()].concat()
}

/// Starts a command whose end the test decides.
pub(super) async fn start(case: &Case, log: &str, arguments: &[&str], cache: &Path) -> Result<Service> {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let environment = [
        ("HOME".to_owned(), case.directory.to_string_lossy().into_owned()),
        ("SUPERCARGO_CACHE_DIR".to_owned(), cache.to_string_lossy().into_owned()),
        ("COSIGN_PASSWORD".to_owned(), String::new()),
    ];
    let log = format!("{}-command-{log}", case.space.namespace);
    case.lab.run.service(&log, &case.lab.operator_binary, &arguments, &environment).await
}

/// Waits until a gate holds a byte of the process, or the process has ended.
pub(super) async fn reach(gate: &Gate, service: &Service) -> Result<()> {
    wait::until_true(REACHED, "the process to be held, or to end", || {
        Ok(gate.is_holding() || service.process.exit().is_some())
    })
    .await
}

/// Fails if the cache has a file of a command that has ended.
fn check_no_leftovers(cache: &Path) -> Result<()> {
    let left: Vec<_> = fs_err::read_dir(cache.join(".supercargo/ingest"))?.collect();
    ensure!(left.is_empty(), "left in the cache: {left:?}");
    let blobs = fs_err::read_dir(cache.join("blobs/sha256"))?.count();
    ensure!(blobs == 0, "{blobs} blobs stayed in the cache");
    Ok(())
}
