//! Options for the selection and treatment of an artifact's content: the fields of an object about content.

use clap::ValueEnum;

use crate::api::{OCIArtifactSpec, spec, vocabulary};

/// The part of `--help` about patterns.
pub(crate) const PATTERNS_HELP: &str = "\
Patterns: `*` and `?` do not match `/`, `**` does; `{a,b}` and `[abc]` work as in shells, so quote
patterns. A directory matches everything in it. Patterns that select no file are an error.";

/// Options of commands that fetch an artifact.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Content")]
pub(crate) struct ContentArguments {
    /// Accept only artifacts of this type.
    ///
    /// May be given several times; `*` matches anything. Any other artifact is refused before a layer is fetched.
    #[arg(hide_short_help = true, long, value_name = "TYPE")]
    artifact_type: Vec<String>,
    /// Select only layers of this media type.
    ///
    /// May be given several times; `*` matches anything.
    #[arg(hide_short_help = true, long, value_name = "TYPE")]
    layer_media_type: Vec<String>,
    /// Select only layers with a matching title, such as '*.json'.
    ///
    /// May be given several times. Another example is 'docs/**'.
    #[arg(long, value_name = "PATTERN")]
    layer_title: Vec<String>,
    /// Rule for layers with different content for the same path.
    #[arg(hide_short_help = true, long, value_name = "RULE", default_value = "fail", ignore_case = true)]
    on_conflict: OnConflict,
    #[command(flatten)]
    layer: LayerArguments,
}

/// Options of commands that unpack a layer.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Content")]
pub(crate) struct LayerArguments {
    /// Layer handling.
    #[arg(long, value_name = "MODE", default_value = "auto", ignore_case = true)]
    layer_mode: LayerMode,
    /// Select only the content of this directory of the artifact.
    ///
    /// The directory itself is not part of the resulting paths.
    #[arg(long, value_name = "PATH")]
    sub_path: Option<String>,
    /// Select only matching files, such as '**/*.json'.
    ///
    /// Relative to --sub-path; may be given several times. A directory, such as rules, matches everything in it.
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out matching files.
    ///
    /// Applied after --include; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Rule for symbolic links that stay inside the artifact; other links are refused in any case.
    #[arg(hide_short_help = true, long, value_name = "RULE", default_value = "keep", ignore_case = true)]
    symlinks: Symlinks,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LayerMode {
    /// Archives without a title, or marked with io.deis.oras.content.unpack, are extracted; other layers are files.
    #[default]
    Auto,
    /// Every layer is extracted, regardless of its title; a layer that is neither tar nor zip is refused.
    Extract,
    /// Every layer is kept as a file.
    File,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum OnConflict {
    /// The artifact is refused.
    #[default]
    Fail,
    /// The later layer wins.
    #[value(alias = "lastwins")]
    LastWins,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Symlinks {
    /// The links are kept.
    #[default]
    Keep,
    /// An artifact with a symbolic link is refused.
    Reject,
}

impl ContentArguments {
    /// Returns an option that selects or changes content, if one is set.
    pub(crate) fn selection(&self) -> Option<&'static str> {
        let LayerArguments { layer_mode, sub_path, include, exclude, symlinks } = &self.layer;
        let options = [
            ("--layer-media-type", !self.layer_media_type.is_empty()),
            ("--layer-title", !self.layer_title.is_empty()),
            ("--on-conflict", !matches!(self.on_conflict, OnConflict::Fail)),
            ("--layer-mode", !matches!(layer_mode, LayerMode::Auto)),
            ("--sub-path", sub_path.is_some()),
            ("--include", !include.is_empty()),
            ("--exclude", !exclude.is_empty()),
            ("--symlinks", !matches!(symlinks, Symlinks::Keep)),
        ];
        options.into_iter().find_map(|(option, is_set)| is_set.then_some(option))
    }

    /// Sets the fields that the options stand for.
    pub(crate) fn set(&self, spec: &mut OCIArtifactSpec) {
        self.layer.set(spec);
        spec.artifact_types.clone_from(&self.artifact_type);
        spec.layers.media_types.clone_from(&self.layer_media_type);
        spec.layers.titles.clone_from(&self.layer_title);
        spec.layers.on_conflict = match self.on_conflict {
            OnConflict::Fail => vocabulary::OnConflict::Fail,
            OnConflict::LastWins => vocabulary::OnConflict::LastWins,
        };
    }
}

impl LayerArguments {
    /// Sets the fields that the options stand for.
    pub(crate) fn set(&self, spec: &mut OCIArtifactSpec) {
        spec.layers.mode = match self.layer_mode {
            LayerMode::Auto => vocabulary::LayerMode::Auto,
            LayerMode::Extract => vocabulary::LayerMode::Extract,
            LayerMode::File => vocabulary::LayerMode::File,
        };
        spec.files = spec::FilesSpec {
            sub_path: self.sub_path.clone(),
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            symlinks: match self.symlinks {
                Symlinks::Keep => vocabulary::Symlinks::Keep,
                Symlinks::Reject => vocabulary::Symlinks::Reject,
            },
        };
    }
}
