//! `supercargo logout`: removal of the credentials of a registry.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::options::format::FormatArguments;
use crate::cli::options::login::{places, registry_host};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::notes::note;
use crate::cli::output::to_stdout;
use crate::oci::Repository;

/// Arguments of `supercargo logout`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo logout ghcr.io")]
#[command(after_long_help = "\
Credentials are removed from every file that the other commands read: $REGISTRY_AUTH_FILE if it is
set, and $DOCKER_CONFIG/config.json or ~/.docker/config.json; or only from the one that
--docker-config names. Credential helpers that these files name for the host erase theirs. Without
credentials of the host, nothing is done, and the command succeeds.

Example:
  supercargo logout ghcr.io")]
pub(crate) struct Arguments {
    /// Registry, as `host[:port]`; docker.io for Docker Hub.
    #[arg(value_name = "HOST", value_parser = registry_host)]
    registry: Repository,
    /// Docker configuration to change, instead of the default files.
    #[arg(hide_short_help = true, long, alias = "registry-config", value_name = "FILE")]
    docker_config: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArguments,
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Host of the registry.
    registry: &'a str,
    /// True if there were credentials.
    removed: bool,
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match logout(arguments).await {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

async fn logout(Arguments { registry, docker_config, format }: Arguments) -> Result<(), Complaint> {
    let mut was_there = false;
    for place in places(docker_config) {
        was_there |= place.erase(&registry).await?;
    }
    let (host, done) = (registry.host(), if was_there { "logged out of" } else { "no credentials for" });
    note(format_args!("{done} {host}"));
    let report = Report { registry: host, removed: was_there };
    to_stdout(&format.format.show(String::new, &report)?)
}
