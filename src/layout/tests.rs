//! Tests of layouts.

use std::io::Write;

use jiff::Timestamp;
use rustix::fs::{FileType, Mode};
use serde_json::{Value, json};

use super::directory::VERSION;
use super::*;
use crate::oci::media_type::{OCI_EMPTY, OCI_INDEX, OCI_MANIFEST};
use crate::oci::{Descriptor, Digest, Reference, Repository};

mod cache;
mod exchange;
mod registry;

fn layout() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::create(&dir.path().join("a/layout")).unwrap();
    (dir, layout)
}

/// Writes a manifest whose only layer has the given content.
fn put(layout: &Layout, content: &str, subject: Option<&Descriptor>, names: &[&str]) -> Descriptor {
    let config = layout.put_blob(OCI_EMPTY, b"{}").unwrap();
    let layer = layout.put_blob("text/plain", content.as_bytes()).unwrap();
    let shown = |one: &Descriptor| json!({"mediaType": one.media_type, "digest": one.digest, "size": one.size});
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": shown(&config), "layers": [shown(&layer)],
    });
    if let Some(subject) = subject {
        manifest["subject"] = shown(subject);
    }
    layout.put_manifest(OCI_MANIFEST, manifest.to_string().as_bytes(), names).unwrap()
}

fn names(layout: &Layout) -> Vec<(Option<String>, Digest)> {
    layout.entries().unwrap().into_iter().map(|entry| (entry.name, entry.descriptor.digest)).collect()
}

fn index_of(layout: &Layout) -> Value {
    serde_json::from_slice(&fs_err::read(layout.path().join("index.json")).unwrap()).unwrap()
}

