//! Charts on their way to a repository: the name and version that the reference gives them.

use std::path::Path;

use super::archive::ChartArchive;
use super::chart::Chart;
use crate::oci::Reference;
use crate::oci::output_target::trim_scheme;
use crate::pack::error::PackError;
use crate::pack::walk::Source;
use crate::unpack::Stop;

/// A chart and the reference under which it is published.
#[derive(Debug)]
pub struct HelmChart {
    source: ChartSource,
    reference: Reference,
    chart: Chart,
}

/// Content of a chart.
#[derive(Debug)]
pub enum ChartSource {
    /// Directory with a `Chart.yaml`.
    Directory(Source),
    /// Archive of `helm package`.
    Archive(Box<ChartArchive>),
}

impl HelmChart {
    /// Opens a chart, a directory or an archive, for a target: `[oci://]host/repository[:tag]`.
    ///
    /// * With a tag, the last component of the repository has to be the name of the chart. The chart gets the version
    ///   of the tag, with `+` in place of `_`: in a copy, never in the directory or file.
    /// * Without a tag, the name of the chart is appended unless it is the last component already, and the version of
    ///   the chart becomes the tag. After a `/` at the end the name is appended always, as `helm push` does.
    ///
    /// ```
    /// use supercargo::pack::HelmChart;
    /// use supercargo::unpack::Stop;
    ///
    /// let dir = tempfile::tempdir()?;
    /// let yaml = "apiVersion: v2\nname: app\nversion: 1.0.0+build.5\n";
    /// std::fs::write(dir.path().join("Chart.yaml"), yaml)?;
    ///
    /// let chart = HelmChart::open(dir.path(), "oci://ghcr.io/team/charts", &Stop::new())?;
    /// assert_eq!(chart.reference().to_string(), "ghcr.io/team/charts/app:1.0.0_build.5");
    ///
    /// let chart = HelmChart::open(dir.path(), "ghcr.io/team/charts/app:2.0.0_rc", &Stop::new());
    /// assert_eq!(chart?.chart().version(), "2.0.0+rc");
    /// assert_eq!(std::fs::read_to_string(dir.path().join("Chart.yaml"))?, yaml);
    ///
    /// assert!(HelmChart::open(dir.path(), "ghcr.io/team/charts/other:1.0.0", &Stop::new()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: &Path, target: &str, stop: &Stop) -> Result<Self, PackError> {
        if path.is_dir() {
            let source = Source::open(path)?;
            let (reference, version) = resolved(target, &Chart::read(&source, None)?)?;
            let chart = Chart::read(&source, Some(&version))?;
            return Ok(Self { source: ChartSource::Directory(source), reference, chart });
        }
        let archive = ChartArchive::open(path, stop)?;
        let (reference, version) = resolved(target, archive.chart())?;
        let archive = archive.with_version(&version)?;
        let chart = archive.chart().clone();
        Ok(Self { source: ChartSource::Archive(Box::new(archive)), reference, chart })
    }

    /// The content.
    pub fn source(&self) -> &ChartSource {
        &self.source
    }

    /// The reference, with the tag of the version.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The chart as it is published.
    pub fn chart(&self) -> &Chart {
        &self.chart
    }
}

/// Returns the reference for a chart, and the version that the chart gets.
fn resolved(target: &str, chart: &Chart) -> Result<(Reference, String), PackError> {
    let fail = |problem: String| PackError::Reference { reference: target.to_owned(), problem };
    let parse = |text: &str| text.parse::<Reference>().map_err(|error| fail(format!("is invalid: {error}")));
    let (text, name) = (trim_scheme(target), chart.name());
    let base = text.trim_end_matches('/');
    // A host alone, or a place that is not complete.
    if base.len() < text.len() || !base.contains('/') {
        return Ok((parse(&format!("{base}/{name}:{}", chart.tag()))?, chart.version().to_owned()));
    }
    let reference = parse(text)?;
    if reference.digest.is_some() {
        return Err(fail("has a digest; expected a tag or none".to_owned()));
    }
    let is_named = reference.repository.path().rsplit('/').next() == Some(name);
    match &reference.tag {
        Some(_) if !is_named => Err(fail(format!("has a tag, and does not end with the name of the chart, {name}"))),
        Some(tag) if *tag == chart.tag() => Ok((reference, chart.version().to_owned())),
        Some(tag) => {
            let version = tag.replace('_', "+");
            match semver::Version::parse(&version) {
                Ok(_) => Ok((reference, version)),
                Err(error) => Err(fail(format!("has a tag that is not the version of a chart: {error}"))),
            }
        }
        None => {
            let end = if is_named { String::new() } else { format!("/{name}") };
            Ok((parse(&format!("{text}{end}:{}", chart.tag()))?, chart.version().to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_names_the_chart_and_its_version() {
        let chart = Chart::parse(b"apiVersion: v2\nname: app\nversion: 1.0.0+b\n").unwrap();
        let own = "1.0.0+b";
        let rows = [
            ("oci://r.example/charts", Some(("r.example/charts/app:1.0.0_b", own))),
            ("r.example/charts/", Some(("r.example/charts/app:1.0.0_b", own))),
            ("oci://r.example:5000", Some(("r.example:5000/app:1.0.0_b", own))),
            ("oci://r.example/", Some(("r.example/app:1.0.0_b", own))),
            ("r.example/app", Some(("r.example/app:1.0.0_b", own))),
            ("r.example/app/", Some(("r.example/app/app:1.0.0_b", own))),
            ("r.example/x/app:1.0.0_b", Some(("r.example/x/app:1.0.0_b", own))),
            ("r.example/x/app:2.0.0-rc.1", Some(("r.example/x/app:2.0.0-rc.1", "2.0.0-rc.1"))),
            ("r.example/x/app:2.0.0_x.1", Some(("r.example/x/app:2.0.0_x.1", "2.0.0+x.1"))),
            ("r.example/x/other:1.0.0_b", None),
            ("r.example/x/app:v1.0.0", None),
            ("r.example/x/app:latest", None),
            ("r.example/x/app:1.0.0_a_b", None),
            ("r.example/x/app:1.0.0,1.0", None),
            ("r.example/x/app:1.0.0/", None),
            ("https://r.example/charts", None),
            ("r.example/UPPER", None),
        ];
        for (target, want) in rows {
            let found = resolved(target, &chart);
            let found = found.as_ref().ok().map(|(reference, version)| (reference.to_string(), version.as_str()));
            assert_eq!(found, want.map(|(reference, version)| (reference.to_owned(), version)), "{target}");
        }
        let digest = format!("r.example/app@sha256:{}", "0".repeat(64));
        assert!(resolved(&digest, &chart).is_err());
    }
}
