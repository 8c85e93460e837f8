//! Zip bombs: entries that share bytes, and end records with false counts and sizes.

use serde_json::json;

use super::super::zip::{Ending, Entry, Zip64, archive, archive_with, deflated, stored, zip64_extra};
use super::super::zips::ZIP;
use super::super::{LIMIT, UNSAFE, UNSAFE_OR_LIMIT, artifact};
use super::{Bomb, Outcome};

pub(super) fn bombs() -> Vec<Bomb> {
    let bomb = |name, reasons, says: &str, bytes: &[u8]| Bomb {
        name,
        artifact: artifact(&[(ZIP, bytes)]),
        spec: json!({"layers": {"mode": "Extract"}}),
        outcome: Outcome::Refused(reasons, says.to_owned()),
        window: 0,
    };
    let zeros = vec![0; 64 << 20];
    let mut small_entries = Vec::new();
    small_entries.extend((0..200).map(|number| deflated(format!("m{number}"), vec![0; 512 << 10])));
    let many = |count: u32| archive((0..count).map(|number| stored(format!("mallory{number:06}"), "")));
    // All names refer to the data of one entry.
    let kernel = deflated("m000000", vec![0; 4 << 20]);
    let shared = |number: u32| {
        Entry { data: Vec::new(), ..kernel.clone() }
            .central(|header| header.name = format!("m{number:06}").into_bytes())
            .at(0)
    };
    let overlapping = archive([kernel.clone()].into_iter().chain((1..2000).map(shared)));
    let claiming = |size: u64, packed: u64| {
        archive([stored("mallory", "x").both(|header| {
            (header.size, header.packed) = (u32::MAX, u32::MAX);
            header.extra = zip64_extra(size, packed);
        })])
    };
    let ending = |lies: Zip64| {
        archive_with(Vec::new(), [stored("mallory", "x")], &Ending { zip64: Some(lies), ..Ending::default() })
    };
    vec![
        bomb("zip-of-zeros", LIMIT, "max-", &archive([deflated("mallory", &zeros)])),
        bomb("zip-of-files-of-zeros", LIMIT, "max-", &archive(small_entries)),
        bomb("zip-of-65535-entries", LIMIT, "--max-entries", &many(65_535)),
        bomb("zip-of-names-for-one-entry", UNSAFE_OR_LIMIT, "", &overlapping),
        bomb("zip64-size-of-8-eib", UNSAFE_OR_LIMIT, "mallory", &claiming(i64::MAX as u64, 1)),
        bomb("zip64-size-of-4-gib", UNSAFE_OR_LIMIT, "mallory", &claiming(1 << 32, 1)),
        bomb("zip64-packed-of-16-eib", UNSAFE_OR_LIMIT, "mallory", &claiming(1, u64::MAX)),
        bomb(
            "zip64-entries-of-2-to-40",
            UNSAFE_OR_LIMIT,
            "",
            &ending(Zip64 { more_entries: 1 << 40, ..Zip64::default() }),
        ),
        bomb(
            "zip64-directory-of-8-eib",
            UNSAFE,
            "",
            &ending(Zip64 { more_bytes: i64::MAX as u64, ..Zip64::default() }),
        ),
    ]
}
