//! Layers of an artifact from a directory: one archive, or what the user or the format chooses.

use std::collections::BTreeMap;

use rustix::fs::FileType;

use super::error::PackError;
use super::format::Shape;
use super::helm::{self, Chart};
use super::layer::{self, Form, Written};
use super::model;
use super::options::{Format, LayerOption, Options};
use super::selection::{MAX_IGNORE_BYTES, Selection};
use super::walk::{self, Found, Manner, Source, Visit};
use crate::layout::Layout;
use crate::oci::media_type::TITLE;
use crate::request::Limits;
use crate::unpack::path::EntryPath;
use crate::unpack::{EntryRules, Stop};

/// Annotation that marks an archive to be unpacked.
const UNPACK: &str = "io.deis.oras.content.unpack";
/// Annotation with the digest of an archive before compression.
const CONTENT_DIGEST: &str = "io.deis.oras.content.digest";
/// File with patterns of entries to leave out.
const IGNORE: &str = ".ociignore";
/// As [`IGNORE`], of charts.
const HELM_IGNORE: &str = ".helmignore";

/// The layers of one artifact.
pub(super) struct Layers<'a> {
    source: &'a Source,
    options: &'a Options,
    layout: &'a Layout,
    rules: EntryRules,
    selection: Selection,
    chart: Option<Chart>,
    substitutes: BTreeMap<EntryPath, Vec<u8>>,
    stop: &'a Stop,
}

impl<'a> Layers<'a> {
    pub(super) fn new(
        source: &'a Source,
        options: &'a Options,
        layout: &'a Layout,
        stop: &'a Stop,
    ) -> Result<Self, PackError> {
        let mut selection = Selection::new(options.filter.clone());
        let (mut substitutes, mut chart) = (BTreeMap::new(), None);
        let rules = |name| {
            let rules = source.read(name, MAX_IGNORE_BYTES)?;
            Ok::<_, PackError>(rules.map(|rules| String::from_utf8_lossy(&rules).into_owned()))
        };
        if options.format == Format::Helm {
            selection.ignore_as_helm(HELM_IGNORE, &rules(HELM_IGNORE)?.unwrap_or_default())?;
            let read = Chart::read(source, options.version.as_deref())?;
            let file = EntryPath::parse(helm::FILE.as_bytes()).unwrap_or_default();
            if selection.excludes(&file, false) || !selection.keeps(&file) {
                return Err(PackError::description(helm::FILE, "is left out by .helmignore, or by a pattern"));
            }
            substitutes.extend(read.rewritten().map(|text| (file, text.to_vec())));
            chart = Some(read);
        } else if let Some(rules) = rules(IGNORE)? {
            selection.ignore(IGNORE, &rules)?;
        }
        if options.keeps_path() {
            if source.kind(&options.sub_dir)? != Some(FileType::Directory) {
                return Err(walk::no_sub_dir(&options.sub_dir));
            }
            selection.only(&options.sub_dir);
        }
        let symlinks = options.symlinks.unwrap_or_else(|| options.format.symlinks());
        let rules = EntryRules::new(symlinks, &Limits::default());
        Ok(Self { source, options, layout, rules, selection, chart, substitutes, stop })
    }

    pub(super) fn write(&self, shape: &Shape) -> Result<Vec<Written>, PackError> {
        if let Some(chart) = &self.chart {
            helm::check_directory(self.source, chart, self.manner())?;
        }
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
        let form =
            Form { prefix, keep_modes, compression, substitutes: &self.substitutes, is_chart: self.chart.is_some() };
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
