//! Challenges, realms and token services.

use super::{
    Behaviour, DENIED, Expected, FORBIDDEN, LIMITED, Pace, READY, TIMEOUT, TOO_LARGE, UNAUTHORIZED, UNAVAILABLE,
};
use crate::hostile::ask::{Ask, Item};
use crate::hostile::place::Place;
use crate::hostile::reply::Reply;
use crate::hostile::tls::Certificate;

/// Token of a well-behaved token service.
const TOKEN: &str = "a-good-token";

pub(super) fn behaviours() -> Vec<Behaviour> {
    [services(), realms(), foreign_realms(), challenges()].concat()
}

fn json(body: &str) -> Reply {
    Reply::of("200 OK", &[("Content-Type", "application/json")], body.as_bytes())
}

fn unauthorized(challenge: &str) -> Reply {
    Reply::of("401 Unauthorized", &[("WWW-Authenticate", challenge)], b"")
}

/// Answers requests that have the token, and all others with a challenge. The site itself is the token service.
fn behind(ask: &Ask, place: &Place, realm: &str, service: impl Fn(&Ask, &Place) -> Reply) -> Reply {
    let lets_in = |header: &str| header == format!("Bearer {TOKEN}") || header == "Bearer from-elsewhere";
    if ask.item() == Item::Token {
        return service(ask, place);
    }
    if ask.header("authorization").is_some_and(lets_in) {
        return place.artifact.answer(ask);
    }
    unauthorized(&format!("Bearer realm=\"{realm}\",service=\"e2e\""))
}

/// Reply of a token service.
type Answer = fn() -> Reply;

