//! Connections that fail before a response, and TLS.

use super::{Behaviour, Expected, INVALID, Kind, READY, TIMEOUT, TLS, UNAVAILABLE};
use crate::hostile::artifact::Artifact;
use crate::hostile::reply::Reply;
use crate::hostile::tls::Certificate;

pub(super) fn behaviours() -> Vec<Behaviour> {
    let greets = |name: &str, expected, reply| Behaviour::new(name, expected, Kind::Greets(reply));
    let plain = vec![
        greets("connection-closes-at-once", UNAVAILABLE, Reply::default().close()),
        greets("connection-is-reset-at-once", UNAVAILABLE, Reply::default().reset()),
        greets("connection-is-silent", TIMEOUT, Reply::default().hold()),
        greets("connection-speaks-ssh", UNAVAILABLE, Reply::raw("SSH-2.0-OpenSSH_9.9\r\n").hold()),
        greets("connection-speaks-http-2", UNAVAILABLE, Reply::raw([0, 0, 0, 4, 0, 0, 0, 0, 0]).hold()),
        greets("connection-speaks-noise", UNAVAILABLE, Reply::default().endless(crate::archive::noise(4096, 7))),
        greets("connection-is-full-of-zeros", UNAVAILABLE, Reply::default().endless([0])),
        greets("connection-is-full-of-newlines", TIMEOUT, Reply::default().flood("\r\n")).or(UNAVAILABLE),
        // If the request is sent soon enough, the greeting is read as its response, with an empty body.
        greets("answer-comes-before-the-question", UNAVAILABLE, Reply::raw("HTTP/1.1 200 OK\r\n\r\n")).or(INVALID),
        Behaviour::http("connection-closes-after-the-question", UNAVAILABLE, |_, _| Reply::default().close()),
        Behaviour::http("connection-is-reset-after-the-question", UNAVAILABLE, |_, _| Reply::default().reset()),
    ];
    let serving = |name: &str, expected: Expected, certificate| {
        Behaviour::serving(name, expected, Artifact::clone).over_tls(certificate)
    };
    // The object expects TLS, but the port does not use it.
    let without_tls = |name: &str, expected, reply| Behaviour { certificate: None, ..greets(name, expected, reply) };
    let tls = vec![
        serving("tls-is-good", READY, Certificate::Good),
        serving("tls-has-expired", TLS, Certificate::Expired),
        serving("tls-has-another-name", TLS, Certificate::OtherName),
        serving("tls-is-of-nobody-known", TLS, Certificate::OtherAuthority),
        without_tls("tls-is-plain-http", TLS, Reply::of("200 OK", &[], b"")).expecting_tls(),
        without_tls("tls-closes-at-once", UNAVAILABLE, Reply::default().close()).expecting_tls(),
        without_tls("tls-is-silent", TIMEOUT, Reply::default().hold()).expecting_tls(),
        without_tls("tls-is-noise", TLS, Reply::default().endless(crate::archive::noise(4096, 8))).expecting_tls(),
        // A fatal alert: handshake_failure.
        without_tls("tls-is-refused", TLS, Reply::raw([21, 3, 3, 0, 2, 2, 40]).hold()).expecting_tls(),
    ];
    [plain, tls].concat()
}
