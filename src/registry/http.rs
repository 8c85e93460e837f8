//! [`Registry`] over HTTP: requests, redirects, limits, and what each answer means.
//!
//! Reads are our own because tenants name the host: every body has a limit, every wait has one, and
//! credentials go only where `authorization` lets them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, Url, redirect};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::authorization::{Authorizations, Key, unauthorized};
use super::challenge::Challenge;
use super::credentials::Credential;
use super::{Access, BlobStream, RawManifest, Registry, RegistryError};
use crate::metrics::Metrics;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Repository, media_type};

/// Longest time to a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Most redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// Requests under way to one host, so that a slow registry keeps only its own objects waiting.
const PERMITS_PER_HOST: usize = 16;
/// Bounds of a `Retry-After`.
const RETRY_AFTER: std::ops::RangeInclusive<u64> = 1..=3600;

/// A reqwest client with our limits, counting what it sends.
#[derive(Clone, Debug)]
pub(super) struct Client {
    inner: reqwest::Client,
    metrics: Arc<Metrics>,
}

impl Client {
    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.inner.get(url)
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
        result.map_err(|error| transport_error(host, &error))
    }
}

/// The registries of the world, read over HTTP.
pub struct HttpRegistry {
    client: Client,
    authorizations: Authorizations,
    permits: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl std::fmt::Debug for HttpRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpRegistry")
    }
}

impl HttpRegistry {
    /// Fails where the system has no CA certificates or the TLS provider cannot be set up.
    pub fn new(metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let inner = reqwest::Client::builder()
            .user_agent(concat!("supercargo/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(redirect::Policy::custom(follow))
            .referer(false)
            .build()?;
        Ok(Self {
            client: Client { inner, metrics },
            authorizations: Authorizations::default(),
            permits: Mutex::default(),
        })
    }

    /// Sends with each matching credential in turn until one is let in.
    async fn request(&self, call: &Call<'_>) -> Result<(Response, OwnedSemaphorePermit), RegistryError> {
        let credentials = call.access.keychain.matching(call.repository);
        let mut rest = credentials.iter().copied();
        let mut credential = rest.next();
        loop {
            match self.request_as(call, credential).await {
                Err(RegistryError::Unauthorized { .. } | RegistryError::Forbidden { .. }) if rest.len() > 0 => {
                    credential = rest.next();
                }
                result => return result,
            }
        }
    }

    async fn request_as(
        &self,
        call: &Call<'_>,
        credential: Option<&Credential>,
    ) -> Result<(Response, OwnedSemaphorePermit), RegistryError> {
        let key = Key::new(credential, call.access.plain_http, call.repository);
        let host = call.repository.host();
        let permit = self.permit(host).await?;
        let mut authorization = self.authorizations.current(&self.client, &key, credential).await?;
        let mut answered = false;
        loop {
            let mut request = self.client.inner.request(call.method.clone(), call.url()?);
            request = request.header(header::ACCEPT, call.accept);
            if let Some(value) = &authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            let response = self.client.send(request, call.operation, host).await?;
            if response.status() == reqwest::StatusCode::UNAUTHORIZED {
                self.authorizations.forget(&key);
                // One answer a request: a registry that never accepts must not keep us here.
                let challenge = (!answered).then(|| challenge_of(response.headers())).flatten();
                let Some(challenge) = challenge else { return Err(unauthorized(call.repository, credential)) };
                authorization = Some(self.authorizations.answer(&self.client, &key, credential, challenge).await?);
                answered = true;
                continue;
            }
            if response.status().is_success() {
                return Ok((response, permit));
            }
            return Err(match response.status().as_u16() {
                403 => {
                    RegistryError::Forbidden { host: host.to_owned(), repository: call.repository.path().to_owned() }
                }
                _ => refused(&response, host, || call.what()),
            });
        }
    }

    async fn permit(&self, host: &str) -> Result<OwnedSemaphorePermit, RegistryError> {
        let semaphore = {
            let mut permits = self.permits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // Hosts are named by tenants: forget those that nobody is waiting for.
            if permits.len() >= 1024 {
                permits.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            }
            permits.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(PERMITS_PER_HOST))).clone()
        };
        semaphore.acquire_owned().await.map_err(|_| RegistryError::Unavailable {
            host: host.to_owned(),
            problem: "the operator is shutting down".to_owned(),
        })
    }
}

