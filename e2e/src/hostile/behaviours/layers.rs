//! Blobs that differ from their descriptors, or fail to arrive.

use super::{
    Behaviour, Expected, FORBIDDEN, LIMITED, MISSING, OTHER_BYTES, Pace, READY, TIMEOUT, UNAUTHORIZED, UNAVAILABLE,
};
use crate::hostile::reply::Reply;

pub(super) fn behaviours() -> Vec<Behaviour> {
    /// Reply to the request for the layer, given the layer's bytes.
    type Answer = fn(&[u8]) -> Reply;
    let rows: [(&str, Expected, Answer); 24] = [
        ("layer-of-other-bytes", OTHER_BYTES, |layer| ok(&vec![b'x'; layer.len()])),
        ("layer-differs-in-the-last-byte", OTHER_BYTES, |layer| ok(&[part(layer, 1), b"x"].concat())),
        ("layer-is-one-byte-longer", OTHER_BYTES, |layer| ok(&[layer, b"x"].concat())),
        ("layer-is-one-byte-shorter", OTHER_BYTES, |layer| ok(part(layer, 1))),
        ("layer-is-empty", OTHER_BYTES, |_| ok(b"")),
        ("layer-is-twice-itself", OTHER_BYTES, |layer| ok(&layer.repeat(2))),
        ("layer-is-html", UNAVAILABLE, |_| Reply::of("200 OK", &[("Content-Type", "text/html")], b"<html>")),
        ("layer-is-endless", OTHER_BYTES, |_| head(&[]).endless("x")),
        ("layer-is-endless-in-chunks", OTHER_BYTES, |_| {
            head(&[("Transfer-Encoding", "chunked")]).endless(format!("400\r\n{}\r\n", "x".repeat(0x400)))
        }),
        ("layer-of-a-terabyte-by-its-head", OTHER_BYTES, |_| head(&[("Content-Length", "1099511627776")]).endless("x")),
        ("layer-of-a-terabyte-that-stalls", TIMEOUT, |_| head(&[("Content-Length", "1099511627776")]).hold()),
        ("layer-drips", TIMEOUT, |_| head(&[("Content-Length", "1000000")]).drip("x")),
        ("layer-stalls-before-the-end", TIMEOUT, |layer| sized(layer.len()).send(part(layer, 1)).hold()),
        ("layer-breaks-off", UNAVAILABLE, |layer| sized(layer.len()).send(part(layer, 1))),
        ("layer-is-reset", UNAVAILABLE, |layer| sized(layer.len()).send(part(layer, 1)).reset()),
        ("layer-breaks-off-without-length", OTHER_BYTES, |layer| head(&[]).send(part(layer, 1))),
        ("layer-is-part-of-itself", UNAVAILABLE, |layer| Reply::of("206 Partial Content", &[], part(layer, 512))),
        ("layer-of-status-204", OTHER_BYTES, |_| Reply::raw("HTTP/1.1 204 No Content\r\n\r\n")),
        ("layer-is-gone", MISSING, |_| Reply::of("404 Not Found", &[], b"")),
        ("layer-is-forbidden", FORBIDDEN, |_| Reply::of("403 Forbidden", &[], b"")),
        ("layer-wants-a-login", UNAUTHORIZED, |_| {
            Reply::of("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b"")
        }),
        ("layer-is-rationed", LIMITED, |_| Reply::of("429 Too Many Requests", &[("Retry-After", "1")], b"")),
        ("layer-breaks-the-server", UNAVAILABLE, |_| Reply::of("500 Internal Server Error", &[], b"")),
        ("layer-with-every-header", READY, |layer| {
            let headers =
                [("Content-Type", "text/html"), ("Set-Cookie", "a=b"), ("Link", "<http://127.0.0.2/>; rel=next")];
            Reply::of("200 OK", &headers, layer)
        }),
    ];
    let row = |(name, expected, answer): (&str, Expected, Answer)| {
        let pace = if expected == LIMITED { Pace::Limited } else { Pace::Retries };
        Behaviour::at_layer(name, expected, move |_, place| answer(place.artifact.layer().1)).asked(pace)
    };
    rows.into_iter().map(row).collect()
}

fn ok(body: &[u8]) -> Reply {
    Reply::of("200 OK", &[("Content-Type", "application/octet-stream")], body)
}

fn head(more: &[(&str, &str)]) -> Reply {
    Reply::head("200 OK", &[("Content-Type", "application/octet-stream")], more)
}

fn sized(length: usize) -> Reply {
    head(&[("Content-Length", &length.to_string())])
}

/// Returns the layer without its last `missing` bytes.
fn part(layer: &[u8], missing: usize) -> &[u8] {
    layer.get(..layer.len() - missing).unwrap_or_default()
}
