//! Options for packaging: the format, the selection of files and the annotations of an artifact.

mod directory;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Deserialize;

use crate::api::{Reason, vocabulary};
use crate::cli::files;
use crate::cli::options::values;
use crate::cli::output::complaint::Complaint;
use crate::oci::descriptor::Annotations;
use crate::oci::media_type::is_media_type;
use crate::pack::{self, LayerOption, Options};
use crate::request::FileFilter;
use crate::unpack::path::EntryPath;

pub(crate) use directory::DirectoryArguments;

/// Key of the manifest's annotations in an annotation file, as for oras.
const MANIFEST: &str = "$manifest";
/// Variable with the time of creation, in seconds since the epoch (reproducible-builds.org).
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Options of commands that package a directory.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Artifact")]
pub(crate) struct PackagingArguments {
    /// Format of the artifact.
    #[arg(long, value_name = "FORMAT", default_value = "oras", ignore_case = true)]
    package_format: Format,
    /// Mode for registries that refuse unknown types.
    ///
    /// `image` writes an image config with the body {} and no artifact type, which GitLab's registry accepts.
    #[arg(hide_short_help = true, long, value_name = "MODE")]
    compat: Option<Compat>,
    /// Type of the artifact, such as application/vnd.example.config.
    #[arg(long, value_name = "TYPE", value_parser = values::media_type)]
    artifact_type: Option<String>,
    /// Title of the layer: the directory in which consumers place the content.
    ///
    /// The default `.` is the top of their directory.
    #[arg(hide_short_help = true, long, value_name = "TITLE")]
    title: Option<String>,
    /// Layer of its own, instead of one for the whole directory; may be given several times.
    ///
    /// PATH is relative to DIR, and is the title. A directory becomes an archive, a file stays a file. The text after
    /// the last colon is the media type if it has the form type/subtype.
    #[arg(long, value_name = "PATH[:TYPE]", value_parser = layer)]
    layer: Vec<LayerOption>,
    /// Compression of archives.
    #[arg(hide_short_help = true, long, value_name = "METHOD", default_value = "gzip", ignore_case = true)]
    compression: Compression,
    /// Annotation of the manifest; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::annotation)]
    annotation: Vec<(String, String)>,
    /// File with annotations, as JSON or YAML.
    ///
    /// An object of texts for the manifest; or, as for oras, an object of such objects: `$manifest`, and titles of
    /// layers. --annotation overrides it.
    #[arg(hide_short_help = true, long, value_name = "FILE")]
    annotation_file: Option<PathBuf>,
    /// Address of the source (org.opencontainers.image.source).
    #[arg(hide_short_help = true, long, value_name = "URL")]
    source: Option<String>,
    /// Revision of the source (org.opencontainers.image.revision).
    #[arg(hide_short_help = true, long, value_name = "TEXT")]
    revision: Option<String>,
    /// Version (org.opencontainers.image.version).
    ///
    /// A chart gets it in a copy of Chart.yaml; Catalog.yaml must have it already.
    #[arg(hide_short_help = true, long, value_name = "VERSION")]
    version: Option<String>,
    /// Time of creation, such as 2026-01-31T00:00:00Z.
    ///
    /// Default: `SOURCE_DATE_EPOCH` if it is set, else 1970-01-01T00:00:00Z. Times in archives are always zero.
    #[arg(hide_short_help = true, long, value_name = "TIME", value_parser = created)]
    created: Option<String>,
    #[command(flatten)]
    selection: SelectionArguments,
}

/// Options for the files to package.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Files")]
struct SelectionArguments {
    /// Package this directory of DIR instead of the whole.
    ///
    /// Its content becomes the top of the artifact; in the format aicr it keeps its path.
    #[arg(long, value_name = "PATH", value_parser = path)]
    sub_dir: Option<EntryPath>,
    /// Package only matching files; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out matching files; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Rule for symbolic links that stay inside the artifact; other links are refused in any case.
    ///
    /// Default: keep for oras and aicr, reject for the other formats, whose consumers lose or refuse links.
    #[arg(hide_short_help = true, long, value_name = "RULE", ignore_case = true)]
    symlinks: Option<Symlinks>,
    /// Keep the modes of files and directories.
    ///
    /// By default directories and executable files get 0755 and other files 0644, so that the umask does not matter.
    #[arg(hide_short_help = true, long)]
    keep_modes: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// As `oras push`: a titled archive that is marked to be unpacked.
    Oras,
    /// As `flux push artifact`.
    Flux,
    /// As `helm push`; DIR is a chart.
    Helm,
    /// As `kubara catalog package`; DIR is a catalog.
    Kubara,
    /// As NVIDIA AICR's bundles.
    Aicr,
    /// As the CNCF `ModelPack` specification: each file is a layer.
    Modelpack,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Compat {
    /// Image config with the body {}, and no artifact type.
    Image,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Compression {
    /// Gzip, which every consumer reads.
    Gzip,
    /// Zstandard.
    Zstd,
    /// No compression.
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Symlinks {
    /// The links are kept.
    Keep,
    /// A directory with a symbolic link is refused.
    Reject,
}

impl PackagingArguments {
    /// Returns the options of the library.
    pub(crate) fn options(&self) -> Result<Options, Complaint> {
        let SelectionArguments { sub_dir, include, exclude, symlinks, keep_modes } = &self.selection;
        let filter = FileFilter::parse(include, exclude)
            .map_err(|error| Complaint::new(Reason::InvalidSpec, format!("--include or --exclude: {error}")))?;
        let (mut annotations, layer_annotations) = self.annotation_file()?;
        annotations.extend(self.annotation.iter().cloned());
        let helpers = [(pack::SOURCE, &self.source), (pack::REVISION, &self.revision)];
        annotations.extend(helpers.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))));
        Ok(Options {
            format: self.package_format.into(),
            image_compat: matches!(self.compat, Some(Compat::Image)),
            artifact_type: self.artifact_type.clone(),
            title: self.title.clone(),
            sub_dir: sub_dir.clone().unwrap_or_default(),
            layers: self.layer.clone(),
            annotations,
            layer_annotations,
            created: created_at(self.created.as_ref(), self.package_format)?,
            version: self.version.clone(),
            symlinks: symlinks.map(|rule| match rule {
                Symlinks::Keep => vocabulary::Symlinks::Keep,
                Symlinks::Reject => vocabulary::Symlinks::Reject,
            }),
            keep_modes: *keep_modes,
            compression: match self.compression {
                Compression::Gzip => pack::Compression::Gzip,
                Compression::Zstd => pack::Compression::Zstd,
                Compression::None => pack::Compression::None,
            },
            filter,
        })
    }

