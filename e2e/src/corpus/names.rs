//! Names that leave the tree, or are malformed or misleading.

use super::tar::{PREFIX, directory, entry, file, hard_link, long_name, pax, pax_bytes, record, symlink};
use super::{Case, accepted, accepted_as, refused};
use crate::files::{Entry as Node, Tree};

pub(super) fn cases() -> Vec<Case> {
    [escapes(), characters(), spelled_elsewhere(), of_nothing(), harmless()].concat()
}

/// Names that leave the directory.
fn escapes() -> Vec<Case> {
    let rows = [
        ("parent", "../mallory"),
        ("parent-of-parents", "../../../../mallory"),
        // A stage is <root>/.supercargo/staging/<random>/tree. Each of these two would reach an existing file.
        ("parent-to-a-canary", "../../../../../canary/mallory"),
        ("parent-to-a-neighbour", "../../../../team/neighbour/mallory"),
        ("parent-inside", "a/../mallory"),
        ("parent-twice-inside", "a/../../mallory"),
        ("parent-deep-inside", "a/b/c/../../../../mallory"),
        ("parent-at-the-end", "mallory/.."),
        ("parent-and-slash-at-the-end", "mallory/../"),
        ("parent-behind-dot", "./../mallory"),
        ("parent-behind-slashes", "a//..//..//mallory"),
        ("parent-between-dots", "mallory/./.."),
        ("absolute", "/mallory"),
        ("absolute-tmp", "/tmp/mallory"),
        ("absolute-proc", "/proc/self/cwd/mallory"),
        ("absolute-shm", "/dev/shm/mallory"),
        ("absolute-doubled", "//mallory"),
        ("absolute-behind-dots", "/./../mallory"),
        ("backslash-parent", "..\\mallory"),
        ("backslash-inside", "a\\mallory"),
        ("backslash-share", "\\\\server\\mallory"),
        ("drive-backslash", "C:\\mallory"),
        ("drive-slash", "C:/mallory"),
    ];
    let mut cases: Vec<_> = rows.map(|(name, path)| refused(name, "mallory", [file(path, "x")])).into();
    cases.extend([
        refused("parent-alone", "..", [directory("..")]),
        refused("parent-directory", "mallory", [directory("../mallory/")]),
        refused("absolute-directory", "mallory", [directory("/mallory/")]),
        refused("parent-link", "mallory", [symlink("../mallory", "x")]),
        refused("parent-hard-link", "mallory", [hard_link("../mallory", "good")]),
        refused("absolute-root", "/", [directory("/")]),
        refused("parent-in-the-second-entry", "mallory", [file("a/b", "x"), file("a/../../mallory", "x")]),
    ]);
    cases
}

/// Names with forbidden characters or invalid encodings.
fn characters() -> Vec<Case> {
    let rows: [(&str, &[u8]); 20] = [
        ("newline", b"mallory\nx"),
        ("tab", b"mallory\tx"),
        ("carriage-return", b"mallory\rx"),
        ("escape", b"mallory\x1b[2J"),
        ("bell", b"mallory\x07"),
        ("delete", b"mallory\x7f"),
        ("next-line", b"mallory\xc2\x85x"),
        ("control-sequence", b"mallory\xc2\x9b2J"),
        ("right-to-left", "mallory\u{202e}gpj.exe".as_bytes()),
        ("embedding", "mallory\u{202a}x".as_bytes()),
        ("isolate", "mallory\u{2066}x".as_bytes()),
        ("not-utf-8", b"mallory\xff"),
        ("latin-1", b"mallory-caf\xe9"),
        ("overlong-dots", b"\xc0\xae\xc0\xae/mallory"),
        ("overlong-slash", b"..\xc0\xafmallory"),
        ("surrogate", b"mallory\xed\xa0\x80"),
        ("cut-utf-8", b"mallory\xe2\x82"),
        ("beyond-unicode", b"mallory\xf4\x90\x80\x80"),
        ("nul-in-the-middle", b"mallory\0/../../x"),
        ("nul-before-more", b"mallory.txt\0.exe"),
    ];
    rows.map(|(name, path)| refused(name, "mallory", [file(path, "x")])).into()
}

