//! Formats: media types, annotations and config that clients of one producer expect.

use super::annotation::{CREATED, EPOCH, REVISION, SOURCE, VERSION};
use super::catalog;
use super::error::PackError;
use super::helm::Chart;
use super::model;
use super::options::{Compression, Format, Options};
use super::walk::Source;
use crate::api::vocabulary::Symlinks;
use crate::oci::descriptor::Annotations;
use crate::oci::{Digest, media_type};

/// Layer type of oras, without the suffix for the compression.
const IMAGE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Artifact type of oras if none is given.
const UNKNOWN_ARTIFACT: &str = "application/vnd.unknown.artifact.v1";
const AICR: &str = "application/vnd.nvidia.aicr.artifact";
/// Media type of Flux's config.
pub(super) const FLUX_CONFIG: &str = "application/vnd.cncf.flux.config.v1+json";
const FLUX_LAYER: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";
/// Media type of a chart's config: the metadata in `Chart.yaml`, as JSON.
pub const HELM_CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
/// Media type of a chart's archive.
pub const HELM_LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// Media type of the signature of a chart's archive, in a layer of its own.
pub(super) const HELM_PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
const KUBARA_LAYER: &str = "application/vnd.kubara.catalog.layer.v1.tar+gzip";

impl Format {
    /// Rule for symbolic links where no option sets one. Consumers of the formats that reject them lose or refuse
    /// links.
    pub(super) fn symlinks(self) -> Symlinks {
        match self {
            Self::Oras | Self::Aicr => Symlinks::Keep,
            Self::Flux | Self::Helm | Self::Kubara | Self::ModelPack => Symlinks::Reject,
        }
    }

    /// Returns true if the user chooses the layers and their types.
    fn is_free(self) -> bool {
        matches!(self, Self::Oras | Self::Aicr)
    }

    /// Fails for options that contradict the format.
    pub(super) fn check(self, options: &Options) -> Result<(), PackError> {
        let is_set = |given: bool, option, reason| if given { Some((option, reason)) } else { None };
        let fixed_type = "the artifact type is part of the format";
        let checks = [
            is_set(!self.is_free() && options.title.is_some(), "--title", "the format defines the title"),
            is_set(!self.is_free() && !options.layers.is_empty(), "--layer", "the format defines the layers"),
            is_set(self != Self::Oras && options.image_compat, "--compat", "the config is part of the format"),
            is_set(self != Self::Oras && options.artifact_type.is_some(), "--artifact-type", fixed_type),
            is_set(
                options.image_compat && options.artifact_type.is_some(),
                "--artifact-type",
                "--compat image leaves the artifact type out",
            ),
            is_set(
                self != Self::Oras && options.compression != Compression::Gzip,
                "--compression",
                "consumers of the format read gzip",
            ),
            is_set(
                self == Self::Kubara && options.created.is_some(),
                "--created",
                "the time of creation is part of the format",
            ),
        ];
        match checks.into_iter().flatten().next() {
            Some((option, reason)) => Err(PackError::Option { format: self, option, reason }),
            None => Ok(()),
        }
    }
}

/// Everything but the layers of an artifact.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) artifact_type: Option<String>,
    pub(super) config: Config,
    pub(super) annotations: Annotations,
    /// Title of an archived directory; `None` for a layer without annotations.
    pub(super) title: Option<String>,
    /// Directory in the archive; empty for the top.
    pub(super) prefix: String,
    /// Media type of an archived directory.
    pub(super) archive_type: String,
    /// Media type of a file that is a layer.
    pub(super) file_type: String,
}

