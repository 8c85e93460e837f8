//! `supercargo push`: an artifact of the cache, or of a layout, to a registry.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::api::Reason;
use crate::blob::Progress;
use crate::cli::files;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments, find};
use crate::cli::options::login::unreadable;
use crate::cli::options::reading;
use crate::cli::options::signing::{self, SigningArguments};
use crate::cli::options::writing::{self, OverwriteArguments, ResultArguments, WriteArguments, destination};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::progress::Bars;
use crate::cli::output::to_stdout;
use crate::failure::Failure;
use crate::layout::{self, Layout};
use crate::metrics::Metrics;
use crate::publish::version::check_tags;
use crate::publish::{self, InStore, Options, Place};

/// Arguments of `supercargo push`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo push localhost/rules:1.0.0 ghcr.io/team/rules:1.0.0,latest")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Artifact to push: a reference in the cache, or the directory of an OCI image layout.
    source: String,
    /// Repository to push to, with its tags: `host[:port]/repository[:tag[,tag]...]`. Default: SOURCE.
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

A tag of the same digest is a success. A tag that is a complete version, such as 1.2.3, is replaced
only with --force, every other tag unless --if-absent is set.

With --sign-key the digest is signed as supercargo sign does it, after the manifests and before the
tags: no tag ever refers to a digest without this signature. A failure leaves the tags as they were.
A digest that the key has signed already is not signed again. Of an index, the index is signed.

{keys}

{ARTIFACTS_HELP}

{credentials}

{codes}

Examples:
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
    match Box::pin(push(&arguments)).await {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

async fn push(arguments: &Arguments) -> Result<(), Complaint> {
    let (target, tags) = destination(arguments.destination.as_ref().unwrap_or(&arguments.source))?;
    if let Some(path) = &arguments.version_from {
        check_version(path, &tags)?;
    }
    let signing = arguments.signing.signing().await?;
    let local = arguments.local()?;
    let write = &arguments.write;
    let to = write.target(target).await?;
    let registry = Arc::new(write.reach.registry(&Arc::new(Metrics::default())).map_err(Failure::internal)?);
    let bars = Arc::new(Bars::new());
    let options = Options {
        tags: tags.clone(),
        overwrite: arguments.overwrite.rule(),
        referrers: true,
        signing,
        display: Some(Arc::clone(&bars) as Arc<dyn Progress>),
    };
    let place = Place { registry: &registry, access: &to.access, repository: &to.reference.repository };
    let pushing = publish::push_from_store(&local, place, &options);
    let pushed = tokio::time::timeout(write.timeout, pushing).await;
    bars.clear();
    let pushed = match pushed {
        Ok(pushed) => pushed.map_err(Failure::from),
        Err(_) => Err(Failure::timeout(write.timeout, "pushing the artifact")),
    };
    let transferred = pushed.map_err(|failure| to.explain(failure.into()))?.transferred;
    arguments.result.write_digest(&transferred.digest)?;
    to_stdout(&super::promote::shown(arguments.result.format, &to, &tags, &transferred)?)
}

fn check_version(path: &Path, tags: &[String]) -> Result<(), Complaint> {
    let bytes = files::read(path).map_err(|error| unreadable("--version-from", &error))?;
    let checked = check_tags(&String::from_utf8_lossy(&bytes), tags);
    let failed = |error| Complaint::new(Reason::InvalidSpec, format!("--version-from {}: {error}", path.display()));
    checked.map_err(failed)
}

impl Arguments {
    /// Finds the artifact in a layout, if SOURCE is a directory, or else in the cache.
    fn local(&self) -> Result<InStore, Complaint> {
        let path = Path::new(&self.source);
        if path.is_dir() {
            return self.in_layout(path);
        }
        let reference = writing::reference("SOURCE", &self.source)?;
        let cache = self.cache.open()?;
        let digest = find(&cache, &reference)?.manifest.digest;
        Ok(InStore { layout: Arc::new(cache.layout().clone()), repository: reference.repository, digest })
    }

    fn in_layout(&self, path: &Path) -> Result<InStore, Complaint> {
        let layout = Layout::open(path).map_err(Failure::from)?;
        let named = layout.entries().map_err(Failure::from)?;
        let mut named: Vec<_> = named.into_iter().filter(|entry| entry.name.is_some()).collect();
        if let Some(name) = &self.name {
            named.retain(|entry| entry.name.as_ref() == Some(name));
        }
        let digests: std::collections::BTreeSet<_> = named.iter().map(|entry| &entry.descriptor.digest).collect();
        let Some((digest, 1)) = digests.first().map(|digest| ((*digest).clone(), digests.len())) else {
            let names: Vec<_> = named.iter().filter_map(|entry| entry.name.as_deref()).take(10).collect();
            let (layout, names) = (path.display(), names.join(", "));
            let (problem, remedy) = match digests.len() {
                0 => (format!("the layout {layout} has no named artifact"), "Package or import one first."),
                many => (format!("the layout {layout} has {many} artifacts: {names}"), "Select one with --name."),
            };
            return Err(Complaint::new(Reason::InvalidSpec, problem).with_remedy(remedy.to_owned()));
        };
        let repository = writing::reference("SOURCE", layout::REPOSITORY)?.repository;
        Ok(InStore { layout: Arc::new(layout), repository, digest })
    }
}
