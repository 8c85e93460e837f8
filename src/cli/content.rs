//! Which part of an artifact is taken and what is done with it: the fields of an object that are about
//! content, as options.

use clap::ValueEnum;

use crate::api::OCIArtifactSpec;
use crate::api::spec;

/// Options of commands that unpack an artifact.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Content")]
pub(super) struct ContentArguments {
    /// Takes only what lies below this directory of the artifact, without the directory itself.
    #[arg(long, value_name = "PATH")]
    sub_path: Option<String>,
    /// Takes only these files: a pattern such as '**/*.json', or a directory; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// But not these.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Takes only an artifact of this type, in which `*` stands for anything; may be given several times.
    #[arg(long, value_name = "TYPE")]
    artifact_type: Vec<String>,
    /// Fetches only layers of this media type, in which `*` stands for anything; may be given several times.
    #[arg(long, value_name = "TYPE")]
    layer_media_type: Vec<String>,
    /// Fetches only layers with this title, a pattern such as '*.json' or 'docs/**'; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    layer_title: Vec<String>,
    /// What is done with a layer.
    #[arg(long, value_name = "MODE", default_value = "auto", ignore_case = true)]
    layer_mode: LayerMode,
    /// When two layers have different content for one path.
    #[arg(long, value_name = "RULE", default_value = "fail", ignore_case = true)]
    on_conflict: OnConflict,
    /// Symbolic links that stay inside the artifact; others are refused in any case.
    #[arg(long, value_name = "RULE", default_value = "keep", ignore_case = true)]
    symlinks: Symlinks,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LayerMode {
    /// Archives that are marked so, or have no title, are extracted; everything else is a file.
    #[default]
    Auto,
    /// Every layer is an archive, tar or zip.
    Extract,
    /// Every layer is a file.
    File,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum OnConflict {
    /// The artifact is refused.
    #[default]
    Fail,
    /// The later layer has it.
    #[value(alias = "lastwins")]
    LastWins,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Symlinks {
    /// They are kept.
    #[default]
    Keep,
    /// The artifact is refused.
    Reject,
}

impl ContentArguments {
    /// Sets the fields that the options stand for.
    pub(super) fn set(&self, spec: &mut OCIArtifactSpec) {
        spec.artifact_types.clone_from(&self.artifact_type);
        spec.layers = spec::LayersSpec {
            media_types: self.layer_media_type.clone(),
            titles: self.layer_title.clone(),
            mode: self.mode(),
            on_conflict: match self.on_conflict {
                OnConflict::Fail => spec::OnConflict::Fail,
                OnConflict::LastWins => spec::OnConflict::LastWins,
            },
        };
        spec.files = spec::FilesSpec {
            sub_path: self.sub_path.clone(),
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            symlinks: match self.symlinks {
                Symlinks::Keep => spec::Symlinks::Keep,
                Symlinks::Reject => spec::Symlinks::Reject,
            },
        };
    }

    fn mode(&self) -> spec::LayerMode {
        match self.layer_mode {
            LayerMode::Auto => spec::LayerMode::Auto,
            LayerMode::Extract => spec::LayerMode::Extract,
            LayerMode::File => spec::LayerMode::File,
        }
    }
}
