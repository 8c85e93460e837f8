//! Several layers: their order, merging, and selection.

use super::*;
use crate::api::vocabulary::{LayerMode, OnConflict, Symlinks};

const IMAGE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Creates a layer of files; the content `->:` makes a symbolic link, `=:` a hard link, and a name with `/` a
/// directory.
fn of(entries: &[(&str, &str)]) -> VerifiedBlob {
    let mut tar = Vec::new();
    for (name, content) in entries {
        match content.split_once(':') {
            Some(("->", target)) => entry(&mut tar, name, EntryType::Symlink, target, 0o777, b""),
            Some(("=", target)) => entry(&mut tar, name, EntryType::Link, target, 0o644, b""),
            _ if name.ends_with('/') => entry(&mut tar, name, EntryType::Directory, "", 0o755, b""),
            _ => file(&mut tar, name, content.as_bytes()),
        }
    }
    layer(&gzip(&finished(tar)), IMAGE, &json!({}))
}

/// Returns the files with their content, and the links.
fn content(staged: &Staged) -> Vec<String> {
    let shown = staged.nodes().iter().filter_map(|(path, node)| match node {
        Node::Directory => None,
        Node::File { .. } => Some(format!("{path}={}", String::from_utf8(staged.read(path).unwrap()).unwrap())),
        Node::Link { target } => Some(format!("{path}->{target}")),
    });
    shown.collect()
}

fn image(layers: Vec<VerifiedBlob>) -> Result<Staged, UnpackError> {
    unpack_as(layers, &How { is_image: true, ..How::default() })
}

