//! Redirects: number of hops, targets, and headers sent to the target.

use super::{Behaviour, DENIED, Expected, READY, UNAVAILABLE};
use crate::hostile::ask::{Ask, Item};
use crate::hostile::place::Place;
use crate::hostile::reply::Reply;
use crate::hostile::tls::Certificate;

pub(super) fn behaviours() -> Vec<Behaviour> {
    [chains(), refused(), followed(), statuses()].concat()
}

fn to(location: &str) -> Reply {
    Reply::of("307 Temporary Redirect", &[("Location", location)], b"")
}

/// Makes a registry that redirects the request for the layer this many times before it answers.
fn chain(name: &str, expected: Expected, length: usize) -> Behaviour {
    Behaviour::http(name, expected, move |ask, place| {
        let hop: usize = ask.target.rsplit_once("?hop=").and_then(|(_, hop)| hop.parse().ok()).unwrap_or(0);
        if let (Item::Blob(digest), true) = (ask.item(), hop < length) {
            return to(&format!("/v2/x/blobs/{digest}?hop={}", hop + 1));
        }
        place.artifact.answer(ask)
    })
}

fn chains() -> Vec<Behaviour> {
    let circle = |ask: &Ask, _: &Place| to(&ask.target);
    vec![
        chain("redirects-five-times", READY, 5),
        chain("redirects-six-times", UNAVAILABLE, 6),
        Behaviour::http("redirects-in-a-circle", UNAVAILABLE, circle),
        Behaviour::at_layer("redirects-in-a-circle-at-the-layer", UNAVAILABLE, circle),
    ]
}

/// Redirects of requests for tag, manifest and layer that must not be followed.
fn refused() -> Vec<Behaviour> {
    let rows: [(&str, Expected, &'static str); 20] = [
        ("redirect-to-metadata", DENIED, "http://169.254.169.254/latest/meta-data/iam/"),
        ("redirect-to-metadata-in-decimal", DENIED, "http://2852039166/"),
        ("redirect-to-metadata-in-octal", DENIED, "http://0251.0376.0251.0376/"),
        ("redirect-to-metadata-in-hex", DENIED, "http://0xa9fea9fe/"),
        ("redirect-to-metadata-mapped", DENIED, "http://[::ffff:169.254.169.254]/"),
        ("redirect-to-private", DENIED, "http://10.0.0.1/"),
        ("redirect-to-private-over-tls", DENIED, "https://192.168.0.1/"),
        ("redirect-to-unspecified", DENIED, "http://0/"),
        ("redirect-to-link-local", DENIED, "http://[fe80::1]/"),
        ("redirect-to-a-file", UNAVAILABLE, "file:///etc/passwd"),
        ("redirect-to-gopher", UNAVAILABLE, "gopher://OTHER/"),
        ("redirect-to-data", UNAVAILABLE, "data:,x"),
        ("redirect-to-a-user", UNAVAILABLE, "http://user@OTHER/"),
        ("redirect-to-a-user-and-password", UNAVAILABLE, "http://user:password@OTHER/"),
        ("redirect-to-nothing", UNAVAILABLE, ""),
        ("redirect-to-no-url", UNAVAILABLE, "http://[/"),
        ("redirect-to-no-host", UNAVAILABLE, "http://"),
        ("redirect-to-port-99999", UNAVAILABLE, "http://127.0.0.1:99999/"),
        ("redirect-to-a-space", UNAVAILABLE, "http://OTHER /"),
        ("redirect-to-a-zone", UNAVAILABLE, "http://[fe80::1%25lo]/"),
    ];
    let row = |(number, (name, expected, location)): (usize, (&str, Expected, &'static str))| {
        Behaviour::http(name, expected, move |ask, place| {
            // By turns, so that each kind of request meets several kinds of redirects.
            let here = match ask.item() {
                Item::Tag(_) => number % 3 == 0,
                Item::Manifest(_) => number % 3 == 1,
                Item::Blob(_) => number % 3 == 2,
                Item::Tags | Item::Token | Item::Other => false,
            };
            if here { to(&location.replace("OTHER", &place.other_host)) } else { place.artifact.answer(ask) }
        })
    };
    let mut all: Vec<_> = rows.into_iter().enumerate().map(row).collect();
    all.push(Behaviour::http("redirect-without-location", UNAVAILABLE, |_, _| Reply::of("302 Found", &[], b"")));
    let away_from_tls = |ask: &Ask, place: &Place| to(&format!("http://{}{}", place.other_port, ask.target));
    all.push(Behaviour::at_layer("redirect-away-from-tls", UNAVAILABLE, away_from_tls).over_tls(Certificate::Good));
    all
}

/// Redirects that may be followed, but without credentials.
fn followed() -> Vec<Behaviour> {
    let with_login = |ask: &Ask, place: &Place| {
        let cookie = ("Set-Cookie", "session=from-the-registry; Path=/");
        if ask.header("authorization") != Some(&*place.login.basic()) {
            return Reply::of("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\""), cookie], b"");
        }
        let elsewhere = format!("http://{}{}", place.other_port, ask.target);
        if let Item::Blob(_) = ask.item() {
            return Reply::of("307 Temporary Redirect", &[("Location", &elsewhere), cookie], b"");
        }
        place.artifact.answer(ask)
    };
    let all_elsewhere =
        |ask: &Ask, place: &Place| to(&format!("http://{}{}?sig=secret#fragment", place.other_port, ask.target));
    vec![
        Behaviour::http("redirect-to-another-port-with-a-login", READY, with_login).with_login().leading_elsewhere(),
        Behaviour::http("redirect-of-everything-to-another-port", READY, all_elsewhere).leading_elsewhere(),
    ]
}

/// Responses with a `Location` that are not redirects, so the location must not be requested.
fn statuses() -> Vec<Behaviour> {
    let rows: [(&str, Expected, &'static str); 6] = [
        ("location-of-status-200", READY, "200 OK"),
        ("location-of-status-300", UNAVAILABLE, "300 Multiple Choices"),
        ("location-of-status-304", UNAVAILABLE, "304 Not Modified"),
        ("location-of-status-305", UNAVAILABLE, "305 Use Proxy"),
        ("location-of-status-306", UNAVAILABLE, "306 Switch Proxy"),
        ("location-of-status-399", UNAVAILABLE, "399 Whatever"),
    ];
    let row = |(name, expected, status): (&str, Expected, &'static str)| {
        Behaviour::at_layer(name, expected, move |_, place| {
            let location = format!("http://{}/", place.other_port);
            let (refresh, service) = (format!("0;url={location}"), format!("http/1.1=\"{}\"", place.other_port));
            let away = [
                ("Location", location.as_str()),
                ("Content-Location", &location),
                ("Refresh", &refresh),
                ("Alt-Svc", &service),
            ];
            let body = if status.starts_with("200") { place.artifact.layer().1 } else { b"" };
            Reply::of(status, &away, body)
        })
    };
    rows.into_iter().map(row).collect()
}
