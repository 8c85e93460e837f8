//! Malicious zip files: unsafe names and links, disagreeing headers, false offsets, and false end records.

mod data;

use super::zip::{
    DEFLATED, ENCRYPTED, Ending, Entry, UTF8, Zip64, archive, archive_with, deflated, directory, extra, stored,
    symlink, zip64_extra,
};
use super::{LIMIT, Sample, UNSAFE, UNSAFE_OR_LIMIT, Verdict, refusal};
use crate::files::{self, Entry as Node, Tree};

/// Media type of a zip.
pub const ZIP: &str = "application/zip";

/// Returns all zip samples. They are unpacked only if `spec.layers.mode` is `Extract`.
pub fn samples() -> Vec<Sample> {
    [names(), links_and_kinds(), disagreeing(), data::samples(), places(), ends(), harmless()].concat()
}

fn sample(name: &str, bytes: Vec<u8>, verdict: Verdict) -> Sample {
    Sample { name: format!("zips-{name}"), media_type: ZIP, bytes, verdict }
}

/// Makes a sample refused with `says` in the message; a valid entry comes first.
fn refused(name: &str, says: &str, entries: impl IntoIterator<Item = Entry>) -> Sample {
    let bytes = archive(std::iter::once(stored("good", "good")).chain(entries));
    sample(name, bytes, refusal(UNSAFE, &[says]))
}

fn refused_as(
    reasons: &'static [&'static str],
    name: &str,
    says: &str,
    entries: impl IntoIterator<Item = Entry>,
) -> Sample {
    Sample { verdict: refusal(reasons, &[says]), ..refused(name, "", entries) }
}

/// Makes a sample refused as a whole, without an entry in the message.
fn bad(name: &str, bytes: Vec<u8>) -> Sample {
    sample(name, bytes, refusal(UNSAFE, &[]))
}

fn good(name: &str, tree: &[(&str, &str)], bytes: Vec<u8>) -> Sample {
    sample(name, bytes, Verdict::Accepted(files::tree(tree)))
}

fn x() -> Entry {
    stored("mallory", "content")
}

fn names() -> Vec<Sample> {
    let rows: [(&str, &[u8]); 15] = [
        ("parent", b"../mallory"),
        ("parent-inside", b"a/../../mallory"),
        ("parent-at-the-end", b"mallory/.."),
        ("absolute", b"/mallory"),
        ("absolute-doubled", b"//mallory"),
        ("backslash", b"..\\mallory"),
        ("backslash-inside", b"a\\mallory"),
        ("drive", b"C:/mallory"),
        ("nul", b"mallory\0.txt"),
        ("newline", b"mallory\nx"),
        ("escape", b"mallory\x1b[2J"),
        ("right-to-left", "mallory\u{202e}x".as_bytes()),
        ("code-page-437", b"mallory-\x81"),
        ("whiteout", b".wh.mallory"),
        ("directory-with-content", b"mallory/"),
    ];
    let mut samples: Vec<_> = rows.map(|(name, path)| refused(name, "mallory", [stored(path, "content")])).into();
    let wide = "mallory".repeat(50);
    samples.extend([
        refused("empty-name", "\"\"", [stored("", "content")]),
        refused("root-as-a-file", ".", [stored(".", "content")]),
        refused("not-utf-8-but-says-so", "mallory", [stored(b"mallory\xff", "x").both(|header| header.flags |= UTF8)]),
        refused("twice", "mallory", [x(), x()]),
        refused("twice-deflated", "mallory", [x(), deflated("mallory", "other")]),
        refused("twice-behind-dot", "mallory", [x(), stored("./mallory", "content")]),
        refused("case", "mallory", [stored("MALLORY", "1"), x()]),
        refused("form", "mallory", [stored("mallory-e\u{301}", "1"), stored("mallory-\u{e9}", "2")]),
        refused("file-below-a-file", "mallory", [x(), stored("mallory/x", "1")]),
        refused("directory-over-a-file", "mallory", [x(), directory("mallory/")]),
        refused_as(LIMIT, "name-too-long", "mallory", [stored(wide, "x")]),
        refused_as(LIMIT, "too-deep", "--max-depth=64", [stored("m/".repeat(64) + "x", "x")]),
        // By the format these bytes are code page 437 (APPNOTE.TXT appendix D.1), but some programs read UTF-8: the
        // file's name depends on the reader.
        refused("utf-8-without-saying-so", "mallory", [stored("mallory-grüße", "x").both(|header| header.flags = 0)]),
        // Info-ZIP's Unicode path, with another name than the header.
        refused(
            "unicode-path-disagrees",
            "mallory",
            [x().both(|header| header.extra = extra(0x7075, b"\x01\0\0\0\0../evil"))],
        ),
    ]);
    samples
}

