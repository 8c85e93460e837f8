//! HTTP/2: floods, stalls, and frames that break the rules.

use std::sync::Arc;

use super::{Behaviour, Expected, Kind, READY, TIMEOUT, TOO_LARGE, UNAVAILABLE};
use crate::hostile::artifact::MANIFEST;
use crate::hostile::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, OK, PING, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, answer, frame, header, remembered_header,
};
use crate::hostile::reply::Reply;
use crate::hostile::tls::Certificate;

/// Error codes (RFC 9113 section 7).
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

pub(super) fn behaviours() -> Vec<Behaviour> {
    let row = |(name, expected, script): Row| {
        let script = Arc::new(move |_, stream, _: &_| script(stream));
        // Pinned to a digest, so that the first request is for the manifest.
        Behaviour::new(name, expected, Kind::Frames(script)).over_tls(Certificate::Good).pinned()
    };
    let mut all: Vec<_> = [ends(), headers(), others()].concat().into_iter().map(row).collect();
    // The reading speed decides whether the operator detects the flood before the timeout.
    let flood = |(name, script)| row((name, TIMEOUT, script)).or(UNAVAILABLE);
    all.extend(floods().into_iter().map(flood));
    let flood = |_, stream, _: &_| begun(stream).endless(frame(DATA, 0, stream, &[b' '; 16_384]));
    let flood = Behaviour::new("h2-flood-of-body", TOO_LARGE, Kind::Frames(Arc::new(flood)));
    // The flood also ignores flow control; the reading speed decides which rule it violates first.
    all.push(flood.or(UNAVAILABLE).or(TIMEOUT).over_tls(Certificate::Good).pinned());
    let behaves = Kind::Frames(Arc::new(|request, stream, place| {
        let artifact = &place.artifact;
        match request % 2 {
            1 => answer(stream, MANIFEST, &artifact.manifest),
            _ => answer(stream, "application/octet-stream", artifact.layer().1),
        }
    }));
    all.push(Behaviour::new("h2-behaves", READY, behaves).over_tls(Certificate::Good).pinned());
    all
}