/// The same names in the other places of a header: pax records, GNU long names and the prefix.
fn spelled_elsewhere() -> Vec<Case> {
    let x = || file("x", "x");
    let path = |name, path: &[u8]| refused(name, "mallory", [pax_bytes(record("path", path)), x()]);
    let long = |name, path: &str| refused(name, "mallory", [long_name(path), x()]);
    vec![
        path("pax-parent", b"../mallory"),
        path("pax-absolute", b"/mallory"),
        path("pax-backslash", b"..\\mallory"),
        path("pax-drive", b"C:/mallory"),
        path("pax-nul", b"mallory\0x"),
        path("pax-nul-at-the-end", b"mallory\0"),
        path("pax-newline", b"mallory\nx"),
        path("pax-not-utf-8", b"mallory\xff"),
        path("pax-right-to-left", "mallory\u{202e}x".as_bytes()),
        long("long-parent", "../mallory"),
        long("long-absolute", "/mallory"),
        long("long-nul", "mallory\0x"),
        long("long-nul-twice", "mallory\0"),
        long("long-newline", "mallory\nx"),
        refused("long-not-utf-8", "mallory", [entry(b'L', "mallory").body(b"mallory\xff\0"), x()]),
        refused("prefix-parent", "mallory", [file("mallory", "x").put(PREFIX, "..")]),
        refused("prefix-parent-inside", "mallory", [file("../../mallory", "x").put(PREFIX, "a")]),
        refused("prefix-absolute", "mallory", [file("mallory", "x").put(PREFIX, "/tmp")]),
        refused("prefix-control", "mallory", [file("mallory", "x").put(PREFIX, "a\nb")]),
        refused("prefix-not-utf-8", "mallory", [file("mallory", "x").put(PREFIX, b"\xff")]),
    ]
}

/// Empty names, and entries that stand for the root.
fn of_nothing() -> Vec<Case> {
    vec![
        refused("empty", "\"\"", [file("", "x")]),
        refused("empty-directory-name", "\"\"", [directory("")]),
        refused("empty-pax", "", [pax(&[("path", "")]), file("mallory", "x")]),
        refused("empty-long", "", [long_name(""), file("mallory", "x")]),
        refused("root-as-a-file", ".", [file(".", "x")]),
        refused("root-as-a-file-with-slashes", ".", [file(".//.", "x")]),
        refused("root-as-a-link", ".", [symlink("./", "good")]),
        refused("root-as-a-hard-link", ".", [hard_link(".", "good")]),
        refused("directory-with-content", "mallory", [file("mallory/", "x")]),
    ]
}

/// Unusual but valid names.
fn harmless() -> Vec<Case> {
    let full = "n".repeat(100);
    let (prefix, rest) = ("p".repeat(155), "n".repeat(100));
    let widest = "w".repeat(255);
    let whole = |name: &str, path: &str| accepted(name, &[(path, "x")], [file(path, "x")]);
    vec![
        whole("dots", "..."),
        whole("dots-around", "..x/x.."),
        whole("hidden", ".hidden/.file"),
        whole("percent", "%2e%2e/%2fetc"),
        whole("option", "-rf"),
        whole("shell", "$(id); `id` 'x' \"y\" *?[z]"),
        whole("home", "~/.ssh"),
        whole("spaces", " a / b "),
        whole("colon", "a:b/12:30:00"),
        whole("unicode", "grüße/日本語/файл"),
        whole("emoji", "👩\u{200d}💻.txt"),
        whole("looks-like-ours", ".supercargo/staging/x"),
        accepted("dot-slash", &[("a/b", "x")], [directory("./"), directory("./a/"), file("./a/b", "x")]),
        accepted("doubled-slashes", &[("a/b/c", "x")], [file("a//b/./c", "x")]),
        accepted("old-directory", &[("a/b", "x")], [file("a/", ""), file("a/b", "x")]),
        accepted_as("directory-only", Tree::from([("a".to_owned(), Node::EmptyDirectory)]), [directory("a")]),
        accepted("full-field", &[(&full, "x")], [file(&full, "x")]),
        accepted("full-prefix", &[(&format!("{prefix}/{rest}"), "x")], [file(&rest, "x").put(PREFIX, &prefix)]),
        accepted("pax", &[("a/b", "x")], [pax(&[("path", "a/b")]), file("x", "x")]),
        accepted("pax-equals", &[("a=b/c=", "x")], [pax(&[("path", "a=b/c=")]), file("x", "x")]),
        accepted("pax-widest", &[(&widest, "x")], [pax(&[("path", &widest)]), file("x", "x")]),
        accepted("long", &[(&widest, "x")], [long_name(&widest), file("x", "x")]),
        accepted("long-without-nul", &[("a/b", "x")], [entry(b'L', "././@LongLink").body("a/b"), file("x", "x")]),
    ]
}
