//! Which part of an artifact is taken and what is done with it: the fields of an object that are about
//! content, as options.

use clap::ValueEnum;

use crate::api::OCIArtifactSpec;
use crate::api::spec;

/// The part of `--help` about patterns.
pub(super) const PATTERNS_HELP: &str = "\
Patterns: `*` and `?` stop at `/`, `**` does not; `{a,b}` and `[abc]` as in shells, from which they
have to be quoted. A directory stands for everything in it. Patterns that leave no file are an error.";

/// Options of commands that fetch an artifact.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Content")]
pub(super) struct ContentArguments {
    /// Takes only an artifact of this type, in which `*` stands for anything; may be given several times. Any other is
    /// refused before a layer is fetched.
    #[arg(long, value_name = "TYPE")]
    artifact_type: Vec<String>,
    /// Fetches only layers of this media type, in which `*` stands for anything; may be given several times.
    #[arg(long, value_name = "TYPE")]
    layer_media_type: Vec<String>,
    /// Fetches only layers with a title that fits, such as '*.json' or 'docs/**'; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    layer_title: Vec<String>,
    /// When two layers have different content for one path.
    #[arg(long, value_name = "RULE", default_value = "fail", ignore_case = true)]
    on_conflict: OnConflict,
    #[command(flatten)]
    layer: LayerArguments,
}

/// Options of commands that unpack a layer.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Content")]
pub(super) struct LayerArguments {
    /// What is done with a layer.
    #[arg(long, value_name = "MODE", default_value = "auto", ignore_case = true)]
    layer_mode: LayerMode,
    /// Takes only what lies below this directory of the artifact, without the directory itself.
    #[arg(long, value_name = "PATH")]
    sub_path: Option<String>,
    /// Takes only files that fit, such as '**/*.json' or rules; counted from --sub-path; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leaves out files that fit, also those that --include takes; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Symbolic links that stay inside the artifact; others are refused in any case.
    #[arg(long, value_name = "RULE", default_value = "keep", ignore_case = true)]
    symlinks: Symlinks,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LayerMode {
    /// Archives without a title, or marked with io.deis.oras.content.unpack, are extracted; everything else is a file.
    #[default]
    Auto,
    /// Every layer is extracted, whatever it is called; what is neither a tar nor a zip is refused.
    Extract,
    /// Every layer is kept as the file that it is.
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
        self.layer.set(spec);
        spec.artifact_types.clone_from(&self.artifact_type);
        spec.layers.media_types.clone_from(&self.layer_media_type);
        spec.layers.titles.clone_from(&self.layer_title);
        spec.layers.on_conflict = match self.on_conflict {
            OnConflict::Fail => spec::OnConflict::Fail,
            OnConflict::LastWins => spec::OnConflict::LastWins,
        };
    }
}

impl LayerArguments {
    /// Sets the fields that the options stand for.
    pub(super) fn set(&self, spec: &mut OCIArtifactSpec) {
        spec.layers.mode = match self.layer_mode {
            LayerMode::Auto => spec::LayerMode::Auto,
            LayerMode::Extract => spec::LayerMode::Extract,
            LayerMode::File => spec::LayerMode::File,
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
}
