//! Two entries with the same name, or with names that some filesystem or reader treats as equal.

use super::tar::{directory, file, hard_link, pax, symlink};
use super::{Case, accepted, accepted_as, refused};
use crate::files::{Entry as Node, Tree};

pub(super) fn cases() -> Vec<Case> {
    [spellings(), in_directories(), twice(), harmless()].concat()
}

/// Files whose names differ only in case (Unicode, `CaseFolding.txt`, C and F), in normalization form (NFC, NFD), or in
/// invisible characters. The message must name `mallory`.
fn spellings() -> Vec<Case> {
    let rows = [
        ("case", "MALLORY", "mallory"),
        ("case-of-one-letter", "Mallory", "mallory"),
        ("case-e-acute", "mallory-É", "mallory-é"),
        ("case-cyrillic", "mallory-Я", "mallory-я"),
        ("case-greek-final-sigma", "mallory-ς", "mallory-σ"),
        ("case-greek-sigma", "mallory-Σ", "mallory-ς"),
        ("case-sharp-s", "mallory-ss", "mallory-ß"),
        ("case-capital-sharp-s", "mallory-ß", "mallory-ẞ"),
        ("case-sharp-s-and-upper", "mallory-SS", "mallory-ß"),
        ("case-long-s", "mallory-s", "mallory-ſ"),
        ("case-kelvin", "mallory-k", "mallory-\u{212a}"),
        ("case-angstrom", "mallory-å", "mallory-\u{212b}"),
        ("case-micro", "mallory-μ", "mallory-\u{b5}"),
        ("case-dotted-i", "mallory-i\u{307}", "mallory-\u{130}"),
        ("case-dz", "mallory-ǆ", "mallory-ǅ"),
        ("ligature-fi", "mallory-fi", "mallory-ﬁ"),
        ("ligature-ffl", "mallory-ffl", "mallory-ﬄ"),
        ("ligature-st", "mallory-ﬆ", "mallory-ﬅ"),
        ("form-e-acute", "mallory-e\u{301}", "mallory-\u{e9}"),
        ("form-the-other-way", "mallory-\u{e9}", "mallory-e\u{301}"),
        ("form-hangul", "mallory-\u{ac00}", "mallory-\u{1100}\u{1161}"),
        ("form-order-of-marks", "mallory-a\u{323}\u{307}", "mallory-a\u{307}\u{323}"),
        ("form-and-case", "mallory-E\u{301}", "mallory-\u{e9}"),
        ("unseen-zero-width-space", "mallory-ab", "mallory-a\u{200b}b"),
        ("unseen-non-joiner", "mallory-ab", "mallory-a\u{200c}b"),
        ("unseen-joiner", "mallory-ab", "mallory-a\u{200d}b"),
        ("unseen-word-joiner", "mallory-ab", "mallory-a\u{2060}b"),
        ("unseen-byte-order-mark", "mallory-ab", "mallory-a\u{feff}b"),
        ("unseen-soft-hyphen", "mallory-ab", "mallory-a\u{ad}b"),
        ("unseen-left-to-right-mark", "mallory-ab", "mallory-a\u{200e}b"),
        ("unseen-and-case", "mallory-AB", "mallory-a\u{200b}b"),
    ];
    rows.map(|(name, one, other)| refused(name, "mallory", [file(one, "1"), file(other, "2")])).into()
}

/// The same collisions of directories, including directories that only the paths of their files imply.
fn in_directories() -> Vec<Case> {
    vec![
        refused("directory-case", "mallory", [directory("MALLORY/"), directory("mallory/")]),
        refused("directory-case-implied", "mallory", [file("MALLORY/x", "x"), file("mallory/y", "x")]),
        refused("directory-case-deep", "mallory", [file("a/MALLORY/c/x", "x"), file("a/mallory/c/y", "x")]),
        refused("directory-form", "mallory", [file("mallory-e\u{301}/x", "x"), file("mallory-\u{e9}/y", "x")]),
        refused("directory-unseen", "mallory", [file("mallory/x", "x"), file("mallory\u{200b}/y", "x")]),
        refused("file-and-directory", "mallory", [file("MALLORY", "x"), directory("mallory/")]),
        refused("link-and-directory", "mallory", [symlink("MALLORY", "good"), file("mallory/x", "x")]),
        refused("link-and-file", "mallory", [symlink("MALLORY", "good"), file("mallory", "x")]),
        refused("hard-link-and-file", "mallory", [hard_link("MALLORY", "good"), file("mallory", "x")]),
        refused("through-a-link-of-another-case", "mallory", [symlink("MALLORY", "."), file("mallory/x", "x")]),
    ]
}

/// The same name twice, in one spelling or in equivalent spellings.
fn twice() -> Vec<Case> {
    let first = || file("mallory", "1");
    let again = |name, path: &str| refused(name, "mallory", [first(), file(path, "2")]);
    vec![
        again("twice", "mallory"),
        again("twice-behind-dot", "./mallory"),
        again("twice-with-slashes", ".//mallory"),
        refused("twice-the-same", "mallory", [first(), first()]),
        refused("twice-by-pax", "mallory", [first(), pax(&[("path", "mallory")]), file("x", "2")]),
        refused("twice-deep", "mallory", [file("a/b/mallory", "1"), file("a/./b//mallory", "2")]),
        refused("directory-over-a-file", "mallory", [first(), directory("mallory/")]),
        refused("file-over-a-directory", "mallory", [directory("mallory/"), first()]),
        refused("file-over-what-has-files", "mallory", [file("mallory/x", "x"), first()]),
        refused("file-below-a-file", "mallory", [first(), file("mallory/x", "x")]),
        refused("directory-below-a-file", "mallory", [first(), directory("mallory/x/")]),
        refused("hard-link-over-itself", "mallory", [first(), hard_link("mallory", "mallory")]),
        refused("first-one-is-good", "good", [file("good", "bad")]),
    ]
}

/// Similar names that do not collide.
fn harmless() -> Vec<Case> {
    let two =
        |name, one: &str, other: &str| accepted(name, &[(one, "1"), (other, "2")], [file(one, "1"), file(other, "2")]);
    let directories = Tree::from([("d/a".to_owned(), Node::text("x")), ("e".to_owned(), Node::EmptyDirectory)]);
    vec![
        two("accent", "e", "\u{e9}"),
        two("other-directories", "a/x", "b/X"),
        two("dotless-i", "i", "\u{131}"),
        two("look-alike", "a", "\u{430}"),
        two("prefix-of-the-other", "a", "ab/c"),
        two("split-elsewhere", "a/bc", "ab/c"),
        accepted_as(
            "directory-twice",
            directories.clone(),
            [directory("d/"), directory("./d"), file("d/a", "x"), directory("d/"), directory("e")],
        ),
        accepted_as("directory-behind-its-files", directories, [file("d/a", "x"), directory("d/"), directory("e/")]),
    ]
}
