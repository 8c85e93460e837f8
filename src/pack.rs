//! Packaging: from a directory to a manifest and its blobs in a layout.
//!
//! The same input gives the same digest, on every machine: entries are sorted, owners and times are zero, modes are
//! normalized unless they are to be kept, and compression depends on the bytes alone. The source is read by handles,
//! through no link, and never written to. An entry that the unpacker refuses is refused here, by the same rules
//! ([`crate::unpack`]).

use crate::layout::Layout;
use crate::oci::draft::FieldOrder;
use crate::oci::media_type;
use crate::oci::{Descriptor, Digest, ManifestDraft};
use crate::unpack::Stop;

mod annotation;
pub mod catalog;
mod error;
mod format;
mod gzip;
pub mod helm;
mod layer;
mod layers;
mod model;
mod naming;
mod options;
mod selection;
mod tar;
mod walk;

pub use annotation::{CREATED, EPOCH, REVISION, SOURCE, VERSION};
pub use error::PackError;
pub use format::{HELM_CONFIG, HELM_LAYER};
pub use helm::{ChartSource, HelmChart};
pub use naming::{description_in, own_tag, reference};
pub use options::{Compression, Format, LayerOption, Options};
pub use walk::Source;

use format::{Config, Shape};
use layer::Written;
use layers::Layers;

/// Result of [`package`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packaged {
    /// Descriptor of the manifest.
    pub manifest: Descriptor,
    /// Number of layers.
    pub layers: usize,
    /// Number of files and links.
    pub files: u64,
    /// Size of the files, in bytes.
    pub bytes: u64,
}

/// Packages a directory into a layout, where the manifest gets `names`. Blocking.
pub fn package(
    source: &Source,
    options: &Options,
    layout: &Layout,
    names: &[&str],
    stop: &Stop,
) -> Result<Packaged, PackError> {
    let sub_dir;
    let source = if options.keeps_path() || options.sub_dir.is_root() {
        source
    } else {
        sub_dir = source.below(&options.sub_dir)?;
        &sub_dir
    };
    let shape = format::shape(options, source)?;
    let layers = Layers::new(source, options, layout, stop)?.write(&shape)?;
    manifest(shape, layers, options.format, layout, names)
}

/// Packages a chart into a layout, where the manifest gets `names`: a directory, or an archive of `helm package`, which
/// stays as it is unless the chart gets another version. Blocking.
pub fn package_chart(
    chart: &HelmChart,
    options: &Options,
    layout: &Layout,
    names: &[&str],
    stop: &Stop,
) -> Result<Packaged, PackError> {
    let version = Some(chart.chart().version().to_owned());
    let options = Options { format: Format::Helm, version, ..options.clone() };
    let archive = match chart.source() {
        ChartSource::Directory(source) => return package(source, &options, layout, names, stop),
        ChartSource::Archive(archive) => archive,
    };
    let shape = format::chart(chart.chart(), &options)?;
    let mut layers = vec![archive.write(layout, stop)?];
    // Helm sorts the layers by digest. Consumers that take the first one need the archive there.
    if let Some(provenance) = archive.provenance() {
        let descriptor = layout.put_blob(format::HELM_PROVENANCE, provenance)?;
        layers.push(Written { content_digest: descriptor.digest.clone(), descriptor, files: 0, bytes: 0 });
    }
    manifest(shape, layers, Format::Helm, layout, names)
}

/// Writes the config and the manifest.
fn manifest(
    shape: Shape,
    layers: Vec<Written>,
    format: Format,
    layout: &Layout,
    names: &[&str],
) -> Result<Packaged, PackError> {
    let files = layers.iter().map(|layer| layer.files).sum();
    if files == 0 {
        return Err(PackError::Nothing);
    }
    let bytes = layers.iter().map(|layer| layer.bytes).sum();
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.content_digest.clone()).collect();
    let layers: Vec<_> = layers.into_iter().map(|layer| layer.descriptor).collect();
    let count = layers.len();
    let draft = ManifestDraft {
        config: config(&shape, &diff_ids, layout)?,
        artifact_type: shape.artifact_type,
        layers,
        subject: None,
        annotations: shape.annotations,
        order: if format == Format::Flux { FieldOrder::SizeFirst } else { FieldOrder::ImageSpec },
    };
    let manifest = layout.put_manifest(media_type::OCI_MANIFEST, &draft.to_bytes()?, names)?;
    Ok(Packaged { manifest, layers: count, files, bytes })
}

/// Writes the config, and returns its descriptor.
fn config(shape: &Shape, diff_ids: &[Digest], layout: &Layout) -> Result<Descriptor, PackError> {
    let created = shape.annotations.get(CREATED).map_or(annotation::EPOCH, String::as_str);
    let json = |error| PackError::Manifest(crate::oci::manifest::ManifestError::Json(error));
    let (media_type, bytes) = match &shape.config {
        Config::Empty => {
            let empty = Descriptor::empty();
            layout.put_blob(&empty.media_type, crate::oci::descriptor::EMPTY)?;
            return Ok(empty);
        }
        Config::Bytes(media_type, bytes) => (*media_type, bytes.clone()),
        Config::Flux => (format::FLUX_CONFIG, format::flux_config(created, diff_ids).map_err(json)?),
        Config::Model => (model::CONFIG, model::config(created, diff_ids).map_err(json)?),
    };
    Ok(layout.put_blob(media_type, &bytes)?)
}

#[cfg(test)]
mod tests;
