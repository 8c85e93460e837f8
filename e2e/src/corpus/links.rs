//! Links that leave the tree, entries written through links, and entries that replace links.

use super::tar::{Entry, TARGET, directory, file, hard_link, long_link, pax, pax_bytes, record, symlink};
use super::{Case, accepted, accepted_as, refused};
use crate::files::{Entry as Node, Tree, tree};

pub(super) fn cases() -> Vec<Case> {
    [targets(), chains(), written_through(), in_place_of(), hard(), harmless()].concat()
}

/// Targets refused for their text alone.
fn targets() -> Vec<Case> {
    let rows: [(&str, &str, &[u8]); 19] = [
        ("absolute", "mallory", b"/etc/passwd"),
        ("absolute-root", "mallory", b"/"),
        ("absolute-doubled", "mallory", b"//etc"),
        ("absolute-proc", "mallory", b"/proc/self/root"),
        ("parent", "mallory", b".."),
        ("parent-of-parents", "mallory", b"../../../../canary"),
        ("parent-from-below", "a/mallory", b"../../canary"),
        ("parent-inside", "mallory", b"a/../../canary"),
        ("parent-at-the-end", "mallory", b"a/../.."),
        ("parent-behind-dots", "mallory", b"././../canary"),
        ("parent-behind-slashes", "a/mallory", b"..//..//canary"),
        ("empty", "mallory", b""),
        ("backslash", "mallory", b"..\\..\\canary"),
        ("drive", "mallory", b"C:\\canary"),
        ("newline", "mallory", b"good\nx"),
        ("escape", "mallory", b"good\x1b[2J"),
        ("right-to-left", "mallory", "good\u{202e}x".as_bytes()),
        ("not-utf-8", "mallory", b"good\xff"),
        ("nul", "mallory", b"good\0/../../canary"),
    ];
    let mut cases: Vec<_> = rows.map(|(name, link, target)| refused(name, "mallory", [symlink(link, target)])).into();
    let x = || symlink("mallory", "good");
    let pax_target = |name, target: &[u8]| refused(name, "mallory", [pax_bytes(record("linkpath", target)), x()]);
    cases.extend([
        pax_target("pax-absolute", b"/etc/passwd"),
        pax_target("pax-parent", b"../canary"),
        pax_target("pax-nul", b"good\0"),
        pax_target("pax-empty", b""),
        refused("long-absolute", "mallory", [long_link("/etc/passwd"), x()]),
        refused("long-parent", "mallory", [long_link("../canary"), x()]),
    ]);
    cases
}

/// Targets valid as text, which the kernel resolves outside the tree or not at all.
fn chains() -> Vec<Case> {
    let ring = |names: &[&str]| -> Vec<Entry> {
        names.iter().zip(names.iter().cycle().skip(1)).map(|(name, next)| symlink(name, next)).collect()
    };
    vec![
        refused("cur-par", "mallory", [symlink("cur", "."), symlink("mallory", "cur/..")]),
        refused(
            "cur-par-and-more",
            "mallory",
            [symlink("cur", "."), symlink("mallory", "cur/.."), symlink("mallory2", "mallory/canary")],
        ),
        refused("up", "mallory", [symlink("a/up", ".."), symlink("b/mallory", "../a/up/../canary")]),
        refused(
            "up-and-up",
            "mallory",
            [symlink("a/b/up", ".."), symlink("a/c", "b/up/.."), symlink("mallory", "a/c/../..")],
        ),
        refused("escaping-only-later", "mallory", [symlink("mallory", "d/../canary"), symlink("d", ".")]),
        refused("dangling-only-later", "mallory", [symlink("mallory", "d/../good"), file("d", "x")]),
        refused("through-a-file", "mallory", [symlink("mallory", "good/x")]),
        refused("itself", "mallory", [symlink("mallory", "mallory")]),
        refused("itself-below", "mallory", [symlink("a/mallory", "../a/mallory/x")]),
        refused("ring-of-two", "mallory", ring(&["mallory1", "mallory2"])),
        refused("ring-of-three", "mallory", ring(&["mallory1", "mallory2", "mallory3"])),
        refused(
            "ring-of-directories",
            "mallory",
            [symlink("a/mallory1", "../mallory2/x"), symlink("mallory2", "a/mallory1")],
        ),
        refused("more-than-the-kernel-follows", "mallory", row_of(41, "mallory")),
        refused("longer-than-a-path", "mallory", realpath_gives_up()),
    ]
}

