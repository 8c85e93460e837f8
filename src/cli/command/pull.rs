//! `supercargo pull`: one artifact into one directory.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::api::Reason;
use crate::cli::options::content::{self, ContentArguments};
use crate::cli::options::reading::{self, ReadArguments};
use crate::cli::options::signature::{self, SignatureArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::to_stdout;
use crate::cli::placing::{self, End, PlaceArguments};
use crate::failure::Failure;
use crate::output::Published;
use crate::registry::Pinned;

/// Arguments of `supercargo pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo pull ghcr.io/team/app:1 -o app --sub-path prod")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Write the digest to this file.
    ///
    /// Without a line end, once DIR is complete.
    #[arg(long, value_name = "FILE")]
    digest_file: Option<PathBuf>,
    #[command(flatten)]
    read: ReadArguments,
    #[command(flatten)]
    content: ContentArguments,
    #[command(flatten)]
    signature: SignatureArguments,
    #[command(flatten)]
    place: PlaceArguments,
}

fn help() -> String {
    format!(
        "\
Fetches the artifact, checks every byte, unpacks it beside DIR and moves the result to DIR by one
rename: readers see the previous content, or the whole artifact. On failure, DIR is unchanged and
nothing is left beside it. Standard output is host/repository:tag@sha256:... alone, for records.

{patterns}

{signatures}
With --key or --issuer, no content is fetched before a signature is verified.

{credentials}

{codes}
  130, 143  ended by Ctrl-C, by SIGTERM

Examples:
  supercargo pull ghcr.io/home-operations/k8s-schemas -o schemas --digest-file schemas.digest
  supercargo pull ghcr.io/team/config:1.4.2@sha256:... -o /etc/app --force --sub-path prod
  supercargo pull registry.example.com/app --semver '^1' -o app --ca-file corp-ca.pem
  supercargo pull ghcr.io/team/rules:1 -o rules --include '**/*.yaml' --exclude '**/test/**'
  supercargo pull ghcr.io/team/chart:1.2.0 -o charts --layer-mode file",
        patterns = content::PATTERNS_HELP,
        signatures = signature::SIGNATURES_HELP,
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::HELP
    )
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match Box::pin(pull(&arguments)).await {
        Ok(code) => code,
        Err(complaint) => complaint.report(),
    }
}

async fn pull(arguments: &Arguments) -> Result<ExitCode, Complaint> {
    let (request, origins) = arguments.read.request(&arguments.content, &arguments.signature).await?;
    let registry = arguments.read.reach.registry(&Arc::default()).map_err(Failure::internal)?;
    let repository = request.reference.repository.clone();
    match arguments.place.place(registry, request).await {
        Ok((pinned, published)) => report(arguments, &pinned, &published).map(|()| Exit::Done.into()),
        Err(End::Failure(failure)) => Err(origins.explain(failure.into(), &repository)),
        Err(End::Interrupted(code)) => Ok(placing::interrupted(code)),
    }
}

/// Writes the digest to a file, the reference to standard output for scripts, and a summary to standard error.
fn report(arguments: &Arguments, pinned: &Pinned, published: &Published) -> Result<(), Complaint> {
    if let Some(path) = &arguments.digest_file {
        fs_err::write(path, pinned.digest().to_string()).map_err(|error| {
            let place = &published.location;
            Complaint::new(Reason::StorageFailed, format!("--digest-file: {error}; {place} holds {pinned}"))
        })?;
    }
    placing::print_summary(published);
    to_stdout(&format!("{pinned}\n"))
}
