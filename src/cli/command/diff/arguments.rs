//! Options of `supercargo diff`.

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
#[command(after_help = "Example: supercargo diff ghcr.io/team/app:1.4.1 ghcr.io/team/app:1.4.2 --content")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Artifact, `host[:port]/repository[:tag][@sha256:<64 hex>]`, or an existing directory.
    ///
    /// An artifact may begin with `oci://`, a directory with `./`.
    pub(super) old: String,
    /// Artifact or directory to compare with OLD.
    pub(super) new: String,
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

fn help() -> String {
    format!(
        "\
Unpacks each artifact into a private temporary directory, by the rules and within the limits of
`pull`, and compares paths, kinds, executable bits and contents. No signature is verified. A
directory is compared as it is; options for content apply to artifacts. Empty directories count,
and of the mode of a file the executable bit alone.

Standard output names both sides, has a row for each entry that differs, and ends with the numbers
of entries. The exit code is 1 if anything differs.

{patterns}

{ARTIFACTS_HELP}

{credentials} --username is for the
one registry that both references name.

{codes}
  130, 143  ended by Ctrl-C, by SIGTERM

Examples:
  supercargo diff ghcr.io/team/app:1.4.1 ghcr.io/team/app:1.4.2
  supercargo diff vendor/rules ghcr.io/acme/rules:1 --content
  supercargo diff ghcr.io/team/app@sha256:... ghcr.io/team/app:latest --format json
  supercargo diff ghcr.io/team/app:1 ghcr.io/team/app:2 --cached --sub-path config",
        patterns = content::PATTERNS_HELP,
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}