fn repository(text: &str) -> Repository {
    text.parse::<Reference>().unwrap().repository
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[test]
fn a_name_leads_to_the_last_manifest_that_got_it() {
    let (_dir, layout) = layout();
    let one = put(&layout, "one", None, &["r.example/app:1", "r.example/app:latest"]);
    let two = put(&layout, "two", None, &["r.example/app:latest"]);
    let want = [
        (Some("r.example/app:1".to_owned()), one.digest.clone()),
        (Some("r.example/app:latest".to_owned()), two.digest),
    ];
    assert_eq!(names(&layout), want);
    let again = Layout::open(layout.path()).unwrap();
    assert_eq!(again.resolve("r.example/app:1").unwrap().unwrap().digest, one.digest);
    assert_eq!(again.resolve("r.example/app:2").unwrap(), None);
    let (file, size) = again.open_blob(&one.digest).unwrap().unwrap();
    assert_eq!((size, file.metadata().unwrap().len()), (one.size, one.size));
    assert!(matches!(again.put_blob("a/b", b"x"), Err(LayoutError::ReadOnly(_))));
}

#[test]
fn a_manifest_without_a_name_is_listed_only_for_its_subject() {
    let (_dir, layout) = layout();
    let child = put(&layout, "child", None, &[]);
    assert!(names(&layout).is_empty());
    let referrer = put(&layout, "referrer", Some(&child), &[]);
    put(&layout, "referrer", Some(&child), &[]);
    assert_eq!(names(&layout), [(None, referrer.digest.clone())]);
    layout.name(&referrer, &["a"], &[("k", "v")]).unwrap();
    assert_eq!(names(&layout), [(Some("a".to_owned()), referrer.digest)]);
    assert_eq!(index_of(&layout)["manifests"][0]["annotations"]["k"], "v");
}

#[test]
fn a_blob_has_its_name_only_once_it_is_complete() {
    let (_dir, layout) = layout();
    let blobs = || fs_err::read_dir(layout.path().join("blobs/sha256")).unwrap().count();
    let unfinished = || fs_err::read_dir(layout.path().join(".supercargo/ingest")).unwrap().count();
    let mut writer = layout.blob_writer().unwrap();
    writer.write_all(b"some").unwrap();
    assert_eq!((blobs(), unfinished(), writer.size()), (0, 1, 4));
    drop(writer);
    assert_eq!((blobs(), unfinished()), (0, 0));
    let mut other = layout.blob_writer().unwrap();
    other.write_all(b"other").unwrap();
    let expected = layout.put_blob("a/b", b"some").unwrap();
    assert!(matches!(other.finish_as(&expected), Err(LayoutError::Corrupt { .. })));
    assert_eq!((blobs(), unfinished()), (1, 0));
    // Damage on the disk is repaired by the next write.
    let path = layout.path().join("blobs/sha256").join(expected.digest.hex());
    fs_err::write(&path, "s0me").unwrap();
    assert!(matches!(layout.read_blob(&expected.digest, 4), Err(LayoutError::Corrupt { .. })));
    layout.put_blob("a/b", b"some").unwrap();
    assert_eq!(layout.read_blob(&expected.digest, 4).unwrap().unwrap(), b"some");
    assert!(matches!(layout.read_blob(&expected.digest, 3), Err(LayoutError::TooLarge { .. })));
}

#[test]
fn entries_and_fields_of_other_programs_are_kept() {
    let (_dir, layout) = layout();
    let foreign = json!({
        "mediaType": OCI_INDEX, "digest": format!("sha512:{}", "0".repeat(128)), "size": 2, "x": [1],
        "annotations": {REF_NAME: "other"},
    });
    let index = json!({"schemaVersion": 2, "manifests": [foreign], "annotations": {"a": "b"}});
    fs_err::write(layout.path().join("index.json"), index.to_string()).unwrap();
    assert!(layout.entries().unwrap().is_empty(), "the digest algorithm is unknown");
    put(&layout, "one", None, &["1"]);
    let after = index_of(&layout);
    assert_eq!((&after["manifests"][0], &after["annotations"]), (&foreign, &json!({"a": "b"})));
    put(&layout, "one", None, &["other"]);
    assert_eq!(index_of(&layout)["manifests"].as_array().unwrap().len(), 2, "the name was taken");
}

#[test]
fn directories_that_are_no_layouts_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    assert!(Layout::open(&path("missing")).is_err());
    fs_err::create_dir(path("empty")).unwrap();
    assert!(matches!(Layout::open(&path("empty")), Err(LayoutError::Missing(_))));
    Layout::create(&path("empty")).unwrap();
    fs_err::create_dir(path("other")).unwrap();
    fs_err::write(path("other/file"), "x").unwrap();
    assert!(matches!(Layout::create(&path("other")), Err(LayoutError::NotEmpty(_))));
    assert_eq!(fs_err::read_dir(path("other")).unwrap().count(), 1, "nothing is added to it");
    let rows = [
        ("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#.to_owned()),
        ("oci-layout", "{}".to_owned()),
        ("oci-layout", format!("{}{VERSION}", " ".repeat(4096))),
        ("index.json", r#"{"schemaVersion":1,"manifests":[]}"#.to_owned()),
        ("index.json", r#"{"schemaVersion":2}"#.to_owned()),
        ("index.json", r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_owned()),
        ("index.json", format!(r#"{{"schemaVersion":2,"manifests":[{}1]}}"#, "1,".repeat(MAX_ENTRIES))),
    ];
    for (file, text) in rows {
        let layout = Layout::create(&path("layout")).unwrap();
        fs_err::write(layout.path().join(file), &text).unwrap();
        let opened = Layout::open(layout.path()).and_then(|layout| layout.entries());
        assert!(opened.is_err(), "{file}: {}", text.get(..40).unwrap_or(&text));
        fs_err::remove_dir_all(layout.path()).unwrap();
    }
}

#[test]
fn no_link_and_no_pipe_is_read() {
    let (_dir, layout) = layout();
    let blob = layout.put_blob("a/b", b"some").unwrap();
    let path = layout.path().join("blobs/sha256").join(blob.digest.hex());
    let outside = layout.path().join("../outside");
    fs_err::rename(&path, &outside).unwrap();
    fs_err::os::unix::fs::symlink(&outside, &path).unwrap();
    assert!(layout.open_blob(&blob.digest).is_err());
    fs_err::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    assert!(matches!(layout.open_blob(&blob.digest), Err(LayoutError::Invalid { .. })));
    fs_err::remove_file(&path).unwrap();
    assert!(layout.open_blob(&blob.digest).unwrap().is_none());
    fs_err::rename(layout.path().join("blobs"), layout.path().join("../blobs")).unwrap();
    fs_err::os::unix::fs::symlink("../blobs", layout.path().join("blobs")).unwrap();
    assert!(layout.open_blob(&blob.digest).is_err() && layout.put_blob("a/b", b"some").is_err());
}

#[test]
fn many_writers_lose_no_name() {
    let (_dir, layout) = layout();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let path = layout.path();
            scope.spawn(move || {
                let layout = Layout::create(path).unwrap();
                for name in 0..10 {
                    put(&layout, &format!("{writer}"), None, &[&format!("{writer}-{name}")]);
                }
            });
        }
    });
    assert_eq!(names(&layout).len(), 80);
    for (_, digest) in names(&layout) {
        assert!(layout.read_blob(&digest, 10_000).unwrap().is_some());
    }
}
