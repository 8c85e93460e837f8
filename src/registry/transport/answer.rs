//! What answers, and the lack of one, mean.

use std::io::ErrorKind;
use std::time::Duration;

use reqwest::header::{self, HeaderMap};
use reqwest::{Response, StatusCode, Url};

use super::{CONNECT_TIMEOUT, READ_TIMEOUT};
use crate::registry::RegistryError;
use crate::registry::address::Denied;
use crate::registry::budget::Ended;

/// Bounds of a `Retry-After`, in seconds.
const RETRY_AFTER: std::ops::RangeInclusive<u64> = 1..=3600;

/// What an answer means that is neither success, nor 401, nor 403.
pub(in crate::registry) fn refused(response: &Response, host: &str, what: impl FnOnce() -> String) -> RegistryError {
    let retry_after = retry_after(response.headers());
    match response.status().as_u16() {
        404 => RegistryError::NotFound(what()),
        429 => RegistryError::RateLimited { host: host.to_owned(), retry_after },
        503 if retry_after.is_some() => RegistryError::RateLimited { host: host.to_owned(), retry_after },
        500..=599 => {
            RegistryError::Unavailable { host: host.to_owned(), problem: format!("it answered {}", response.status()) }
        }
        _ => {
            RegistryError::Protocol { host: host.to_owned(), problem: format!("{} for {}", response.status(), what()) }
        }
    }
}

/// What an answer says about its host.
pub(super) fn ended(response: &Response) -> Ended {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Ended::Overloaded(retry_after(response.headers()))
        }
        // A gateway speaks, and says that nobody is behind it.
        status @ (StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) => {
            Ended::Dead(format!("it answered {status}"))
        }
        _ => Ended::Answered,
    }
}

/// What the lack of an answer says about the host: something, where no connection came about or nothing
/// was heard on it. A connection that is broken off may be the fault of who asked, a registry that
/// wants a client certificate does so.
pub(super) fn lack_of_one(error: &reqwest::Error, told: &RegistryError) -> Ended {
    if let RegistryError::Unavailable { problem, .. } = told
        && (error.is_connect() || error.is_timeout())
    {
        return Ended::Dead(problem.clone());
    }
    Ended::Neither
}

/// True where a connection that was there ended before an answer came.
pub(super) fn is_broken_off(error: &reqwest::Error) -> bool {
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    !error.is_connect()
        && causes.any(|cause| {
            let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
                || matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
        })
}

/// `Retry-After` in both its forms (RFC 9110 section 10.2.3), clamped. A date is taken relative to
/// the answer's own `Date`, so that no clock but the registry's matters.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |text| httpdate::parse_http_date(text).ok();
    let wanted = text(header::RETRY_AFTER)?;
    let seconds = match (wanted.parse().ok(), date(wanted), text(header::DATE).and_then(date)) {
        (Some(seconds), ..) => seconds,
        (None, Some(until), Some(now)) => until.duration_since(now).map_or(0, |wait| wait.as_secs()),
        (None, ..) => 0,
    };
    Some(Duration::from_secs(seconds.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end())))
}

/// Docker Hub's `ratelimit-remaining: 76;w=21600`: requests left in the current window.
pub(super) fn rate_limit_remaining(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get("ratelimit-remaining")?.to_str().ok()?;
    text.split(';').next().unwrap_or(text).trim().parse().ok()
}

/// `host[:port]` of a URL, for messages.
pub(in crate::registry) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The innermost cause says what happened; the layers above it say that something did.
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
    // An io::Error hides what it wraps from source(), and may wrap another one.
    let wrapped = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
    tls_error(wrapped)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms_and_clamped() {
        const NOW: &str = "Sat, 21 Nov 2026 10:00:00 GMT";
        let rows = [
            ("7", 7),
            (" 120 ", 120),
            ("0", 1),
            ("-1", 1),
/// What TLS failed of, with the remedy where the library's own words lead nowhere.
fn tls_problem(error: &rustls::Error) -> String {
    const AUTHORITY: &str = "the server's certificate is an authority's own (basicConstraints CA:TRUE, which \
        `openssl req -x509` sets), and an authority cannot be a server. Issue another one for the server: the same command \
        with `-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:<host>`, or one that is signed by \
        the authority";
    let text = error.to_string();
    // The error of the library below has no type here.
    if text.contains("CaUsedAsEndEntity") { AUTHORITY.to_owned() } else { text }
}

            ("99999999", 3600),
            ("99999999999999999999999", 1),
            ("Sat, 21 Nov 2026 10:01:30 GMT", 90),
            ("Sat, 21 Nov 2026 09:00:00 GMT", 1),
            ("Fri, 01 Jan 2100 00:00:00 GMT", 3600),
            ("soon", 1),
        ];
        for (text, want) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            headers.insert(header::DATE, HeaderValue::from_static(NOW));
            assert_eq!(retry_after(&headers), Some(Duration::from_secs(want)), "{text}");
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
