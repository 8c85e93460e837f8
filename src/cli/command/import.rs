//! `supercargo import`: an archive into the cache, or a file of another tool into a file of ours.

use std::process::ExitCode;

use crate::cli::options::cache::ARTIFACTS_HELP;
use crate::cli::output::exit::{self, Exit};
use crate::translate::Tool;

mod archive;
mod translation;

/// Arguments of `supercargo import`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Example: supercargo import app.tar")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    #[command(subcommand)]
    translation: Option<Translation>,
    #[command(flatten)]
    archive: archive::ArchiveArguments,
}

/// Tools whose files are translated.
#[derive(Debug, clap::Subcommand)]
enum Translation {
    /// Translate the OCI sources of a vendir.yml to a set of artifacts.
    #[command(after_help = "Example: supercargo import vendir vendir.yml -o supercargo.yaml")]
    #[command(after_long_help = translation::vendir_help())]
    Vendir(translation::Arguments),
    /// Translate the OCI dependencies of a Kapitan inventory to a set of artifacts.
    #[command(after_help = "Example: supercargo import kapitan inventory/targets/app.yml -o supercargo.yaml")]
    #[command(after_long_help = translation::kapitan_help())]
    Kapitan(translation::Arguments),
    /// Translate the OCI repositories of Flux to OCIArtifact objects.
    #[command(after_help = "Example: supercargo import flux ocirepository.yaml -o ociartifact.yaml")]
    #[command(after_long_help = translation::flux_help())]
    Flux(translation::Arguments),
}

fn help() -> String {
    format!(
        "\
Adds the artifacts of a layout to the cache, with their signatures and other referrers: from
`export`, or written by oras, crane or skopeo. Each digest is checked, and a reference is added only
if all of its content is there. No signature is verified. Standard output has a line
host/repository:tag@sha256:... for each artifact.

The commands vendir, kapitan and flux translate a file of these tools instead. An archive with such
a name is ./vendir.

{ARTIFACTS_HELP}

{codes}

Examples:
  supercargo import app.tar
  supercargo import app.tar --trusted-root trusted_root.json
  supercargo import ./layout --repository ghcr.io/team/app
  supercargo import vendir vendir.yml -o supercargo.yaml",
        codes = exit::help(&[exit::LOCAL, &[Exit::NotFound, Exit::Content]])
    )
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match arguments.translation {
        None => archive::run(arguments.archive).await,
        Some(Translation::Vendir(arguments)) => translation::run(Tool::Vendir, arguments).await,
        Some(Translation::Kapitan(arguments)) => translation::run(Tool::Kapitan, arguments).await,
        Some(Translation::Flux(arguments)) => translation::run(Tool::Flux, arguments).await,
    }
}
