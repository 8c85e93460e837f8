//! Extended headers that are malformed, false or contradictory.

use super::tar::{
    Entry, MAGIC, PREFIX, Sum, directory, entry, file, global, hard_link, long_link, long_name, pax, pax_bytes, record,
    symlink,
};
use super::{Case, accepted, accepted_as, refused};
use crate::files::{Entry as Node, Tree};

pub(super) fn cases() -> Vec<Case> {
    [malformed(), sizes(), contradicting(), global_ones(), sums(), magics(), harmless()].concat()
}

/// Malformed pax records.
fn malformed() -> Vec<Case> {
    let rows: [(&str, &[u8]); 21] = [
        ("length-zero", b"0 path=x\n"),
        ("length-short", b"8 path=x\n"),
        ("length-long", b"11 path=x\n"),
        ("length-negative", b"-10 path=x\n"),
        ("length-plus", b"+11 path=x\n"),
        ("length-hexadecimal", b"0xb path=x\n"),
        ("length-huge", b"99999999999999999999 path=x\n"),
        ("length-of-i64", b"9223372036854775807 path=x\n"),
        ("length-missing", b" path=x\n"),
        ("length-with-space", b" 11 path=x\n"),
        ("no-number", b"path=x\n"),
        ("no-newline", b"10 path=xy"),
        ("no-equals", b"9 pathxy\n"),
        ("no-key", b"5 =x\n"),
        ("no-record", b"\n"),
        ("nul-behind-a-key", b"11 path\0=x\n"),
        ("nul-in-a-comment", b"14 comm\0ent=x\n"),
        ("zeros", &[0; 512]),
        ("zeros-behind", b"10 path=x\n\0\0\0"),
        ("newline-behind", b"10 path=x\n\n"),
        ("second-one-cut", b"10 path=x\n20 mtime=1"),
    ];
    rows.map(|(name, body)| refused(&format!("pax-{name}"), "mallory", [pax_bytes(body), file("mallory", "x")])).into()
}

/// Entries with two contradictory sizes. Programs differ in which size they use, and so in the entries that they find
/// after it (CVE-2025-62518).
fn sizes() -> Vec<Case> {
    let two = |name, size: &str| refused(name, "mallory", [pax(&[("size", size)]), file("mallory", "content")]);
    // A reader that uses the smaller size reads the rest of the body as headers.
    let inner = super::tar::blocks([file("smuggled-mallory", "x")]);
    vec![
        two("size-smaller", "1"),
        two("size-larger", "8"),
        two("size-zero", "0"),
        two("size-negative", "-7"),
        two("size-empty", ""),
        two("size-text", "seven"),
        two("size-hexadecimal", "0x7"),
        two("size-fraction", "7.0"),
        two("size-plus", "+7"),
        two("size-space", " 7"),
        two("size-beyond-u64", "18446744073709551616"),
        two("size-of-u64", "18446744073709551615"),
        two("size-of-i64", "9223372036854775807"),
        refused("size-smuggles", "mallory", [pax(&[("size", "0")]), file("mallory", &inner)]),
        refused(
            "size-smuggles-by-the-header",
            "mallory",
            [pax(&[("size", "1024")]), file("mallory", "").size(0), file("smuggled-mallory", "x")],
        ),
        refused("size-twice", "mallory", [pax(&[("size", "7"), ("size", "7")]), file("mallory", "content")]),
        refused("size-of-a-directory", "mallory", [pax(&[("size", "512")]), directory("mallory/"), file("x", "x")]),
        refused("size-of-a-link", "mallory", [pax(&[("size", "512")]), symlink("mallory", "good"), file("x", "x")]),
        refused(
            "size-of-a-hard-link",
            "mallory",
            [pax(&[("size", "512")]), hard_link("mallory", "good"), file("x", "x")],
        ),
    ]
}

/// Entries named twice.
fn contradicting() -> Vec<Case> {
    let named = |name: &str| pax(&[("path", name)]);
    let mallory = || file("mallory", "x");
    let to = |name, entries: Vec<Entry>| refused(name, "mallory", entries.into_iter().chain([mallory()]));
    vec![
        to("path-twice", vec![pax(&[("path", "mallory1"), ("path", "mallory2")])]),
        to("path-twice-the-same", vec![pax(&[("path", "mallory"), ("path", "mallory")])]),
        to("two-in-a-row", vec![named("mallory1"), named("mallory2")]),
        to("two-in-a-row-of-different-keys", vec![named("mallory1"), pax(&[("mtime", "1")])]),
        to("long-then-pax", vec![long_name("mallory1"), named("mallory2")]),
        to("pax-then-long", vec![named("mallory1"), long_name("mallory2")]),
        to("long-twice", vec![long_name("mallory1"), long_name("mallory2")]),
        to("long-twice-the-same", vec![long_name("mallory"), long_name("mallory")]),
        refused("long-link-twice", "mallory", [long_link("good"), long_link("other"), symlink("mallory", "x")]),
        refused(
            "long-link-then-pax",
            "mallory",
            [long_link("good"), pax(&[("linkpath", "other")]), symlink("mallory", "x")],
        ),
        refused(
            "link-path-twice",
            "mallory",
            [pax(&[("linkpath", "good"), ("linkpath", "other")]), symlink("mallory", "x")],
        ),
        refused("pax-at-the-end", "", [named("mallory")]),
        refused("long-at-the-end", "", [long_name("mallory")]),
    ]
}

