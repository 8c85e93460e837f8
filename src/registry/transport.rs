//! HTTP itself: one client, its time limits and redirects, bodies that end, and what went wrong.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, Response, Url, redirect};

use super::RegistryError;
use super::address::{AddressPolicy, Denied};
use crate::metrics::Metrics;

/// Longest time to a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Most redirects of one request.
pub(super) const MAX_REDIRECTS: usize = 5;
/// Bounds of a `Retry-After`.
const RETRY_AFTER: std::ops::RangeInclusive<u64> = 1..=3600;

/// A reqwest client with our limits, that counts what it sends and connects only where it may.
#[derive(Clone, Debug)]
pub(super) struct Client {
    inner: reqwest::Client,
    addresses: Arc<AddressPolicy>,
    metrics: Arc<Metrics>,
}

/// What is sent; there are no bodies.
pub(super) struct Sent {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: &'static str,
    pub(super) authorization: Option<HeaderValue>,
    /// The label of the metric.
    pub(super) operation: &'static str,
    /// Redirects that are followed.
    pub(super) redirects: usize,
}

/// What a request for a blob has beside others.
#[derive(Clone, Copy, Default)]
pub(super) struct Manner {
    /// The first byte that is wanted.
    pub(super) from: u64,
    /// A redirect that leaves the registry, or need not come to the same thing, is the answer and not followed.
    pub(super) stay: bool,
}

impl Client {
    /// Fails where the system has no CA certificates or the TLS provider cannot be set up.
    pub(super) fn new(metrics: Arc<Metrics>, addresses: AddressPolicy) -> Result<Self, reqwest::Error> {
        let addresses = Arc::new(addresses);
        let inner = reqwest::Client::builder()
            .user_agent(concat!("supercargo/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // Each hop is judged by us: reqwest's own redirects would not pass the check of literal addresses.
            .redirect(redirect::Policy::none())
            .dns_resolver(Arc::new(VettedNames(Arc::clone(&addresses))))
            .referer(false)
            .build()?;
        Ok(Self { inner, addresses, metrics })
    }

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Sends, follows redirects, and names what went wrong.
    pub(super) async fn send(&self, sent: Sent) -> Result<Response, RegistryError> {
        self.send_as(sent, Manner::default()).await
    }

    /// The same in the manner of a blob.
    pub(super) async fn send_as(&self, mut sent: Sent, manner: Manner) -> Result<Response, RegistryError> {
        for _ in 0..=sent.redirects {
            let response = self.send_once(&sent, manner.from).await?;
            let Some(next) = redirect_target(&response)? else { return Ok(response) };
            let leaves = next.origin() != sent.url.origin();
            if manner.stay && (leaves || !matches!(response.status().as_u16(), 307 | 308)) {
                return Ok(response);
            }
            // Credentials are for who they were meant for: scheme, host and port.
            if leaves {
                sent.authorization = None;
            }
            sent.url = next;
        }
        let problem = format!("it redirects more than {} times", sent.redirects);
        Err(RegistryError::Protocol { host: authority(&sent.url), problem })
    }

    async fn send_once(&self, sent: &Sent, from: u64) -> Result<Response, RegistryError> {
        let host = authority(&sent.url);
        // A literal address is dialled without a look-up, so the resolver does not see it.
        if let Some(address) = literal(&sent.url) {
            self.addresses
                .check(address)
                .map_err(|denied| RegistryError::AddressDenied { host: host.clone(), denied })?;
        }
        let request = self.inner.request(sent.method.clone(), sent.url.clone());
        let mut request = request.header(header::ACCEPT, sent.accept);
        if let Some(value) = &sent.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let result = request.send().await;
        let code = result.as_ref().map_or(0, |response| response.status().as_u16());
        self.metrics.registry_request(sent.operation, code);
        result.map_err(|error| self::error(&host, &error))
    }
}

/// Looks names up and keeps the addresses that may be dialled. What it answers is what is dialled:
/// there is no second look-up that could answer otherwise.
#[derive(Debug)]
struct VettedNames(Arc<AddressPolicy>);

impl Resolve for VettedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let mut denied = None;
            let mut open = Vec::new();
            for found in tokio::net::lookup_host((name.as_str(), 0)).await? {
                match policy.check(found.ip()) {
                    Ok(()) => open.push(found),
                    Err(error) => denied = Some(error),
                }
            }
            match (open.is_empty(), denied) {
                (true, Some(denied)) => Err(denied.into()),
                (true, None) => Err(io::Error::other("the name has no address").into()),
                (false, _) => Ok(Box::new(open.into_iter()) as Addrs),
            }
        })
    }
}

/// The address that a URL's host is, where it is one. `url` has read every numeric spelling.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Where a response sends us, if it does. None may leave TLS or carry a user and password.
fn redirect_target(response: &Response) -> Result<Option<Url>, RegistryError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let url = response.url();
    let refuse = |problem: &str| RegistryError::Protocol { host: authority(url), problem: problem.to_owned() };
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let next = location.and_then(|text| url.join(text).ok()).ok_or_else(|| refuse("it redirects to nowhere"))?;
    if !matches!(next.scheme(), "http" | "https") || !next.username().is_empty() || next.password().is_some() {
        return Err(refuse("it redirects to a URL of another kind, or with a user in it"));
    }
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(refuse("it redirects from https to http"));
    }
    Ok(Some(next))
}

/// Reads a body that has a limit into memory.
pub(super) async fn body(response: Response, host: &str, what: &str, limit: u64) -> Result<Bytes, RegistryError> {
    let too_large = || RegistryError::TooLarge { what: what.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut read = BytesMut::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| self::error(host, &error))?;
        if (read.len() as u64).saturating_add(chunk.len() as u64) > limit {
            return Err(too_large());
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.freeze())
}

/// What an answer means that is neither success, nor 401, nor 403.
pub(super) fn refused(response: &Response, host: &str, what: impl FnOnce() -> String) -> RegistryError {
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

/// `host[:port]` of a URL, for messages.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The innermost cause says what happened; the layers above it say that something did.
pub(super) fn error(host: &str, error: &reqwest::Error) -> RegistryError {
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
        return Some(tls.to_string());
    }
    // An io::Error hides what it wraps from source(), and may wrap another one.
    let wrapped = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
    tls_error(wrapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms_and_clamped() {
        const NOW: &str = "Sat, 21 Nov 2026 10:00:00 GMT";
        let rows = [
            ("7", 7),
            (" 120 ", 120),
            ("0", 1),
            ("-1", 1),
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
}
