//! Limits of rates, and registries that are slow or send without end.

use super::{limited, refused, timeout, unavailable};
use crate::hostile::reply::Reply;
use crate::hostile::writing::{Act, End, Row, Step};

/// `--timeout` of a command that would wait for long.
const IMPATIENT: &str = "4s";

pub(super) fn rows() -> Vec<Row> {
    [limits(), slow()].concat()
}

fn limits() -> Vec<Row> {
    let too_many = "429 Too Many Requests";
    let once = |name: &str, step, status: &str, header: Option<&'static str>| {
        let status = status.to_owned();
        Row::once(name, Act::Push, End::Stored, step, move |_, _| match header {
            Some(header) => Reply::of(&status, &[("Retry-After", header)], b""),
            None => Reply::of(&status, &[], b""),
        })
    };
    let always = |name: &str, step, status: &str, header: &'static str| {
        let status = status.to_owned();
        Row::at(name, Act::Push, limited(), step, move |_, _| Reply::of(&status, &[("Retry-After", header)], b""))
    };
    vec![
        once("limit-without-a-pause", Step::Start, too_many, None),
        once("limit-of-no-time", Step::Start, too_many, Some("0")),
        once("limit-of-a-negative-time", Step::Start, too_many, Some("-1")),
        once("limit-of-a-word", Step::End, too_many, Some("soon")),
        once("limit-until-the-past", Step::PutDigest, too_many, Some("Fri, 31 Dec 1999 23:59:59 GMT")),
        once("limit-of-a-second-at-the-tag", Step::PutTag, too_many, Some("1")),
        once("limit-of-a-second-by-503", Step::HeadBlob, "503 Service Unavailable", Some("1")),
        always("limit-of-an-hour", Step::Start, too_many, "3600"),
        always("limit-of-an-hour-by-503", Step::End, "503 Service Unavailable", "3600"),
        always("limit-of-ages", Step::PutTag, too_many, "99999999999999999999999"),
        Row::at("limit-until-2100", Act::Push, limited(), Step::Start, move |_, _| {
            let until = ("Retry-After", "Fri, 01 Jan 2100 00:00:00 GMT");
            Reply::of(too_many, &[until, ("Date", "Mon, 30 Nov 2026 00:00:00 GMT")], b"")
        }),
    ]
}

fn slow() -> Vec<Row> {
    let row = |name: &str, end, step, reply: fn() -> Reply| {
        Row::at(name, Act::Push, end, step, move |_, _| reply()).within(if end == timeout() {
            IMPATIENT
        } else {
            "90s"
        })
    };
    let stalled = |name: &str, act, step| {
        Row::new(name, act, timeout(), |_, _, _| None)
            .hasty(move |ask, _| (Step::of(ask) == step).then(|| Reply::default().hold()))
            .within(IMPATIENT)
    };
    let dripping = |_: &_, _: &_| Reply::raw("HTTP/1.1 200 OK\r\nX-Slow: ").drip("x");
    vec![
        row("start-is-silent", timeout(), Step::Start, || Reply::default().hold()),
        row("start-continues-for-ever", timeout(), Step::Start, || {
            Reply::default().endless("HTTP/1.1 100 Continue\r\n\r\n")
        }),
        row("start-has-endless-headers", unavailable("127.0.0.1"), Step::Start, || {
            Reply::raw("HTTP/1.1 202 Accepted\r\n").endless("X-More: x\r\n")
        }),
        row("start-drips-its-headers", timeout(), Step::Start, || {
            Reply::raw("HTTP/1.1 202 Accepted\r\nX-Slow: ").drip("x")
        }),
        row("end-is-silent", timeout(), Step::End, || Reply::default().hold()),
        row("manifest-is-silent", timeout(), Step::PutDigest, || Reply::default().hold()),
        row("tag-is-silent", timeout(), Step::PutTag, || Reply::default().hold()),
        row("error-is-endless", refused("400"), Step::PutTag, || Reply::head("400 Bad Request", &[], &[]).endless(" ")),
        row("error-drips", timeout(), Step::PutTag, || Reply::head("400 Bad Request", &[], &[]).drip(" ")),
        stalled("end-is-never-read", Act::PushLarge, Step::Part),
        stalled("manifest-is-never-read", Act::Push, Step::PutDigest),
        Row::new("manifest-comes-back-without-end", Act::Push, TOO_LARGE, |ask, _, shelf| {
            (Step::of(ask) == Step::GetDigest && shelf.has_manifest(ask))
                .then(|| Reply::head("200 OK", &[], &[]).endless(" "))
        }),
        Row::at("tag-is-looked-up-slowly", Act::Push, timeout(), Step::HeadTag, dripping).within(IMPATIENT),
        Row::new("tag-has-an-endless-body", Act::Push, End::Stored, |ask, _, shelf| {
            (Step::of(ask) == Step::PutTag).then(|| {
                let _ = shelf.answer(ask);
                Reply::head("201 Created", &[], &[]).endless(" ")
            })
        }),
    ]
}

const TOO_LARGE: End = End::Refused(7, "LimitExceeded", "manifest");