    /// Returns the annotations of the manifest and of layers in the annotation file.
    fn annotation_file(&self) -> Result<(Annotations, BTreeMap<String, Annotations>), Complaint> {
        let Some(path) = &self.annotation_file else { return Ok(Default::default()) };
        let fail = |problem: String| Complaint::new(Reason::FileInvalid, format!("--annotation-file: {problem}"));
        let text = String::from_utf8(files::read("--annotation-file", path)?)
            .map_err(|_| fail(format!("{} is not UTF-8 text", path.display())))?;
        parse_annotations(&text).map_err(|problem| fail(format!("{}: {problem}", path.display())))
    }
}

impl From<Format> for pack::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Oras => Self::Oras,
            Format::Flux => Self::Flux,
            Format::Helm => Self::Helm,
            Format::Kubara => Self::Kubara,
            Format::Aicr => Self::Aicr,
            Format::Modelpack => Self::ModelPack,
        }
    }
}

/// Returns the time of creation. The variable has no effect on kubara's catalogs, whose time is fixed.
fn created_at(given: Option<&String>, format: Format) -> Result<Option<String>, Complaint> {
    if given.is_some() || matches!(format, Format::Kubara) {
        return Ok(given.cloned());
    }
    source_date()
}

/// Returns the time of creation in the environment.
pub(crate) fn source_date() -> Result<Option<String>, Complaint> {
    let Some(text) = std::env::var_os(SOURCE_DATE_EPOCH) else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or_else(|| {
        let message = format!("{SOURCE_DATE_EPOCH} is {}; expected seconds since the epoch", text.display());
        Complaint::new(Reason::InvalidSpec, message)
    })?;
    Ok(Some(time.to_string()))
}

fn parse_annotations(text: &str) -> Result<(Annotations, BTreeMap<String, Annotations>), String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum File {
        Flat(Annotations),
        Nested(BTreeMap<String, Annotations>),
    }
    match serde_saphyr::from_str(text) {
        Ok(File::Flat(annotations)) => Ok((annotations, BTreeMap::new())),
        Ok(File::Nested(mut nested)) => {
            let manifest = nested.remove(MANIFEST).unwrap_or_default();
            match nested.keys().find(|key| key.starts_with('$')) {
                Some(key) => Err(format!("{key} is not supported; expected {MANIFEST} or a title")),
                None => Ok((manifest, nested)),
            }
        }
        Err(_) => Err(format!("expected an object of texts, or of {MANIFEST} and titles with such objects")),
    }
}

fn path(text: &str) -> Result<EntryPath, String> {
    EntryPath::parse(text.as_bytes()).map_err(|problem| format!("the path {problem}"))
}

fn layer(text: &str) -> Result<LayerOption, String> {
    match text.rsplit_once(':').filter(|(_, media_type)| is_media_type(media_type)) {
        Some((file, media_type)) => Ok(LayerOption { path: path(file)?, media_type: Some(media_type.to_owned()) }),
        None => Ok(LayerOption { path: path(text)?, media_type: None }),
    }
}

fn created(text: &str) -> Result<String, &'static str> {
    match text.parse::<Timestamp>() {
        Ok(time) => Ok(time.to_string()),
        Err(_) => Err("expected a time such as 2026-01-31T00:00:00Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_a_path_and_a_media_type() {
        let rows = [
            ("a/b.json:application/json", "a/b.json", Some("application/json")),
            ("a:b", "a:b", None),
            ("a:b:c/d", "a:b", Some("c/d")),
            ("./dir/", "dir", None),
        ];
        for (text, path, media_type) in rows {
            let parsed = layer(text).unwrap();
            assert_eq!((parsed.path.as_str(), parsed.media_type.as_deref()), (path, media_type), "{text}");
        }
        assert_eq!(layer("a:b/c d").unwrap().path.as_str(), "a:b/c d");
        for refused in ["", "/etc", "../x", "/etc:a/b"] {
            assert!(layer(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn annotation_files_are_flat_or_as_for_oras() {
        let flat = parse_annotations("{\"a\": \"1\"}").unwrap();
        assert_eq!(flat.0, Annotations::from([("a".to_owned(), "1".to_owned())]));
        let (manifest, layers) = parse_annotations("$manifest: {a: \"1\"}\nx.txt: {b: \"2\"}\n").unwrap();
        assert_eq!(manifest, flat.0);
        assert_eq!(layers["x.txt"]["b"], "2");
        for refused in ["[]", "$config: {a: b}", "a: {b: {c: d}}"] {
            assert!(parse_annotations(refused).is_err(), "{refused}");
        }
    }
}
