//! `supercargo pull`: one artifact into one directory, or into the cache.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::api::Reason;
use crate::blob::Progress;
use crate::cli::caching::{self, Filled};
use crate::cli::files;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments, added_name, print_added};
use crate::cli::options::content::{self, ContentArguments};
use crate::cli::options::format::FormatArguments;
use crate::cli::options::reading::{self, ReadArguments};
use crate::cli::options::signature::{self, SignatureArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::notes::note;
use crate::cli::output::progress::Bars;
use crate::cli::output::to_stdout;
use crate::cli::placing::{self, End, PlaceArguments, Placed};
use crate::failure::Failure;
use crate::layout::Cache;
use crate::oci::Digest;
use crate::registry::Pinned;
use crate::request::Request;

/// Arguments of `supercargo pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo pull ghcr.io/team/app:1 -o app --sub-path prod")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Write the digest to this file.
    ///
    /// Written once DIR is complete, without a trailing newline.
    #[arg(long, value_name = "FILE", value_parser = files::target())]
    digest_file: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    read: ReadArguments,
    #[command(flatten)]
    content: ContentArguments,
    #[command(flatten)]
    signature: SignatureArguments,
    /// Target directory, which must be absent or empty; by default, the cache.
    ///
    /// Its parent directory must exist.
    #[arg(short = 'o', long, value_name = "DIR", help_heading = "Directory")]
    output: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
}

fn help() -> String {
    format!(
        "\
Fetches the artifact, checks every byte, unpacks it beside DIR and moves the result to DIR by one
rename: readers see the previous content, or the whole artifact. On failure, DIR is unchanged and
nothing is left beside it. Standard output is host/repository:tag@sha256:... alone, for records.

Without -o, the whole artifact and its signatures are put into the cache, from which `unpackage`,
`push`, `promote` and `export` read. A request is always sent to the registry, and standard error
reports whether the reference is new there, updated or unchanged. A catalog of kubara must have the
version of its tag.

{patterns}

{ARTIFACTS_HELP}

{signatures}
With --key or --issuer, no content is fetched before a signature is verified.

{credentials}

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  supercargo pull ghcr.io/home-operations/k8s-schemas -o schemas --digest-file schemas.digest
  supercargo pull ghcr.io/team/config:1.4.2@sha256:... -o /etc/app --force --sub-path prod
  supercargo pull registry.example.com/app --semver '^1' -o app --ca-file corp-ca.pem
  supercargo pull ghcr.io/team/rules:1 -o rules --include '**/*.yaml' --exclude '**/test/**'
  supercargo pull ghcr.io/team/chart:1.2.0 -o charts --layer-mode file",
        patterns = content::PATTERNS_HELP,
        signatures = signature::SIGNATURES_HELP,
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}

/// Output of `--format json` for an artifact in the cache. The names are stable.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownCached<'a> {
    /// Repository, tag and digest in one string.
    reference: String,
    digest: &'a Digest,
    /// Directory of the cache.
    cache: String,
    /// Change of the reference in the cache: new, updated or unchanged.
    added: &'static str,
    /// Number of signatures and other referrers.
    referrers: usize,
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match Box::pin(pull(&arguments)).await {
        Ok(code) => code,
        Err(complaint) => complaint.report(),
    }
}

async fn pull(arguments: &Arguments) -> Result<ExitCode, Complaint> {
    let (request, origins) = arguments.read.request(&arguments.content, &arguments.signature).await?;
    let registry = arguments.read.reach.registry(&Arc::default())?;
    let repository = request.reference.repository.clone();
    let Some(directory) = &arguments.output else {
        arguments.refuse_selection(&request)?;
        let dir = arguments.cache.dir()?;
        let cache = Cache::create(&dir).map_err(Failure::from)?;
        let bars = Arc::new(Bars::labelled(request.reference.to_string()));
        let (limits, progress) = (arguments.place.limits(), Arc::clone(&bars) as Arc<dyn Progress>);
        let filled = caching::fill(&Arc::new(registry), &request, &cache, &limits, progress).await;
        bars.clear();
        let filled = filled.map_err(|failure| origins.explain(failure.into(), &repository))?;
        return report_cached(arguments, &filled, &dir).map(|()| Exit::Done.into());
    };
    match Box::pin(arguments.place.place(directory, registry, request)).await {
        Ok(placed) => report(arguments, &placed).map(|()| Exit::Done.into()),
        Err(End::Failure(failure)) => Err(origins.explain(failure.into(), &repository)),
        Err(End::Interrupted(code)) => Ok(placing::interrupted(code)),
    }
}

impl Arguments {
    /// Fails for options that select a part of the artifact: the cache has whole artifacts.
    fn refuse_selection(&self, request: &Request) -> Result<(), Complaint> {
        let platform = request.platform.as_ref().map(|_| "--platform");
        let Some(option) = platform.or_else(|| self.content.selection()) else { return Ok(()) };
        let complaint = Complaint::new(Reason::InvalidSpec, format!("{option} requires --output"));
        Err(complaint.with_remedy("The cache has whole artifacts; unpackage selects from them.".to_owned()))
    }

    /// Writes the digest to the file that the option names; `place` holds the artifact already.
    fn write_digest(&self, pinned: &Pinned, place: &dyn std::fmt::Display) -> Result<(), Complaint> {
        let Some(path) = &self.digest_file else { return Ok(()) };
        files::write_digest(path, pinned.digest(), &format!("{place} holds {pinned}"))
    }
}

fn shown_referrers(number: usize) -> String {
    if number == 1 {
        "1 signature or other referrer".to_owned()
    } else {
        format!("{number} signatures and other referrers")
    }
}

/// Reports an artifact in the cache as [`report`] does one in a directory.
fn report_cached(arguments: &Arguments, filled: &Filled, dir: &Path) -> Result<(), Complaint> {
    let Filled { pinned, added, referrers } = filled;
    arguments.write_digest(pinned, &dir.display())?;
    print_added(*added, dir);
    if *referrers > 0 {
        note(format_args!("with {}", shown_referrers(*referrers)));
    }
    let shown = ShownCached {
        reference: pinned.to_string(),
        digest: pinned.digest(),
        cache: dir.display().to_string(),
        added: added_name(*added),
        referrers: *referrers,
    };
    to_stdout(&arguments.format.format.show(|| format!("{pinned}\n"), &shown)?)
}

/// Writes the digest to a file, the reference to standard output for scripts, and a summary to standard error.
fn report(arguments: &Arguments, placed: &Placed) -> Result<(), Complaint> {
    arguments.write_digest(&placed.pinned, &placed.published.location)?;
    placing::print_summary(placed);
    let text = || format!("{}\n", placed.pinned);
    to_stdout(&arguments.format.format.show(text, &placed.shown_with_artifact())?)
}
