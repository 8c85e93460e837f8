//! Interpretation of responses, and of failures to get one.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter::successors;
use std::time::Duration;

use reqwest::header::{self, HeaderMap};
use reqwest::{Response, StatusCode};

use super::clients::{CONNECT_TIMEOUT, READ_TIMEOUT};
use crate::registry::RegistryError;
use crate::registry::net::address::Denied;
use crate::registry::net::budget::{PauseRequest, RequestOutcome};

/// Time for which the account must not send another request: our own growing pause, or the longer one of the
/// registry.
#[derive(Clone, Copy)]
struct Pause(Duration);

/// Attaches the pause that a response led to, for [`refused`].
pub(super) fn set_pause(response: &mut Response, pause: Option<Duration>) {
    if let Some(pause) = pause {
        response.extensions_mut().insert(Pause(pause));
    }
}

/// Converts a response that is neither a success nor 401 or 403 to an error.
pub(in crate::registry) fn refused(response: &Response, host: &str, what: impl FnOnce() -> String) -> RegistryError {
    let rate_limited = || {
        let retry_after = response.extensions().get::<Pause>().map(|pause| pause.0);
        RegistryError::RateLimited { host: host.to_owned(), retry_after }
    };
    match response.status().as_u16() {
        404 => RegistryError::NotFound(what()),
        429 => rate_limited(),
        503 if retry_after(response.headers()).is_some() => rate_limited(),
        500..=599 => {
            RegistryError::Unavailable { host: host.to_owned(), problem: format!("it returned {}", response.status()) }
        }
        _ => {
            RegistryError::Protocol { host: host.to_owned(), problem: format!("{} for {}", response.status(), what()) }
        }
    }
}

/// Returns the meaning of a response for its host. `is_elsewhere` is true for a host that a registry redirected to.
pub(super) fn outcome(response: &Response, is_elsewhere: bool) -> RequestOutcome {
    let wanted = retry_after(response.headers());
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => {
            RequestOutcome::Overloaded(PauseRequest { wanted, is_limit: true, is_elsewhere })
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            RequestOutcome::Overloaded(PauseRequest { wanted, is_limit: wanted.is_some(), is_elsewhere })
        }
        status @ (StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) => {
            RequestOutcome::NothingBehind(format!("it returned {status}"))
        }
        _ => RequestOutcome::Answered,
    }
}

/// Returns the meaning of a failed request: a failure of the host if no connection was made, of the account if a
/// connection brought no response in time, or broke off in the TLS handshake: a registry that requires a client
/// certificate may close it like this, so the requester may be the cause. A connection that breaks off later counts for
/// neither.
pub(super) fn outcome_of_failure(error: &reqwest::Error, reported: &RegistryError) -> RequestOutcome {
    let RegistryError::Unavailable { problem, .. } = reported else { return RequestOutcome::Neither };
    if error.is_connect() && causes(error).any(broke_off) {
        RequestOutcome::Unanswered(problem.clone())
    } else if error.is_connect() {
        RequestOutcome::Unreachable(problem.clone())
    } else if error.is_timeout() {
        RequestOutcome::Unanswered(problem.clone())
    } else {
        RequestOutcome::Neither
    }
}

/// Returns the causes of an error, the outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    successors(error.source(), |&cause| cause.source())
}

/// Returns true if the host closed a connection that it had accepted.
fn broke_off(cause: &(dyn Error + 'static)) -> bool {
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        return error.is_incomplete_message();
    }
    let Some(error) = cause.downcast_ref::<io::Error>() else { return false };
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
        // `source()` of an io::Error skips the error that it wraps, which may be another io::Error.
        || error.get_ref().is_some_and(|wrapped| broke_off(wrapped))
}

/// Returns true if an existing connection ended before a response.
pub(super) fn is_connection_lost(error: &reqwest::Error) -> bool {
    !error.is_connect() && causes(error).any(broke_off)
}

/// Parses `Retry-After` in both forms (RFC 9110 section 10.2.3). A date is relative to the response's own `Date`, so
/// that only the registry's clock matters. Returns `None` if it is missing, in the past or malformed.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |text| httpdate::parse_http_date(text).ok();
    let wanted = text(header::RETRY_AFTER)?;
    let is_number = !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if is_number {
        // Digits only, so parsing fails on overflow alone.
        wanted.parse().unwrap_or(u64::MAX)
    } else {
        date(wanted)?.duration_since(text(header::DATE).and_then(date)?).ok()?.as_secs()
    };
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Parses Docker Hub's `ratelimit-remaining: 76;w=21600`: the requests left in the current window.
pub(super) fn rate_limit_remaining(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get("ratelimit-remaining")?.to_str().ok()?;
    text.split(';').next().unwrap_or(text).trim().parse().ok()
}

/// Converts an error. Its innermost cause describes the failure; the outer layers only add that a request failed.
pub(in crate::registry) fn error(host: &str, error: &reqwest::Error) -> RegistryError {
    let host = host.to_owned();
    let causes = || causes(error);
    if let Some(denied) = causes().find_map(|cause| cause.downcast_ref::<Denied>()) {
        return RegistryError::AddressDenied { host, denied: *denied };
    }
    if let Some(tls) = causes().find_map(tls_error) {
        return RegistryError::Tls { host, problem: tls };
    }
    let problem = if error.is_timeout() && error.is_connect() {
        format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())
    } else if error.is_timeout() {
        format!("no response within {} s", READ_TIMEOUT.as_secs())
    } else {
        causes().last().map_or_else(|| "the connection was lost".to_owned(), ToString::to_string)
    };
    RegistryError::Unavailable { host, problem }
}

fn tls_error(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls_problem(tls));
    }
    // `source()` of an io::Error skips the error that it wraps, which may be another io::Error.
    let wrapped = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
    tls_error(wrapped)
}

/// Describes a TLS failure, with a remedy if the library's message does not lead to one.
fn tls_problem(error: &rustls::Error) -> String {
    const AUTHORITY: &str = "the server's certificate is a CA certificate (basicConstraints CA:TRUE, which \
        `openssl req -x509` sets), and must not be. Issue another certificate for the server: the same command \
        with `-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:<host>`, or a certificate signed by \
        the authority";
    let text = error.to_string();
    // The error type of the underlying library is not available here.
    if text.contains("CaUsedAsEndEntity") { AUTHORITY.to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_parsed_in_both_forms_and_ignored_if_malformed() {
        const NOW: &str = "Sat, 21 Nov 2026 10:00:00 GMT";
        let rows = [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("0", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("99999999", Some(99_999_999)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sat, 21 Nov 2026 10:01:30 GMT", Some(90)),
            ("Sat, 21 Nov 2026 09:00:00 GMT", None),
            ("Sat, 21 Nov 2026 10:00:00 GMT", None),
            ("soon", None),
        ];
        for (text, want) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            headers.insert(header::DATE, HeaderValue::from_static(NOW));
            assert_eq!(retry_after(&headers), want.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn docker_hubs_rate_limit_is_parsed() {
        let rows = [("76;w=21600", Some(76)), (" 0 ", Some(0)), ("x;w=1", None), ("-1", None)];
        for (text, want) in rows {
            let mut headers = HeaderMap::new();
            headers.insert("ratelimit-remaining", HeaderValue::from_static(text));
            assert_eq!(rate_limit_remaining(&headers), want, "{text}");
        }
    }
}
