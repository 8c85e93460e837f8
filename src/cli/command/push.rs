//! `supercargo push`: an artifact of the cache or of a layout, or a directory of files, to a registry.

mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::api::Reason;
use crate::blob::Progress;
use crate::cli::files;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments};
use crate::cli::options::packaging::DirectoryArguments;
use crate::cli::options::reading;
use crate::cli::options::signing::{self, SigningArguments};
use crate::cli::options::writing::{OverwriteArguments, Remote, ResultArguments, WriteArguments, destination};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::notes::note;
use crate::cli::output::progress::Bars;
use crate::cli::output::to_stdout;
use crate::cli::signals::{Signals, interrupted};
use crate::failure::Failure;
use crate::oci::{Reference, Repository};
use crate::publish::version::{VersionError, check_tags};
use crate::publish::{self, Options, Place, Transferred};
use crate::unpack::Stop;
use source::{Local, Wanted};

/// Arguments of `supercargo push`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo push rules/ ghcr.io/team/rules:1.0.0,latest --sign-key cosign.key")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Artifact to push: a directory of files, an OCI image layout, or a reference in the cache.
    source: String,
    /// Repository to push to, with its tags: `host[:port]/repository[:tag[,tag]...]`.
    ///
    /// Without a tag, the artifact can be found by its digest alone. Default for an artifact of the cache: SOURCE.
    destination: Option<String>,
    /// Name of the artifact in a layout that has several.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Require that a tag is the version in this Chart.yaml or Catalog.yaml.
    #[arg(long, value_name = "FILE")]
    version_from: Option<PathBuf>,
    #[command(flatten)]
    signing: SigningArguments,
    #[command(flatten)]
    overwrite: OverwriteArguments,
    #[command(flatten)]
    result: ResultArguments,
    #[command(flatten)]
    directory: DirectoryArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
    #[command(flatten)]
    write: WriteArguments,
}

