//! Options for packaging of a command that has many others.

use super::{Compat, Format, created_at};
use crate::cli::options::values;
use crate::cli::output::complaint::Complaint;
use crate::pack::Options;

/// Options of `push` for a directory; `package` has more.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Directory of files")]
pub(crate) struct DirectoryArguments {
    /// Format of the artifact; default: oras.
    #[arg(hide_possible_values = true, long, value_name = "FORMAT", ignore_case = true)]
    package_format: Option<Format>,
    /// Type of the artifact, such as application/vnd.example.config.
    #[arg(long, value_name = "TYPE", value_parser = values::media_type)]
    artifact_type: Option<String>,
    /// Mode for registries that refuse unknown types.
    ///
    /// `image` writes an image config with the body {} and no artifact type, which GitLab's registry accepts.
    #[arg(hide_short_help = true, long, value_name = "MODE")]
    compat: Option<Compat>,
    /// Annotation of the manifest; may be given several times.
    #[arg(hide_short_help = true, long, value_name = "KEY=VALUE", value_parser = values::annotation)]
    annotation: Vec<(String, String)>,
}

impl DirectoryArguments {
    /// Returns the options of the library: those of `package` without further options.
    pub(crate) fn options(&self) -> Result<Options, Complaint> {
        let format = self.package_format.unwrap_or(Format::Oras);
        Ok(Options {
            format: format.into(),
            image_compat: self.compat.is_some(),
            artifact_type: self.artifact_type.clone(),
            annotations: self.annotation.iter().cloned().collect(),
            created: created_at(None, format)?,
            ..Options::default()
        })
    }

    /// Returns true if the format was chosen.
    pub(crate) fn has_format(&self) -> bool {
        self.package_format.is_some()
    }

    /// Returns an option that is set.
    pub(crate) fn set_option(&self) -> Option<&'static str> {
        let options = [
            ("--package-format", self.package_format.is_some()),
            ("--artifact-type", self.artifact_type.is_some()),
            ("--compat", self.compat.is_some()),
            ("--annotation", !self.annotation.is_empty()),
        ];
        options.into_iter().find_map(|(option, is_set)| is_set.then_some(option))
    }
}
