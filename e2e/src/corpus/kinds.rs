//! Entries that are neither files, directories nor links, and metadata that is dropped from files and directories.

use super::tar::{DEVICE, Entry, UID, UNAME, directory, entry, file, hard_link, pax, record};
use super::{Case, accepted, accepted_as, refused};
use crate::files::{Entry as Node, Tree};

pub(super) fn cases() -> Vec<Case> {
    [special(), sparse(), dropped()].concat()
}

fn special() -> Vec<Case> {
    let rows = [
        ("character-device", b'3'),
        ("block-device", b'4'),
        ("fifo", b'6'),
        ("gnu-dump-directory", b'D'),
        ("gnu-continuation", b'M'),
        ("gnu-old-long-name", b'N'),
        ("gnu-volume-label", b'V'),
        ("solaris-extended-header", b'X'),
        ("solaris-acl", b'A'),
        ("solaris-attribute-file", b'E'),
        ("star-inode-only", b'I'),
        ("reserved", b'8'),
        ("vendor", b'Z'),
        ("unknown-lower-case", b'q'),
        ("contiguous", b'7'),
        ("space", b' '),
        ("newline", b'\n'),
        ("beyond-ascii", 0xff),
    ];
    let mut cases: Vec<_> = rows.map(|(name, kind)| refused(name, "mallory", [entry(kind, "mallory")])).into();
    let device = |kind| entry(kind, "mallory").put(DEVICE, "0000001\x000000003\0").mode(0o666);
    cases.extend([
        refused("null-device", "mallory", [device(b'3')]),
        refused("disk", "mallory", [device(b'4')]),
        refused("device-below-a-directory", "mallory", [directory("dev/"), entry(b'3', "dev/mallory")]),
        refused("contiguous-with-a-body", "mallory", [entry(b'7', "mallory").body("x")]),
        refused("fifo-with-a-body", "mallory", [entry(b'6', "mallory").body("x")]),
        refused("directory-with-a-body", "mallory", [directory("mallory/").body("x")]),
        refused("device-hard-linked", "mallory", [entry(b'3', "mallory"), hard_link("x", "mallory")]),
        refused("multi-volume-pax", "mallory", [pax(&[("GNU.volume.filename", "mallory")]), file("mallory", "x")]),
        refused("dump-directory-pax", "mallory", [pax(&[("GNU.dumpdir", "Yx\0\0")]), directory("mallory/")]),
    ]);
    cases
}

/// Sparse files, whose claimed size exceeds their bytes in the archive.
fn sparse() -> Vec<Case> {
    let claims = |name, records: &[(&str, &str)]| refused(name, "mallory", [pax(records), file("mallory", "x")]);
    let map = b"1\n0\n1\n".iter().copied().chain(std::iter::repeat_n(0, 506)).chain(*b"x").collect::<Vec<_>>();
    let old =
        |real: &str| entry(b'S', "mallory").body("x").put(386..410, "00000000000\x0000000000001\0").put(483..495, real);
    vec![
        refused("sparse-old", "mallory", [old("00000000001\0")]),
        refused("sparse-old-huge", "mallory", [old("77777777777\0")]),
        claims(
            "sparse-0-0",
            &[
                ("GNU.sparse.size", "1099511627776"),
                ("GNU.sparse.numblocks", "1"),
                ("GNU.sparse.offset", "0"),
                ("GNU.sparse.numbytes", "1"),
            ],
        ),
        claims("sparse-0-1", &[("GNU.sparse.size", "1099511627776"), ("GNU.sparse.map", "0,1")]),
        claims("sparse-name", &[("GNU.sparse.name", "../mallory")]),
        claims("sparse-star", &[("SCHILY.realsize", "1099511627776")]),
        claims("sparse-star-kind", &[("SCHILY.filetype", "sparse")]),
        refused(
            "sparse-1-0",
            "mallory",
            [
                pax(&[
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.minor", "0"),
                    ("GNU.sparse.name", "mallory"),
                    ("GNU.sparse.realsize", "1099511627776"),
                ]),
                file("GNUSparseFile.0/mallory", map),
            ],
        ),
    ]
}

/// Entries whose owner, times, attributes and mode bits are dropped; only the execute bit is kept.
fn dropped() -> Vec<Case> {
    let plain = |name, entry: Entry| accepted(name, &[("a", "x")], [entry]);
    let runs = |name, mode| {
        let tree = Tree::from([("a".to_owned(), Node::File { content: b"x".to_vec(), executable: true })]);
        accepted_as(name, tree, [file("a", "x").mode(mode)])
    };
    let noted = |name, key: &str, value: &str| accepted(name, &[("a", "x")], [pax(&[(key, value)]), file("a", "x")]);
    let below = |name, mode| accepted(name, &[("d/a", "x")], [directory("d/").mode(mode), file("d/a", "x")]);
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    vec![
        runs("setuid", 0o4755),
        runs("setgid", 0o2755),
        runs("sticky", 0o1755),
        runs("every-bit", 0o7777),
        runs("executable-for-others", 0o001),
        plain("setuid-without-execute", file("a", "x").mode(0o6644)),
        plain("world-writable", file("a", "x").mode(0o666)),
        plain("mode-000", file("a", "x").mode(0)),
        plain("mode-with-kind", file("a", "x").mode(0o100_644)),
        below("directory-mode-000", 0),
        below("directory-sticky", 0o1777),
        below("directory-setgid", 0o2775),
        below("directory-without-execute", 0o644),
        accepted("root-mode-777", &[("a", "x")], [directory("./").mode(0o777), file("a", "x")]),
        accepted("root-mode-000", &[("a", "x")], [directory("./").mode(0), file("a", "x")]),
        accepted(
            "mode-000-twice",
            &[("d/a", "x")],
            [directory("d/").mode(0), file("d/a", "x"), directory("d/").mode(0)],
        ),
        plain("owner", file("a", "x").put(UID, "0177776\0").put(116..124, "0177776\0").put(UNAME, "mallory")),
        noted("owner-pax", "uid", "4294967295"),
        noted("xattr", "SCHILY.xattr.user.mallory", "x"),
        noted("xattr-of-bsdtar", "LIBARCHIVE.xattr.user.mallory", "eA=="),
        noted("acl", "SCHILY.acl.access", "user::rwx,user:mallory:rwx"),
        noted("selinux", "RHT.security.selinux", "system_u:object_r:etc_t:s0"),
        noted("times", "mtime", "1700000000.123456789"),
        accepted(
            "capability",
            &[("a", "x")],
            [entry(b'x', "PaxHeaders/a").body(record("SCHILY.xattr.security.capability", capability)), file("a", "x")],
        ),
        plain("regular-of-before", entry(0, "a").body("x")),
        noted("kind-of-star", "SCHILY.filetype", "regular"),
    ]
}
