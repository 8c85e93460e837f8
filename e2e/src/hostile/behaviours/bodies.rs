//! Manifests whose heads and bodies are false, slow, truncated or endless.

use anyhow::Result;

use super::{Behaviour, Expected, INVALID, OTHER_BYTES, READY, TIMEOUT, TOO_LARGE, UNAVAILABLE};
use crate::archive::gzip;
use crate::hostile::artifact::{Artifact, MANIFEST};
use crate::hostile::ask::Ask;
use crate::hostile::place::Place;
use crate::hostile::reply::Reply;

/// Makes a head of status 200 for a manifest, with these headers in addition to its type.
fn head(more: &[(&str, &str)]) -> Reply {
    Reply::head("200 OK", &[("Content-Type", MANIFEST)], more)
}

pub(super) fn behaviours() -> Result<Vec<Behaviour>> {
    let mut all = lengths();
    all.extend(chunks());
    all.extend(heads());
    all.extend(encodings()?);
    all.extend([
        Behaviour::at_manifest("manifest-drips", TIMEOUT, |_, _| head(&[("Content-Length", "100000")]).drip(" ")),
        Behaviour::at_manifest("manifest-stalls", TIMEOUT, |_, _| {
            head(&[("Content-Length", "100000")]).send("{").hold()
        }),
        Behaviour::at_manifest("manifest-is-endless", TOO_LARGE, |_, _| head(&[]).endless(" ")),
        Behaviour::at_manifest("manifest-is-endless-in-chunks", TOO_LARGE, |_, _| {
            head(&[("Transfer-Encoding", "chunked")]).endless(format!("400\r\n{}\r\n", " ".repeat(0x400)))
        }),
        Behaviour::at_manifest("manifest-of-one-byte-chunks", TIMEOUT, |_, _| {
            head(&[("Transfer-Encoding", "chunked")]).drip("1\r\n \r\n")
        }),
        Behaviour::at_manifest("manifest-is-empty", OTHER_BYTES, |_, _| Reply::of("200 OK", &[], b"")),
        Behaviour::at_manifest("manifest-of-status-204", OTHER_BYTES, |_, _| {
            Reply::raw("HTTP/1.1 204 No Content\r\n\r\n")
        }),
        Behaviour::at_manifest("manifest-of-status-206", READY, |_, place| {
            Reply::of("206 Partial Content", &[("Content-Type", MANIFEST)], &place.artifact.manifest)
        }),
    ]);
    Ok(all)
}

/// Returns registries whose manifests stall one byte before the end of 4 MiB, until the pass times out.
pub(super) fn swarm() -> Vec<Behaviour> {
    let stalls = |_: &Ask, _: &Place| head(&[("Content-Length", "4194304")]).send(vec![b' '; (4 << 20) - 1]).hold();
    let row = |number| Behaviour {
        timeout: "10m",
        ..Behaviour::at_manifest(&format!("swarm-{number}"), UNAVAILABLE, stalls)
    };
    (0..48).map(row).collect()
}

fn lengths() -> Vec<Behaviour> {
    let sized = |length: String, place: &Place| head(&[("Content-Length", &length)]).send(&place.artifact.manifest);
    let own = |place: &Place| place.artifact.manifest.len();
    vec![
        Behaviour::at_manifest("length-too-long", UNAVAILABLE, move |_, place| {
            sized((own(place) + 1).to_string(), place)
        }),
        Behaviour::at_manifest("length-too-short", OTHER_BYTES, move |_, place| {
            sized((own(place) - 1).to_string(), place)
        }),
        Behaviour::at_manifest("length-negative", UNAVAILABLE, move |_, place| sized("-1".to_owned(), place)),
        Behaviour::at_manifest("length-of-2-to-the-63", TOO_LARGE, move |_, place| {
            sized((1_u64 << 63).to_string(), place)
        }),
        Behaviour::at_manifest("length-of-2-to-the-64", UNAVAILABLE, move |_, place| {
            sized("18446744073709551616".to_owned(), place)
        }),
        Behaviour::at_manifest("length-in-hex", UNAVAILABLE, move |_, place| sized("0x10".to_owned(), place)),
        Behaviour::at_manifest("length-with-plus", UNAVAILABLE, move |_, place| {
            sized(format!("+{}", own(place)), place)
        }),
        Behaviour::at_manifest("length-twice", UNAVAILABLE, move |_, place| {
            let right = own(place).to_string();
            head(&[("Content-Length", "5"), ("Content-Length", &right)]).send(&place.artifact.manifest)
        }),
        Behaviour::at_manifest("length-and-chunks", OTHER_BYTES, move |_, place| {
            let right = own(place).to_string();
            let chunks = head(&[("Content-Length", &right), ("Transfer-Encoding", "chunked")]);
            chunks.send("2\r\n{}\r\n0\r\n\r\n")
        }),
        Behaviour::at_manifest("length-of-4-gigabytes-and-nothing", TOO_LARGE, |_, _| {
            head(&[("Content-Length", "4294967296")]).hold()
        }),
    ]
}

