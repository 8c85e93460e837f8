//! Numbers in headers: octal, GNU base-256, and invalid.

use super::tar::{MODE, SIZE, entry, file, pax};
use super::{Case, UNSAFE_OR_LIMIT, accepted, refusal, refused};

pub(super) fn cases() -> Vec<Case> {
    [wrong_sizes(), other_fields(), harmless()].concat()
}

/// Sizes that are malformed, negative or too large.
fn wrong_sizes() -> Vec<Case> {
    let rows: [(&str, &[u8]); 17] = [
        ("negative", b"-0000000001\0"),
        ("plus", b"+0000000001\0"),
        ("decimal-digits", b"00000000009\0"),
        ("hexadecimal", b"0x000000001\0"),
        ("text", b"mallory\0"),
        ("digits-behind-the-end", b"1\0\0\0\0\0\0\0\x00077"),
        ("text-behind-the-number", b"00000000001x"),
        ("space-inside", b"0000 000001\0"),
        ("base-256-negative", &[0xff; 12]),
        ("base-256-lowest", &[0xff, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("base-256-8-eib", &[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("base-256-16-eib", &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("base-256-beyond-u64", &[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("base-256-beyond-u64-far", &[0x80, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("base-256-wrong-mark", &[0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("base-256-mark-alone", &[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("largest-octal", b"77777777777\0"),
    ];
    // For a size that no archive can have, both reasons are accepted: malformed, or above the limit.
    let case = |(name, size)| Case {
        verdict: refusal(UNSAFE_OR_LIMIT, &["mallory"]),
        ..refused(&format!("size-{name}"), "mallory", [file("mallory", "x").put(SIZE, size)])
    };
    let mut cases: Vec<_> = rows.map(case).into();
    cases.extend([
        refused(
            "size-of-an-extended-header-negative",
            "mallory",
            [pax(&[("path", "mallory")]).put(SIZE, [0xff; 12]), file("mallory", "x")],
        ),
        refused("size-of-a-long-name-text", "mallory", [entry(b'L', "mallory").put(SIZE, "mallory\0")]),
        refused("size-of-a-directory-negative", "mallory", [entry(b'5', "mallory").put(SIZE, [0xff; 12])]),
    ]);
    cases
}

/// Malformed modes. The mode is read for the execute bit; the other fields are ignored.
fn other_fields() -> Vec<Case> {
    vec![
        refused("mode-text", "mallory", [file("mallory", "x").put(MODE, "mallory\0")]),
        refused("mode-negative", "mallory", [file("mallory", "x").put(MODE, [0xff; 8])]),
    ]
}

fn harmless() -> Vec<Case> {
    let whole = |name, size: &[u8]| accepted(name, &[("a", "x")], [file("a", "x").put(SIZE, size)]);
    vec![
        whole("size-without-zeros", b"1\0"),
        whole("size-in-spaces", b"          1 "),
        whole("size-space-behind", b"00000000001 "),
        whole("size-base-256", &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        accepted(
            "owner-base-256",
            &[("a", "x")],
            [file("a", "x").put(108..116, [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff])],
        ),
        accepted("mode-in-spaces", &[("a", "x")], [file("a", "x").put(MODE, "   644 \0")]),
    ]
}