fn services() -> Vec<Behaviour> {
    let rows: [(&str, Expected, Answer); 25] = [
        ("token-service-behaves", READY, || json(&format!(r#"{{"token":"{TOKEN}"}}"#))),
        ("token-by-its-other-name", READY, || json(&format!(r#"{{"access_token":"{TOKEN}","expires_in":3600}}"#))),
        ("token-for-ever", READY, || json(&format!(r#"{{"token":"{TOKEN}","expires_in":18446744073709551615}}"#))),
        ("token-for-no-time", READY, || json(&format!(r#"{{"token":"{TOKEN}","expires_in":0}}"#))),
        ("token-service-is-html", UNAVAILABLE, || Reply::of("200 OK", &[("Content-Type", "text/html")], b"<html>")),
        ("token-service-is-endless", TOO_LARGE, || Reply::head("200 OK", &[], &[]).endless(" ")),
        ("token-service-drips", TIMEOUT, || Reply::head("200 OK", &[], &[]).drip(" ")),
        ("token-service-stalls", TIMEOUT, || Reply::default().hold()),
        ("token-service-hangs-up", UNAVAILABLE, || Reply::default().close()),
        ("token-is-missing", UNAVAILABLE, || json("{}")),
        ("token-is-empty", UNAVAILABLE, || json(r#"{"token":""}"#)),
        ("token-is-a-number", UNAVAILABLE, || json(r#"{"token":7}"#)),
        ("token-has-a-newline", UNAVAILABLE, || json(r#"{"token":"a\r\nX-Injected: b"}"#)),
        ("token-has-a-zero-byte", UNAVAILABLE, || json(r#"{"token":"a\u0000b"}"#)),
        ("token-is-huge", TOO_LARGE, || json(&format!(r#"{{"token":"{}"}}"#, "x".repeat(100_000)))),
        ("token-is-large-and-wrong", UNAUTHORIZED, || json(&format!(r#"{{"token":"{}"}}"#, "x".repeat(50_000)))),
        ("token-is-never-good-enough", UNAUTHORIZED, || json(r#"{"token":"wrong"}"#)),
        ("token-service-says-401", UNAUTHORIZED, || unauthorized("Basic realm=\"x\"")),
        ("token-service-says-403", UNAUTHORIZED, || Reply::of("403 Forbidden", &[], b"")),
        ("token-service-says-429", LIMITED, || Reply::of("429 Too Many Requests", &[("Retry-After", "1")], b"")),
        ("token-service-says-404", UNAVAILABLE, || Reply::of("404 Not Found", &[], b"")),
        ("token-service-says-500", UNAVAILABLE, || Reply::of("500 Internal Server Error", &[], b"")),
        ("token-answer-is-nested", UNAVAILABLE, || json(&"[".repeat(60_000))),
        ("token-expires-before-it-is-there", UNAVAILABLE, || {
            json(&format!(r#"{{"token":"{TOKEN}","expires_in":-1}}"#))
        }),
        ("token-service-sends-a-cookie", READY, || {
            Reply::of("200 OK", &[("Set-Cookie", "c=1; Path=/")], format!(r#"{{"token":"{TOKEN}"}}"#).as_bytes())
        }),
    ];
    let row = |(name, expected, service): (&str, Expected, Answer)| {
        Behaviour::http(name, expected, move |ask, place| {
            behind(ask, place, &format!("http://{}/token", place.address), |_, _| service())
        })
        .with_login()
        .asked(if expected == LIMITED { Pace::Limited } else { Pace::Retries })
    };
    let mut all: Vec<_> = rows.into_iter().map(row).collect();
    all.push(
        Behaviour::http("token-service-redirects", UNAVAILABLE, |ask, place| {
            behind(ask, place, &format!("http://{}/token", place.address), |_, place| {
                let elsewhere = format!("http://{}/token", place.other_port);
                Reply::of("307 Temporary Redirect", &[("Location", &elsewhere)], b"")
            })
        })
        .with_login(),
    );
    all
}

/// Realms that must not be requested, with or without credentials.
fn realms() -> Vec<Behaviour> {
    let rows: [(&str, Expected, &'static str); 10] = [
        ("realm-is-metadata", DENIED, "http://169.254.169.254/latest/meta-data/"),
        ("realm-is-metadata-in-decimal", DENIED, "http://2852039166/"),
        ("realm-is-metadata-in-ipv6", DENIED, "http://[::ffff:a9fe:a9fe]/"),
        ("realm-is-private", DENIED, "http://10.0.0.1/token"),
        ("realm-is-unspecified", DENIED, "http://0.0.0.0/token"),
        ("realm-has-userinfo", UNAUTHORIZED, "http://user:password@OTHER/token"),
        ("realm-is-a-file", UNAUTHORIZED, "file:///etc/passwd"),
        ("realm-is-relative", UNAUTHORIZED, "/token"),
        ("realm-is-empty", UNAUTHORIZED, ""),
        ("realm-is-a-short-name", UNAVAILABLE, "http:///token"),
    ];
    let row = |(name, expected, realm): (&str, Expected, &'static str)| {
        Behaviour::http(name, expected, move |ask, place| {
            behind(ask, place, &realm.replace("OTHER", &place.other_host), |_, _| json("{}"))
        })
    };
    rows.into_iter().map(row).collect()
}

/// Realms at other hosts or ports.
fn foreign_realms() -> Vec<Behaviour> {
    let realm_at = |name: &str, expected, host: fn(&Place) -> &str| {
        Behaviour::http(name, expected, move |ask, place| {
            behind(ask, place, &format!("http://{}/token", host(place)), |_, _| json("{}"))
        })
    };
    vec![
        realm_at("realm-is-another-host", UNAVAILABLE, |place| &place.other_host).with_login(),
        realm_at("realm-is-another-port-for-anybody", READY, |place| &place.other_port).leading_elsewhere(),
        realm_at("realm-without-tls", UNAVAILABLE, |place| &place.other_port).over_tls(Certificate::Good),
        realm_at("realm-without-tls-and-a-login", UNAVAILABLE, |place| &place.other_port)
            .over_tls(Certificate::Good)
            .with_login(),
    ]
}

fn challenges() -> Vec<Behaviour> {
    let basic = |place: &Place, ask: &Ask| ask.header("authorization") == Some(&*place.login.basic());
    let rows: [(&str, Expected, &'static [&'static str]); 8] = [
        ("challenge-basic", READY, &["Basic realm=\"x\""]),
        ("challenge-of-unknown-scheme", UNAUTHORIZED, &["Negotiate", "NTLM"]),
        ("challenge-is-empty", UNAUTHORIZED, &[""]),
        ("challenge-without-realm", UNAUTHORIZED, &["Bearer service=\"x\""]),
        ("challenge-without-end", UNAUTHORIZED, &["Bearer realm=\"http://127.0.0.1/token"]),
        ("challenge-second-is-basic", READY, &["Negotiate", "Basic realm=\"x\""]),
        ("challenge-of-binary", UNAVAILABLE, &["Bearer \u{1f}\u{fffd}"]),
        ("challenge-by-the-hundred", UNAVAILABLE, &["Negotiate"; 200]),
    ];
    let row = |(name, expected, challenges): (&str, Expected, &'static [&'static str])| {
        Behaviour::http(name, expected, move |ask, place| {
            if basic(place, ask) {
                return place.artifact.answer(ask);
            }
            let headers: Vec<_> = challenges.iter().map(|challenge| ("WWW-Authenticate", *challenge)).collect();
            Reply::of("401 Unauthorized", &headers, b"")
        })
        .with_login()
    };
    let mut all: Vec<_> = rows.into_iter().map(row).collect();
    all.push(
        Behaviour::http("login-is-never-good-enough", UNAUTHORIZED, |_, _| unauthorized("Basic realm=\"x\""))
            .with_login(),
    );
    all.push(
        Behaviour::http("login-is-good-and-forbidden", FORBIDDEN, move |ask, place| {
            if basic(place, ask) { Reply::of("403 Forbidden", &[], b"") } else { unauthorized("Basic realm=\"x\"") }
        })
        .with_login(),
    );
    all
}
