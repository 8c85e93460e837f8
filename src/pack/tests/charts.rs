//! Charts: directories and archives, their versions, dependencies and limits.

use std::io::Write;

use super::*;
use crate::pack::helm::ChartArchive;

const YAML: &str = "apiVersion: v2\nname: app\nversion: 1.0.0\n";

/// Writes a chart with a directory of templates.
fn write_chart(root: &Path, yaml: &str) {
    fs_err::create_dir_all(root.join("templates")).unwrap();
    fs_err::write(root.join("Chart.yaml"), yaml).unwrap();
    fs_err::write(root.join("templates/a.yaml"), "a: 1").unwrap();
}

/// Returns a packaged chart with these entries.
fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = ::tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, text) in entries {
        let mut header = ::tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        header.set_size(text.len() as u64);
        header.set_cksum();
        tar.append(&header, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn push_name(chart: &HelmChart) -> (String, String) {
    (chart.reference().to_string(), chart.chart().version().to_owned())
}

/// Packages a chart for a target, and returns the manifest and its layout.
fn chart_for(path: &Path, target: &str) -> Result<(TempDir, Layout, Manifest), PackError> {
    let chart = HelmChart::open(path, target, &Stop::new())?;
    let (dir, layout) = layout();
    let made = package_chart(&chart, &Options::default(), &layout, &["a"], &Stop::new())?;
    let bytes = layout.read_blob(&made.manifest.digest, 1 << 20).unwrap().unwrap();
    let Document::Manifest(manifest) = Document::parse(&bytes, Some(&made.manifest.media_type)).unwrap() else {
        panic!("an index");
    };
    Ok((dir, layout, *manifest))
}

fn paths(layout: &Layout, manifest: &Manifest) -> Vec<String> {
    let staged = unpack(layout, manifest, &Limits::default()).unwrap();
    staged.nodes().keys().map(ToString::to_string).collect()
}

#[test]
fn a_chart_gets_another_version_only_in_its_archive() {
    let source = tempfile::tempdir().unwrap();
    write_chart(source.path(), YAML);
    fs_err::write(source.path().join("templates/.swp"), "").unwrap();
    fs_err::write(source.path().join(".helmignore"), "*.bak\n").unwrap();
    fs_err::write(source.path().join("old.bak"), "").unwrap();
    let (_dir, layout, manifest) = chart_for(source.path(), "oci://r.example/app:2.0.0_b").unwrap();
    assert_eq!(fs_err::read_to_string(source.path().join("Chart.yaml")).unwrap(), YAML);
    assert_eq!(manifest.annotations[VERSION], "2.0.0+b");
    let config = layout.read_blob(&manifest.config.digest, 4096).unwrap().unwrap();
    assert_eq!(config, br#"{"name":"app","version":"2.0.0+b","apiVersion":"v2"}"#);
    let want = ["app", "app/.helmignore", "app/Chart.yaml", "app/templates", "app/templates/a.yaml"];
    assert_eq!(paths(&layout, &manifest), want);
    let staged = unpack(&layout, &manifest, &Limits::default()).unwrap();
    let Node::File { digest, .. } = &staged.nodes()[&path("app/Chart.yaml")] else { panic!("no file") };
    assert_eq!(*digest, Digest::of(YAML.replace("1.0.0", "\"2.0.0+b\"").as_bytes()));
}

#[test]
fn an_archive_stays_as_it_is_unless_its_version_changes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = archive(&[("app/Chart.yaml", YAML), ("app/values.yaml", "a: 1"), ("app/run.sh", "#!/bin/sh")]);
    let file = dir.path().join("app-1.0.0.tgz");
    fs_err::write(&file, &bytes).unwrap();
    let (_one, layout, manifest) = chart_for(&file, "oci://r.example/charts").unwrap();
    assert_eq!(manifest.layers[0].digest, Digest::of(&bytes));
    assert_eq!(manifest.layers.len(), 1);

    let (_two, layout_two, changed) = chart_for(&file, "oci://r.example/app:2.0.0").unwrap();
    assert_eq!(changed.annotations[VERSION], "2.0.0");
    assert_eq!(paths(&layout_two, &changed), paths(&layout, &manifest));
    assert_eq!(fs_err::read(&file).unwrap(), bytes, "the file is unchanged");
    // The times of the archive are gone.
    let later = chart_for(&file, "oci://r.example/app:2.0.0").unwrap().2;
    assert_eq!(changed.layers, later.layers);

    fs_err::write(dir.path().join("app-1.0.0.tgz.prov"), "signed").unwrap();
    let (_three, layout, signed) = chart_for(&file, "oci://r.example/charts").unwrap();
    let types: Vec<_> = signed.layers.iter().map(|layer| layer.media_type.as_str()).collect();
    assert_eq!(types, [HELM_LAYER, "application/vnd.cncf.helm.chart.provenance.v1.prov"]);
    assert_eq!(layout.read_blob(&signed.layers[1].digest, 10).unwrap().unwrap(), b"signed");
    let refused = chart_for(&file, "oci://r.example/app:2.0.0").unwrap_err();
    assert!(
        matches!(refused, PackError::Description { .. }) && refused.to_string().contains("provenance"),
        "{refused}"
    );
}

#[test]
fn archives_that_helm_would_refuse_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let large = "x".repeat(5 * 1024 * 1024 + 1);
    let yaml = ("app/Chart.yaml", YAML);
    let rows: [(&[(&str, &str)], &str); 8] = [
        (&[("app/values.yaml", "")], "Chart.yaml"),
        (&[("Chart.yaml", YAML)], "Chart.yaml"),
        (&[("other/Chart.yaml", YAML)], "app"),
        (&[yaml, ("b/values.yaml", "")], "b/values.yaml"),
        (&[yaml, ("app/../../x", "")], ".."),
        (&[yaml, ("/app/x", "")], "/app/x"),
        (&[yaml, yaml], "app/Chart.yaml"),
        (&[yaml, ("app/large", &large)], "large"),
    ];
    for (entries, noun) in rows {
        let file = dir.path().join("app.tgz");
        fs_err::write(&file, archive(entries)).unwrap();
        let refused = ChartArchive::open(&file, &Stop::new()).map(|_| noun).unwrap_err().to_string();
        assert!(refused.contains(noun), "{noun}: {refused}");
    }
    fs_err::write(dir.path().join("app.tgz"), "not gzip").unwrap();
    assert!(ChartArchive::open(&dir.path().join("app.tgz"), &Stop::new()).is_err());
}

#[test]
fn a_link_in_an_archive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut tar = ::tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = ::tar::Header::new_ustar();
    header.set_entry_type(::tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "app/values.yaml", "/etc/passwd").unwrap();
    let file = dir.path().join("app.tgz");
    fs_err::write(&file, tar.into_inner().unwrap().finish().unwrap()).unwrap();
    let refused = ChartArchive::open(&file, &Stop::new()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("app/values.yaml"), "{refused}");
}

