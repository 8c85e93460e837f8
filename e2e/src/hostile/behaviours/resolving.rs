//! Tags: status codes, and values of `Docker-Content-Digest`.

use super::{Behaviour, Expected, FORBIDDEN, MISSING, OTHER_BYTES, READY, TIMEOUT, UNAUTHORIZED, UNAVAILABLE};
use crate::hostile::artifact::{MANIFEST, digest};
use crate::hostile::place::Place;
use crate::hostile::reply::Reply;

const HTML: (&str, &[u8]) = ("text/html; charset=utf-8", b"<!DOCTYPE html><title>Sign in</title>");

pub(super) fn behaviours() -> Vec<Behaviour> {
    let mut all = statuses();
    all.extend(digest_headers());
    all.push(Behaviour::http("everything-is-html", UNAVAILABLE, |_, _| html()));
    all.push(Behaviour::at_manifest("manifest-is-html", UNAVAILABLE, |_, _| html()));
    all.push(Behaviour::at_manifest("manifest-is-gone", MISSING, |_, _| Reply::of("404 Not Found", &[], b"")));
    for (name, status) in
        [("head-is-not-allowed", "405 Method Not Allowed"), ("head-is-not-there", "501 Not Implemented")]
    {
        all.push(Behaviour::http(name, READY, move |ask, place| {
            if ask.is_head() {
                Reply::head(status, &[("Content-Length", "0")], &[])
            } else {
                place.artifact.answer(ask)
            }
        }));
    }
    all.push(Behaviour::http("continues-for-ever", TIMEOUT, |_, _| {
        Reply::default().flood("HTTP/1.1 100 Continue\r\n\r\n")
    }));
    all
}

fn html() -> Reply {
    Reply::of("200 OK", &[("Content-Type", HTML.0)], HTML.1)
}

fn statuses() -> Vec<Behaviour> {
    let rows: [(&str, &'static str, Expected); 14] = [
        ("status-101", "101 Switching Protocols", UNAVAILABLE),
        ("status-300", "300 Multiple Choices", UNAVAILABLE),
        ("status-304", "304 Not Modified", UNAVAILABLE),
        ("status-401-without-challenge", "401 Unauthorized", UNAUTHORIZED),
        ("status-403", "403 Forbidden", FORBIDDEN),
        ("status-404", "404 Not Found", MISSING),
        ("status-405", "405 Method Not Allowed", UNAVAILABLE),
        ("status-418", "418 I'm a teapot", UNAVAILABLE),
        ("status-500", "500 Internal Server Error", UNAVAILABLE),
        ("status-502", "502 Bad Gateway", UNAVAILABLE),
        ("status-503", "503 Service Unavailable", UNAVAILABLE),
        ("status-504", "504 Gateway Timeout", UNAVAILABLE),
        ("status-599", "599 Whatever", UNAVAILABLE),
        ("status-999", "999 Beyond", UNAVAILABLE),
    ];
    let row = |(name, status, expected): (&str, &'static str, _)| {
        // Closes the connection after every status, because some statuses (101) end it in any case.
        Behaviour::http(name, expected, move |_, _| Reply::head(status, &[("Content-Length", "0")], &[]))
    };
    rows.into_iter().map(row).collect()
}

/// Values of `Docker-Content-Digest` in the response to a HEAD, given the right digest.
type Headers = fn(&str) -> Vec<String>;

/// Wrong, malformed and missing digest headers. Without a valid header the operator fetches and hashes the manifest.
fn digest_headers() -> Vec<Behaviour> {
    let rows: [(&str, Expected, Headers); 13] = [
        ("digest-header-of-something-else", MISSING, |_| vec![digest(b"something else")]),
        ("digest-header-wrong-then-right", MISSING, |right| vec![digest(b"something else"), right.to_owned()]),
        ("digest-header-right-then-wrong", READY, |right| vec![right.to_owned(), digest(b"something else")]),
        ("digest-header-missing", READY, |_| vec![]),
        ("digest-header-empty", READY, |_| vec![String::new()]),
        ("digest-header-in-upper-case", READY, |right| vec![format!("sha256:{}", hex(right).to_uppercase())]),
        ("digest-header-too-short", READY, |right| vec![right.chars().take(70).collect()]),
        ("digest-header-too-long", READY, |right| vec![format!("{right}0")]),
        ("digest-header-sha512", READY, |right| vec![format!("sha512:{}{}", hex(right), hex(right))]),
        ("digest-header-is-a-path", READY, |right| {
            vec![right.replacen(hex(right).get(..9).unwrap_or("-"), "../../../", 1)]
        }),
        ("digest-header-with-dash", READY, |right| vec![right.replace(':', "-")]),
        ("digest-header-without-algorithm", READY, |right| vec![hex(right).to_owned()]),
        ("digest-header-of-two-algorithms", READY, |right| vec![format!("sha256+b64:{}", hex(right))]),
    ];
    let row = |(name, expected, values): (&str, Expected, Headers)| {
        Behaviour::http(name, expected, move |ask, place| {
            if !ask.is_head() {
                return place.artifact.answer(ask);
            }
            let values = values(&place.artifact.digest());
            let mut headers = vec![("Content-Type", MANIFEST)];
            headers.extend(values.iter().map(|value| ("Docker-Content-Digest", value.as_str())));
            Reply::without_body("200 OK", &headers, place.artifact.manifest.len())
        })
    };
    let mut all: Vec<_> = rows.into_iter().map(row).collect();
    let contradicting = |place: &Place| {
        let headers = [("Content-Type", MANIFEST), ("Docker-Content-Digest", &*digest(b"{}"))];
        Reply::of("200 OK", &headers, &place.artifact.manifest)
    };
    all.push(Behaviour::http("head-and-get-disagree", OTHER_BYTES, move |ask, place| {
        if ask.is_head() {
            return Reply::without_body("200 OK", &[("Docker-Content-Digest", &digest(b"{}"))], 2);
        }
        contradicting(place)
    }));
    all.push(Behaviour::at_manifest("manifest-says-another-digest", READY, move |_, place| contradicting(place)));
    all
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}