fn help() -> String {
    format!(
        "\
Uploads the blobs that the registry lacks, then the manifests, reads each manifest back, and sets
the tags last. The same command after an interruption uploads only the rest. Referrers and
signatures in the cache or layout are pushed too. Standard output is
host/repository:tag@sha256:... alone.

A directory without a file oci-layout is packaged as supercargo package does it, with the same
digest, and nothing of it stays on this machine. Files are left out by .ociignore; package has more
options. A directory with a Chart.yaml or a Catalog.yaml needs --package-format: with helm or
kubara, its tag must be its version, which is the default. A catalog in the cache or in a layout has
the tag of its version too.

A tag of the same digest is a success. A tag that is a complete version, such as 1.2.3, is replaced
only with --force, every other tag unless --if-absent is set.

With --sign-key the digest is signed as supercargo sign does it, after the manifests and before the
tags: no tag ever refers to a digest without this signature. A failure leaves the tags as they were.
A digest that the key has signed already is not signed again. Of an index, the index is signed.

{keys}

{ARTIFACTS_HELP}

{credentials}

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  supercargo push rules/ ghcr.io/team/rules:1.0.0 --artifact-type application/vnd.team.rules
  supercargo push ghcr.io/team/rules:1.0.0 registry.example.com/rules:1.0.0
  supercargo push layout/ ghcr.io/team/rules:1.0.0,latest --if-absent --digest-file rules.digest
  supercargo push localhost/cat:1.2.0 ghcr.io/team/cat:1.2.0 --version-from cat/Catalog.yaml
  supercargo push layout/ ghcr.io/team/rules:1.0.0 --sign-key cosign.key --format json",
        keys = signing::KEYS_HELP,
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    // Listens before anything exists that a signal would leave behind.
    let (mut signals, stop) = (Signals::listen(), Stop::new());
    let mut pushing = Box::pin(push(&arguments, &stop));
    let done = tokio::select! {
        done = &mut pushing => done,
        code = signals.wait() => {
            stop.cancel();
            tokio::select! {
                // The packaged files are removed then. An artifact that is pushed, and printed, is a success.
                done = pushing => if done.is_ok() {
                    return Exit::Done.into();
                },
                // A second signal skips the cleanup.
                _ = signals.wait() => {}
            }
            return interrupted(code);
        }
    };
    match done {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

async fn push(arguments: &Arguments, stop: &Stop) -> Result<(), Complaint> {
    let (target, mut tags) = arguments.target()?;
    if let Some(path) = &arguments.version_from {
        unless(stop, check_version(path, &tags)).await?;
    }
    let signing = unless(stop, arguments.signing.signing()).await?;
    let local = local(arguments, &target.repository, &tags, stop).await?;
    if tags.is_empty() {
        tags.extend(local.own_tag.clone());
    }
    if tags.is_empty() {
        // Informational: a digest alone can be what the user wants.
        note(format_args!("DESTINATION has no tag: {} is pushed by its digest alone", target.repository));
    }
    let to = unless(stop, arguments.write.target(target)).await?;
    let bars = Arc::new(Bars::new());
    let options = Options {
        tags: tags.clone(),
        overwrite: arguments.overwrite.rule(),
        referrers: true,
        signing,
        display: Some(Arc::clone(&bars) as Arc<dyn Progress>),
    };
    let transferred = unless(stop, Box::pin(pushed(&arguments.write, &local, &to, &options))).await;
    bars.clear();
    let transferred = transferred?;
    arguments.result.write_digest(&transferred.digest)?;
    to_stdout(&super::promote::shown(arguments.result.format(), &to, &tags, &transferred)?)
}

/// Finds or makes the artifact on a thread that may block.
async fn local(
    arguments: &Arguments,
    repository: &Repository,
    tags: &[String],
    stop: &Stop,
) -> Result<Local, Complaint> {
    let wanted = Wanted {
        source: arguments.source.clone(),
        name: arguments.name.clone(),
        directory: arguments.directory.clone(),
        cache: arguments.cache.clone(),
        repository: repository.clone(),
        tags: tags.to_vec(),
    };
    let stop = stop.clone();
    let working = tokio::task::spawn_blocking(move || source::local(&wanted, &stop));
    working.await.map_err(|error| Failure::internal(error).into()).and_then(|result| result)
}

async fn pushed(
    write: &WriteArguments,
    local: &Local,
    to: &Remote,
    options: &Options,
) -> Result<Transferred, Complaint> {
    let registry = Arc::new(write.reach.registry(&Arc::default())?);
    let place = Place { registry: &registry, access: &to.access, repository: &to.reference.repository };
    let pushing = publish::push_from_store(&local.stored, place, options);
    let pushed = match tokio::time::timeout(write.timeout, pushing).await {
        Ok(pushed) => pushed.map_err(Failure::from),
        Err(_) => Err(Failure::timeout(write.timeout, "pushing the artifact")),
    };
    pushed.map(|pushed| pushed.transferred).map_err(|failure| to.explain(failure.into()))
}

/// Gives work up once the command is interrupted. Nobody reads the error: the report is that of the signal.
async fn unless<T>(stop: &Stop, work: impl Future<Output = Result<T, Complaint>>) -> Result<T, Complaint> {
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(Complaint::new(Reason::Timeout, "interrupted")),
    }
}

impl Arguments {
    /// Returns the destination and its tags.
    fn target(&self) -> Result<(Reference, Vec<String>), Complaint> {
        match &self.destination {
            Some(text) => destination(text),
            None if Path::new(&self.source).exists() => {
                let complaint =
                    Complaint::new(Reason::InvalidSpec, "DESTINATION is required for a SOURCE in a directory");
                let remedy = format!("Name it: supercargo push {} HOST/REPOSITORY:TAG.", self.source);
                Err(complaint.with_remedy(remedy))
            }
            // As where it was packaged: without a tag, the tag is `latest`.
            None => destination(&self.source).map(|(repository, tags)| {
                let tags = if tags.is_empty() { vec!["latest".to_owned()] } else { tags };
                (repository, tags)
            }),
        }
    }
}

async fn check_version(path: &Path, tags: &[String]) -> Result<(), Complaint> {
    let bytes = files::read_on_thread("--version-from", path).await?;
    let checked = check_tags(&String::from_utf8_lossy(&bytes), tags);
    checked.map_err(|error| {
        let is_about_tags = matches!(error, VersionError::NoTag { .. });
        let reason = if is_about_tags { Reason::InvalidSpec } else { Reason::FileInvalid };
        Complaint::new(reason, format!("--version-from {}: {error}", path.display()))
    })
}
