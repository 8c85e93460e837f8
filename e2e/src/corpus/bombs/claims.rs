//! Entries whose headers claim a large size without the content.

use super::super::tar::{Entry, SIZE, blocks, ended, entry, file, pax};
use super::super::{UNSAFE, UNSAFE_OR_LIMIT};
use super::Bomb;

pub(super) fn bombs() -> Vec<Bomb> {
    let tar = |entries: Vec<Entry>| ended(blocks([file("a", "x")].into_iter().chain(entries)));
    let sized = |name, size: [u8; 12]| {
        Bomb::refused(name, UNSAFE_OR_LIMIT, "", &tar(vec![entry(b'0', "mallory").put(SIZE, size)]))
    };
    let sparse = |name, records: &[(&str, &str)]| {
        Bomb::refused(name, UNSAFE, "mallory", &tar(vec![pax(records), file("mallory", "x")]))
    };
    let old = entry(b'S', "mallory").put(386..410, "00000000000\x0077777777777\0").put(483..495, "77777777777\0");
    let claimed = "9223372036854775807";
    vec![
        sized("size-of-8-eib", [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        sized("size-of-16-eib", [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        sized("size-negative", [0xff; 12]),
        sized("size-of-8-gib", *b"77777777777\0"),
        Bomb::refused(
            "pax-size-of-8-eib",
            UNSAFE_OR_LIMIT,
            "mallory",
            &tar(vec![pax(&[("size", claimed)]), file("mallory", "x")]),
        ),
        Bomb::refused("sparse-old", UNSAFE, "mallory", &tar(vec![old])),
        sparse("sparse-0-0", &[("GNU.sparse.size", claimed), ("GNU.sparse.numblocks", "0")]),
        sparse("sparse-0-1", &[("GNU.sparse.size", claimed), ("GNU.sparse.map", "0,1")]),
        sparse("sparse-1-0", &[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", claimed)]),
    ]
}
