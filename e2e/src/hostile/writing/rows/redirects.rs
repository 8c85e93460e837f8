//! Redirects of each step.

use super::{denied, unavailable};
use crate::hostile::ask::Ask;
use crate::hostile::place::Place;
use crate::hostile::reply::Reply;
use crate::hostile::writing::{Act, End, Row, Step};

pub(super) fn rows() -> Vec<Row> {
    [writes(), uploads(), reads(), within()].concat()
}

fn to(status: &str, location: &str) -> Reply {
    Reply::of(status, &[("Location", location)], b"")
}

fn other_port(ask: &Ask, place: &Place) -> String {
    format!("http://{}{}", place.other_port, ask.target)
}

/// Redirects of requests with a body, and of the start of an upload: never to another origin.
fn writes() -> Vec<Row> {
    let mut all = Vec::new();
    for (name, step) in [("start", Step::Start), ("manifest", Step::PutDigest), ("tag", Step::PutTag)] {
        for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect"] {
            let (number, _) = status.split_once(' ').unwrap_or_default();
            let row = format!("{name}-redirects-to-another-port-by-{number}");
            let status = status.to_owned();
            let reply = move |ask: &Ask, place: &Place| to(&status, &other_port(ask, place));
            all.push(Row::at(&row, Act::Push, unavailable("redirects"), step, reply));
        }
    }
    all
}

/// Redirects of uploads, which are followed with the same method and without credentials.
fn uploads() -> Vec<Row> {
    let row = |name: &str, act, end, step, location: &'static str| {
        Row::at(name, act, end, step, move |ask, place| {
            let location = location.replace("HERE", &place.address).replace("OTHERPORT", &place.other_port);
            to("307 Temporary Redirect", &location.replace("OTHER", &place.other_host).replace("PATH", &ask.target))
        })
    };
    let (push, large) = (Act::Push, Act::PushLarge);
    vec![
        row("end-redirects-to-another-port", push, unavailable("blob"), Step::End, "http://OTHERPORT/x")
            .leading_elsewhere(),
        row("part-redirects-to-another-port", large, unavailable("blob"), Step::Part, "http://OTHERPORT/x")
            .leading_elsewhere(),
        row("end-redirects-to-another-host", push, denied("127.0.0.2"), Step::End, "http://OTHER/x"),
        row("part-redirects-to-another-host", large, denied("127.0.0.2"), Step::Part, "http://OTHER/x"),
        row("end-redirects-to-metadata", push, denied("169.254.169.254"), Step::End, "http://169.254.169.254/"),
        row("end-redirects-to-a-user", push, unavailable("user"), Step::End, "http://user:password@OTHERPORT/x"),
        row("end-redirects-to-a-file", push, unavailable("redirects"), Step::End, "file:///etc/passwd"),
        row("end-redirects-in-a-circle", push, unavailable("redirects"), Step::End, "PATH"),
        row("part-redirects-in-a-circle", large, unavailable("redirects"), Step::Part, "PATH"),
        Row::at("end-redirects-by-302", push, unavailable("302"), Step::End, |ask, place| {
            to("302 Found", &other_port(ask, place))
        }),
        row("end-redirects-away-from-tls", push, unavailable("plain HTTP"), Step::End, "http://OTHERPORT/x").over_tls(),
    ]
}

/// Redirects of requests that read, which are followed without credentials; what is elsewhere is not believed.
fn reads() -> Vec<Row> {
    let row = |name: &str, end, steps: &'static [Step]| {
        Row::new(name, Act::Push, end, move |ask, place, shelf| {
            // A manifest is looked up before it is written, too.
            let is_due = !steps.contains(&Step::GetDigest) || shelf.has_manifest(ask);
            (steps.contains(&Step::of(ask)) && is_due).then(|| to("307 Temporary Redirect", &other_port(ask, place)))
        })
        .leading_elsewhere()
    };
    vec![
        row("head-of-a-blob-redirects-to-another-port", End::Stored, &[Step::HeadBlob]),
        row("manifest-comes-back-from-another-port", End::Refused(7, "DigestMismatch", "manifest"), &[Step::GetDigest]),
        // Only the registry's own answer to a GET counts then.
        row("tag-is-looked-up-at-another-port", End::Stored, &[Step::HeadTag]),
        row("tag-is-read-at-another-port", unavailable("Docker-Content-Digest"), &[Step::HeadTag, Step::GetTag]),
        Row::at(
            "head-of-a-blob-redirects-to-another-host",
            Act::Push,
            denied("127.0.0.2"),
            Step::HeadBlob,
            |_, place| to("307 Temporary Redirect", &format!("http://{}/x", place.other_host)),
        ),
        Row::at("tag-is-looked-up-at-another-host", Act::Push, denied("127.0.0.2"), Step::HeadTag, |_, place| {
            to("302 Found", &format!("http://{}/x", place.other_host))
        }),
    ]
}

/// Redirects within the registry, which are followed with everything.
fn within() -> Vec<Row> {
    let row = |name: &str, step| {
        Row::new(name, Act::Push, End::Stored, move |ask, _, _| {
            let is_second = ask.target.contains("again=1");
            let mark = if ask.target.contains('?') { '&' } else { '?' };
            let again = format!("{}{mark}again=1", ask.target);
            (Step::of(ask) == step && !is_second).then(|| to("308 Permanent Redirect", &again))
        })
    };
    vec![
        row("start-redirects-within-the-registry", Step::Start),
        row("end-redirects-within-the-registry", Step::End),
        row("manifest-redirects-within-the-registry", Step::PutDigest),
        row("tag-redirects-within-the-registry", Step::PutTag),
    ]
}
