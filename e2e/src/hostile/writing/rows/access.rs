//! Challenges and token services.

use super::{denied, forbidden, unauthorized, unavailable};
use crate::hostile::ask::Ask;
use crate::hostile::place::Place;
use crate::hostile::reply::Reply;
use crate::hostile::writing::{Act, End, Row, Step};

/// Token with which a registry lets in.
const TOKEN: &str = "a-good-token";

pub(super) fn rows() -> Vec<Row> {
    [challenges(), realms(), services()].concat()
}

fn json(body: &str) -> Reply {
    Reply::of("200 OK", &[("Content-Type", "application/json")], body.as_bytes())
}

fn challenge(text: &str) -> Reply {
    Reply::of("401 Unauthorized", &[("WWW-Authenticate", text)], b"")
}

/// Makes a registry that requires a token of a realm for each write.
fn behind(name: &str, end: End, realm: fn(&Place) -> String, service: fn(&Ask, &Place) -> Reply) -> Row {
    Row::new(name, Act::Push, end, move |ask, place, _| {
        if Step::of(ask) == Step::Token {
            return Some(service(ask, place));
        }
        let is_known = ask.header("authorization").is_some_and(|value| value == format!("Bearer {TOKEN}"));
        let text =
            format!("Bearer realm=\"{}\",service=\"e2e\",scope=\"repository:team/other:push,delete\"", realm(place));
        (!is_known).then(|| challenge(&text))
    })
    .deciding_access()
}

fn here(place: &Place) -> String {
    format!("http://{}/token", place.address)
}

fn challenges() -> Vec<Row> {
    let never = |name: &str, step, text: &'static str| {
        Row::at(name, Act::Push, unauthorized(), step, move |_, _| challenge(text))
    };
    vec![
        never("login-is-never-good-enough-for-a-start", Step::Start, "Basic realm=\"e2e\""),
        never("login-is-never-good-enough-for-a-manifest", Step::PutDigest, "Basic realm=\"e2e\""),
        never("login-is-never-good-enough-for-a-tag", Step::PutTag, "Basic realm=\"e2e\""),
        never("login-is-of-an-unknown-kind", Step::Start, "Negotiate"),
        Row::at("login-is-good-and-forbidden", Act::Push, forbidden(), Step::PutTag, |_, _| {
            Reply::of("403 Forbidden", &[], b"")
        }),
    ]
}

/// Realms that must not receive the login.
fn realms() -> Vec<Row> {
    let row = |name: &str, end, realm: fn(&Place) -> String| behind(name, end, realm, |_, _| json("{}"));
    vec![
        row("realm-at-another-host", unavailable("127.0.0.2"), |place| format!("http://{}/token", place.other_host)),
        row("realm-at-another-port", unavailable("token service"), |place| {
            format!("http://{}/token", place.other_port)
        }),
        row("realm-at-metadata", denied("169.254.169.254"), |_| "http://169.254.169.254/token".to_owned()),
        row("realm-with-a-user", unauthorized(), |place| format!("http://user:password@{}/token", place.other_port)),
        row("realm-is-a-file", unauthorized(), |_| "file:///etc/passwd".to_owned()),
        behind(
            "realm-away-from-tls",
            unavailable("token service"),
            |place| format!("http://{}/token", place.other_port),
            |_, _| json("{}"),
        )
        .over_tls(),
    ]
}

/// Token services that misbehave, at the registry itself.
fn services() -> Vec<Row> {
    let row = |name: &str, end, service: fn(&Ask, &Place) -> Reply| behind(name, end, here, service);
    vec![
        row("token-service-behaves", End::Stored, |_, _| json(&format!("{{\"token\":\"{TOKEN}\"}}"))),
        // The scope of the challenge names another repository: the client requests the scope that it needs.
        row("token-of-the-scope-that-is-needed", End::Stored, |ask, _| {
            let is_wanted = ask.target.contains("team%2Fapp") || ask.target.contains("team/app");
            let is_other = ask.target.contains("other") || ask.target.contains("delete");
            let token = if is_wanted && !is_other { TOKEN } else { "wrong" };
            json(&format!("{{\"token\":\"{token}\"}}"))
        }),
        row("token-of-another-scope", unauthorized(), |_, _| json("{\"token\":\"only-for-pulls\"}")),
        row("token-with-a-newline", unavailable("token"), |_, _| json("{\"token\":\"a\\r\\nX-Injected: b\"}")),
        row("token-is-missing", unavailable("token"), |_, _| json("{}")),
        row("token-service-is-a-page", unavailable("JSON"), |_, _| {
            Reply::of("200 OK", &[("Content-Type", "text/html")], b"<html>")
        }),
        row("token-service-is-endless", End::Refused(7, "LimitExceeded", "token"), |_, _| {
            Reply::head("200 OK", &[], &[]).endless(" ")
        }),
        row("token-service-redirects-to-another-port", unavailable("redirects"), |ask, place| {
            let location = format!("http://{}{}", place.other_port, ask.target);
            Reply::of("307 Temporary Redirect", &[("Location", &location)], b"")
        }),
        row("token-service-refuses", unauthorized(), |_, _| Reply::of("403 Forbidden", &[], b"")),
    ]
}
