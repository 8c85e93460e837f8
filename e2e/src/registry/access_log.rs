//! Requests in a registry's access log (Apache's combined format).

use crate::http::is_ours;

/// Request in the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub status: u16,
}

/// Returns all requests except those of the harness, in order; skips lines that are not of an access log.
pub(super) fn read(log: &str) -> Vec<Request> {
    log.lines().filter_map(parse).collect()
}

/// Parses `127.0.0.1 - - [time] "HEAD /v2/a/manifests/1 HTTP/1.1" 200 0 "referrer" "agent"`; returns `None` if the
/// agent is the harness.
fn parse(line: &str) -> Option<Request> {
    let mut quoted = line.split('"');
    let (_, request, status) = (quoted.next()?, quoted.next()?, quoted.next()?);
    let agent = quoted.nth(2)?;
    if is_ours(agent) {
        return None;
    }
    let mut words = request.split(' ');
    Some(Request {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        status: status.split_ascii_whitespace().next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_of_others_are_read() {
        let line = |agent: &str| {
            format!(
                "127.0.0.1 - - [21/Nov/2026:10:00:00 +0000] \"HEAD /v2/a/manifests/1 HTTP/2.0\" 200 12 \"\" \"{agent}\""
            )
        };
        let rows = [
            ("the operator", line("supercargo/0.1.0"), true),
            ("the harness", line("supercargo-e2e"), false),
            ("its publisher", line("supercargo-e2e-publish go-containerregistry/v0.21"), false),
            ("Helm", line("Helm/3.22.0"), false),
            ("oras", line("oras/1.3.3"), false),
            ("an error", "time=\"2026-11-21\" level=error msg=\"not found\"".to_owned(), false),
            (
                "a handshake",
                "http: TLS handshake error from 127.0.0.1:4: remote error: tls: bad certificate".to_owned(),
                false,
            ),
        ];
        let request = Request { method: "HEAD".to_owned(), path: "/v2/a/manifests/1".to_owned(), status: 200 };
        for (label, text, counts) in rows {
            assert_eq!(read(&text), counts.then(|| request.clone()).into_iter().collect::<Vec<_>>(), "{label}");
        }
    }
}
