//! Valid and hostile archives, through the same functions that a pass uses.

use std::io::Write;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::path::EntryPath;
use super::staged::{Node, Staged};
use super::{Stop, UnpackError, Unpacker};
use crate::blob::VerifiedBlob;
use crate::oci::{Descriptor, Digest, Manifest, media_type};
use crate::request::{FileFilter, FileSelection, Limits, Unpacking};
use crate::storage::Volume;

mod changed;
mod layers;
mod zips;

/// Appends a handwritten tar entry, because the crate's builder rejects the headers that must be tested.
fn entry(tar: &mut Vec<u8>, name: &str, kind: EntryType, link: &str, mode: u32, body: &[u8]) {
    let mut header = if kind.is_gnu_sparse() { Header::new_gnu() } else { Header::new_ustar() };
    let put = |field: &mut [u8], text: &str| field[..text.len()].copy_from_slice(text.as_bytes());
    put(&mut header.as_old_mut().name, name);
    put(&mut header.as_old_mut().linkname, link);
    if let Some(gnu) = header.as_gnu_mut() {
        gnu.set_real_size(body.len() as u64);
    }
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(body.len() as u64);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(body);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn file(tar: &mut Vec<u8>, name: &str, body: &[u8]) {
    entry(tar, name, EntryType::Regular, "", 0o644, body);
}

fn finished(mut tar: Vec<u8>) -> Vec<u8> {
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn layer(bytes: &[u8], media_type: &str, annotations: &Value) -> VerifiedBlob {
    let descriptor: Descriptor = serde_json::from_value(json!({
        "mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len(), "annotations": annotations,
    }))
    .unwrap();
    VerifiedBlob::for_test(bytes, descriptor)
}

/// Options for unpacking an artifact.
#[derive(Default)]
struct How {
    is_image: bool,
    unpacking: Unpacking,
    files: FileSelection,
    limits: Limits,
}

fn unpack_as(layers: Vec<VerifiedBlob>, how: &How) -> Result<Staged, UnpackError> {
    unpack_in(&tempfile::tempdir().unwrap(), layers, how)
}

/// Unpacks into `root`, so that the files can be examined afterwards.
fn unpack_in(root: &TempDir, layers: Vec<VerifiedBlob>, how: &How) -> Result<Staged, UnpackError> {
    let volume = Volume::open(root.path()).unwrap();
    let scratch = Arc::new(volume.scratch().unwrap());
    let unpacker = Unpacker::new(scratch, manifest(), how.is_image, how.unpacking, &how.limits, Stop::new());
    // The order does not matter: the last layer first.
    let mut trees = Vec::new();
    for (number, layer) in layers.into_iter().enumerate().rev() {
        trees.insert(0, unpacker.layer(number, &layer)?.0);
    }
    unpacker.finish(trees, &how.files, &FileFilter::default())
}

fn unpack_layers(layers: Vec<VerifiedBlob>, sub_path: &str, limits: &Limits) -> Result<Staged, UnpackError> {
    let sub_path = EntryPath::parse(sub_path.as_bytes()).unwrap();
    unpack_as(
        layers,
        &How { files: FileSelection { sub_path, ..FileSelection::default() }, limits: *limits, ..How::default() },
    )
}

fn limits_of(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

fn manifest() -> Manifest {
    let config = json!({"mediaType": media_type::OCI_EMPTY, "digest": Digest::of(b"{}"), "size": 2});
    Manifest {
        media_type: media_type::OCI_MANIFEST.to_owned(),
        artifact_type: String::new(),
        config: serde_json::from_value(config).unwrap(),
        layers: Vec::new(),
        annotations: std::collections::BTreeMap::new(),
        subject: None,
        platform_digest: None,
    }
}

const FLUX: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";

fn unpack(tar: Vec<u8>) -> Result<Staged, UnpackError> {
    unpack_layers(vec![layer(&gzip(&finished(tar)), FLUX, &json!({}))], ".", &Limits::default())
}

fn paths(staged: &Staged) -> Vec<&str> {
    staged.nodes().keys().map(EntryPath::as_str).collect()
}

#[test]
fn files_directories_modes_and_inner_links_are_extracted() {
    let mut tar = Vec::new();
    entry(&mut tar, "./", EntryType::Directory, "", 0o777, b"");
    entry(&mut tar, "bin/", EntryType::Directory, "", 0o000, b"");
    entry(&mut tar, "bin/run", EntryType::Regular, "", 0o6711, b"#!/bin/sh\n");
    file(&mut tar, "lib/deep/a.txt", b"a");
    entry(&mut tar, "lib/link", EntryType::Symlink, "deep/a.txt", 0o777, b"");
    entry(&mut tar, "copy", EntryType::Link, "lib/deep/a.txt", 0o644, b"");
    entry(&mut tar, "nowhere", EntryType::Symlink, "not/there", 0o777, b"");
    let staged = unpack(tar).unwrap();
    assert_eq!(paths(&staged), ["bin", "bin/run", "copy", "lib", "lib/deep", "lib/deep/a.txt", "lib/link", "nowhere"]);
    let node = |path: &str| staged.nodes()[&EntryPath::parse(path.as_bytes()).unwrap()].clone();
    assert!(matches!(node("bin/run"), Node::File { executable: true, size: 10, .. }));
    assert_eq!(node("copy"), node("lib/deep/a.txt"));
    assert_eq!(staged.files(), 3);
}

#[test]
fn one_bad_entry_rejects_the_artifact_and_is_named() {
    use EntryType as T;
    type Row = (&'static str, &'static str, EntryType, &'static str, &'static str);
    let rows: [Row; 20] = [
        ("parent", "../evil", T::Regular, "", "\"..\""),
        ("parent inside", "a/../../evil", T::Regular, "", "\"..\""),
        ("absolute", "/evil", T::Regular, "", "absolute"),
        ("backslash", "a\\evil", T::Regular, "", "backslash"),
        ("newline", "a\nevil", T::Regular, "", "control"),
        ("whiteout", "a/.wh.b", T::Regular, "", "whiteout"),
        ("character device", "dev", T::Char, "", "device"),
        ("block device", "dev", T::Block, "", "device"),
        ("FIFO", "fifo", T::Fifo, "", "FIFO"),
        ("sparse", "sparse", T::GNUSparse, "", "sparse"),
        ("contiguous", "contiguous", T::Continuous, "", "contiguous"),
        ("unknown kind", "odd", T::new(b'Z'), "", "unknown kind"),
        ("link to absolute", "l", T::Symlink, "/etc/passwd", "absolute"),
        ("link out", "a/l", T::Symlink, "../../etc", "outside"),
        ("link to nothing", "l", T::Symlink, "", "empty"),
        ("hard link out", "l", T::Link, "../etc/passwd", "\"..\""),
        ("hard link to absolute", "l", T::Link, "/etc/passwd", "absolute"),
        ("hard link to nothing", "l", T::Link, "later", "earlier file"),
        ("root as a file", ".", T::Regular, "", "root"),
        ("root as a link", ".", T::Symlink, "x", "root"),
    ];
    for (label, name, kind, link, want) in rows {
        let mut tar = Vec::new();
        file(&mut tar, "good", b"good");
        entry(&mut tar, name, kind, link, 0o644, b"");
        match unpack(tar) {
            Err(error @ UnpackError::Entry { .. }) => assert!(error.to_string().contains(want), "{label}: {error}"),
            other => panic!("{label}: {other:?}"),
        }
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    use EntryType::{Directory, Link, Regular, Symlink};
    let two = |first: (&str, EntryType, &str), second: (&str, EntryType, &str)| {
        let mut tar = Vec::new();
        entry(&mut tar, first.0, first.1, first.2, 0o644, b"");
        entry(&mut tar, second.0, second.1, second.2, 0o644, b"");
        unpack(tar)
    };
    assert!(two(("l", Symlink, "."), ("l/evil", Regular, "")).is_err(), "file below a link");
    assert!(two(("l", Symlink, "."), ("l/d/", Directory, "")).is_err(), "directory below a link");
    assert!(two(("l", Symlink, "x"), ("l", Regular, "")).is_err(), "file over a link");
    assert!(two(("l", Symlink, "x"), ("c", Link, "l")).is_err(), "hard link to a link");
    assert!(two(("f", Regular, ""), ("f/x", Regular, "")).is_err(), "file below a file");
    assert!(two(("d/x", Regular, ""), ("d", Regular, "")).is_err(), "file over a directory");
}

/// Each link is lexically inside, but a chain of links leads the kernel outside.
#[test]
fn a_chain_of_links_to_the_outside_is_rejected() {
    let mut tar = Vec::new();
    entry(&mut tar, "a/up", EntryType::Symlink, "..", 0o777, b"");
    entry(&mut tar, "b/out", EntryType::Symlink, "../a/up/../x", 0o777, b"");
    // Lexically the target is `a/x`; through `a/up` it is beside the root.
    let error = unpack(tar).unwrap_err();
    assert!(error.to_string().contains("leads outside"), "{error}");
}

#[test]
fn a_link_out_of_the_sub_path_is_rejected() {
    let archive = || {
        let mut tar = Vec::new();
        file(&mut tar, "shared", b"x");
        entry(&mut tar, "rules/link", EntryType::Symlink, "../shared", 0o777, b"");
        file(&mut tar, "rules/a.yaml", b"a");
        vec![layer(&gzip(&finished(tar)), FLUX, &json!({}))]
    };
    assert!(unpack_layers(archive(), ".", &Limits::default()).is_ok());
    let error = unpack_layers(archive(), "rules", &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("leads outside"), "{error}");
    let error = unpack_layers(archive(), "missing", &Limits::default()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("\"missing\"") && error.contains("rules, shared"), "{error}");
}

#[test]
fn names_that_collide_on_some_filesystem_are_rejected() {
    for (one, other) in [("README", "readme"), ("e\u{301}", "\u{e9}"), ("a/X", "A/y")] {
        let mut tar = Vec::new();
        file(&mut tar, one, b"1");
        file(&mut tar, other, b"2");
        let error = unpack(tar).unwrap_err();
        assert!(error.to_string().contains("Unicode form"), "{one} {other}: {error}");
    }
    let mut tar = Vec::new();
    file(&mut tar, "same", b"1");
    file(&mut tar, "same", b"1");
    assert!(unpack(tar).unwrap_err().to_string().contains("duplicate"));
}

#[test]
fn layers_may_repeat_a_file_but_not_change_it() {
    let archive = |body: &[u8]| {
        let mut tar = Vec::new();
        file(&mut tar, "d/same", body);
        layer(&finished(tar), "application/vnd.oci.image.layer.v1.tar", &json!({}))
    };
    assert!(unpack_layers(vec![archive(b"1"), archive(b"1")], ".", &Limits::default()).is_ok());
    let error = unpack_layers(vec![archive(b"1"), archive(b"2")], ".", &Limits::default()).unwrap_err();
    assert!(matches!(error, UnpackError::Conflict(path) if path == "d/same"));
}

#[test]
fn titles_and_the_unpack_annotation_work_as_in_oras() {
    const TITLE: &str = "org.opencontainers.image.title";
    const UNPACK: &str = "io.deis.oras.content.unpack";
    let directory = |title: &str, prefix: &str| {
        let mut tar = Vec::new();
        entry(&mut tar, prefix, EntryType::Directory, "", 0o755, b"");
        file(&mut tar, &format!("{prefix}/a"), b"a");
        let bytes = gzip(&finished(tar));
        layer(&bytes, "application/vnd.oci.image.layer.v1.tar+gzip", &json!({TITLE: title, UNPACK: "true"}))
    };
    let unpack = |layers| unpack_layers(layers, ".", &Limits::default());
    assert_eq!(paths(&unpack(vec![directory(".", ".")]).unwrap()), ["a"]);
    assert_eq!(paths(&unpack(vec![directory("gen", "gen")]).unwrap()), ["gen", "gen/a"]);
    assert_eq!(paths(&unpack(vec![directory("a/b/gen", "a/b/gen")]).unwrap()), ["a", "a/b", "a/b/gen", "a/b/gen/a"]);
    let error = unpack(vec![directory("gen", "other")]).unwrap_err();
    assert!(error.to_string().contains("layer's title"), "{error}");

    let raw = layer(b"{}\n", "application/vnd.oci.image.layer.v1.tar", &json!({TITLE: "x/y.json"}));
    assert_eq!(paths(&unpack(vec![raw]).unwrap()), ["x", "x/y.json"]);
    let escape = layer(b"x", "text/plain", &json!({TITLE: "../../x"}));
    assert!(matches!(unpack(vec![escape]), Err(UnpackError::Entry { .. })));
}

#[test]
fn the_content_digest_annotation_of_oras_is_verified() {
    let mut tar = Vec::new();
    file(&mut tar, "a", b"a");
    let tar = finished(tar);
    let with_digest = |digest: &Digest| {
        let annotations = json!({
            "io.deis.oras.content.unpack": "true", "io.deis.oras.content.digest": digest.to_string(),
        });
        unpack_layers(vec![layer(&gzip(&tar), FLUX, &annotations)], ".", &Limits::default())
    };
    assert!(with_digest(&Digest::of(&tar)).is_ok());
    assert!(matches!(with_digest(&Digest::of(b"other")), Err(UnpackError::ContentDigest { .. })));
}

#[test]
fn corrupt_archives_and_trailing_data_are_rejected() {
    let mut tar = Vec::new();
    file(&mut tar, "a", &[b'a'; 5000]);
    let whole = gzip(&finished(tar.clone()));
    let mut behind_tar = finished(tar.clone());
    behind_tar.extend_from_slice(&[b'x'; 512]);
    let mut behind_gzip = whole.clone();
    behind_gzip.extend_from_slice(b"trailing");
    let mut bad_crc = whole.clone();
    let crc = bad_crc.len() - 8;
    bad_crc[crc] ^= 1;
    let mut damaged = finished(tar.clone());
    damaged[0] ^= 1;
    let rows = [
        ("nothing", Vec::new()),
        ("damaged first header", gzip(&damaged)),
        ("the same without gzip", damaged.clone()),
        ("cut in the first header", gzip(&tar[..300])),
        ("zstd of before its format was fixed", [&[0x27, 0xb5, 0x2f, 0xfd], &damaged[..900]].concat()),
        ("cut gzip", whole[..whole.len() - 10].to_vec()),
        ("cut tar", gzip(&tar[..1024])),
        ("data behind the tar", gzip(&behind_tar)),
        ("data behind the gzip", behind_gzip),
        ("bad CRC", bad_crc),
    ];
    for (label, bytes) in rows {
        let result = unpack_layers(vec![layer(&bytes, FLUX, &json!({}))], ".", &Limits::default());
        assert!(matches!(result, Err(UnpackError::Archive { .. } | UnpackError::Entry { .. })), "{label}: {result:?}");
    }
    let mut two_members = gzip(&finished(tar)[..700]);
    let mut rest = Vec::new();
    file(&mut rest, "a", &[b'a'; 5000]);
    two_members.extend(gzip(&finished(rest)[700..]));
    let staged = unpack_layers(vec![layer(&two_members, FLUX, &json!({}))], ".", &Limits::default()).unwrap();
    assert_eq!(paths(&staged), ["a"], "several gzip members are one archive");
}

type Fill = fn(&mut Vec<u8>);

#[test]
fn exceeded_limits_name_the_entry_and_the_flag() {
    let limits = limits_of(|limits| {
        limits.extracted_bytes = limits.extracted_bytes.set(1000);
        limits.file_bytes = limits.file_bytes.set(900);
        limits.entries = limits.entries.set(5);
        limits.depth = limits.depth.set(3);
        limits.header_bytes = limits.header_bytes.set(200);
    });
    let archive = |fill: &dyn Fn(&mut Vec<u8>)| {
        let mut tar = Vec::new();
        fill(&mut tar);
        unpack_layers(vec![layer(&gzip(&finished(tar)), FLUX, &json!({}))], ".", &limits).unwrap_err().to_string()
    };
    let long = |tar: &mut Vec<u8>, name: &str| {
        entry(tar, "long", EntryType::GNULongName, "", 0o644, name.as_bytes());
        file(tar, "short", b"");
    };
    let rows: [(Fill, &str); 5] = [
        (
            |tar| ["a", "b"].iter().for_each(|name| file(tar, name, &[0; 600])),
            "\"b\": more than 1000 bytes in all files (--max-extracted-bytes=1000)",
        ),
        (|tar| file(tar, "big", &[0; 901]), "\"big\": more than 900 bytes in a file (--max-file-bytes=900)"),
        (|tar| (0..6).for_each(|n| file(tar, &format!("f{n}"), b"")), "\"f5\": more than 5 entries (--max-entries=5)"),
        (|tar| file(tar, "a/b/c/d", b""), "(--max-depth=3)"),
        (|tar| entry(tar, "x", EntryType::XHeader, "", 0o644, &[b' '; 201]), "(--max-header-bytes=200)"),
    ];
    for (fill, want) in rows {
        let said = archive(&fill);
        assert!(said.contains(want), "{said}");
    }
    let mut tar = Vec::new();
    long(&mut tar, &"n".repeat(256));
    let said = unpack(tar).unwrap_err().to_string();
    assert!(said.contains("--max-name-bytes=255"), "{said}");
    let mut tar = Vec::new();
    long(&mut tar, &"n/".repeat(2049));
    let said = unpack(tar).unwrap_err().to_string();
    assert!(said.contains("--max-path-bytes=4096"), "{said}");
    // A header with a small size, followed by an endless stream.
    let mut bomb = Vec::new();
    file(&mut bomb, "small", b"x");
    bomb.resize(40 << 20, 0);
    let result = unpack_layers(vec![layer(&gzip(&bomb), FLUX, &json!({}))], ".", &limits);
    assert!(matches!(result, Err(UnpackError::Limit { .. })), "{result:?}");
}

#[test]
fn ambiguous_extended_headers_are_rejected() {
    let pax = |kind: EntryType, records: &[u8]| {
        let mut tar = Vec::new();
        entry(&mut tar, "pax", kind, "", 0o644, records);
        file(&mut tar, "a", b"a");
        unpack(tar)
    };
    let paths_of = |kind, records: &[u8]| pax(kind, records).map(|staged| paths(&staged).join(" "));
    assert_eq!(paths_of(EntryType::XHeader, b"12 path=b/c\n").unwrap(), "b b/c");
    assert_eq!(paths_of(EntryType::GNULongName, b"long\0").unwrap(), "long");
    assert_eq!(paths_of(EntryType::XGlobalHeader, b"13 comment=x\n").unwrap(), "a", "git archive");
    assert_eq!(paths_of(EntryType::XHeader, b"9 size=1\n").unwrap(), "a", "the same size twice");
    let huge = vec![b'x'; (1 << 20) + 1];
    assert_eq!(paths_of(EntryType::XHeader, b"27 SCHILY.filetype=regular\n").unwrap(), "a", "star");
    let rows: [(&str, EntryType, &[u8]); 13] = [
        ("sparse, as star says it", EntryType::XHeader, b"26 SCHILY.filetype=sparse\n"),
        ("the same of all", EntryType::XGlobalHeader, b"26 SCHILY.filetype=sparse\n"),
        ("NUL in a keyword", EntryType::XHeader, b"14 comment\0=x\n"),
        ("NUL in a keyword for all", EntryType::XGlobalHeader, b"14 \0comment=x\n"),
        ("malformed", EntryType::XHeader, b"13 path=b/c\n\n"),
        ("sparse", EntryType::XHeader, b"22 GNU.sparse.major=1\n"),
        ("escape", EntryType::XHeader, b"14 path=../ev\n"),
        ("NUL in a name", EntryType::XHeader, b"11 path=b\0\n"),
        ("another size", EntryType::XHeader, b"9 size=2\n"),
        ("twice", EntryType::XHeader, b"10 path=b\n10 path=c\n"),
        ("global path", EntryType::XGlobalHeader, b"10 path=b\n"),
        ("huge", EntryType::GNULongName, &huge),
        ("escape in a long name", EntryType::GNULongName, b"../ev\0"),
    ];
    for (label, kind, records) in rows {
        let result = pax(kind, records);
        let is_refused = matches!(result, Err(UnpackError::Entry { .. } | UnpackError::Limit { .. }));
        assert!(is_refused, "{label}: {result:?}");
    }
    let mut two = Vec::new();
    entry(&mut two, "pax", EntryType::XHeader, "", 0o644, b"10 path=b\n");
    entry(&mut two, "long", EntryType::GNULongName, "", 0o644, b"c\0");
    file(&mut two, "a", b"a");
    assert!(unpack(two).is_err(), "two kinds of names");
    let mut last = Vec::new();
    entry(&mut last, "pax", EntryType::XHeader, "", 0o644, b"10 path=b\n");
    assert!(matches!(unpack(last), Err(UnpackError::Archive { .. })), "nothing behind it");
}

#[test]
fn an_archive_of_the_tar_crate_is_extracted() {
    let mut builder = Builder::new(Vec::new());
    let long = "d/".repeat(60) + "name";
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    builder.append_data(&mut header, &long, b"x".as_slice()).unwrap();
    let tar = builder.into_inner().unwrap();
    let staged = unpack_layers(vec![layer(&gzip(&tar), FLUX, &json!({}))], ".", &Limits::default()).unwrap();
    assert!(paths(&staged).contains(&long.as_str()), "GNU long name");
}

#[test]
fn a_directory_in_the_oldest_form_is_extracted() {
    let mut tar = Vec::new();
    file(&mut tar, "old/", b"");
    file(&mut tar, "old/a", b"a");
    assert_eq!(paths(&unpack(tar).unwrap()), ["old", "old/a"]);
    let mut tar = Vec::new();
    file(&mut tar, "old/", b"content");
    file(&mut tar, "old/a", b"a");
    assert!(unpack(tar).is_err(), "a directory has no content");
}

#[test]
fn a_cancelled_pass_stops_inside_a_file() {
    let root = tempfile::tempdir().unwrap();
    let volume = Volume::open(root.path()).unwrap();
    let mut tar = Vec::new();
    file(&mut tar, "a", &[0; 5000]);
    let layer = layer(&gzip(&finished(tar)), FLUX, &json!({}));
    let stop = Stop::new();
    stop.cancel();
    let scratch = volume.scratch().unwrap();
    let how = How::default();
    let unpacker = Unpacker::new(Arc::new(scratch), manifest(), false, how.unpacking, &how.limits, stop);
    let result = unpacker.layer(0, &layer);
    assert!(matches!(result, Err(UnpackError::Stopped)), "{result:?}");
}

#[test]
fn zstd_frames_are_read_within_the_window_limit() {
    let mut tar = Vec::new();
    file(&mut tar, "a", &vec![7; 100_000]);
    let tar = finished(tar);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    let (first, second) = tar.split_at(50_000);
    let unpack = |bytes: &[u8]| unpack_layers(vec![layer(bytes, FLUX, &json!({}))], ".", &Limits::default());
    let good = [
        ("one frame", zstd(&tar)),
        ("two frames", [zstd(first), zstd(second)].concat()),
        ("a skippable one first", [&skippable, zstd(&tar).as_slice()].concat()),
    ];
    for (label, bytes) in good {
        assert!(unpack(&bytes).is_ok(), "{label}: {:?}", unpack(&bytes));
    }
    let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(28).unwrap();
    wide.write_all(&tar).unwrap();
    let whole = zstd(&tar);
    let bad = [
        ("cut off", whole[..whole.len() - 3].to_vec()),
        ("something behind", [whole.as_slice(), b"x"].concat()),
        ("nothing inside", vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0]),
    ];
    for (label, bytes) in bad {
        assert!(matches!(unpack(&bytes), Err(UnpackError::Archive { .. })), "{label}: {:?}", unpack(&bytes));
    }
    let said = unpack(&wide.finish().unwrap()).unwrap_err().to_string();
    assert!(said.contains("--max-zstd-window=134217728"), "{said}");
}

#[test]
fn a_layer_above_the_ratio_limit_is_rejected() {
    let mut tar = Vec::new();
    file(&mut tar, "zeros", &vec![0; 30 << 20]);
    let tar = finished(tar);
    let mut best = GzEncoder::new(Vec::new(), Compression::best());
    best.write_all(&tar).unwrap();
    for bytes in [best.finish().unwrap(), zstd::encode_all(tar.as_slice(), 3).unwrap()] {
        let unpack = |limits| unpack_layers(vec![layer(&bytes, FLUX, &json!({}))], ".", &limits);
        let said = unpack(Limits::default()).unwrap_err().to_string();
        assert!(said.contains("--max-ratio=200"), "{said}");
        assert!(unpack(limits_of(|limits| limits.ratio = limits.ratio.set(100_000))).is_ok());
    }
}

#[test]
fn unsupported_compressions_of_archives_are_named() {
    let xz = [0xfd, b'7', b'z', b'X', b'Z', 0, 0, 0];
    let result = unpack_layers(vec![layer(&xz, FLUX, &json!({}))], ".", &Limits::default());
    assert!(matches!(result, Err(UnpackError::Unsupported { format: "xz", .. })), "{result:?}");
    assert!(unpack_layers(vec![layer(&xz, "application/x-xz", &json!({}))], ".", &Limits::default()).is_ok());
}
