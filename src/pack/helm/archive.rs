//! Packaged charts: archives of `helm package`, checked as Helm checks them before it pushes one.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::chart::{Chart, FILE, MAX_BYTES, REQUIREMENTS};
use super::subcharts::Subcharts;
use crate::api::vocabulary::Symlinks;
use crate::layout::Layout;
use crate::pack::error::PackError;
use crate::pack::format::HELM_LAYER;
use crate::pack::layer::{Archiving, Written};
use crate::pack::options::{Compression, MAX_CHART, MAX_CHART_FILE};
use crate::request::Limits;
use crate::storage::StorageError;
use crate::unpack::path::EntryPath;
use crate::unpack::{EntryRules, Stop};

/// Maximum size of a provenance file, in bytes.
const MAX_PROVENANCE: u64 = 1024 * 1024;

/// A packaged chart in memory: no other bytes are pushed than those that were checked.
#[derive(Debug)]
pub struct ChartArchive {
    name: String,
    bytes: Vec<u8>,
    files: Files,
    chart: Chart,
    provenance: Option<Vec<u8>>,
}

/// Contents of an archive.
#[derive(Debug, Default)]
struct Files {
    yaml: Option<Vec<u8>>,
    requirements: Option<Vec<u8>>,
    number: u64,
    bytes: u64,
}

impl ChartArchive {
    /// Reads and checks an archive and, if there is one, the provenance file beside it: `<path>.prov`.
    pub fn open(path: &Path, stop: &Stop) -> Result<Self, PackError> {
        let name = path.display().to_string();
        let bytes = read(path, MAX_CHART)?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".prov");
        let provenance = match read(&PathBuf::from(beside), MAX_PROVENANCE) {
            Err(PackError::NoSource { .. }) => None,
            read => Some(read?),
        };
        let (mut files, mut subcharts, mut top) = (Files::default(), Subcharts::default(), None);
        each(&name, &bytes, stop, |entry| {
            files.add(entry.path, entry.size, &mut entry.content, &mut subcharts)?;
            top.get_or_insert_with(|| entry.top.to_owned());
            if top.as_deref() == Some(entry.top) {
                Ok(())
            } else {
                Err(entry.problem("is not in the directory of the chart"))
            }
        })?;
        let Some(yaml) = &files.yaml else {
            return Err(PackError::description(name, "has no Chart.yaml in its top directory"));
        };
        let chart = Chart::of(yaml, files.requirements.as_deref(), None)?;
        if top.as_deref() != Some(chart.name()) {
            let problem = format!("its top directory is not named after the chart, {:?}", chart.name());
            return Err(PackError::description(name, problem));
        }
        subcharts.check(&chart)?;
        Ok(Self { name, bytes, files, chart, provenance })
    }

    /// The chart.
    pub fn chart(&self) -> &Chart {
        &self.chart
    }

    /// Returns the provenance file beside the archive.
    pub(in crate::pack) fn provenance(&self) -> Option<&[u8]> {
        self.provenance.as_deref()
    }

    /// Returns the archive with another version, which has to be packed again. Fails if there is a provenance file: its
    /// signature is over the bytes of the archive.
    pub(super) fn with_version(self, version: &str) -> Result<Self, PackError> {
        if version == self.chart.version() {
            return Ok(self);
        }
        if self.provenance.is_some() {
            let own = self.chart.version();
            let problem =
                format!("has the version {own}, and its provenance file does not allow it to become {version}");
            return Err(PackError::description(self.name, problem));
        }
        let yaml = self.files.yaml.as_deref().unwrap_or_default();
        let chart = Chart::of(yaml, self.files.requirements.as_deref(), Some(version))?;
        Ok(Self { chart, ..self })
    }

    /// Writes the archive into a layout: as it is, or with another `Chart.yaml`.
    pub(in crate::pack) fn write(&self, layout: &Layout, stop: &Stop) -> Result<Written, PackError> {
        let Files { number, bytes, .. } = self.files;
        let Some(yaml) = self.chart.rewritten() else {
            let descriptor = layout.put_blob(HELM_LAYER, &self.bytes)?;
            return Ok(Written { content_digest: descriptor.digest.clone(), descriptor, files: number, bytes });
        };
        let mut archiving = Archiving::begin(layout, Compression::Gzip)?;
        each(&self.name, &self.bytes, stop, |entry| {
            let path = format!("{}/{}", entry.top, entry.path);
            if entry.path.as_str() == FILE {
                archiving.file(&path, entry.mode, yaml.len() as u64, &mut { yaml })
            } else {
                archiving.file(&path, entry.mode, entry.size, &mut entry.content)
            }
        })?;
        archiving.finish(HELM_LAYER)
    }
}

