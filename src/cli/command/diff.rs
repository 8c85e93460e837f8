//! `supercargo diff`: the files that differ between two artifacts or directories.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments};
use crate::cli::options::content::{self, ContentArguments};
use crate::cli::options::format::FormatArguments;
use crate::cli::options::limits::LimitArguments;
use crate::cli::options::login::LoginArguments;
use crate::cli::options::reach::PersonalReach;
use crate::cli::options::reading::{self, TransportArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::to_stdout;
use crate::cli::placing::End;
use crate::cli::signals::{Signals, interrupted};
use crate::failure::Failure;

mod changes;
mod content_of;
mod report;
mod scratch;
mod side;

use report::Report;
use scratch::Scratch;
use side::{Side, Tree};

/// Arguments of `supercargo diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo diff ghcr.io/team/app:1.4.1 ghcr.io/team/app:1.4.2 --content")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Artifact, `host[:port]/repository[:tag][@sha256:<64 hex>]`, or an existing directory.
    ///
    /// An artifact may begin with `oci://`, a directory with `./`.
    old: String,
    /// Artifact or directory to compare with OLD.
    new: String,
    /// Print the lines that differ in text files.
    ///
    /// Files above 1 MiB and files that are not text are named alone.
    #[arg(long)]
    content: bool,
    #[command(flatten)]
    format: FormatArguments,
    /// Read artifacts from the cache; no request is sent.
    #[arg(long)]
    cached: bool,
    /// Platform of the manifest to select from an index, such as linux/arm64.
    #[arg(hide_short_help = true, long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Time limit for each artifact, as a duration such as 90s or 5m.
    #[arg(hide_short_help = true, long, value_name = "DURATION", default_value = "5m")]
    timeout: String,
    #[command(flatten)]
    selection: ContentArguments,
    #[command(flatten)]
    login: LoginArguments,
    #[command(flatten)]
    transport: TransportArguments,
    #[command(flatten)]
    reach: PersonalReach,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
    #[command(flatten)]
    limits: LimitArguments,
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

/// Reason that there is no result.
enum Stop {
    Complaint(Complaint),
    Interrupted(u8),
}

impl<E: Into<Complaint>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Complaint(error.into())
    }
}

impl Stop {
    /// Returns the reason why an artifact could not be fetched.
    fn of(end: End, explain: impl FnOnce(Complaint) -> Complaint) -> Self {
        match end {
            End::Failure(failure) => Self::Complaint(explain(failure.into())),
            End::Interrupted(code) => Self::Interrupted(code),
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match Box::pin(diff(&arguments)).await {
        Ok(exit) => exit.into(),
        Err(Stop::Complaint(complaint)) => complaint.report(),
        Err(Stop::Interrupted(code)) => interrupted(code),
    }
}

async fn diff(arguments: &Arguments) -> Result<Exit, Stop> {
    let sides = [Side::parse("OLD", &arguments.old)?, Side::parse("NEW", &arguments.new)?];
    let sources = side::sources(arguments, sides).await?;
    // From here on there is a directory that a signal would leave behind.
    let mut signals = Signals::listen();
    let scratch = Scratch::create()?;
    let [old, new] = sources;
    let old = old.fetch(arguments, scratch.path("old")).await?;
    let new = new.fetch(arguments, scratch.path("new")).await?;
    let (format, with_content, limits) = (arguments.format.format, arguments.content, arguments.limits.limits());
    let compared = tokio::task::spawn_blocking(move || {
        let trees = [Tree::read(old, &limits)?, Tree::read(new, &limits)?];
        let report = Report::of(&trees, with_content)?;
        let text = report.shown(format)?;
        Ok::<_, Complaint>((report.is_equal(), text))
    });
    let compared = tokio::select! {
        compared = compared => compared.map_err(Failure::internal)?,
        code = signals.wait() => return Err(Stop::Interrupted(code)),
    };
    drop(scratch);
    let (is_equal, text) = compared?;
    to_stdout(&text)?;
    Ok(if is_equal { Exit::Done } else { Exit::Fault })
}

/// Directory of a side, with its name for the report.
struct Fetched {
    directory: PathBuf,
    shown: side::Shown,
}