/// Config of an artifact.
#[derive(Debug)]
pub(super) enum Config {
    /// The empty descriptor.
    Empty,
    /// A document.
    Bytes(&'static str, Vec<u8>),
    /// Flux's, which has the digests of the uncompressed layers.
    Flux,
    /// `ModelPack`'s, which has them too.
    Model,
}

/// Returns the shape of an artifact in the format of the options.
pub(super) fn shape(options: &Options, source: &Source) -> Result<Shape, PackError> {
    options.format.check(options)?;
    let created = options.created.clone().unwrap_or_else(|| EPOCH.to_owned());
    let annotations = || {
        let mut annotations = options.annotations.clone();
        annotations.entry(CREATED.to_owned()).or_insert_with(|| created.clone());
        if let Some(version) = &options.version {
            annotations.entry(VERSION.to_owned()).or_insert_with(|| version.clone());
        }
        annotations
    };
    let oras = |artifact_type: Option<&str>| {
        let title = options.title.clone().unwrap_or_else(|| ".".to_owned());
        Shape {
            artifact_type: artifact_type.map(str::to_owned),
            config: Config::Empty,
            annotations: annotations(),
            prefix: if title == "." { String::new() } else { title.clone() },
            title: Some(title),
            archive_type: format!("{IMAGE_LAYER}{}", options.compression.suffix()),
            file_type: IMAGE_LAYER.to_owned(),
        }
    };
    match options.format {
        Format::Oras if options.image_compat => {
            let config = Config::Bytes(media_type::OCI_IMAGE_CONFIG, crate::oci::descriptor::EMPTY.to_vec());
            Ok(Shape { config, ..oras(None) })
        }
        Format::Oras => Ok(oras(Some(options.artifact_type.as_deref().unwrap_or(UNKNOWN_ARTIFACT)))),
        Format::Aicr => Ok(oras(Some(AICR))),
        Format::Flux => {
            let mut annotations = annotations();
            for key in [SOURCE, REVISION] {
                annotations.entry(key.to_owned()).or_default();
            }
            Ok(untitled(None, Config::Flux, annotations, String::new(), FLUX_LAYER))
        }
        Format::Helm => chart(&Chart::read(source, options.version.as_deref())?, options),
        Format::Kubara => {
            let catalog = catalog::Description::read(source)?;
            if let Some(version) = options.version.as_deref().filter(|version| *version != catalog.version()) {
                let problem = format!("spec.version is {}; expected {version} (--version)", catalog.version());
                return Err(PackError::description(catalog::FILE, problem));
            }
            let annotations = catalog.annotations(&options.annotations);
            let name = catalog.name().to_owned();
            let shape = untitled(Some(catalog::ARTIFACT_TYPE), Config::Empty, annotations, name.clone(), KUBARA_LAYER);
            Ok(Shape { title: Some(name), ..shape })
        }
        Format::ModelPack => {
            let artifact_type = Some(model::ARTIFACT);
            Ok(untitled(artifact_type, Config::Model, annotations(), String::new(), model::RAW))
        }
    }
}

/// Returns the shape of a chart.
pub(super) fn chart(chart: &Chart, options: &Options) -> Result<Shape, PackError> {
    options.format.check(options)?;
    let annotations = chart.annotations(options.created.as_deref().unwrap_or(EPOCH), &options.annotations);
    let config = Config::Bytes(HELM_CONFIG, chart.config()?);
    Ok(untitled(None, config, annotations, chart.name().to_owned(), HELM_LAYER))
}

fn untitled(
    artifact_type: Option<&str>,
    config: Config,
    annotations: Annotations,
    prefix: String,
    layer_type: &str,
) -> Shape {
    Shape {
        artifact_type: artifact_type.map(str::to_owned),
        config,
        annotations,
        title: None,
        prefix,
        archive_type: layer_type.to_owned(),
        file_type: layer_type.to_owned(),
    }
}

/// Returns the bytes of Flux's config, a container image's with empty fields.
pub(super) fn flux_config(created: &str, diff_ids: &[Digest]) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(serde::Serialize)]
    struct Image<'a> {
        architecture: &'a str,
        created: &'a str,
        history: Vec<History>,
        os: &'a str,
        rootfs: RootFs<'a>,
        config: Empty,
    }
    #[derive(serde::Serialize)]
    struct History {
        created: &'static str,
    }
    #[derive(serde::Serialize)]
    struct RootFs<'a> {
        r#type: &'a str,
        diff_ids: &'a [Digest],
    }
    #[derive(serde::Serialize)]
    struct Empty {}
    // Go's zero time.
    let history = diff_ids.iter().map(|_| History { created: "0001-01-01T00:00:00Z" }).collect();
    let rootfs = RootFs { r#type: "layers", diff_ids };
    crate::oci::draft::canonical_json(&Image { architecture: "", created, history, os: "", rootfs, config: Empty {} })
}