impl Files {
    fn add(
        &mut self,
        path: &EntryPath,
        size: u64,
        content: &mut impl Read,
        subcharts: &mut Subcharts,
    ) -> Result<(), PackError> {
        self.number += 1;
        self.bytes = self.bytes.saturating_add(size);
        if size > MAX_CHART_FILE {
            return Err(PackError::TooLarge { path: path.to_string(), limit: MAX_CHART_FILE });
        }
        let kept = match path.as_str() {
            FILE => &mut self.yaml,
            REQUIREMENTS => &mut self.requirements,
            path => return subcharts.add(path, content),
        };
        if size > MAX_BYTES {
            return Err(PackError::TooLarge { path: path.to_string(), limit: MAX_BYTES });
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|error| PackError::description(path.as_str(), error))?;
        *kept = Some(bytes);
        Ok(())
    }
}

/// A file in an archive.
struct InArchive<'a, R> {
    /// Name of the archive, for messages.
    archive: &'a str,
    /// First part of its path: the directory of the chart.
    top: &'a str,
    /// Path in that directory.
    path: &'a EntryPath,
    mode: u32,
    size: u64,
    content: R,
}

impl<R> InArchive<'_, R> {
    fn problem(&self, problem: &str) -> PackError {
        PackError::description(self.archive, format!("entry \"{}/{}\" {problem}", self.top, self.path))
    }
}

/// Calls `take` with each file of an archive. Names that the unpacker refuses, links, special files and a name that
/// occurs twice are errors.
fn each<'b>(
    archive: &str,
    bytes: &'b [u8],
    stop: &Stop,
    mut take: impl FnMut(
        &mut InArchive<'_, tar::Entry<'_, std::io::Take<MultiGzDecoder<&'b [u8]>>>>,
    ) -> Result<(), PackError>,
) -> Result<(), PackError> {
    let fail = |problem: &dyn std::fmt::Display| PackError::description(archive, problem);
    let rules = EntryRules::new(Symlinks::Reject, &Limits::default());
    // One byte more than allowed is read, to notice an archive that is larger.
    let mut tar = tar::Archive::new(MultiGzDecoder::new(bytes).take(MAX_CHART + 1));
    let (mut seen, mut total) = (HashSet::new(), 0_u64);
    for entry in tar.entries().map_err(|error| fail(&error))? {
        let content = entry.map_err(|error| fail(&error))?;
        if stop.is_cancelled() {
            return Err(PackError::Stopped);
        }
        let kind = content.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let whole = rules.path(&content.path_bytes())?;
        if kind == EntryType::Directory {
            continue;
        }
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            return Err(fail(&format!("entry {:?} is a link or a special file; expected files", whole.as_str())));
        }
        total = total.saturating_add(content.size());
        if total > MAX_CHART {
            return Err(PackError::TooLarge { path: archive.to_owned(), limit: MAX_CHART });
        }
        let Some((top, rest)) = whole.as_str().split_once('/') else {
            return Err(fail(&format!("entry {:?} is not in a directory", whole.as_str())));
        };
        let path = rules.path(rest.as_bytes())?;
        if !seen.insert(whole.folded().into_owned()) {
            return Err(fail(&format!("entry {:?} is there twice", whole.as_str())));
        }
        let is_executable = content.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        let (mode, size) = (if is_executable { 0o755 } else { 0o644 }, content.size());
        take(&mut InArchive { archive, top, path: &path, mode, size, content })?;
    }
    Ok(())
}

/// Reads a regular file of at most `limit` bytes.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, PackError> {
    let failed = |error: std::io::Error| StorageError::from_io(format!("read {}", path.display()), &error);
    let metadata = fs_err::metadata(path).map_err(|error| {
        if error.kind() != std::io::ErrorKind::NotFound {
            return failed(error).into();
        }
        let expected = "a chart: a directory, or an archive of helm package";
        PackError::NoSource { path: path.display().to_string(), expected }
    })?;
    if !metadata.is_file() {
        return Err(PackError::description(path.display(), "is not a regular file"));
    }
    let mut bytes = Vec::new();
    fs_err::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(PackError::TooLarge { path: path.display().to_string(), limit });
    }
    Ok(bytes)
}