fn chunks() -> Vec<Behaviour> {
    let rows: [(&str, &'static str, Expected); 7] = [
        ("chunks-break-off", "400\r\n{\"schemaVersion\"", UNAVAILABLE),
        ("chunks-without-an-end", "2\r\n{}\r\n", UNAVAILABLE),
        ("chunk-size-is-no-number", "zz\r\n{}\r\n0\r\n\r\n", UNAVAILABLE),
        ("chunk-size-is-negative", "-2\r\n{}\r\n0\r\n\r\n", UNAVAILABLE),
        ("chunk-size-overflows", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n", UNAVAILABLE),
        ("chunk-is-longer-than-its-size", "1\r\n{}\r\n0\r\n\r\n", UNAVAILABLE),
        ("chunks-then-another-answer", "2\r\n{}\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", OTHER_BYTES),
    ];
    let row = |(name, body, expected): (&str, &'static str, _)| {
        Behaviour::at_manifest(name, expected, move |_, _| head(&[("Transfer-Encoding", "chunked")]).send(body))
    };
    let mut all: Vec<_> = rows.into_iter().map(row).collect();
    let chunked = || head(&[("Transfer-Encoding", "chunked")]);
    all.push(Behaviour::at_manifest("chunk-extension-is-endless", UNAVAILABLE, move |_, _| {
        chunked().send("2;x=").endless("x")
    }));
    all.push(Behaviour::at_manifest("trailers-are-endless", UNAVAILABLE, move |_, _| {
        chunked().send("2\r\n{}\r\n0\r\n").endless("x-trailer: x\r\n")
    }));
    all
}

/// Reply to every request.
type Answer = fn() -> Reply;

/// Behaviours that answer every request with an invalid or endless head.
fn heads() -> Vec<Behaviour> {
    let rows: [(&str, Answer, Expected); 10] = [
        ("header-of-a-megabyte", || head(&[("X-Long", &"x".repeat(1 << 20))]), UNAVAILABLE),
        ("header-is-endless", || Reply::raw("HTTP/1.1 200 OK\r\nX-Long: ").endless("x"), UNAVAILABLE),
        ("headers-are-endless", || Reply::raw("HTTP/1.1 200 OK\r\n").endless("X-Many: x\r\n"), UNAVAILABLE),
        (
            "headers-by-the-thousand",
            || Reply::raw(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Many: x\r\n".repeat(5000))),
            UNAVAILABLE,
        ),
        ("header-drips", || Reply::raw("HTTP/1.1 200 OK\r\nX-Slow: ").drip("x"), TIMEOUT),
        ("header-with-zero-byte", || head(&[("X-Zero", "a\0b")]), UNAVAILABLE),
        ("header-without-colon", || Reply::raw("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), UNAVAILABLE),
        ("status-is-no-number", || Reply::raw("HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"), UNAVAILABLE),
        ("version-of-the-future", || Reply::raw("HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n"), UNAVAILABLE),
        ("reason-is-endless", || Reply::raw("HTTP/1.1 200 ").endless("OK"), UNAVAILABLE),
    ];
    rows.into_iter().map(|(name, script, expected)| Behaviour::http(name, expected, move |_, _| script())).collect()
}

/// Behaviours with a content encoding. The operator decodes nothing in transfer: it hashes the bytes as received.
fn encodings() -> Result<Vec<Behaviour>> {
    let bomb = gzip(&vec![b' '; 64 << 20])?;
    let encoded = |body: &[u8]| Reply::of("200 OK", &[("Content-Type", MANIFEST), ("Content-Encoding", "gzip")], body);
    let packed = |artifact: &Artifact| gzip(&artifact.manifest).unwrap_or_default();
    Ok(vec![
        Behaviour::at_manifest("manifest-is-a-gzip-bomb", OTHER_BYTES, move |_, _| encoded(&bomb)),
        Behaviour::at_manifest("manifest-is-gzipped-on-the-way", OTHER_BYTES, move |_, place| {
            encoded(&packed(&place.artifact))
        }),
        Behaviour::serving("manifest-is-gzip", INVALID, move |good| good.of(packed(good))),
    ])
}
