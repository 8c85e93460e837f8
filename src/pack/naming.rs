//! References of packages: the name and version that charts and catalogs have themselves.

use std::path::Path;

use super::catalog::{self, Description};
use super::error::PackError;
use super::helm::{self, Chart};
use super::options::{Format, Options};
use super::walk::Source;
use crate::oci::Reference;

/// Returns the reference under which a directory is packaged. For charts and catalogs, a text that ends with `/` is the
/// place for `name:version`; any other must agree with the name and the version.
pub fn reference(text: &str, source: &Source, options: &Options) -> Result<Reference, PackError> {
    let (name, tag) = described(source, options)?.unzip();
    let fail = |problem: String| PackError::Reference { reference: text.to_owned(), problem };
    let whole = match (text.strip_suffix('/'), &name, &tag) {
        (Some(base), Some(name), Some(tag)) => format!("{base}/{name}:{tag}"),
        _ => text.to_owned(),
    };
    let parsed: Reference = whole.parse().map_err(|error| fail(format!("is invalid: {error}")))?;
    if parsed.digest.is_some() {
        return Err(fail("has a digest; expected a tag".to_owned()));
    }
    if let Some(name) = name.filter(|_| options.format == Format::Helm)
        && parsed.repository.path().rsplit('/').next() != Some(&name)
    {
        return Err(fail(format!("does not end with the name of the chart, {name}")));
    }
    match (&parsed.tag, tag) {
        (Some(given), Some(own)) if *given != own => Err(fail(format!("does not have the tag of its version, {own}"))),
        (None, Some(own)) => Ok(Reference { tag: Some(own), ..parsed }),
        _ => Ok(parsed),
    }
}

/// Returns the file that describes a chart or a catalog, and the format of such a directory: as plain files, it could be
/// packaged under any version, and Helm or kubara could not read it.
pub fn description_in(directory: &Path) -> Option<(&'static str, Format)> {
    let rows = [(helm::FILE, Format::Helm), (catalog::FILE, Format::Kubara)];
    rows.into_iter().find(|(file, _)| directory.join(file).is_file())
}

/// Returns the tag that a chart or a catalog has by its version; `None` in other formats.
pub fn own_tag(source: &Source, options: &Options) -> Result<Option<String>, PackError> {
    Ok(described(source, options)?.map(|(_, tag)| tag))
}

/// Returns the name and the tag of a chart or a catalog.
fn described(source: &Source, options: &Options) -> Result<Option<(String, String)>, PackError> {
    Ok(match options.format {
        Format::Kubara => {
            let catalog = Description::read(source)?;
            Some((catalog.name().to_owned(), catalog.version().to_owned()))
        }
        Format::Helm => {
            let chart = Chart::read(source, options.version.as_deref())?;
            Some((chart.name().to_owned(), chart.tag()))
        }
        Format::Oras | Format::Flux | Format::Aicr | Format::ModelPack => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_agree_with_the_content() {
        let source = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs_err::write(source.path().join(name), text).unwrap();
        write("Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0+b\n");
        write(
            "Catalog.yaml",
            "apiVersion: kubara.io/v1alpha1\nkind: Catalog\nmetadata: {name: cat}\nspec: {version: 0.1.0}\n",
        );
        let opened = Source::open(source.path()).unwrap();
        let (helm, kubara, oras) = (Format::Helm, Format::Kubara, Format::Oras);
        let rows = [
            (helm, "oci://r.example/charts/", Some("r.example/charts/app:1.0.0_b")),
            (helm, "r.example/charts/app", Some("r.example/charts/app:1.0.0_b")),
            (helm, "r.example/charts/app:1.0.0_b", Some("r.example/charts/app:1.0.0_b")),
            (helm, "r.example/charts/other", None),
            (helm, "r.example/charts/app:1.0.1", None),
            (kubara, "oci://localhost/", Some("localhost/cat:0.1.0")),
            (kubara, "r.example/x/y:0.1.0", Some("r.example/x/y:0.1.0")),
            (kubara, "r.example/x/y:latest", None),
            (oras, "r.example/a:1", Some("r.example/a:1")),
            (oras, "r.example/a/", None),
        ];
        for (format, text, want) in rows {
            let options = Options { format, ..Options::default() };
            let made = reference(text, &opened, &options).ok().map(|made| made.to_string());
            assert_eq!(made.as_deref(), want, "{format} {text}");
        }
    }
}
