//! Secrets (passwords, tokens, signed URLs, cookies), and replies that could make the operator disclose them.

use std::sync::Arc;

use super::{Behaviour, Expected, FORBIDDEN, INVALID, Kind, MISSING, READY, TLS, UNAUTHORIZED, UNAVAILABLE};
use crate::hostile::artifact::MANIFEST;
use crate::hostile::ask::{Ask, Item};
use crate::hostile::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, OK, answer, frame, header};
use crate::hostile::place::Place;
use crate::hostile::reply::Reply;
use crate::hostile::tls::Certificate;

pub(super) fn behaviours() -> Vec<Behaviour> {
    let mut all = [logins(), tokens(), identity_tokens(), redirects(), echoes()].concat();
    all.push(over_http2());
    all
}

fn challenge(text: &str) -> Reply {
    let headers = [("WWW-Authenticate", text), ("Content-Type", "text/plain")];
    Reply::of("401 Unauthorized", &headers, b"who are you?")
}

/// Returns true if the request has this `Authorization` header.
fn knows(ask: &Ask, header: &str) -> bool {
    ask.header("authorization") == Some(header)
}

/// Makes a registry that requires the login, then follows the script.
fn with_basic(
    name: &str,
    expected: Expected,
    script: impl Fn(&Ask, &Place) -> Reply + Send + Sync + 'static,
) -> Behaviour {
    Behaviour::http(name, expected, move |ask, place| {
        if knows(ask, &place.login.basic()) { script(ask, place) } else { challenge("Basic realm=\"x\"") }
    })
    .with_login()
}

fn logins() -> Vec<Behaviour> {
    let serving = |ask: &Ask, place: &Place| place.artifact.answer(ask);
    vec![
        with_basic("login", READY, serving),
        with_basic("login-over-tls", READY, serving).over_tls(Certificate::Good),
        with_basic("login-and-a-cookie", READY, |ask, place| {
            let cookie = format!("session={}; Path=/", place.confidence.text);
            match ask.item() {
                Item::Blob(_) => Reply::of("200 OK", &[("Set-Cookie", &cookie)], place.artifact.layer().1),
                Item::Tag(_) | Item::Manifest(_) | Item::Tags | Item::Token | Item::Other => place.artifact.answer(ask),
            }
        }),
        with_basic("login-to-a-stranger", TLS, serving).over_tls(Certificate::OtherAuthority),
        with_basic("login-without-the-tls-that-is-expected", TLS, serving).expecting_tls(),
        with_basic("login-that-is-forbidden", FORBIDDEN, |_, _| Reply::of("403 Forbidden", &[], b"")),
        with_basic("login-to-nothing", MISSING, |_, _| Reply::of("404 Not Found", &[], b"")),
        with_basic("login-that-breaks-the-server", UNAVAILABLE, |_, _| {
            Reply::of("500 Internal Server Error", &[], b"")
        }),
        with_basic("login-that-is-hung-up-on", UNAVAILABLE, |_, _| Reply::default().reset()),
        Behaviour::http("login-that-is-refused", UNAUTHORIZED, |_, _| challenge("Basic realm=\"x\"")).with_login(),
    ]
}

