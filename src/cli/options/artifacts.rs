//! Options of the commands that process the artifacts of files: `sync` and `lock`.

use std::path::PathBuf;
use std::time::Duration;

use super::policy::PolicyNamespace;
use super::values::at_least_a_second;
use crate::api::Reason;
use crate::cli::output::complaint::remedy;
use crate::failure::Failure;

/// The files, and what applies to each of their artifacts.
#[derive(Debug, clap::Args)]
pub(crate) struct FileArguments {
    /// File or directory with OCIArtifact or ArtifactSet objects, or - for standard input; may be given several times.
    ///
    /// In a directory, files that end with .yaml, .yml or .json are read.
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true, num_args = 1..)]
    pub(crate) input: Vec<PathBuf>,
    /// Read the subdirectories of a directory too.
    ///
    /// Without it, a file in a subdirectory that would be read is an error.
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Namespace of objects in the files that have none.
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    policies: PolicyNamespace,
    /// Docker configuration with credentials, instead of the default files.
    #[arg(hide_short_help = true, long, alias = "registry-config", value_name = "FILE")]
    pub(crate) docker_config: Option<PathBuf>,
    /// Time limit for each artifact, as a duration such as 90s or 5m; replaces the timeout in the files.
    ///
    /// Without it, spec.timeout of the object or timeout of the ArtifactSet entry applies, by default 5m.
    #[arg(hide_short_help = true, long, value_name = "DURATION", value_parser = at_least_a_second)]
    pub(crate) timeout: Option<Duration>,
}

impl FileArguments {
    /// Returns the namespace of the objects that policies name.
    pub(crate) fn policy_namespace(&self) -> &str {
        self.policies.name()
    }

    /// Names the option in a failure by a time limit that the option set, in place of the field.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        if failure.reason != Reason::Timeout || self.timeout.is_none() {
            return failure;
        }
        let message = failure.message_for_command().to_owned();
        Failure { message, for_command: None, ..failure }.with_command_remedy(Some(remedy(Reason::Timeout)))
    }
}