/// Makes a chain of this many links, each to the next, with a file at the end.
fn row_of(links: usize, name: &str) -> Vec<Entry> {
    let called = |number: usize| format!("{name}{number:02}");
    (0..links).map(|number| symlink(called(number), called(number + 1))).chain([file(called(links), "x")]).collect()
}

/// Makes directories and links side by side, so that a short path through the links resolves to a path longer than the
/// kernel or `realpath` accepts (the pattern of CVE-2025-4517).
fn realpath_gives_up() -> Vec<Entry> {
    let (mut entries, mut real, mut short) = (Vec::new(), String::new(), String::new());
    let directory_name = "d".repeat(240);
    for letter in 'a'..='o' {
        entries.extend([pax(&[("path", &format!("{real}{directory_name}/"))]), directory("x")]);
        entries
            .extend([pax(&[("path", &format!("{real}{letter}")), ("linkpath", &directory_name)]), symlink("x", "x")]);
        real = format!("{real}{directory_name}/");
        short = format!("{short}{letter}/");
    }
    let up = "../".repeat(15);
    entries.extend([pax(&[("path", &format!("{real}mallory")), ("linkpath", &up)]), symlink("x", "x")]);
    entries.push(symlink("mallory", format!("{short}mallory/../canary")));
    entries
}

/// Entries below a link.
fn written_through() -> Vec<Case> {
    let here = || symlink("link", ".");
    let inside = || [directory("a/"), symlink("link", "a")];
    vec![
        refused("write-through", "mallory", [here(), file("link/mallory", "x")]),
        refused("write-through-inside", "mallory", inside().into_iter().chain([file("link/mallory", "x")])),
        refused("write-through-a-dangling-one", "mallory", [symlink("link", "later"), file("link/mallory", "x")]),
        refused("write-through-deep", "mallory", [symlink("a/b/mallory", ".."), file("a/b/mallory/c/x", "x")]),
        refused("write-through-an-absolute-one", "link", [symlink("link", "/tmp"), file("link/mallory", "x")]),
        refused("directory-through", "mallory", [here(), directory("link/mallory/")]),
        refused("link-through", "mallory", [here(), symlink("link/mallory", "x")]),
        refused("hard-link-through", "mallory", [here(), hard_link("link/mallory", "good")]),
        refused("mode-through", "mallory", [here(), directory("link/./mallory").mode(0o777)]),
        refused(
            "write-through-before-the-target",
            "mallory",
            [symlink("link", "a/b"), directory("a/b/"), file("link/mallory", "x")],
        ),
    ]
}

/// Entries that replace a link of the same name, and links that replace another entry.
fn in_place_of() -> Vec<Case> {
    let link = || symlink("mallory", "good");
    vec![
        refused("file-over-a-link", "mallory", [link(), file("mallory", "x")]),
        refused("file-over-a-dangling-link", "mallory", [symlink("mallory", "nowhere"), file("mallory", "x")]),
        refused("directory-over-a-link", "mallory", [symlink("mallory", "."), directory("mallory/")]),
        refused(
            "directory-over-a-link-to-one",
            "mallory",
            [directory("a/"), symlink("mallory", "a"), directory("mallory/").mode(0o777)],
        ),
        refused("hard-link-over-a-link", "mallory", [link(), hard_link("mallory", "good")]),
        refused("link-over-a-file", "mallory", [file("mallory", "x"), link()]),
        refused("link-over-a-directory", "mallory", [directory("mallory/"), link()]),
        refused("link-over-what-has-files", "mallory", [file("mallory/x", "x"), symlink("mallory", ".")]),
        refused("link-over-a-link", "mallory", [link(), symlink("mallory", "nowhere")]),
        refused("link-over-the-same", "mallory", [link(), link()]),
    ]
}