#[test]
fn image_layers_hide_and_replace_earlier_layers() {
    type Layers<'a> = &'a [&'a [(&'a str, &'a str)]];
    let rows: [(&str, Layers<'_>, &[&str]); 12] = [
        ("later has it", &[&[("a", "1")], &[("a", "2")]], &["a=2"]),
        ("whiteout", &[&[("a", "1"), ("b", "1")], &[(".wh.a", "")]], &["b=1"]),
        ("whiteout of a directory", &[&[("d/e/f", "1"), ("d-x", "1")], &[(".wh.d", "")]], &["d-x=1"]),
        ("whiteout of nothing", &[&[("a", "1")], &[("x/.wh.y", "")]], &["a=1"]),
        ("in the first layer", &[&[("a", "1"), (".wh.a", "")]], &["a=1"]),
        ("it hides what is below, not beside", &[&[("a", "1")], &[("a", "2"), (".wh.a", "")]], &["a=2"]),
        (
            "opaque",
            &[&[("d/a", "1"), ("d/s/b", "1"), ("e", "1")], &[("d/.wh..wh..opq", ""), ("d/c", "2")]],
            &["d/c=2", "e=1"],
        ),
        ("opaque root", &[&[("a", "1"), ("d/b", "1")], &[(".wh..wh..opq", ""), ("c", "2")]], &["c=2"]),
        ("file over directory", &[&[("d/a", "1")], &[("d", "2")]], &["d=2"]),
        ("directory over file", &[&[("d", "1")], &[("d/", ""), ("d/a", "2")]], &["d/a=2"]),
        ("link over file", &[&[("a", "1"), ("b", "1")], &[("a", "->:b")]], &["a->b", "b=1"]),
        ("hard link to a layer below", &[&[("a", "1")], &[("b", "=:a")]], &["a=1", "b=1"]),
    ];
    for (label, layers, want) in rows {
        let root = tempfile::tempdir().unwrap();
        let how = How { is_image: true, ..How::default() };
        let staged = unpack_in(&root, layers.iter().map(|layer| of(layer)).collect(), &how);
        let staged = staged.unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(content(&staged), want, "{label}");
    }
}

#[test]
fn image_layers_obey_the_rules_of_artifacts() {
    type Layers<'a> = &'a [&'a [(&'a str, &'a str)]];
    let rows: [(&str, Layers<'_>, &str); 8] = [
        ("whiteout with content", &[&[(".wh.a", "x")]], ".wh.a"),
        ("whiteout of nothing", &[&[(".wh.", "")]], ".wh."),
        ("whiteout of a parent", &[&[("a/.wh...", "")]], "a/.wh..."),
        ("below a whiteout", &[&[(".wh.a/b", "")]], ".wh.a/b"),
        ("AUFS", &[&[(".wh..wh.plnk", "")]], ".wh..wh.plnk"),
        ("through a link below", &[&[("d/x", "1"), ("l", "->:d")], &[("l/a", "2")]], "\"l\""),
        ("hard link to nothing", &[&[("a", "1")], &[("b", "=:c")]], "\"b\""),
        ("hard link to what is hidden", &[&[("a", "1")], &[("b", "=:a"), (".wh.a", "")]], "\"b\""),
    ];
    for (label, layers, want) in rows {
        let error = image(layers.iter().map(|layer| of(layer)).collect()).unwrap_err();
        assert!(matches!(error, UnpackError::Entry { .. }), "{label}: {error}");
        assert!(error.to_string().contains(want), "{label}: {error}");
    }
}

#[test]
fn conflicting_layers_are_rejected_or_the_last_one_wins() {
    let root = tempfile::tempdir().unwrap();
    let with = |on_conflict, layers: Vec<VerifiedBlob>| {
        let unpacking = Unpacking { on_conflict, ..Unpacking::default() };
        unpack_in(&root, layers, &How { unpacking, ..How::default() })
    };
    let three = || vec![of(&[("a", "1"), ("s/b", "1")]), of(&[("s/b", "1"), ("c", "2")]), of(&[("a", "3")])];
    let last = with(OnConflict::LastWins, three()).unwrap();
    assert_eq!(content(&last), ["a=3", "c=2", "s/b=1"]);
    assert!(matches!(with(OnConflict::Fail, three()), Err(UnpackError::Conflict(path)) if path == "a"));
    // A conflict between a file and a directory is never resolved.
    let kinds = || vec![of(&[("d/a", "1")]), of(&[("d", "2")])];
    assert!(matches!(with(OnConflict::LastWins, kinds()), Err(UnpackError::Conflict(path)) if path == "d"));
    let implied = || vec![of(&[("d", "1")]), of(&[("d/a", "2")])];
    assert!(with(OnConflict::LastWins, implied()).is_err());
    let spelling = || vec![of(&[("readme", "1")]), of(&[("README", "1")])];
    assert!(matches!(with(OnConflict::LastWins, spelling()), Err(UnpackError::Entry { .. })));
}

#[test]
fn the_limits_of_an_artifact_are_those_of_all_layers_together() {
    let layers = || (0..4).map(|n| of(&[(&format!("f{n}"), "12345")])).collect();
    let limits = limits_of(|limits| limits.extracted_bytes = limits.extracted_bytes.set(19));
    assert!(matches!(unpack_layers(layers(), ".", &limits), Err(UnpackError::Limit { .. })));
    let limits = limits_of(|limits| limits.entries = limits.entries.set(3));
    assert!(matches!(unpack_layers(layers(), ".", &limits), Err(UnpackError::Limit { .. })));
    let limits = limits_of(|limits| limits.entries = limits.entries.set(4));
    assert_eq!(unpack_layers(layers(), ".", &limits).unwrap().files(), 4);
}

#[test]
fn decoded_bytes_outside_of_files_count_for_the_artifact() {
    let padded = |name: &str| {
        let mut tar = Vec::new();
        file(&mut tar, name, b"x");
        tar.resize(500_000, 0);
        layer(&gzip(&tar), IMAGE, &json!({}))
    };
    let packed = |name: &str| {
        let mut tar = Vec::new();
        file(&mut tar, name, b"x");
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18], 500_000_u32.to_le_bytes().as_slice(), &vec![0; 500_000]].concat();
        layer(&[zstd::encode_all(finished(tar).as_slice(), 1).unwrap(), skippable].concat(), IMAGE, &json!({}))
    };
    let limits = limits_of(|limits| {
        limits.extracted_bytes = limits.extracted_bytes.set(1_100_000);
        limits.entries = limits.entries.set(10);
    });
    for make in [&padded as &dyn Fn(&str) -> VerifiedBlob, &packed] {
        let unpack = |names: &[&str]| unpack_layers(names.iter().map(|name| make(name)).collect(), ".", &limits);
        assert_eq!(unpack(&["a", "b"]).unwrap().files(), 2);
        let said = unpack(&["a", "b", "a"]).unwrap_err().to_string();
        assert!(said.contains("--max-extracted-bytes=1100000"), "{said}");
    }
}

#[test]
fn patterns_keep_files_with_their_directories() {
    let rows: [(&[&str], &[&str], &[&str]); 6] = [
        (&[], &[], &["d", "d/a.json", "d/b.txt", "e", "top.json"]),
        (&["**/*.json"], &[], &["d", "d/a.json", "top.json"]),
        (&["*.json"], &[], &["top.json"]),
        (&["d"], &["**/*.txt"], &["d", "d/a.json"]),
        (&[], &["d"], &["e", "top.json"]),
        (&["e", "top.json"], &[], &["e", "top.json"]),
    ];
    let texts = |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
    let unpack = |filter| {
        let layers = vec![of(&[("d/a.json", "1"), ("d/b.txt", "1"), ("e/", ""), ("top.json", "1")])];
        unpack_as(layers, &How { files: FileSelection { filter, ..FileSelection::default() }, ..How::default() })
    };
    for (include, exclude, want) in rows {
        let staged = unpack(FileFilter::parse(&texts(include), &texts(exclude)).unwrap()).unwrap();
        assert_eq!(paths(&staged), want, "{include:?} {exclude:?}");
    }
    // Directories alone are not content.
    for (include, exclude) in [(&["nothing"], "x"), (&["e"], "x"), (&["**"], "**/*.*")] {
        let error = unpack(FileFilter::parse(&texts(include), &texts(&[exclude])).unwrap()).unwrap_err();
        assert!(matches!(&error, UnpackError::NothingLeft { found } if found == "d, e, top.json"), "{error}");
    }
}

#[test]
fn links_are_rejected_if_symlinks_is_reject() {
    let unpacking = Unpacking { symlinks: Symlinks::Reject, ..Unpacking::default() };
    let how = How { unpacking, ..How::default() };
    let error = unpack_as(vec![of(&[("a", "1"), ("l", "->:a")])], &how).unwrap_err();
    assert!(error.to_string().contains("\"l\""), "{error}");
    assert!(unpack_as(vec![of(&[("a", "1"), ("l", "=:a")])], &how).is_ok(), "a hard link is a copy");
}

#[test]
fn the_mode_file_keeps_every_layer_unchanged() {
    let unpacking = Unpacking { mode: LayerMode::File, ..Unpacking::default() };
    let staged = unpack_as(vec![of(&[("a", "1")])], &How { unpacking, ..How::default() }).unwrap();
    let [name] = paths(&staged)[..] else { panic!("{:?}", paths(&staged)) };
    assert!(name.ends_with(".tar.gz"), "{name}");
    let unpacking = Unpacking { mode: LayerMode::Extract, ..Unpacking::default() };
    let raw = layer(b"no archive", "text/plain", &json!({}));
    let error = unpack_as(vec![raw], &How { unpacking, ..How::default() }).unwrap_err();
    assert!(matches!(error, UnpackError::Archive { .. }), "{error}");
}

#[test]
fn properties_that_are_not_applied_are_counted() {
    let root = tempfile::tempdir().unwrap();
    let scratch = Arc::new(Volume::open(root.path()).unwrap().scratch().unwrap());
    let mut tar = Vec::new();
    entry(&mut tar, "su", EntryType::Regular, "", 0o4755, b"x");
    entry(&mut tar, "tmp", EntryType::Directory, "", 0o1000, b"");
    entry(&mut tar, "pax", EntryType::XHeader, "", 0o644, b"29 SCHILY.xattr.user.note=hi\n");
    file(&mut tar, "tmp/noted", b"x");
    let unpacker = Unpacker::new(scratch, manifest(), false, Unpacking::default(), &Limits::default(), Stop::new());
    let (tree, dropped) = unpacker.layer(0, &layer(&gzip(&finished(tar)), FLUX, &json!({}))).unwrap();
    assert_eq!(dropped, super::super::Dropped { owners: 0, special_bits: 2, attributes: 1 });
    let staged = unpacker.finish(vec![tree], &FileSelection::default(), &FileFilter::default()).unwrap();
    assert_eq!(paths(&staged), ["su", "tmp", "tmp/noted"]);
}
