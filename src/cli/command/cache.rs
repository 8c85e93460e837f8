//! `supercargo cache`: maintenance of the cache of artifacts.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;

use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments};
use crate::cli::options::values::duration;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::to_stdout;
use crate::failure::Failure;
use crate::layout::{Cache, Cached, Pruned};
use crate::pass;

/// Arguments of `supercargo cache`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remove artifacts that are not kept, and content that no reference leads to.
    Prune(PruneArguments),
}

/// Arguments of `supercargo cache prune`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help())]
pub(crate) struct PruneArguments {
    /// Remove references that were added longer ago than this, such as 720h.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
    /// Keep at most this number of references of each repository, those added last.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    keep: Option<u64>,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
}

fn help() -> String {
    format!(
        "\
Without options, only content is removed that no reference leads to: earlier digests of tags, and
leftovers of killed processes. Signatures go with their artifact. Fails while another process uses
the cache; a process that starts meanwhile waits.

{ARTIFACTS_HELP}

Examples:
  supercargo cache prune
  supercargo cache prune --older-than 720h --keep 3"
    )
}

pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let Command::Prune(arguments) = arguments.command;
    match prune(&arguments) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

fn prune(arguments: &PruneArguments) -> Result<(), Complaint> {
    let dir = arguments.cache.dir()?;
    let Pruned { names, blobs, bytes } = prune_at(&dir, arguments, pass::now())?;
    to_stdout(&format!("removed {names} references, and {blobs} blobs of {bytes} bytes\n"))
}

fn prune_at(dir: &Path, arguments: &PruneArguments, now: Timestamp) -> Result<Pruned, Complaint> {
    if Cache::open(dir).map_err(Failure::from)?.is_none() {
        return Ok(Pruned::default());
    }
    let (oldest, keep) = (arguments.older_than, arguments.keep);
    let pruned = Cache::prune(dir, |artifacts| rejected(artifacts, oldest, keep, now));
    Ok(pruned.map_err(Failure::from)?)
}

/// Returns the places of the artifacts to be removed. An artifact without a time is as old as can be.
fn rejected(artifacts: &[Cached], oldest: Option<Duration>, keep: Option<u64>, now: Timestamp) -> Vec<usize> {
    let since = oldest.and_then(|age| now.checked_sub(age).ok());
    let added = |place: &usize| artifacts.get(*place).and_then(|artifact| artifact.added);
    let mut newest_first: Vec<usize> = (0..artifacts.len()).collect();
    newest_first.sort_by_key(|place| std::cmp::Reverse(added(place)));
    let mut kept: HashMap<String, u64> = HashMap::new();
    newest_first.retain(|place| {
        let Some(artifact) = artifacts.get(*place) else { return false };
        let of_repository = kept.entry(artifact.reference.repository.to_string()).or_default();
        let is_old = since.is_some_and(|since| artifact.added.is_none_or(|added| added < since));
        let is_rejected = is_old || keep.is_some_and(|keep| *of_repository >= keep);
        *of_repository += u64::from(!is_rejected);
        is_rejected
    });
    newest_first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Descriptor;

    #[test]
    fn references_are_removed_by_age_and_by_number() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let cached = |text: &str, added: Option<i64>| Cached {
            reference: text.parse().unwrap(),
            manifest: Descriptor::of("a/b", b"x"),
            verified: None,
            added: added.map(at),
        };
        let artifacts = [
            cached("r.example/a:1", Some(100)),
            cached("r.example/a:2", Some(200)),
            cached("r.example/a:3", Some(300)),
            cached("r.example/b:1", Some(100)),
            cached("r.example/b:2", None),
        ];
        let rejected = |oldest: Option<u64>, keep| {
            let mut places = rejected(&artifacts, oldest.map(Duration::from_secs), keep, at(400));
            places.sort_unstable();
            places
        };
        assert!(rejected(None, None).is_empty());
        assert_eq!(rejected(Some(250), None), [0, 3, 4]);
        assert_eq!(rejected(None, Some(1)), [0, 1, 4]);
        assert_eq!(rejected(Some(250), Some(1)), [0, 1, 3, 4]);
        assert_eq!(rejected(Some(u64::MAX), None), Vec::<usize>::new(), "before time began");
    }
}