#[test]
fn a_chart_has_the_charts_that_it_depends_on() {
    let source = tempfile::tempdir().unwrap();
    let yaml = format!("{YAML}dependencies:\n- {{name: one}}\n- {{name: two, alias: x}}\n");
    write_chart(source.path(), &yaml);
    let charts = source.path().join("charts");
    let missing = || match chart_for(source.path(), "r.example/charts") {
        Err(PackError::Dependencies(names)) => Some(names),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    };
    assert_eq!(missing().as_deref(), Some("one, two"));
    // The directory has another name than the chart.
    fs_err::create_dir_all(charts.join("first")).unwrap();
    fs_err::write(charts.join("first/Chart.yaml"), "name: one\nversion: \"1\"\n").unwrap();
    assert_eq!(missing().as_deref(), Some("two"));
    fs_err::write(charts.join("two-1.tgz"), archive(&[("two/Chart.yaml", "name: two\n")])).unwrap();
    assert_eq!(missing(), None);
    // What Helm ignores is not there.
    fs_err::write(source.path().join(".helmignore"), "first/\n").unwrap();
    assert_eq!(missing().as_deref(), Some("one"));
    fs_err::write(source.path().join(".helmignore"), "charts/\n").unwrap();
    assert_eq!(missing().as_deref(), Some("one, two"));
    fs_err::write(source.path().join(".helmignore"), "!charts\n").unwrap();
    let refused = chart_for(source.path(), "r.example/charts").unwrap_err().to_string();
    assert!(refused.contains("Chart.yaml") && refused.contains(".helmignore"), "{refused}");

    let packed = archive(&[("app/Chart.yaml", yaml.as_str()), ("app/charts/one/Chart.yaml", "name: one")]);
    let file = source.path().join("app.tgz");
    fs_err::File::create(&file).unwrap().write_all(&packed).unwrap();
    let refused = ChartArchive::open(&file, &Stop::new()).map(|_| ());
    assert!(matches!(&refused, Err(PackError::Dependencies(names)) if names == "two"), "{refused:?}");
}

#[test]
fn a_chart_in_a_directory_has_the_limits_of_helm() {
    let source = tempfile::tempdir().unwrap();
    write_chart(source.path(), YAML);
    let large = fs_err::File::create(source.path().join("large")).unwrap();
    large.set_len(5 * 1024 * 1024 + 1).unwrap();
    let refused = chart_for(source.path(), "r.example/charts").map(|_| ());
    assert!(matches!(&refused, Err(PackError::TooLarge { path, .. }) if path == "large"), "{refused:?}");
}

#[test]
fn empty_lists_in_the_metadata_are_no_errors() {
    for list in ["dependencies:", "maintainers:", "keywords:", "annotations:", "dependencies: []"] {
        let source = tempfile::tempdir().unwrap();
        write_chart(source.path(), &format!("{YAML}{list}\n"));
        let chart = HelmChart::open(source.path(), "r.example/charts", &Stop::new()).unwrap();
        assert_eq!(push_name(&chart), ("r.example/charts/app:1.0.0".to_owned(), "1.0.0".to_owned()), "{list}");
    }
}
