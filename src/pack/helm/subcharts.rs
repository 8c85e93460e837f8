//! Charts that another chart depends on, in its directory `charts`: directories, and archives of `helm package`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use rustix::fs::FileType;
use serde::Deserialize;

use super::chart::{Chart, FILE, MAX_BYTES};
use crate::pack::error::PackError;
use crate::pack::walk::{Found, Manner, Source, Visit};
use crate::unpack::path::EntryPath;

/// Directory of these charts.
const DIRECTORY: &str = "charts";
/// Maximum number of bytes that are decompressed of an archive in that directory.
const MAX_ARCHIVE: u64 = 100 * 1024 * 1024;
/// Maximum number of names in a message.
const MAX_SHOWN: usize = 10;

/// Names of the charts in `charts`.
#[derive(Debug, Default)]
pub(super) struct Subcharts(BTreeSet<String>);

impl Subcharts {
    /// Takes the name of the chart that a file describes or holds, if it does. The path is relative to the chart.
    pub(super) fn add(&mut self, path: &str, content: &mut impl Read) -> Result<(), PackError> {
        let mut parts = path.splitn(3, '/');
        let (Some(DIRECTORY), Some(entry)) = (parts.next(), parts.next()) else { return Ok(()) };
        // Helm ignores these.
        if entry.starts_with(['_', '.']) {
            return Ok(());
        }
        let fail = |problem: &dyn std::fmt::Display| PackError::description(path, problem);
        let yaml = match parts.next() {
            Some(FILE) => read_yaml(content).map_err(|error| fail(&error))?,
            None if Path::new(entry).extension() == Some(OsStr::new("tgz")) => {
                in_archive(content).map_err(|error| fail(&error))?
            }
            Some(_) | None => return Ok(()),
        };
        self.0.insert(name(&yaml).map_err(|error| fail(&error))?);
        Ok(())
    }

    /// Fails if a chart that `chart` depends on is missing.
    pub(super) fn check(&self, chart: &Chart) -> Result<(), PackError> {
        let missing = chart.dependencies().filter(|name| !self.0.contains(*name));
        let missing: Vec<_> = missing.take(MAX_SHOWN).collect();
        if missing.is_empty() { Ok(()) } else { Err(PackError::Dependencies(missing.join(", "))) }
    }
}

impl Visit for Subcharts {
    fn visit(&mut self, path: &EntryPath, found: Found<'_>) -> Result<(), PackError> {
        match found {
            Found::File { file, .. } => self.add(path.as_str(), file),
            Found::Directory { .. } | Found::Link { .. } => Ok(()),
        }
    }
}

/// Fails if a chart that the chart in a directory depends on is missing in its directory `charts`.
pub(in crate::pack) fn check_directory(source: &Source, chart: &Chart, manner: Manner<'_>) -> Result<(), PackError> {
    let mut found = Subcharts::default();
    let directory = EntryPath::parse(DIRECTORY.as_bytes()).unwrap_or_default();
    if source.kind(&directory)? == Some(FileType::Directory) {
        source.walk(&directory, manner, &mut found)?;
    }
    found.check(chart)
}

fn read_yaml(content: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the `Chart.yaml` in the top directory of an archive.
fn in_archive(archive: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut tar = tar::Archive::new(MultiGzDecoder::new(archive).take(MAX_ARCHIVE));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let mut parts = path.split(|byte| *byte == b'/');
        if let (Some(_), Some(b"Chart.yaml"), None) = (parts.next(), parts.next(), parts.next()) {
            return read_yaml(&mut entry);
        }
    }
    Err(io::Error::other("has no Chart.yaml in its top directory"))
}

/// Returns the name of a chart. Its other fields are not checked: charts of others are as they are.
fn name(yaml: &[u8]) -> Result<String, serde_saphyr::Error> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    serde_saphyr::from_slice::<Named>(yaml).map(|named| named.name)
}