/// Hard links, which are published as copies of earlier files.
fn hard() -> Vec<Case> {
    let to = |name, target: &str| refused(name, "mallory", [hard_link("mallory", target)]);
    vec![
        to("hard-parent", "../canary/file"),
        to("hard-absolute", "/etc/passwd"),
        to("hard-parent-inside", "a/../../canary"),
        to("hard-empty", ""),
        to("hard-root", "."),
        to("hard-to-nothing", "nowhere"),
        to("hard-to-itself", "mallory"),
        to("hard-backslash", "..\\canary"),
        to("hard-relative-to-the-process", "canary/file"),
        refused("hard-nul", "mallory", [hard_link("mallory", "x").put(TARGET, "good\0x")]),
        refused("hard-to-later", "mallory", [hard_link("mallory", "later"), file("later", "x")]),
        refused("hard-to-a-directory", "mallory", [directory("a/"), hard_link("mallory", "a")]),
        refused("hard-to-a-link", "mallory", [symlink("link", "good"), hard_link("mallory", "link")]),
        refused("hard-to-a-link-out", "link", [symlink("link", "../canary"), hard_link("mallory", "link")]),
        refused(
            "hard-through-a-link",
            "mallory",
            [file("a/x", "x"), symlink("link", "a"), hard_link("mallory", "link/x")],
        ),
        refused("hard-over-a-file", "mallory", [file("mallory", "x"), hard_link("mallory", "good")]),
        refused("hard-pax-parent", "mallory", [pax(&[("linkpath", "../canary/file")]), hard_link("mallory", "good")]),
        refused("hard-long-absolute", "mallory", [long_link("/etc/passwd"), hard_link("mallory", "good")]),
        // Programs differ in whether they expect a body.
        refused("hard-with-a-size", "mallory", [hard_link("mallory", "good").size(4)]),
        refused("hard-with-a-body", "mallory", [hard_link("mallory", "good").body("data")]),
        refused("soft-with-a-body", "mallory", [symlink("mallory", "good").body("data")]),
    ]
}

/// Valid uses of links.
fn harmless() -> Vec<Case> {
    let link = |path: &str, target: &str| (path.to_owned(), Node::Link(target.to_owned()));
    let with = |files: &[(&str, &str)], links: &[(&str, &str)]| -> Tree {
        tree(files).into_iter().chain(links.iter().map(|(path, target)| link(path, target))).collect()
    };
    let x = || file("a/x", "x");
    let twenty = (0..20).map(|number| link(&format!("l{number:02}"), &format!("l{:02}", number + 1)));
    let twenty = twenty.chain(tree(&[("l20", "x")])).collect();
    vec![
        accepted_as("to-a-file", with(&[("a/x", "x")], &[("l", "a/x")]), [x(), symlink("l", "a/x")]),
        accepted_as("to-a-directory", with(&[("a/x", "x")], &[("l", "a")]), [x(), symlink("l", "a")]),
        accepted_as("to-here", with(&[("a/x", "x")], &[("a/l", ".")]), [x(), symlink("a/l", ".")]),
        accepted_as("to-the-top", with(&[("a/x", "x")], &[("a/l", "..")]), [x(), symlink("a/l", "..")]),
        accepted_as("up-and-down", with(&[("a/x", "x")], &[("b/l", "../a/x")]), [x(), symlink("b/l", "../a/x")]),
        accepted_as("before-its-target", with(&[("a/x", "x")], &[("l", "a/x")]), [symlink("l", "a/x"), x()]),
        accepted_as("to-nothing", with(&[("a/x", "x")], &[("l", "nowhere/x")]), [x(), symlink("l", "nowhere/x")]),
        accepted_as("twenty-in-a-row", twenty, row_of(20, "l")),
        accepted("hard", &[("a/x", "x"), ("l", "x")], [x(), hard_link("l", "a/x")]),
        accepted(
            "hard-of-hard",
            &[("a/x", "x"), ("l", "x"), ("m", "x")],
            [x(), hard_link("l", "./a//x"), hard_link("m", "l")],
        ),
    ]
}
