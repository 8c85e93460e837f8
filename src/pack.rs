//! Packaging: from a directory to a manifest and its blobs in a layout.
//!
//! The same input gives the same digest, on every machine: entries are sorted, owners and times are zero, modes are
//! normalized unless they are to be kept, and compression depends on the bytes alone. The source is read by handles,
//! through no link, and never written to. An entry that the unpacker refuses is refused here, by the same rules
//! ([`crate::unpack`]).

use std::collections::BTreeMap;

use crate::layout::Layout;
use crate::oci::draft::FieldOrder;
use crate::oci::media_type::{self, TITLE};
use crate::oci::{Descriptor, Digest, ManifestDraft};
use crate::request::Limits;
use crate::unpack::path::EntryPath;
use crate::unpack::{EntryRules, Stop};
use rustix::fs::FileType;

mod annotation;
pub mod catalog;
pub mod chart;
mod error;
mod format;
mod gzip;
mod layer;
mod model;
mod naming;
mod options;
mod selection;
mod tar;
mod walk;

pub use annotation::{CREATED, REVISION, SOURCE, VERSION};
pub use error::PackError;
pub use format::{HELM_CONFIG, HELM_LAYER};
pub use naming::{own_tag, reference};
pub use options::{Compression, Format, LayerOption, Options};
pub use walk::Source;

use format::{Config, Shape};
use layer::{Form, Written};
use selection::{MAX_IGNORE_BYTES, Selection};
use walk::{Found, Manner, Visit};

/// Annotation that marks an archive to be unpacked.
const UNPACK: &str = "io.deis.oras.content.unpack";
/// Annotation with the digest of an archive before compression.
const CONTENT_DIGEST: &str = "io.deis.oras.content.digest";
/// File with patterns of entries to leave out.
const IGNORE: &str = ".ociignore";
/// As [`IGNORE`], of charts.
const HELM_IGNORE: &str = ".helmignore";
/// Helm's own rule for every chart.
const HELM_IGNORED: &str = "templates/.?*";

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
        order: if options.format == Format::Flux { FieldOrder::SizeFirst } else { FieldOrder::ImageSpec },
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

/// The layers of one artifact.
struct Layers<'a> {
    source: &'a Source,
    options: &'a Options,
    layout: &'a Layout,
    rules: EntryRules,
    selection: Selection,
    substitutes: BTreeMap<EntryPath, Vec<u8>>,
    stop: &'a Stop,
}

impl<'a> Layers<'a> {
    fn new(source: &'a Source, options: &'a Options, layout: &'a Layout, stop: &'a Stop) -> Result<Self, PackError> {
        let mut selection = Selection::new(options.filter.clone());
        let mut substitutes = BTreeMap::new();
        let mut ignore = IGNORE;
        if options.format == Format::Helm {
            ignore = HELM_IGNORE;
            selection.ignore(HELM_IGNORE, HELM_IGNORED)?;
            if let Some(text) = chart::Chart::read(source, options.version.as_deref())?.rewritten() {
                substitutes.extend(EntryPath::parse(chart::FILE.as_bytes()).map(|path| (path, text.to_vec())));
            }
        }
        if let Some(rules) = source.read(ignore, MAX_IGNORE_BYTES)? {
            selection.ignore(ignore, &String::from_utf8_lossy(&rules))?;
        }
        if options.keeps_path() {
            if source.kind(&options.sub_dir)? != Some(FileType::Directory) {
                return Err(walk::no_sub_dir(&options.sub_dir));
            }
            selection.only(&options.sub_dir);
        }
        let symlinks = options.symlinks.unwrap_or_else(|| options.format.symlinks());
        let rules = EntryRules::new(symlinks, &Limits::default());
        Ok(Self { source, options, layout, rules, selection, substitutes, stop })
    }

    fn write(&self, shape: &Shape) -> Result<Vec<Written>, PackError> {
        if self.options.format == Format::ModelPack {
            return self.model();
        }
        if !self.options.layers.is_empty() {
            return self.options.layers.iter().map(|layer| self.chosen(layer, shape)).collect();
        }
        self.archive(&EntryPath::root(), &shape.prefix, shape.title.as_deref(), &shape.archive_type)
            .map(|layer| vec![layer])
    }

    /// Writes a layer that the user chose.
    fn chosen(&self, layer: &LayerOption, shape: &Shape) -> Result<Written, PackError> {
        let LayerOption { path, media_type } = layer;
        match self.source.kind(path)? {
            Some(FileType::Directory) => {
                let media_type = media_type.as_deref().unwrap_or(&shape.archive_type);
                self.archive(path, path.as_str(), Some(&path.to_string()), media_type)
            }
            Some(FileType::RegularFile) => {
                let media_type = media_type.as_deref().unwrap_or(&shape.file_type);
                self.file(path, TITLE, media_type)
            }
            Some(_) | None => {
                let problem = "is neither a file nor a directory of the source";
                Err(PackError::Path { option: "--layer", path: path.to_string(), problem })
            }
        }
    }

    fn archive(
        &self,
        start: &EntryPath,
        prefix: &str,
        title: Option<&str>,
        media_type: &str,
    ) -> Result<Written, PackError> {
        let Options { keep_modes, compression, .. } = *self.options;
        let form = Form { prefix, keep_modes, compression, substitutes: &self.substitutes };
        let mut written = layer::archive(self.layout, self.source, start, self.manner(), form, media_type)?;
        if let Some(title) = title {
            let digest = written.content_digest.to_string();
            let marks = [(TITLE, title), (UNPACK, "true"), (CONTENT_DIGEST, &digest)];
            self.annotate(&mut written, title, &marks);
        }
        Ok(written)
    }

    /// Writes a file as it is; the annotation `key` has its path.
    fn file(&self, path: &EntryPath, key: &str, media_type: &str) -> Result<Written, PackError> {
        let mut written = layer::file(self.layout, self.source, path, self.manner(), media_type)?;
        self.annotate(&mut written, path.as_str(), &[(key, path.as_str())]);
        Ok(written)
    }

    /// Sets the annotations of a layer. A user cannot override those of the format.
    fn annotate(&self, written: &mut Written, title: &str, marks: &[(&str, &str)]) {
        let annotations = &mut written.descriptor.annotations;
        annotations.extend(self.options.layer_annotations.get(title).cloned().unwrap_or_default());
        annotations.extend(marks.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    }

    /// Writes each file of a model as a layer.
    fn model(&self) -> Result<Vec<Written>, PackError> {
        struct Paths(Vec<EntryPath>);
        impl Visit for Paths {
            fn visit(&mut self, path: &EntryPath, found: Found<'_>) -> Result<(), PackError> {
                if matches!(found, Found::File { .. }) {
                    self.0.push(path.clone());
                }
                Ok(())
            }
        }
        let mut paths = Paths(Vec::new());
        self.source.walk(&EntryPath::root(), self.manner(), &mut paths)?;
        paths.0.iter().map(|path| self.file(path, model::PATH, model::media_type(path))).collect()
    }

    fn manner(&self) -> Manner<'_> {
        Manner { rules: &self.rules, selection: &self.selection, stop: self.stop }
    }
}

#[cfg(test)]
mod tests;
