//! `supercargo cache`: maintenance of the cache of artifacts.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments, pinned};
use crate::cli::options::format::FormatArguments;
use crate::cli::options::values::duration;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::count;
use crate::cli::output::notes::note;
use crate::cli::signals::until_signal_on_thread;
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
#[command(after_help = "Example: supercargo cache prune --older-than 720h --keep 3")]
#[command(after_long_help = help())]
pub(crate) struct PruneArguments {
    /// Remove references that were added longer ago than this, such as 720h.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
    /// Keep at most this number of references of each repository, those added last.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    keep: Option<u64>,
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// References with digests that were removed.
    references: Vec<String>,
    /// Number of blobs that were removed, and their size in bytes.
    blobs: usize,
    bytes: u64,
}

fn help() -> String {
    format!(
        "\
Without options, only content is removed that no reference leads to: earlier digests of tags, and
leftovers of killed processes. Signatures go with their artifact. Fails while another process uses
the cache; a process that starts meanwhile waits. Standard output has a line
host/repository:tag@sha256:... for each reference that was removed.

{ARTIFACTS_HELP}

Examples:
  supercargo cache prune
  supercargo cache prune --older-than 720h --keep 3"
    )
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    let Command::Prune(arguments) = arguments.command;
    until_signal_on_thread(move || prune(&arguments)).await
}

fn prune(arguments: &PruneArguments) -> Result<String, Complaint> {
    let dir = arguments.cache.dir()?;
    let report = prune_at(&dir, arguments, pass::now())?;
    let (references, Report { blobs, bytes, .. }) = (report.references.len(), &report);
    note(format_args!("removed {}, and {} of {bytes} bytes", count(references, "reference"), count(*blobs, "blob")));
    arguments.format.format.show_lines(&report.references, &report)
}

fn prune_at(dir: &Path, arguments: &PruneArguments, now: Timestamp) -> Result<Report, Complaint> {
    if Cache::open(dir).map_err(Failure::from)?.is_none() {
        return Ok(Report::default());
    }
    let (oldest, keep) = (arguments.older_than, arguments.keep);
    let mut references = Vec::new();
    let pruned = Cache::prune(dir, |artifacts| {
        let places = rejected(artifacts, oldest, keep, now);
        let removed = places.iter().filter_map(|place| artifacts.get(*place));
        references.extend(removed.map(|artifact| pinned(&artifact.reference, &artifact.manifest.digest)));
        places
    });
    let Pruned { names: _, blobs, bytes } = pruned.map_err(Failure::from)?;
    references.sort_unstable();
    Ok(Report { references, blobs, bytes })
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