type Row = (&'static str, Expected, fn(u32) -> Reply);

/// Starts a response of status 200.
fn begun(stream: u32) -> Reply {
    Reply::raw(frame(HEADERS, END_HEADERS, stream, &[OK]))
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn go_away(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

fn ends() -> Vec<Row> {
    vec![
        ("h2-goes-away", UNAVAILABLE, |_| Reply::raw(go_away(0, ENHANCE_YOUR_CALM)).close()),
        ("h2-goes-away-without-error", UNAVAILABLE, |_| Reply::raw(go_away(0, NO_ERROR)).close()),
        ("h2-goes-away-and-stays", UNAVAILABLE, |_| Reply::raw(go_away(0, NO_ERROR)).hold()),
        ("h2-goes-away-in-the-middle", UNAVAILABLE, |stream| begun(stream).send(go_away(stream, CANCEL)).close()),
        ("h2-resets", UNAVAILABLE, |stream| Reply::raw(reset(stream, CANCEL))),
        ("h2-refuses", UNAVAILABLE, |stream| Reply::raw(reset(stream, REFUSED_STREAM))),
        ("h2-resets-in-the-middle", UNAVAILABLE, |stream| begun(stream).send(reset(stream, CANCEL))),
        ("h2-hangs-up", UNAVAILABLE, |_| Reply::default().close()),
        ("h2-is-silent", TIMEOUT, |_| Reply::default().hold()),
        ("h2-stalls-before-the-body", TIMEOUT, |stream| begun(stream).hold()),
        ("h2-stalls-in-the-body", TIMEOUT, |stream| begun(stream).send(frame(DATA, 0, stream, b"{")).hold()),
    ]
}

/// Name and script of a flood.
type Flood = (&'static str, fn(u32) -> Reply);

fn floods() -> Vec<Flood> {
    vec![
        ("h2-flood-of-resets", |stream| Reply::default().flood(reset(stream, CANCEL))),
        ("h2-flood-of-settings", |_| Reply::default().flood(frame(SETTINGS, 0, 0, &[]))),
        ("h2-flood-of-acknowledgements", |_| Reply::default().flood(frame(SETTINGS, ACK, 0, &[]))),
        ("h2-flood-of-pings", |_| Reply::default().flood(frame(PING, 0, 0, &[7; 8]))),
        ("h2-flood-of-empty-data", |stream| begun(stream).flood(frame(DATA, 0, stream, &[]))),
        ("h2-flood-of-padding", |stream| {
            // Flag 8 (PADDED): the first byte is the length of the padding, here all the rest.
            begun(stream).flood(frame(DATA, 8, stream, &[[255].as_slice(), &[0; 255]].concat()))
        }),
        ("h2-flood-of-unknown-frames", |stream| Reply::default().flood(frame(0xfa, 0, stream, b"unknown"))),
        ("h2-flood-of-priorities", |stream| Reply::default().flood(frame(2, 0, stream, &[0, 0, 0, 0, 1]))),
        ("h2-flood-of-window-updates", |_| {
            Reply::default().flood(frame(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes()))
        }),
    ]
}

fn headers() -> Vec<Row> {
    vec![
        ("h2-continues-for-ever", UNAVAILABLE, |stream| {
            let more = frame(CONTINUATION, 0, stream, &header("x-many", &"x".repeat(1000)));
            Reply::raw(frame(HEADERS, 0, stream, &[OK])).flood(more)
        }),
        ("h2-continues-with-nothing-for-ever", UNAVAILABLE, |stream| {
            Reply::raw(frame(HEADERS, 0, stream, &[OK])).flood(frame(CONTINUATION, 0, stream, &[]))
        }),
        ("h2-header-of-a-megabyte", UNAVAILABLE, |stream| {
            let part = |flags, text: &[u8]| frame(CONTINUATION, flags, stream, text);
            let fields = [vec![OK], header("x-long", &"x".repeat(1 << 20))].concat();
            let mut reply = Reply::raw(frame(HEADERS, 0, stream, &[]));
            for piece in fields.chunks(16_000) {
                reply = reply.send(part(0, piece));
            }
            reply.send(part(END_HEADERS, &[])).hold()
        }),
        ("h2-header-bomb", UNAVAILABLE, |stream| {
            // One header of 4 KB in the dynamic table, referenced 12 000 times by one byte each: 48 MB.
            let bomb = [vec![OK], remembered_header("x-bomb", &"x".repeat(4000)), vec![0xbe; 12_000]].concat();
            Reply::raw(frame(HEADERS, END_HEADERS, stream, &bomb)).hold()
        }),
        ("h2-headers-are-noise", UNAVAILABLE, |stream| {
            Reply::raw(frame(HEADERS, END_HEADERS, stream, &[0xff; 64])).hold()
        }),
        ("h2-trailers-are-a-bomb", UNAVAILABLE, |stream| {
            let bomb = [remembered_header("x-bomb", &"x".repeat(4000)), vec![0xbe; 12_000]].concat();
            begun(stream).send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb)).hold()
        }),
    ]
}

fn others() -> Vec<Row> {
    vec![
        ("h2-is-http-1", UNAVAILABLE, |_| Reply::of("200 OK", &[], b"").hold()),
        ("h2-pushes", UNAVAILABLE, |stream| {
            Reply::raw(frame(PUSH_PROMISE, END_HEADERS, stream, &[2_u32.to_be_bytes().as_slice(), &[0x82]].concat()))
                .hold()
        }),
        ("h2-frame-is-too-long", UNAVAILABLE, |stream| begun(stream).flood(frame(DATA, 0, stream, &[0; 1 << 20]))),
        ("h2-answers-another-stream", UNAVAILABLE, |stream| begun(stream + 100).hold()),
        ("h2-length-is-wrong", UNAVAILABLE, |stream| {
            let fields = [vec![OK], header("content-length", "10")].concat();
            Reply::raw(frame(HEADERS, END_HEADERS, stream, &fields)).send(frame(DATA, END_STREAM, stream, b"{}"))
        }),
        ("h2-lets-nobody-in", TIMEOUT, |stream| {
            // Setting 3: SETTINGS_MAX_CONCURRENT_STREAMS.
            Reply::raw(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0])).send(reset(stream, REFUSED_STREAM))
        }),
        ("h2-window-update-of-nothing", UNAVAILABLE, |_| Reply::raw(frame(WINDOW_UPDATE, 0, 0, &[0; 4])).hold()),
    ]
}
