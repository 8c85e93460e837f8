//! Interpretation of responses, and of failures to get one.

use std::io::ErrorKind;
use std::time::Duration;

use reqwest::header::{self, HeaderMap};
use reqwest::{Response, StatusCode, Url};

use super::{CONNECT_TIMEOUT, READ_TIMEOUT};
use crate::registry::RegistryError;
use crate::registry::address::Denied;
use crate::registry::budget::{Ended, Wish};

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
            RegistryError::Unavailable { host: host.to_owned(), problem: format!("it answered {}", response.status()) }
        }
        _ => {
            RegistryError::Protocol { host: host.to_owned(), problem: format!("{} for {}", response.status(), what()) }
        }
    }
}

/// Returns the meaning of a response for its host. `is_elsewhere` is true for a host that a registry redirected to.
pub(super) fn ended(response: &Response, is_elsewhere: bool) -> Ended {
    let wanted = retry_after(response.headers());
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => Ended::Overloaded(Wish { wanted, is_limit: true, is_elsewhere }),
        StatusCode::SERVICE_UNAVAILABLE => Ended::Overloaded(Wish { wanted, is_limit: wanted.is_some(), is_elsewhere }),
        status @ (StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) => {
            Ended::NothingBehind(format!("it answered {status}"))
        }
        _ => Ended::Answered,
    }
}

/// Returns the meaning of a failed request: a failure of the host if no connection was made, of the account if a
/// connection brought no response in time. A connection that breaks off counts for neither, because the requester may
/// be the cause: a registry that requires a client certificate closes it like this.
pub(super) fn lack_of_one(error: &reqwest::Error, told: &RegistryError) -> Ended {
    let RegistryError::Unavailable { problem, .. } = told else { return Ended::Neither };
    if error.is_connect() {
        Ended::Unreachable(problem.clone())
    } else if error.is_timeout() {
        Ended::Unanswered(problem.clone())
    } else {
        Ended::Neither
    }
}

/// Returns true if an existing connection ended before a response.
pub(super) fn is_broken_off(error: &reqwest::Error) -> bool {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    !error.is_connect()
        && causes.any(|cause| {
            let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
                || matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
        })
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

/// Returns `host[:port]` of a URL, for messages.
pub(in crate::registry) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Converts an error. Its innermost cause describes the failure; the outer layers only add that a request failed.
pub(in crate::registry) fn error(host: &str, error: &reqwest::Error) -> RegistryError {
    let host = host.to_owned();
    let causes = || std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    if let Some(denied) = causes().find_map(|cause| cause.downcast_ref::<Denied>()) {
        return RegistryError::AddressDenied { host, denied: *denied };
    }
    if let Some(tls) = causes().find_map(tls_error) {
        return RegistryError::Tls { host, problem: tls };
    }
    let problem = if error.is_timeout() && error.is_connect() {
        format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())
    } else if error.is_timeout() {
        format!("no answer within {} s", READ_TIMEOUT.as_secs())
    } else {
        causes().last().map_or_else(|| "the connection broke".to_owned(), ToString::to_string)
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
    const AUTHORITY: &str = "the server's certificate is an authority's own (basicConstraints CA:TRUE, which \
        `openssl req -x509` sets), and an authority cannot be a server. Issue another one for the server: the same command \
        with `-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:<host>`, or one that is signed by \
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
    fn retry_after_is_read_in_both_forms_and_is_absent_where_it_says_nothing() {
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
    fn docker_hubs_limit_is_read() {
        let rows = [("76;w=21600", Some(76)), (" 0 ", Some(0)), ("x;w=1", None), ("-1", None)];
        for (text, want) in rows {
            let mut headers = HeaderMap::new();
            headers.insert("ratelimit-remaining", HeaderValue::from_static(text));
            assert_eq!(rate_limit_remaining(&headers), want, "{text}");
        }
    }
}
