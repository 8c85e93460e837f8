//! Archives above a limit, and archives exactly at a limit.

use super::tar::{Entry, directory, entry, file, hard_link, long_name, pax, pax_bytes, record, symlink};
use super::{Case, ENTRIES, EXTRACTED_BYTES, accepted, limited};

/// Default limits of the operator, which the run does not change.
const DEPTH: usize = 64;
const NAME_BYTES: usize = 255;
const PATH_BYTES: usize = 4096;
const HEADER_BYTES: usize = 1 << 20;

pub(super) fn cases() -> Vec<Case> {
    [depths(), lengths(), amounts()].concat()
}

fn long(path: &str) -> [Entry; 2] {
    [pax(&[("path", path)]), file("x", "x")]
}

/// Makes a path of this many components.
fn deep(components: usize) -> String {
    vec!["m"; components].join("/")
}

fn depths() -> Vec<Case> {
    let flag = "--max-depth=64";
    let step = |depth| [pax(&[("path", &deep(depth))]), directory("x")];
    let one_by_one = (1..=DEPTH + 1).flat_map(step).collect::<Vec<_>>();
    let deepest = deep(DEPTH);
    let too_deep = deep(DEPTH + 1);
    vec![
        accepted("deepest", &[(&deepest, "x")], long(&deepest)),
        limited("too-deep", &[flag, "m/m/m"], long(&too_deep)),
        limited("too-deep-directory", &[flag, "m/m/m"], [pax(&[("path", &too_deep)]), directory("x")]),
        limited("too-deep-link", &[flag, "m/m/m"], [pax(&[("path", &too_deep)]), symlink("x", "x")]),
        limited("too-deep-hard-link", &[flag, "m/m/m"], [pax(&[("path", &too_deep)]), hard_link("x", "good")]),
        limited("too-deep-one-by-one", &[flag, "m/m/m"], one_by_one),
        limited("far-too-deep", &["max-", "m/m/m"], long(&deep(2000))),
    ]
}

fn lengths() -> Vec<Case> {
    let (name_flag, path_flag, header_flag) = (
        &*format!("--max-name-bytes={NAME_BYTES}"),
        &*format!("--max-path-bytes={PATH_BYTES}"),
        "--max-header-bytes=1048576",
    );
    let longest = vec!["l".repeat(249); 14].join("/");
    let too_long = vec!["m".repeat(250); 17].join("/");
    let wide = format!("mallory{}", "m".repeat(NAME_BYTES - 6));
    // 86 letters of three bytes each: 258 bytes.
    let wide_letters = "語".repeat(86);
    let many = record("comment", "x".repeat(1000)).repeat(HEADER_BYTES / 1000 + 1);
    vec![
        accepted("longest-that-can-be-read", &[(&longest, "x")], long(&longest)),
        limited("path-too-long", &[path_flag, "mmm"], long(&too_long)),
        limited("path-too-long-for-gnu", &[path_flag, "mmm"], [long_name(&too_long), file("x", "x")]),
        limited("name-too-long", &[name_flag, "mallory"], long(&wide)),
        limited("name-too-long-in-the-middle", &[name_flag, "mallory"], long(&format!("a/{wide}/b"))),
        limited("name-too-long-in-letters", &[name_flag, "語"], long(&wide_letters)),
        limited(
            "target-too-long",
            &[path_flag, "mallory"],
            [pax(&[("linkpath", &"t/".repeat(PATH_BYTES))]), symlink("mallory", "x")],
        ),
        limited("header-too-long", &[header_flag], [pax_bytes(vec![b'x'; HEADER_BYTES + 1]), file("mallory", "x")]),
        limited("header-of-many-records", &[header_flag], [pax_bytes(many), file("mallory", "x")]),
        limited(
            "long-name-too-long",
            &["max-"],
            [entry(b'L', "mallory").body(vec![b'm'; HEADER_BYTES + 1]), file("mallory", "x")],
        ),
        limited("header-that-only-claims", &[header_flag], [entry(b'x', "mallory").size(1 << 32)]),
        limited("global-header-too-long", &[header_flag], [entry(b'g', "mallory").body(vec![b'x'; HEADER_BYTES + 1])]),
    ]
}

fn amounts() -> Vec<Case> {
    let bytes_flag = &*format!("--max-extracted-bytes={EXTRACTED_BYTES}");
    let entries_flag = &*format!("--max-entries={ENTRIES}");
    let (entries, half) =
        (usize::try_from(ENTRIES).unwrap_or(usize::MAX), usize::try_from(EXTRACTED_BYTES / 2).unwrap_or(usize::MAX));
    let noise = |seed, more| crate::archive::noise(half + more, seed);
    let links = (0..entries).map(|number| symlink(format!("mallory{number}"), "good")).collect::<Vec<_>>();
    let files = (0..entries).map(|number| file(format!("mallory{number}"), "")).collect::<Vec<_>>();
    let directories = (0..entries).map(|number| directory(format!("mallory{number}/"))).collect::<Vec<_>>();
    let implied = (0..entries / 2).map(|number| file(format!("mallory{number}/x"), "")).collect::<Vec<_>>();
    vec![
        limited("bytes-claimed", &[bytes_flag], [file("mallory", "x").size(EXTRACTED_BYTES + 1)]),
        limited("bytes-claimed-second", &[bytes_flag], [file("a", "x"), file("mallory", "x").size(EXTRACTED_BYTES)]),
        limited("bytes", &[bytes_flag], [file("a", noise(1, 0)), file("mallory", noise(2, 0))]),
        limited("bytes-by-hard-links", &[bytes_flag], [file("a", noise(3, 1)), hard_link("mallory", "a")]),
        limited("entries-files", &[entries_flag], files),
        limited("entries-links", &[entries_flag], links),
        limited("entries-directories", &[entries_flag], directories),
        limited("entries-implied", &[entries_flag], implied),
    ]
}
