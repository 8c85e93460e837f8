//! Valid and hostile zip archives.

use rawzip::{CompressionMethod, ZipArchiveWriter};

use super::*;
use crate::api::vocabulary::LayerMode;

/// An entry of a zip: name, mode, content.
type File<'a> = (&'a str, u32, &'a [u8]);

fn zip(files: &[File<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = ZipArchiveWriter::new(&mut bytes);
    for (name, mode, content) in files {
        if name.ends_with('/') {
            archive.new_dir(*name).unix_permissions(*mode).create().unwrap();
            continue;
        }
        let file = if name.is_ascii() {
            archive.new_file(rawzip::path::EntryPath::verbatim(name.as_bytes()))
        } else {
            archive.new_file(*name)
        };
        let file = file.unix_permissions(*mode).compression_method(CompressionMethod::DEFLATE);
        let (mut entry, config) = file.start().unwrap();
        let encoder = flate2::write::DeflateEncoder::new(&mut entry, Compression::default());
        let mut writer = config.wrap(encoder);
        writer.write_all(content).unwrap();
        let (encoder, descriptor) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

fn unzip(bytes: &[u8]) -> Result<Staged, UnpackError> {
    unzip_in(&tempfile::tempdir().unwrap(), bytes)
}

fn unzip_in(root: &TempDir, bytes: &[u8]) -> Result<Staged, UnpackError> {
    let unpacking = Unpacking { mode: LayerMode::Extract, ..Unpacking::default() };
    let layer = layer(bytes, "archive/zip", &json!({"org.opencontainers.image.title": "module.zip"}));
    unpack_in(root, vec![layer], &How { unpacking, ..How::default() })
}

#[test]
fn files_directories_modes_and_inner_links_are_extracted_from_a_zip() {
    let long = b"some text that is long enough ".repeat(100);
    let bytes = zip(&[
        ("d/", 0o40_755, b""),
        ("d/run.sh", 0o100_755, b"#!/bin/sh\n"),
        ("main.tf", 0o100_644, &long),
        ("\u{e9}", 0o100_600, b"x"),
        ("link", 0o120_777, b"d/run.sh"),
    ]);
    let root = tempfile::tempdir().unwrap();
    let staged = unzip_in(&root, &bytes).unwrap();
    assert_eq!(paths(&staged), ["d", "d/run.sh", "link", "main.tf", "\u{e9}"]);
    let path = |text: &str| EntryPath::parse(text.as_bytes()).unwrap();
    assert_eq!(staged.read(&path("main.tf")).unwrap(), long);
    assert!(matches!(staged.nodes()[&path("d/run.sh")], Node::File { executable: true, size: 10, .. }));
    assert!(matches!(&staged.nodes()[&path("link")], Node::Link { target } if target == "d/run.sh"));
    assert!(unzip(&zip(&[])).is_ok(), "an empty one");
}

#[test]
fn zip_entries_without_modes_are_directories_by_name() {
    let made = |attributes: u8| {
        let mut bytes = zip(&[("d/", 0o40_755, b""), ("d/a", 0o100_755, b"x")]);
        let entries: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"PK\x01\x02")).collect();
        for at in entries {
            bytes[at + 5] = 0;
            bytes[at + 38..at + 42].copy_from_slice(&[0; 4]);
        }
        let first = (0..bytes.len()).find(|at| bytes[*at..].starts_with(b"PK\x01\x02")).unwrap();
        bytes[first + 38] = attributes;
        unzip(&bytes)
    };
    for attributes in [0, 0x10] {
        assert_eq!(paths(&made(attributes).unwrap()), ["d", "d/a"], "{attributes}");
    }
    let mut bytes = zip(&[("d", 0o100_644, b"")]);
    let at = (0..bytes.len()).find(|at| bytes[*at..].starts_with(b"PK\x01\x02")).unwrap();
    (bytes[at + 5], bytes[at + 38]) = (0, 0x10);
    assert!(unzip(&bytes).is_err(), "a directory by its attributes only");
}

#[test]
fn one_bad_entry_rejects_the_zip_and_is_named() {
    let rows: [(&str, File<'_>); 9] = [
        ("parent", ("../evil", 0o100_644, b"x")),
        ("absolute", ("/evil", 0o100_644, b"x")),
        ("backslash", ("..\\evil", 0o100_644, b"x")),
        ("link out", ("evil", 0o120_777, b"../../etc/passwd")),
        ("FIFO", ("evil", 0o010_644, b"")),
        ("device", ("evil", 0o020_644, b"")),
        ("directory by its mode only", ("evil", 0o040_755, b"")),
        ("twice", ("good", 0o100_644, b"other")),
        ("whiteout", (".wh.good", 0o100_644, b"")),
    ];
    for (label, bad) in rows {
        let error = unzip(&zip(&[("good", 0o100_644, b"x"), bad])).unwrap_err();
        assert!(matches!(error, UnpackError::Entry { .. }), "{label}: {error}");
        let name = bad.0.replace('\\', "\\\\");
        assert!(error.to_string().contains(&name), "{label}: {error}");
    }
}

/// Replaces the occurrence `number` of `from` by the same number of bytes.
fn patched(mut bytes: Vec<u8>, from: &[u8], number: usize, to: &[u8]) -> Vec<u8> {
    let found: Vec<_> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    bytes[found[number]..][..to.len()].copy_from_slice(to);
    bytes
}

/// Changes bytes at these offsets of the end record.
fn with_end(mut bytes: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    let end = bytes.len() - 22;
    for (place, byte) in changes {
        bytes[end + place] = *byte;
    }
    bytes
}

#[test]
fn ambiguous_zips_are_rejected() {
    let content = b"content that is compressed, compressed, compressed";
    let good = || zip(&[("name-a", 0o100_644, content), ("name-b", 0o100_644, content)]);
    // A complete entry that the directory does not list, after the listed ones.
    let hidden = |listed: &[File<'_>]| {
        let start =
            |bytes: &[u8]| usize::try_from(u32::from_le_bytes(bytes[bytes.len() - 6..][..4].try_into().unwrap()));
        let (bytes, more) = (zip(listed), zip(&[("hidden", 0o100_644, content)]));
        let (at, entry) = (start(&bytes).unwrap(), &more[..start(&more).unwrap()]);
        let moved = u32::try_from(at + entry.len()).unwrap().to_le_bytes();
        let changes: Vec<_> = (16..20).zip(moved).collect();
        with_end([&bytes[..at], entry, &bytes[at..]].concat(), &changes)
    };
    // The same, as the bytes of a directory.
    let inside = |name: &str| {
        let bytes = hidden(&[(name, 0o40_755, b"")]);
        let listed = bytes.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
        let packed = u32::try_from(listed - 30 - name.len()).unwrap().to_le_bytes();
        let changes: Vec<_> = (18..22).zip(packed).collect();
        with_fields(bytes, &changes)
    };
    let crc = rawzip::crc32(content).to_le_bytes();
    let directory = b"PK\x01\x02";
    let rows = [
        ("two names", patched(good(), b"name-a", 1, b"name-c")),
        ("something before", [b"#!/bin/sh\n", good().as_slice()].concat()),
        ("an entry that is not listed, before the directory", hidden(&[("name-a", 0o100_644, content)])),
        ("the same and no other", hidden(&[])),
        ("the same in a directory", inside("d/")),
        ("something behind", [good().as_slice(), b"x"].concat()),
        ("cut off", good()[..good().len() - 1].to_vec()),
        ("another checksum", patched(good(), &crc, 1, &[0; 4])),
        ("an entry less than said", patched(good(), directory, 1, b"XX\x01\x02")),
        ("another count", with_end(good(), &[(8, 9), (10, 9)])),
        ("another count on this disk", with_end(good(), &[(8, 1)])),
        ("one of several parts", with_end(good(), &[(4, 1)])),
        ("the directory on another part", with_end(good(), &[(6, 1)])),
        ("a longer directory", with_end(good(), &[(15, 1)])),
        ("numbers of 64 bits that are not there", {
            let (bytes, end) = (good(), good().len() - 22);
            [&bytes[..end], b"PK\x06\x07", &[0; 16], &bytes[end..]].concat()
        }),
    ];
    for (label, bytes) in rows {
        let result = unzip(&bytes);
        let is_refused = matches!(result, Err(UnpackError::Entry { .. } | UnpackError::Archive { .. }));
        assert!(is_refused, "{label}: {result:?}");
    }
    assert!(unzip(&good()).is_ok());
}

/// Changes bytes at these offsets of the first file's two headers, which have the same fields in the same order.
fn with_fields(mut bytes: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    let directory = (0..bytes.len()).find(|at| bytes[*at..].starts_with(b"PK\x01\x02")).unwrap();
    for (place, byte) in changes {
        bytes[*place] = *byte;
        bytes[directory + 2 + place] = *byte;
    }
    bytes
}

#[test]
fn unsupported_zip_entries_are_named() {
    let good = || zip(&[("name-a", 0o100_644, b"content")]);
    let rows: [(&str, (usize, u8), &str); 4] = [
        ("patch", (6, 1 << 5 | 1 << 3), "is a patch"),
        ("encrypted", (6, 1 | 1 << 3), "is encrypted"),
        ("bzip2", (8, 12), "zip method 12"),
        ("unknown method", (8, 77), "zip method 77"),
    ];
    for (label, change, says) in rows {
        let said = unzip(&with_fields(good(), &[change])).unwrap_err().to_string();
        assert!(said.starts_with("entry \"name-a\" ") && said.contains(says), "{label}: {said}");
    }
    let nowhere: Vec<_> = (0..4).flat_map(|place| [(18 + place, 0xff), (22 + place, 0xff)]).collect();
    let said = unzip(&with_fields(good(), &nowhere)).unwrap_err().to_string();
    assert!(said.contains("\"name-a\"") && said.contains("size"), "{said}");
}

#[test]
fn overlapping_zip_entries_are_rejected() {
    let mut bytes = zip(&[("name-a", 0o100_644, b"aaaa"), ("name-b", 0o100_644, b"aaaa")]);
    // The second entry in the directory points to the first file.
    let entries: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"PK\x01\x02")).collect();
    bytes[entries[1] + 42..][..4].copy_from_slice(&[0; 4]);
    let error = unzip(&bytes).unwrap_err().to_string();
    assert!(error.contains("overlaps"), "{error}");
}

#[test]
fn a_zip_has_the_limits_of_a_tar() {
    let zeros = vec![0; 4 << 20];
    let error = unzip(&zip(&[("zeros", 0o100_644, &zeros)])).unwrap_err().to_string();
    assert!(error.contains("--max-ratio=200"), "{error}");
    let many: Vec<_> = (0..50).map(|n| format!("f{n}")).collect();
    let many: Vec<File<'_>> = many.iter().map(|name| (name.as_str(), 0o100_644, b"x".as_slice())).collect();
    let unpacking = Unpacking { mode: LayerMode::Extract, ..Unpacking::default() };
    let limits = limits_of(|limits| limits.entries = limits.entries.set(49));
    let layer = layer(&zip(&many), "archive/zip", &json!({}));
    let error = unpack_as(vec![layer], &How { unpacking, limits, ..How::default() }).unwrap_err().to_string();
    assert!(error.contains("--max-entries=49"), "{error}");
}
