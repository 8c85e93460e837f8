//! HTTP itself: one client, its time limits and redirects, bodies that end, and what went wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, Url, redirect};

use super::RegistryError;
use crate::metrics::Metrics;

/// Longest time to a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Most redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// Bounds of a `Retry-After`.
const RETRY_AFTER: std::ops::RangeInclusive<u64> = 1..=3600;

/// A reqwest client with our limits, counting what it sends.
#[derive(Clone, Debug)]
pub(super) struct Client {
    inner: reqwest::Client,
    metrics: Arc<Metrics>,
}

impl Client {
    /// Fails where the system has no CA certificates or the TLS provider cannot be set up.
    pub(super) fn new(metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let inner = reqwest::Client::builder()
            .user_agent(concat!("supercargo/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(redirect::Policy::custom(follow))
            .referer(false)
            .build()?;
        Ok(Self { inner, metrics })
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.inner.request(method, url)
    }

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Sends, counts and names what went wrong. `host` is who is being asked.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        operation: &'static str,
        host: &str,
    ) -> Result<Response, RegistryError> {
        let result = request.send().await;
        let code = result.as_ref().map_or(0, |response| response.status().as_u16());
        self.metrics.registry_request(operation, code);
        result.map_err(|error| self::error(host, &error))
    }
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

/// `Retry-After` in seconds, clamped. The form with a date is taken for the shortest time.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = text.trim().parse::<u64>().unwrap_or(*RETRY_AFTER.start());
    Some(Duration::from_secs(seconds.clamp(*RETRY_AFTER.start(), *RETRY_AFTER.end())))
}

/// `host[:port]` of a URL, for messages.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Redirects are how registries hand out blobs. None may leave TLS, and there is an end to them;
/// reqwest drops Authorization when the host or port changes.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let downgrade = attempt.url().scheme() != "https" && attempt.previous().iter().any(|url| url.scheme() == "https");
    if downgrade {
        attempt.error("a redirect from https to http was refused")
    } else if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("more than 5 redirects")
    } else {
        attempt.follow()
    }
}

/// The innermost cause says what happened; the layers above it say that something did.
pub(super) fn error(host: &str, error: &reqwest::Error) -> RegistryError {
    let host = host.to_owned();
    let causes = || std::iter::successors(std::error::Error::source(error), |cause| cause.source());
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