/// Behaviours in which the token is the secret.
fn tokens() -> Vec<Behaviour> {
    /// Reply of the token service.
    type Service = fn(&Place) -> Reply;
    let rows: [(&str, Expected, Service); 7] = [
        ("token", READY, |place| token(&format!(r#"{{"token":"{}"}}"#, place.confidence.text))),
        ("token-breaks-off", UNAVAILABLE, |place| token(&format!(r#"{{"token":"{}"#, place.confidence.text))),
        ("token-is-inside", UNAVAILABLE, |place| token(&format!(r#"{{"token":{{"x":"{}"}}}}"#, place.confidence.text))),
        ("token-has-a-newline", UNAVAILABLE, |place| token(&format!(r#"{{"token":"{}\n"}}"#, place.confidence.text))),
        ("token-lasts-for-no-number", UNAVAILABLE, |place| {
            token(&format!(r#"{{"token":"x","expires_in":"{}"}}"#, place.confidence.text))
        }),
        ("token-service-knows-nobody", UNAUTHORIZED, |place| {
            challenge(&format!("Basic realm=\"{}\"", place.login.basic()))
        }),
        ("token-service-repeats-the-login", UNAVAILABLE, |place| {
            Reply::of("500 Internal Server Error", &[("X-Login", &place.login.basic())], place.login.basic().as_bytes())
        }),
    ];
    let realm = |place: &Place| format!("http://{}/token?key={}", place.address, place.confidence.text);
    let at = move |name: &str, expected, realm: fn(&Place) -> String, service: Service| {
        Behaviour::http(name, expected, move |ask, place| {
            if ask.item() == Item::Token {
                return service(place);
            }
            if knows(ask, &format!("Bearer {}", place.confidence.text)) {
                return place.artifact.answer(ask);
            }
            challenge(&format!("Bearer realm=\"{}\",service=\"x\"", realm(place)))
        })
        .with_login()
    };
    let mut all: Vec<_> =
        rows.into_iter().map(|(name, expected, service)| at(name, expected, realm, service)).collect();
    let foreign = |place: &Place| format!("http://{}/token?key={}", place.other_host, place.confidence.text);
    let of_a_user = |place: &Place| format!("http://user:{}@{}/token", place.confidence.text, place.address);
    all.push(at("token-of-a-stranger", UNAVAILABLE, foreign, |_| token("{}")));
    all.push(at("token-of-a-user", UNAUTHORIZED, of_a_user, |_| token("{}")));
    all
}

/// Behaviours in which the password is an identity token: only a token service may receive it, in the body of a POST.
fn identity_tokens() -> Vec<Behaviour> {
    /// Realm, and the reply of the token service to a request with the right identity token.
    type Service = (fn(&Place) -> String, fn(&Place) -> Reply);
    let own = |place: &Place| format!("http://{}/token", place.address);
    let foreign = |place: &Place| format!("http://{}/token", place.other_host);
    let good = |place: &Place| token(&format!(r#"{{"access_token":"{}"}}"#, place.confidence.text));
    let rows: [(&str, Expected, Service); 5] = [
        ("identity-token", READY, (own, good)),
        ("identity-token-of-a-stranger", UNAVAILABLE, (foreign, good)),
        (
            "identity-token-is-refused",
            UNAUTHORIZED,
            (own, |place| {
                let body =
                    format!(r#"{{"error":"invalid_grant","error_description":"{}"}}"#, place.login.password.text);
                Reply::of("400 Bad Request", &[("Content-Type", "application/json")], body.as_bytes())
            }),
        ),
        (
            "identity-token-is-redirected",
            UNAVAILABLE,
            (own, |place| {
                Reply::of("307 Temporary Redirect", &[("Location", &format!("http://{}/token", place.other_port))], b"")
            }),
        ),
        (
            "identity-token-comes-back",
            UNAUTHORIZED,
            (own, |place| {
                token(&format!(
                    r#"{{"access_token":"{}","refresh_token":"{}"}}"#,
                    place.login.password.text, place.login.password.text
                ))
            }),
        ),
    ];
    let row = |(name, expected, (realm, service)): (&str, Expected, Service)| {
        Behaviour::http(name, expected, move |ask, place| {
            if ask.item() == Item::Token {
                let known = ask.tells_secret(&place.login.password).is_some();
                return if known { service(place) } else { challenge("Basic realm=\"x\"") };
            }
            if knows(ask, &format!("Bearer {}", place.confidence.text)) {
                return place.artifact.answer(ask);
            }
            challenge(&format!("Bearer realm=\"{}\",service=\"x\"", realm(place)))
        })
        .with_identity_token()
    };
    rows.into_iter().map(row).collect()
}

/// Returns a well-behaved registry that requires a token, with a token service that requires the login.
pub(super) fn private() -> Behaviour {
    Behaviour::http("private", READY, |ask, place| {
        if ask.item() == Item::Token {
            return if knows(ask, &place.login.basic()) {
                token(&format!(r#"{{"token":"{}","expires_in":300}}"#, place.confidence.text))
            } else {
                challenge("Basic realm=\"x\"")
            };
        }
        if knows(ask, &format!("Bearer {}", place.confidence.text)) {
            return place.artifact.answer(ask);
        }
        challenge(&format!("Bearer realm=\"http://{}/token\",service=\"x\"", place.address))
    })
    .with_login()
}

fn token(body: &str) -> Reply {
    Reply::of("200 OK", &[("Content-Type", "application/json")], body.as_bytes())
}

/// Behaviours in which a signed URL is the secret, which only its own host may receive.
fn redirects() -> Vec<Behaviour> {
    /// Location of the layer in the redirect.
    type Location = fn(&Place) -> String;
    let rows: [(&str, Expected, Location); 7] = [
        ("signed-url", READY, |place| signed(&place.other_port, place.artifact.layer().0, place)),
        ("signed-url-of-nothing", MISSING, |place| signed(&place.other_port, "sha256:unknown", place)),
        ("signed-url-of-nobody", UNAVAILABLE, |place| signed("127.0.0.1:1", "sha256:unknown", place)),
        ("signed-url-without-tls", TLS, |place| signed(&place.other_port, "x", place).replace("http:", "https:")),
        ("signed-url-of-metadata", super::DENIED, |place| signed("169.254.169.254", "x", place)),
        ("signed-url-of-a-name", UNAVAILABLE, |place| signed("nobody.invalid", "x", place)),
        ("signed-url-of-a-user", UNAVAILABLE, |place| {
            format!("http://user:{}@{}/", place.confidence.text, place.other_host)
        }),
    ];
    let row = |(name, expected, location): (&str, Expected, Location)| {
        let script = move |ask: &Ask, place: &Place| {
            if let Item::Blob(_) = ask.item() {
                return Reply::of("307 Temporary Redirect", &[("Location", &location(place))], b"");
            }
            place.artifact.answer(ask)
        };
        with_basic(name, expected, script).leading_elsewhere()
    };
    rows.into_iter().map(row).collect()
}

fn signed(host: &str, digest: &str, place: &Place) -> String {
    format!("http://{host}/v2/x/blobs/{digest}?sig={}&expires=1", place.confidence.text)
}

/// Registries that return the login in every part of a reply that the operator might quote.
fn echoes() -> Vec<Behaviour> {
    vec![
        with_basic("echo-in-the-reason", UNAVAILABLE, |_, place| {
            Reply::head(&format!("500 {}", place.login.basic()), &[], &[("Content-Length", "0")])
        }),
        with_basic("echo-in-the-digest", READY, |ask, place| {
            if ask.is_head() {
                return Reply::without_body("200 OK", &[("Docker-Content-Digest", &place.login.basic())], 0);
            }
            place.artifact.answer(ask)
        }),
        with_basic("echo-in-retry-after", super::LIMITED, |_, place| {
            Reply::of("429 Too Many Requests", &[("Retry-After", &place.login.basic())], b"")
        }),
        with_basic("echo-in-the-error", UNAVAILABLE, |_, place| {
            let body = format!(r#"{{"errors":[{{"code":"DENIED","message":"{}"}}]}}"#, place.login.basic());
            Reply::of("418 I'm a teapot", &[("Content-Type", "application/json")], body.as_bytes())
        }),
        with_basic("echo-in-the-location", UNAVAILABLE, |_, place| {
            Reply::of("302 Found", &[("Location", &format!("gopher://{}/", place.login.password.text))], b"")
        }),
        with_basic("echo-in-a-broken-header", UNAVAILABLE, |_, place| {
            Reply::raw(format!("HTTP/1.1 200 OK\r\n{} no colon\r\n\r\n", place.login.basic()))
        }),
        with_basic("echo-in-the-length", UNAVAILABLE, |_, place| {
            Reply::head("200 OK", &[("Content-Length", &place.login.basic())], &[])
        }),
        with_basic("echo-in-the-chunk-size", UNAVAILABLE, |ask, place| {
            if ask.is_head() {
                return place.artifact.answer(ask);
            }
            let head = Reply::head("200 OK", &[("Content-Type", MANIFEST), ("Transfer-Encoding", "chunked")], &[]);
            head.send(format!("{}\r\n", place.login.basic()))
        }),
        with_basic("echo-in-the-type", INVALID, |ask, place| {
            if let Item::Manifest(_) = ask.item() {
                return Reply::of("200 OK", &[("Content-Type", &place.login.basic())], &place.artifact.manifest);
            }
            place.artifact.answer(ask)
        }),
    ]
}

/// Makes a registry that requires the login over HTTP/2: the first request is answered with a challenge.
fn over_http2() -> Behaviour {
    let script = |request: u32, stream: u32, place: &Place| match request {
        1 => {
            let fields = [header(":status", "401"), header("www-authenticate", "Basic realm=\"x\"")].concat();
            Reply::raw(frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields))
        }
        2 => answer(stream, MANIFEST, &place.artifact.manifest),
        _ => {
            let fields = [vec![OK], header("set-cookie", &format!("x={}", place.confidence.text))].concat();
            Reply::raw(frame(HEADERS, END_HEADERS, stream, &fields)).send(frame(
                DATA,
                END_STREAM,
                stream,
                place.artifact.layer().1,
            ))
        }
    };
    Behaviour::new("login-over-http-2", READY, Kind::Frames(Arc::new(script)))
        .over_tls(Certificate::Good)
        .with_login()
        .pinned()
}
