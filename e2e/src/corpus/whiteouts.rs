//! Whiteout names, which delete entries in container images and have no meaning elsewhere.

use super::tar::{directory, file, hard_link, long_name, pax, symlink};
use super::{Case, accepted, refused};

pub(super) fn cases() -> Vec<Case> {
    let rows = [
        ("file", ".wh.mallory"),
        ("file-below", "a/.wh.mallory"),
        ("of-what-is-there", ".wh.good"),
        ("opaque", ".wh..wh..opq"),
        ("opaque-below", "a/.wh..wh..opq"),
        ("alone", ".wh."),
        ("of-parent", ".wh..."),
        ("of-whiteout", ".wh..wh.mallory"),
        ("aufs", ".wh..wh.aufs"),
        ("aufs-links", ".wh..wh.plnk/1.2"),
        ("directory-above", ".wh.mallory/x"),
    ];
    let mut cases: Vec<_> = rows.map(|(name, path)| refused(name, ".wh.", [file(path, "")])).into();
    cases.extend([
        refused("directory", ".wh.", [directory(".wh.mallory/")]),
        refused("link", ".wh.", [symlink(".wh.mallory", "good")]),
        refused("hard-link", ".wh.", [hard_link(".wh.mallory", "good")]),
        refused("by-pax", ".wh.", [pax(&[("path", ".wh.mallory")]), file("x", "")]),
        refused("by-long-name", ".wh.", [long_name(".wh.mallory"), file("x", "")]),
        refused("through-a-link", "link", [symlink("link", ".."), file("link/.wh.mallory", "")]),
        accepted(
            "inside-a-name",
            &[("a.wh.b", "x"), (".white", "x"), (".wha", "x")],
            [file("a.wh.b", "x"), file(".white", "x"), file(".wha", "x")],
        ),
    ]);
    cases
}