fn links_and_kinds() -> Vec<Sample> {
    let kind = |name, mode| refused(name, "mallory", [x().mode(mode)]);
    vec![
        refused("link-absolute", "mallory", [symlink("mallory", "/etc/passwd")]),
        refused("link-out", "mallory", [symlink("mallory", "../canary")]),
        refused("link-empty", "mallory", [symlink("mallory", "")]),
        refused("link-nul", "mallory", [symlink("mallory", "good\0x")]),
        refused("link-deflated-and-out", "mallory", [deflated("mallory", "../canary").mode(0o120_777)]),
        refused("link-cur-par", "mallory", [symlink("cur", "."), symlink("mallory", "cur/..")]),
        refused("link-write-through", "mallory", [symlink("link", "."), stored("link/mallory", "x")]),
        refused("link-then-file", "mallory", [symlink("mallory", "good"), x()]),
        refused("link-then-directory", "mallory", [symlink("mallory", "."), directory("mallory/")]),
        refused_as(UNSAFE_OR_LIMIT, "link-too-long", "mallory", [symlink("mallory", "t/".repeat(10_000))]),
        kind("character-device", 0o020_666),
        kind("block-device", 0o060_666),
        kind("fifo", 0o010_644),
        kind("socket", 0o140_644),
        kind("directory-without-slash", 0o040_755),
        refused("directory-that-is-a-link", "mallory", [symlink("mallory/", "good")]),
    ]
}

/// Entries whose local and central headers disagree; programs differ in which header they use.
fn disagreeing() -> Vec<Sample> {
    let local = |name, change: fn(&mut super::zip::Header)| refused(name, "mallory", [x().local(change)]);
    vec![
        refused("other-name-before-the-data", "mallory", [x().local(|header| header.name = b"../evil".to_vec())]),
        refused("other-name-in-the-directory", "mallory", [x().central(|header| header.name = b"mallory2".to_vec())]),
        local("other-case", |header| header.name = b"MALLORY".to_vec()),
        local("other-size", |header| header.size = 6),
        local("other-packed-size", |header| header.packed = 6),
        local("other-crc", |header| header.crc ^= 1),
        local("other-method", |header| header.method = DEFLATED),
        local("other-flags", |header| header.flags |= ENCRYPTED),
        local("zip64-only-before-the-data", |header| {
            (header.size, header.packed) = (u32::MAX, u32::MAX);
            header.extra = zip64_extra(8, 8);
        }),
        refused("streamed-and-other-sizes", "mallory", [x().streamed().central(|header| header.size = 6)]),
        refused(
            "streamed-without-sizes",
            "mallory",
            [x().both(|header| header.flags |= super::zip::STREAMED).local(|header| header.packed = 0)],
        ),
    ]
}

/// False offsets, overlaps, unlisted entries, and data around the archive.
fn places() -> Vec<Sample> {
    let first = || stored("mallory1", "content");
    let length = u32::try_from(archive([first()]).len()).unwrap_or_default();
    // The data of the outer entry is itself an entry, which the directory lists as well.
    let inner = archive([stored("inner", "x")]).get(..36).unwrap_or_default().to_vec();
    vec![
        bad("two-names-for-one-place", archive([first(), stored("mallory2", "content").at(0)])),
        bad("overlap", archive([stored("outer", inner), stored("inner", "x").at(35)])),
        bad("place-in-the-directory", archive([first().at(45)])),
        bad("place-behind-the-end", archive([first().at(length + 1000)])),
        bad("place-at-the-last-byte", archive([first().at(u32::MAX - 1)])),
        bad("place-of-no-header", archive([first().at(7)])),
        bad(
            "entry-that-is-not-listed",
            archive([stored("good", "good"), stored("mallory", "hidden").unlisted(), first()]),
        ),
        bad("entry-that-is-not-listed-first", archive([stored("mallory", "hidden").unlisted(), first()])),
        bad("entry-that-is-not-listed-last", archive([first(), stored("mallory", "hidden").unlisted()])),
        bad("entry-that-is-not-listed-alone", archive([stored("mallory", "hidden").unlisted()])),
        bad("data-before", archive_with(b"#!/bin/sh\nexit\n".to_vec(), [first()], &Ending::default())),
        bad("archive-before", archive_with(archive([stored("mallory", "hidden")]), [first()], &Ending::default())),
        bad("data-behind", [archive([first()]), b"mallory".to_vec()].concat()),
        bad("archive-behind", [archive([first()]), archive([stored("mallory2", "x")])].concat()),
    ]
}

