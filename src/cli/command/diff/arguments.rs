//! Options of `supercargo diff`.

use std::path::PathBuf;

use crate::cli::locking;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments};
use crate::cli::options::content::{self, ContentArguments};
use crate::cli::options::format::FormatArguments;
use crate::cli::options::limits::LimitArguments;
use crate::cli::options::login::LoginArguments;
use crate::cli::options::reach::PersonalReach;
use crate::cli::options::reading::{self, TransportArguments};
use crate::cli::output::exit;

/// Arguments of `supercargo diff`.
#[derive(Debug, clap::Args)]
#[command(override_usage = USAGE)]
#[command(after_help = "Example: supercargo diff ghcr.io/team/app:1.4.1 ghcr.io/team/app:1.4.2 --content")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Artifact, `host[:port]/repository[:tag][@sha256:<64 hex>]`, or an existing directory.
    ///
    /// An artifact may begin with `oci://`, a directory with `./`.
    #[arg(required_unless_present = "input")]
    pub(super) old: Option<String>,
    /// Artifact or directory to compare with OLD.
    #[arg(required_unless_present = "input")]
    pub(super) new: Option<String>,
    /// Print the lines that differ in text files.
    ///
    /// Files above 1 MiB and files that are not text are named alone.
    #[arg(long)]
    pub(super) content: bool,
    #[command(flatten)]
    pub(super) format: FormatArguments,
    /// Read artifacts from the cache; no request is sent.
    #[arg(long)]
    pub(super) cached: bool,
    /// Platform of the manifest to select from an index, such as linux/arm64.
    #[arg(hide_short_help = true, long, value_name = "PLATFORM")]
    pub(super) platform: Option<String>,
    /// Time limit for each artifact, as a duration such as 90s or 5m.
    #[arg(hide_short_help = true, long, value_name = "DURATION", default_value = "5m")]
    pub(super) timeout: String,
    #[command(flatten)]
    pub(super) files: FileArguments,
    #[command(flatten)]
    pub(super) selection: ContentArguments,
    #[command(flatten)]
    pub(super) login: LoginArguments,
    #[command(flatten)]
    pub(super) transport: TransportArguments,
    #[command(flatten)]
    pub(super) reach: PersonalReach,
    #[command(flatten)]
    pub(super) cache: ArtifactCacheArguments,
    #[command(flatten)]
    pub(super) limits: LimitArguments,
}

/// Both forms of the command.
const USAGE: &str = "supercargo diff [OPTIONS] <OLD> <NEW>
       supercargo diff [OPTIONS] -f <PATH>";

/// Options for a comparison of a lock with its files. All others about reading are fields of the objects.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Lock")]
pub(crate) struct FileArguments {
    /// Files and directories whose artifacts are compared with their lock; - for standard input.
    ///
    /// OLD is the digest in the lock, NEW the digest that the tag has now, for each artifact.
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1.., conflicts_with_all = FIELDS)]
    pub(super) input: Vec<PathBuf>,
    /// Read the subdirectories of a directory too.
    #[arg(hide_short_help = true, short = 'R', long, conflicts_with = "old")]
    pub(super) recursive: bool,
    /// Lock file; by default supercargo.lock.yaml beside the first file.
    #[arg(long, value_name = "FILE", conflicts_with = "old")]
    lock: Option<PathBuf>,
    /// Compare only this artifact: a directory, NAMESPACE/NAME or NAME; may be given several times.
    #[arg(long, value_name = "ARTIFACT", conflicts_with = "old")]
    pub(super) only: Vec<String>,
    /// Namespace of objects in the files that have none.
    #[arg(hide_short_help = true, short = 'n', long, default_value = "default", conflicts_with = "old")]
    pub(super) namespace: String,
}

/// Options that are for OLD and NEW: with files, each object has the fields that they stand for.
const FIELDS: [&str; 19] = [
    "old",
    "new",
    "platform",
    "timeout",
    "artifact_type",
    "layer_media_type",
    "layer_title",
    "on_conflict",
    "layer_mode",
    "sub_path",
    "include",
    "exclude",
    "symlinks",
    "username",
    "plain_http",
    "insecure_skip_verify",
    "ca_file",
    "client_certificate",
    "client_key",
];

impl FileArguments {
    /// Returns the path of the lock.
    pub(super) fn lock(&self) -> PathBuf {
        locking::path(self.lock.as_deref(), &self.input)
    }
}

fn help() -> String {
    format!(
        "\
Unpacks each artifact into a private temporary directory, by the rules and within the limits of
`pull`, and compares paths, kinds, executable bits and contents. No signature is verified. A
directory is compared as it is; options for content apply to artifacts. Empty directories count,
and of the mode of a file the executable bit alone.

Standard output names both sides, has a row for each entry that differs, and ends with the numbers
of entries. The exit code is 1 if anything differs.

With -f, the artifacts of OCIArtifact objects and of sets of them are compared with their lock, to
review an update before `lock` writes it: OLD is the digest in the lock, NEW the digest that the tag
has now. Both are unpacked as the object in the file says. Standard output has the differences of
each artifact whose tag has moved, and the number of the others. An artifact that the lock does not
have is an error. A digest is read from the cache if it is there, and else from the registry.

{patterns}

{ARTIFACTS_HELP}

{credentials} --username is for the
one registry that both references name. With -f, an object can name pull secrets instead.

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  supercargo diff ghcr.io/team/app:1.4.1 ghcr.io/team/app:1.4.2
  supercargo diff vendor/rules ghcr.io/acme/rules:1 --content
  supercargo diff ghcr.io/team/app@sha256:... ghcr.io/team/app:latest --format json
  supercargo diff ghcr.io/team/app:1 ghcr.io/team/app:2 --cached --sub-path config
  supercargo diff -f supercargo.yaml --content
  supercargo diff -f supercargo.yaml --lock supercargo.lock.yaml --only vendor/rules",
        patterns = content::PATTERNS_HELP,
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help_with("anything differs", &[exit::REMOTE])
    )
}
