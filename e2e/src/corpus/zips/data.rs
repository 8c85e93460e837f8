//! Entries with corrupt, inconsistent or unsupported data.

use super::super::zip::{DEFLATED, ENCRYPTED, Header, deflated, extra, zip64_extra};
use super::super::{Sample, UNSAFE_OR_LIMIT};
use super::{refused, refused_as, x};

/// Reasons for an entry with an unsupported feature or compression method.
const UNSAFE_OR_UNSUPPORTED: &[&str] = &["UnsafeArchive", "UnsupportedFormat"];

pub(super) fn samples() -> Vec<Sample> {
    [corrupt(), unsupported(), extra_fields()].concat()
}

/// Data that is corrupt, or disagrees with the headers.
fn corrupt() -> Vec<Sample> {
    let both = |name, change: fn(&mut Header)| refused(name, "mallory", [x().both(change)]);
    let text = "content of mallory ".repeat(50);
    let packed = || deflated("mallory", &text);
    let mut cut = packed();
    cut.data.truncate(cut.data.len() / 2);
    let half = u32::try_from(cut.data.len()).unwrap_or_default();
    let mut more = packed();
    more.data.extend(b"mallory");
    let longer = u32::try_from(more.data.len()).unwrap_or_default();
    vec![
        both("wrong-crc", |header| header.crc ^= 1),
        refused("wrong-crc-deflated", "mallory", [packed().both(|header| header.crc ^= 1)]),
        refused("more-than-its-size", "mallory", [packed().both(|header| header.size -= 1)]),
        refused("less-than-its-size", "mallory", [packed().both(|header| header.size += 1)]),
        both("stored-of-two-sizes", |header| header.size = 6),
        refused("deflate-cut", "mallory", [cut.both(|header| header.packed = half)]),
        refused("deflate-and-more", "mallory", [more.both(|header| header.packed = longer)]),
        both("deflate-that-is-none", |header| header.method = DEFLATED),
    ]
}

/// Features and compression methods that are not supported.
fn unsupported() -> Vec<Sample> {
    let unread = |name, change: fn(&mut Header)| refused_as(UNSAFE_OR_UNSUPPORTED, name, "mallory", [x().both(change)]);
    vec![
        unread("encrypted", |header| header.flags |= ENCRYPTED),
        unread("strongly-encrypted", |header| header.flags |= ENCRYPTED | 1 << 6),
        unread("masked-headers", |header| header.flags |= ENCRYPTED | 1 << 13),
        unread("patch", |header| header.flags |= 1 << 5),
        unread("deflate64", |header| header.method = 9),
        unread("bzip2", |header| header.method = 12),
        unread("lzma", |header| header.method = 14),
        unread("zstd", |header| header.method = 93),
        unread("aes", |header| header.method = 99),
    ]
}

/// Extra fields that are malformed, or claim other sizes.
fn extra_fields() -> Vec<Sample> {
    let both = |name, change: fn(&mut Header)| refused(name, "mallory", [x().both(change)]);
    vec![
        refused_as(
            UNSAFE_OR_LIMIT,
            "zip64-of-8-eib",
            "mallory",
            [x().both(|header| {
                (header.size, header.packed) = (u32::MAX, u32::MAX);
                header.extra = zip64_extra(i64::MAX as u64, 7);
            })],
        ),
        refused_as(
            UNSAFE_OR_LIMIT,
            "zip64-packed-of-16-eib",
            "mallory",
            [x().both(|header| {
                (header.size, header.packed) = (u32::MAX, u32::MAX);
                header.extra = zip64_extra(7, u64::MAX);
            })],
        ),
        both("zip64-field-missing", |header| (header.size, header.packed) = (u32::MAX, u32::MAX)),
        both("zip64-field-cut", |header| {
            (header.size, header.packed) = (u32::MAX, u32::MAX);
            header.extra = extra(1, &[7, 0, 0]);
        }),
        both("zip64-field-twice", |header| {
            (header.size, header.packed) = (u32::MAX, u32::MAX);
            header.extra = [zip64_extra(7, 7), zip64_extra(6, 6)].concat();
        }),
        both("extra-field-longer-than-itself", |header| header.extra = vec![1, 0, 200, 0]),
    ]
}
