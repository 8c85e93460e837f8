//! `supercargo lock`: the digests of all artifacts that files name, in a file to commit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use futures::{StreamExt, stream};

use crate::blob::Progress;
use crate::cli::artifacts::{Artifact, Wanted, artifacts, read, select};
use crate::cli::checkout::{self, Source};
use crate::cli::files;
use crate::cli::locking;
use crate::cli::options::artifacts::FileArguments;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments};
use crate::cli::options::format::FormatArguments;
use crate::cli::options::limits::LimitArguments;
use crate::cli::options::login::places;
use crate::cli::options::reach::PersonalReach;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::notes::note;
use crate::cli::output::progress::Bars;
use crate::cli::output::to_stdout;
use crate::cli::signals::{Signals, interrupted};
use crate::failure::Failure;
use crate::layout::Cache;
use crate::lock::{Entry, Lock};
use crate::login::Logins;
use crate::registry::http::HttpRegistry;

mod report;

use report::{Now, Report};

/// Maximum number of artifacts that are processed at once.
const AT_ONCE: usize = 4;

/// Arguments of `supercargo lock`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo lock -f supercargo.yaml")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: FileArguments,
    /// Lock file; by default supercargo.lock.yaml beside the first file.
    ///
    /// The record of directories is beside it.
    #[arg(short = 'o', long, alias = "output", value_name = "FILE", value_parser = files::target())]
    lock: Option<PathBuf>,
    /// Write nothing; list the entries that a new lock would change, and exit with 1 if there are any.
    #[arg(long)]
    check: bool,
    /// Lock only this artifact again: a directory, NAMESPACE/NAME or NAME; may be given several times.
    ///
    /// All other entries are unchanged, byte for byte.
    #[arg(long, value_name = "NAME", conflicts_with = "check")]
    update: Vec<String>,
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    reach: PersonalReach,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
}

fn help() -> String {
    format!(
        "\
Resolves every image of the files to its digest, verifies signatures and policies, copies the
artifacts into the cache, and unpacks them there. The lock has the digest of each artifact and of
its list of files, its size, its signers and policies. Commit it: sync --locked then uses exactly
these digests, and works without a registry as long as the cache has them.

The file is written in one step, and only if every artifact was locked. An entry that means the
same keeps its lines, so that locking again without a change writes the same bytes.

With --check, the lock is compared: tags are resolved, and the content of each locked digest is
verified and unpacked as for a new lock. The exit code is 1 if a tag has moved, if the content has
another list of files, or if the files and the lock name different artifacts, images or selections.
Standard output has a line for each change.

{ARTIFACTS_HELP}

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM
If artifacts fail for reasons with different codes, the code is 1.

Examples:
  supercargo lock -f supercargo.yaml
  supercargo lock -f supercargo.yaml --update vendor/rules
  supercargo lock -f supercargo.yaml --check --format json
  supercargo lock -f supercargo.yaml --lock ci/supercargo.lock.yaml",
        codes = exit::help_with("with --check: the lock is not up to date", &[exit::REMOTE])
    )
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    // The lock is written without an await, so a signal finds the old or the new one.
    let mut signals = Signals::listen();
    let done = tokio::select! {
        done = lock(&arguments) => done,
        code = signals.wait() => return interrupted(code),
    };
    done.map_or_else(|complaint| complaint.report(), ExitCode::from)
}

async fn lock(arguments: &Arguments) -> Result<Exit, Complaint> {
    let files = &arguments.files;
    let path = locking::path(arguments.lock.as_deref(), &files.input);
    let input = read(&files.input, files.recursive, &files.namespace, locking::dir(&path)).await?;
    let all = artifacts(&input)?;
    // Two commands would lose each other's entries.
    let _alone = if arguments.check { None } else { checkout::alone(locking::dir(&path)).await? };
    let old = locking::read(&path)?.unwrap_or_default();
    let selected = select(&input, "--update", &arguments.update)?;
    let chosen: Vec<_> = selected.into_iter().map(|(key, object)| Artifact::of(key, object)).collect();
    let bars = Arc::new(Bars::new());
    let source = arguments.source(Arc::clone(&bars) as Arc<dyn Progress>)?;
    let now = async |artifact: &Artifact<'_>| {
        let wanted = artifact.wanted(&input, files.policy_namespace())?.within(files.timeout);
        arguments.now(&source, artifact, &wanted, &old).await.map_err(|failure| files.explain(failure))
    };
    let results: Vec<_> = stream::iter(&chosen)
        .map(async |artifact| (artifact, Box::pin(now(artifact)).await))
        .buffered(AT_ONCE)
        .collect()
        .await;
    bars.clear();
    let now = match succeeded(results) {
        Ok(now) => now,
        Err(exit) => return Ok(exit),
    };
    let mut new = old.clone();
    if arguments.update.is_empty() {
        new.retain(|name| all.iter().any(|artifact| artifact.name == name));
    }
    for now in now.values() {
        if let Now::Entry(entry) = now {
            new.set((**entry).clone());
        }
    }
    if !arguments.check && (new != old || !path.exists()) {
        locking::write(&path, &new)?;
    }
    let report = Report::new(&path, &all, &now, &old, arguments.update.is_empty());
    to_stdout(&report.text(arguments.format.format)?)?;
    note(report.summary());
    Ok(if arguments.check && report.changed > 0 { Exit::Fault } else { Exit::Done })
}

impl Arguments {
    fn source(&self, progress: Arc<dyn Progress>) -> Result<Source<HttpRegistry>, Complaint> {
        let logins = Arc::new(Logins::read(&places(self.files.docker_config.clone()))?);
        let registry = Arc::new(self.reach.registry(&Arc::default())?);
        let cache = Cache::create(&self.cache.dir()?).map_err(Failure::from)?;
        Ok(Source { registry, cache, limits: self.limits.limits(), progress, logins })
    }

    async fn now(
        &self,
        source: &Source<HttpRegistry>,
        artifact: &Artifact<'_>,
        wanted: &Wanted,
        old: &Lock,
    ) -> Result<Now, Failure> {
        if !self.check {
            return locking::locked(source, artifact, wanted).await.map(|entry| Now::Entry(Box::new(entry)));
        }
        let pinned = source.resolve(wanted).await?;
        let (tag, digest) = (pinned.tag().map(str::to_owned), pinned.digest().clone());
        // Whoever changes files of a repository can change each fact of the lock too. Only the artifact has the truth.
        if let Some(before) = artifact.entry(old).ok().filter(|entry| entry.digest == digest) {
            let wanted = wanted.at_digest(tag.as_deref(), &digest);
            let entry = locking::locked(source, artifact, &wanted).await?;
            // A digest that was pinned since is the one of the entry.
            return Ok(Now::Entry(Box::new(Entry { image: before.image.clone(), ..entry })));
        }
        Ok(Now::Resolved { tag, digest })
    }
}

/// Returns the states by name, or reports every failure and returns the exit code.
fn succeeded(results: Vec<(&Artifact<'_>, Result<Now, Failure>)>) -> Result<BTreeMap<String, Now>, Exit> {
    let (mut states, mut failures) = (BTreeMap::new(), Vec::new());
    for (artifact, now) in results {
        match now {
            Ok(now) => {
                states.insert(artifact.name.clone(), now);
            }
            Err(failure) => {
                let complaint = artifact.complaint(&failure);
                // The exit code is that of all failures together.
                let _ = complaint.report();
                failures.push(complaint.reason());
            }
        }
    }
    if failures.is_empty() { Ok(states) } else { Err(Exit::of_all(failures)) }
}