/// False, contradictory or truncated end records.
fn ends() -> Vec<Sample> {
    let entries = || [stored("a", "x"), stored("b", "y")];
    let ends = |name, ending: &Ending| bad(name, archive_with(Vec::new(), entries(), ending));
    let whole = archive(entries());
    let zip64 = |name, false_fields: Zip64| ends(name, &Ending { zip64: Some(false_fields), ..Ending::default() });
    let cut = |name, at: usize| bad(name, whole.get(..at).unwrap_or_default().to_vec());
    vec![
        ends("entries-too-few", &Ending { entries: Some([1, 1]), ..Ending::default() }),
        ends("entries-too-many", &Ending { entries: Some([3, 3]), ..Ending::default() }),
        ends("entries-disagree", &Ending { entries: Some([1, 2]), ..Ending::default() }),
        ends("entries-none", &Ending { entries: Some([0, 0]), ..Ending::default() }),
        ends("directory-elsewhere", &Ending { directory: Some([94, 0]), ..Ending::default() }),
        ends("directory-behind-the-end", &Ending { directory: Some([94, 1 << 30]), ..Ending::default() }),
        ends("directory-of-4-gib", &Ending { directory: Some([u32::MAX - 1, 64]), ..Ending::default() }),
        ends("several-disks", &Ending { disk: 1, ..Ending::default() }),
        ends("comment-longer-than-itself", &Ending { comment_length: Some(100), ..Ending::default() }),
        ends(
            "comment-shorter-than-itself",
            &Ending { comment: b"mallory".to_vec(), comment_length: Some(3), ..Ending::default() },
        ),
        ends("end-inside-the-comment", &Ending { comment: archive([stored("mallory", "x")]), ..Ending::default() }),
        zip64("zip64-entries-too-many", Zip64 { more_entries: 1 << 40, ..Zip64::default() }),
        zip64("zip64-directory-of-8-eib", Zip64 { more_bytes: i64::MAX as u64, ..Zip64::default() }),
        zip64("zip64-directory-elsewhere", Zip64 { later: 1, ..Zip64::default() }),
        zip64("zip64-record-elsewhere", Zip64 { record_later: 1, ..Zip64::default() }),
        ends(
            "zip64-and-other-numbers",
            &Ending { zip64: Some(Zip64::default()), entries: Some([1, 1]), ..Ending::default() },
        ),
        cut("cut-in-the-first-header", 20),
        cut("cut-in-the-data", 31),
        cut("cut-before-the-directory", 64),
        cut("cut-in-the-directory", 100),
        cut("cut-before-the-end", whole.len() - 22),
        cut("cut-in-the-end", whole.len() - 1),
        bad("no-zip", b"mallory ".repeat(100)),
        bad("nothing-at-all", Vec::new()),
    ]
}

fn harmless() -> Vec<Sample> {
    let text = "a line of text\n".repeat(40);
    let mut linked = files::tree(&[("a/x", "x")]);
    linked.insert("l".to_owned(), Node::Link("a/x".to_owned()));
    let script = Tree::from([("run".to_owned(), Node::File { content: b"x".to_vec(), executable: true })]);
    let timed = |entry: Entry| entry.both(|header| header.extra = extra(0x5455, &[1, 0, 0, 0, 0]));
    let commented = Ending { comment: b"made by hand".to_vec(), ..Ending::default() };
    let large = Ending { zip64: Some(Zip64::default()), ..Ending::default() };
    let wide = stored("a", "x").both(|header| {
        (header.size, header.packed) = (u32::MAX, u32::MAX);
        header.extra = zip64_extra(1, 1);
    });
    vec![
        good("stored", &[("a", "x")], archive([stored("a", "x")])),
        good("deflated", &[("a", &text)], archive([deflated("a", &text)])),
        good("empty-file", &[("a", "")], archive([stored("a", "")])),
        good("empty-file-deflated", &[("a", "")], archive([deflated("a", "")])),
        good("directories", &[("a/b", "x")], archive([directory("a/"), stored("a/b", "x")])),
        good("directories-without-entries", &[("a/b/c", "x")], archive([stored("a/b/c", "x")])),
        good("utf-8", &[("grüße", "x")], archive([stored("grüße", "x")])),
        good("nothing-in-it", &[], archive([])),
        good("streamed", &[("a", &text)], archive([deflated("a", &text).streamed()])),
        good("with-times", &[("a", "x")], archive([timed(stored("a", "x"))])),
        good("aligned-by-zeros", &[("a", "x")], archive([stored("a", "x").both(|header| header.extra = vec![0; 3])])),
        good("with-comment", &[("a", "x")], archive_with(Vec::new(), [stored("a", "x")], &commented)),
        good("zip64-end", &[("a", "x")], archive_with(Vec::new(), [stored("a", "x")], &large)),
        good("zip64-entry", &[("a", "x")], archive([wide])),
        good("setuid", &[("a", "x")], archive([stored("a", "x").mode(0o104_644)])),
        good("mode-000", &[("a", "x")], archive([stored("a", "x").mode(0o100_000)])),
        good("no-mode", &[("a", "x")], archive([stored("a", "x").mode(0)])),
        sample("executable", archive([stored("run", "x").mode(0o100_755)]), Verdict::Accepted(script)),
        sample("link", archive([stored("a/x", "x"), symlink("l", "a/x")]), Verdict::Accepted(linked)),
    ]
}
