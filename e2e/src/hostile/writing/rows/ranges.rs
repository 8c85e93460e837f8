//! Ranges of uploads, and statuses of their steps.

use super::{UPLOAD, forbidden, refused, unauthorized, unavailable};
use crate::hostile::reply::Reply;
use crate::hostile::writing::{Act, End, Row, Step};

pub(super) fn rows() -> Vec<Row> {
    [ranges(), statuses()].concat()
}

fn ranges() -> Vec<Row> {
    let rows: [(&str, End, &str, &'static str); 12] = [
        ("range-of-more-than-was-sent", unavailable("bytes"), "202 Accepted", "0-99999999"),
        ("range-with-another-start", unavailable("Range"), "202 Accepted", "5-9"),
        ("range-is-a-word", unavailable("Range"), "202 Accepted", "all"),
        ("range-is-empty", unavailable("Range"), "202 Accepted", ""),
        ("range-is-negative", unavailable("Range"), "202 Accepted", "0--9"),
        ("range-is-without-end", unavailable("Range"), "202 Accepted", "0-"),
        ("range-is-huge", unavailable("Range"), "202 Accepted", "0-99999999999999999999999"),
        ("range-of-another-unit", unavailable("Range"), "202 Accepted", "lines=0-9"),
        ("range-that-never-grows", unavailable("fewer bytes"), "202 Accepted", "0-0"),
        ("range-that-grows-once", unavailable("fewer bytes"), "202 Accepted", "0-1"),
        ("range-that-is-never-right", unavailable("range"), "416 Range Not Satisfiable", "0-0"),
        ("range-of-a-lost-upload", unavailable("uploads"), "404 Not Found", "0-0"),
    ];
    let row = |(name, end, status, range): (&str, End, &str, &'static str)| {
        let status = status.to_owned();
        Row::at(name, Act::PushLarge, end, Step::Part, move |_, _| {
            Reply::of(&status, &[("Location", UPLOAD), ("Range", range)], b"")
        })
    };
    let mut all: Vec<_> = rows.into_iter().map(row).collect();
    all.push(Row::at("range-is-not-utf-8", Act::PushLarge, unavailable("Range"), Step::Part, |_, _| {
        let head = [b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nLocation: ", UPLOAD.as_bytes()].concat();
        Reply::raw([&head[..], b"\r\nRange: 0-\xff\r\n\r\n"].concat())
    }));
    all.push(Row::new("range-is-absent", Act::PushLarge, End::Stored, |ask, _, shelf| {
        (Step::of(ask) == Step::Part).then(|| {
            // The bytes are kept, and only the header is missing.
            let _ = shelf.answer(ask);
            Reply::of("202 Accepted", &[("Location", ask.target.as_str())], b"")
        })
    }));
    all
}

fn statuses() -> Vec<Row> {
    let rows: [(&str, Act, End, Step, &str); 18] = [
        ("start-is-ok", Act::Push, unavailable("200"), Step::Start, "200 OK"),
        ("start-is-no-content", Act::Push, unavailable("204"), Step::Start, "204 No Content"),
        ("start-is-a-bad-request", Act::Push, refused("400"), Step::Start, "400 Bad Request"),
        ("start-is-not-found", Act::Push, refused("404"), Step::Start, "404 Not Found"),
        ("start-is-no-method", Act::Push, refused("405"), Step::Start, "405 Method Not Allowed"),
        ("start-is-forbidden", Act::Push, forbidden(), Step::Start, "403 Forbidden"),
        ("part-is-created", Act::PushLarge, unavailable("201"), Step::Part, "201 Created"),
        ("part-is-always-too-large", Act::PushLarge, refused("413"), Step::Part, "413 Payload Too Large"),
        ("part-is-forbidden", Act::PushLarge, forbidden(), Step::Part, "403 Forbidden"),
        ("end-is-accepted-and-never-created", Act::Push, unavailable("202"), Step::End, "202 Accepted"),
        ("end-is-partial", Act::Push, unavailable("206"), Step::End, "206 Partial Content"),
        ("end-is-gone", Act::Push, refused("410"), Step::End, "410 Gone"),
        ("end-is-a-conflict", Act::Push, refused("409"), Step::End, "409 Conflict"),
        ("end-is-forbidden", Act::Push, forbidden(), Step::End, "403 Forbidden"),
        ("end-is-never-found", Act::Push, unavailable("uploads"), Step::End, "404 Not Found"),
        ("end-is-never-authorized", Act::Push, unauthorized(), Step::End, "401 Unauthorized"),
        ("manifest-is-refused", Act::Push, refused("400"), Step::PutDigest, "400 Bad Request"),
        ("tag-is-refused", Act::Push, refused("405"), Step::PutTag, "405 Method Not Allowed"),
    ];
    let row = |(name, act, end, step, status): (&str, Act, End, Step, &str)| {
        let status = status.to_owned();
        Row::at(name, act, end, step, move |_, _| Reply::of(&status, &[("Location", UPLOAD)], b""))
    };
    rows.into_iter().map(row).collect()
}