/// Global headers, which apply to all later entries.
fn global_ones() -> Vec<Case> {
    let rows = [
        ("path", "path", "mallory"),
        ("path-out", "path", "../mallory"),
        ("link", "linkpath", "/etc/passwd"),
        ("size", "size", "0"),
        ("sparse", "GNU.sparse.realsize", "1099511627776"),
        ("sparse-name", "GNU.sparse.name", "../mallory"),
    ];
    let global_cases = rows.map(|(name, key, value)| {
        refused(&format!("global-{name}"), "mallory", [global(&[(key, value)]), file("mallory", "x")])
    });
    let mut cases = Vec::from(global_cases);
    cases.extend([
        refused("global-malformed", "mallory", [entry(b'g', "mallory").body("9 path=x\n"), file("mallory", "x")]),
        refused("global-between", "mallory", [file("a", "x"), global(&[("path", "b")]), file("mallory", "x")]),
        refused(
            "global-behind-pax",
            "mallory",
            [pax(&[("path", "mallory")]), global(&[("size", "0")]), file("mallory", "x")],
        ),
    ]);
    cases
}

/// Headers with wrong checksums.
fn sums() -> Vec<Case> {
    let summed = |name, sum| refused(name, "", [file("mallory", "x").sum(sum)]);
    vec![
        summed("sum-wrong", Sum::Bytes(b"007777\0 ")),
        summed("sum-zero", Sum::Bytes(b"000000\0 ")),
        summed("sum-empty", Sum::Bytes(&[0; 8])),
        summed("sum-spaces", Sum::Bytes(b"        ")),
        summed("sum-no-number", Sum::Bytes(b"mallory\0")),
        // Some programs accept signed checksums, others do not.
        refused("sum-signed", "", [file("mallory-é", "x").sum(Sum::Signed)]),
    ]
}

/// Magic numbers and versions of headers.
fn magics() -> Vec<Case> {
    vec![
        // With an unknown version, programs differ in whether they read the prefix.
        refused("magic-version", "mallory", [file("mallory", "x").put(MAGIC, "ustar\x0099").put(PREFIX, "a")]),
        refused("magic-unknown", "mallory", [file("mallory", "x").put(MAGIC, "mallory\0").put(PREFIX, "a")]),
        accepted("magic-none", &[("a", "x")], [file("a", "x").put(MAGIC, "")]),
        accepted("magic-gnu", &[("a", "x")], [file("a", "x").put(MAGIC, "ustar  \0")]),
        // GNU stores times where other formats have the prefix.
        accepted(
            "magic-gnu-times",
            &[("a", "x")],
            [file("a", "x").put(MAGIC, "ustar  \0").put(PREFIX, "14000000000\x0014000000000\0")],
        ),
        accepted("magic-signed-sum-is-the-same", &[("a", "x")], [file("a", "x").sum(Sum::Signed)]),
    ]
}

/// Valid extended headers, as common programs write them.
fn harmless() -> Vec<Case> {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let link = |target: &str| Tree::from([("l".to_owned(), Node::Link(target.to_owned()))]);
    let mut pair = Tree::from([(long.clone(), Node::text("x"))]);
    pair.insert("l".to_owned(), Node::Link(long.clone()));
    vec![
        accepted(
            "global-comment",
            &[("a", "x")],
            [global(&[("comment", "4b825dc642cb6eb9a060e54bf8d69288fbee4904")]), file("a", "x")],
        ),
        accepted(
            "global-comment-twice",
            &[("a", "x")],
            [global(&[("comment", "one")]), global(&[("comment", "two")]), file("a", "x")],
        ),
        accepted("pax-same-size", &[("a", "x")], [pax(&[("size", "1")]), file("a", "x")]),
        accepted(
            "pax-unknown-keys",
            &[("a", "x")],
            [pax(&[("VENDOR.key", "v=w\nx"), ("comment", "")]), file("a", "x")],
        ),
        accepted(
            "pax-is-for-one-entry",
            &[("a", "x"), ("b", "y")],
            [pax(&[("path", "a")]), file("other", "x"), file("b", "y")],
        ),
        accepted(
            "long-is-for-one-entry",
            &[("a", "x"), ("b", "y")],
            [long_name("a"), file("other", "x"), file("b", "y")],
        ),
        accepted_as(
            "pax-long-link",
            pair,
            [pax(&[("path", &long)]), file("x", "x"), pax(&[("linkpath", &long)]), symlink("l", "x")],
        ),
        accepted_as("long-link-and-name", link(&long), [long_link(&long), long_name("l"), symlink("x", "x")]),
        accepted_as("long-name-and-link", link(&long), [long_name("l"), long_link(&long), symlink("x", "x")]),
        accepted(
            "pax-record-of-100",
            &[(&"r".repeat(90), "x")],
            [pax_bytes(record("path", "r".repeat(90))), file("x", "x")],
        ),
    ]
}