/// One thing to ask a registry for.
struct Call<'a> {
    access: &'a Access,
    repository: &'a Repository,
    method: Method,
    operation: &'static str,
    /// `manifests/<tag or digest>` or `blobs/<digest>`.
    path: String,
    accept: &'static str,
}

impl Call<'_> {
    fn url(&self) -> Result<Url, RegistryError> {
        let scheme = if self.access.plain_http { "http" } else { "https" };
        let text = format!("{scheme}://{}/v2/{}/{}", self.repository.api_host(), self.repository.path(), self.path);
        Url::parse(&text).map_err(|error| RegistryError::Protocol {
            host: self.repository.host().to_owned(),
            problem: format!("no URL can be made of it: {error}"),
        })
    }

    fn what(&self) -> String {
        format!("{}/{}", self.repository, self.path)
    }
}

impl Registry for HttpRegistry {
    async fn tag_digest(&self, access: &Access, repository: &Repository, tag: &str) -> Result<Digest, RegistryError> {
        let mut call = Call {
            access,
            repository,
            method: Method::HEAD,
            operation: "resolve",
            path: format!("manifests/{tag}"),
            accept: media_type::MANIFEST_ACCEPT,
        };
        let (response, permit) = self.request(&call).await?;
        let digest = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        if let Some(digest) = digest.and_then(|text| text.parse().ok()) {
            return Ok(digest);
        }
        drop(permit);
        // The header is optional (distribution-spec, "Checking if content exists in the registry").
        call.method = Method::GET;
        let (response, _permit) = self.request(&call).await?;
        let bytes = body(response, repository.host(), &call.what(), MAX_MANIFEST_BYTES).await?;
        Ok(Digest::of(&bytes))
    }

    async fn raw_manifest(
        &self,
        access: &Access,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<RawManifest, RegistryError> {
        let call = Call {
            access,
            repository,
            method: Method::GET,
            operation: "manifest",
            path: format!("manifests/{digest}"),
            accept: media_type::MANIFEST_ACCEPT,
        };
        let (response, _permit) = self.request(&call).await?;
        let content_type =
            response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = body(response, repository.host(), &call.what(), limit).await?;
        Ok(RawManifest { bytes, content_type })
    }

    async fn blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<BlobStream, RegistryError> {
        let call = Call {
            access,
            repository,
            method: Method::GET,
            operation: "blob",
            path: format!("blobs/{}", descriptor.digest),
            accept: "*/*",
        };
        let (response, permit) = self.request(&call).await?;
        let (host, what, size) = (repository.host().to_owned(), call.what(), descriptor.size);
        let metrics = Arc::clone(&self.client.metrics);
        let mut seen = 0_u64;
        let stream = response.bytes_stream().map(move |chunk| {
            // The permit lasts as long as the body.
            let _held = &permit;
            let chunk = chunk.map_err(|error| transport_error(&host, &error))?;
            seen = seen.saturating_add(chunk.len() as u64);
            metrics.registry_bytes(chunk.len());
            if seen > size {
                return Err(RegistryError::LongerThanNamed { what: what.clone(), size });
            }
            Ok(chunk)
        });
        Ok(Box::pin(stream))
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
        let chunk = chunk.map_err(|error| transport_error(host, &error))?;
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

fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    headers.get_all(header::WWW_AUTHENTICATE).iter().find_map(|value| Challenge::parse(value.to_str().ok()?))
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
fn transport_error(host: &str, error: &reqwest::Error) -> RegistryError {
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

#[cfg(test)]
mod tests;
