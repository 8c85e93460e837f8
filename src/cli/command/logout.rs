//! `supercargo logout`: removal of the credentials of a registry.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::options::login::{places, registry_host};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
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
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match logout(arguments).await {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

async fn logout(Arguments { registry, docker_config }: Arguments) -> Result<(), Complaint> {
    let mut was_there = false;
    for place in places(docker_config) {
        was_there |= place.erase(&registry).await?;
    }
    let (host, done) = (registry.host(), if was_there { "logged out of" } else { "no credentials for" });
    // The summary is informational, so a closed standard error is no failure.
    let _ = writeln!(std::io::stderr(), "{done} {host}");
    Ok(())
}
