//! Options of `supercargo sync`.

use std::path::PathBuf;

use crate::cli::checkout::ForeignArguments;
use crate::cli::locking::LockArguments;
use crate::cli::options::artifacts::FileArguments;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments, CacheArguments};
use crate::cli::options::format::FormatArguments;
use crate::cli::options::limits::LimitArguments;
use crate::cli::options::reach::PersonalReach;
use crate::cli::output::exit;

/// Arguments of `supercargo sync`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  supercargo sync -f artifacts/ --root /srv/artifacts
  supercargo sync -f supercargo.yaml --locked")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(super) files: FileArguments,
    /// Directory that the files are published to.
    ///
    /// Required if an object names no directory of its own.
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// Artifact to process: NAMESPACE/NAME, NAME or its directory; may be given several times. Default: all.
    #[arg(long, value_name = "ARTIFACT")]
    pub(super) only: Vec<String>,
    /// Write nothing; resolve and verify, and print what would change.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Remove what earlier runs published to --root or into directories, and that the files no longer name.
    #[arg(long, conflicts_with = "only")]
    pub(super) prune: bool,
    #[command(flatten)]
    pub(super) format: FormatArguments,
    #[command(flatten)]
    pub(super) reach: PersonalReach,
    #[command(flatten)]
    pub(super) limits: LimitArguments,
    #[command(flatten)]
    pub(super) cache: CacheArguments,
    #[command(flatten)]
    pub(super) artifacts: ArtifactCacheArguments,
    #[command(flatten)]
    pub(super) foreign: ForeignArguments,
    #[command(flatten)]
    pub(super) lock: LockArguments,
}

fn help() -> String {
    format!(
        "\
Files are published to ROOT/<namespace>/<name>/current, or for a volume V other than \"default\" below
ROOT/_volumes/V. ConfigMap outputs become manifests at ROOT/_configmaps/<namespace>/<name>/, for
kubectl apply. Secrets that objects name are read from the same files. An object that names neither
pull secrets nor a ServiceAccount is fetched with the credentials of the docker configuration, as by
pull: $REGISTRY_AUTH_FILE, or $DOCKER_CONFIG/config.json or ~/.docker/config.json.

An ArtifactSet is a list of directories beside its file, each with an image and the other fields
of a spec about reading it. The annotation supercargo.dev/directory of an OCIArtifact means the
same. Such a directory must not contain a file of -f; files in it are content, and never read as
objects. It is replaced as a whole if it has exactly the files of supercargo.record, which lists
what sync has written, and refused otherwise: see --keep-foreign and --force.

With --locked, the lock file of supercargo lock decides about digests. sync fails before it writes
anything if the lock does not cover an artifact. With the cache, no registry is needed.

OCIArtifactPolicy objects in the files apply as in a cluster. If the files do not contain the
Namespace of an object, its labels are unknown: policies with a namespaceSelector apply, except
those with action: Allow.

Standard output has a line for each artifact, also if some fail; standard error has warnings, and
one error for all failures. --dry-run fetches no layer, so an unsafe archive is found only without
it. --prune removes only directories and manifests that sync has made. If several runs share a
root, run them without --prune, or with all files at once.

{ARTIFACTS_HELP}

{codes}
  1  also: failures of several of these kinds
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM; what is not published yet is given up

Examples:
  supercargo sync -f artifacts/ --root /srv/artifacts
  kustomize build overlays/ci | supercargo sync -f - --root out --format json
  supercargo sync -f artifacts/ -R --root out --prune --dry-run
  supercargo sync -f artifacts/ --root out --only team/rules
  supercargo sync -f supercargo.yaml --locked",
        codes = exit::help(&[exit::REMOTE])
    )
}
