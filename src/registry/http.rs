//! [`Registry`] over HTTP: what is asked, as whom, and what each answer means.
//!
//! Reads are our own because tenants name the host: every body has a limit, every wait has one, and
//! credentials go only where `authorization` lets them.

use std::sync::Arc;

use futures::StreamExt;
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, Response, StatusCode, Url};

use super::address::AddressPolicy;
use super::authorization::{Authorizations, Key, unauthorized};
use super::challenge::Challenge;
use super::credentials::Credential;
use super::transport::{self, Client, MAX_REDIRECTS, Manner, Sent, body, refused};
use super::{Access, BlobBody, RawManifest, Registry, RegistryError, Right};
use crate::metrics::Metrics;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Repository, media_type};

/// The registries of the world, read over HTTP.
pub struct HttpRegistry {
    client: Client,
    authorizations: Authorizations,
}

impl std::fmt::Debug for HttpRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpRegistry")
    }
}

impl HttpRegistry {
    /// Fails where the system has no CA certificates or the TLS provider cannot be set up.
    pub fn new(metrics: Arc<Metrics>, addresses: AddressPolicy) -> Result<Self, reqwest::Error> {
        Ok(Self { client: Client::new(metrics, addresses)?, authorizations: Authorizations::default() })
    }

    /// Sends with each matching credential in turn until one is let in.
    async fn request(&self, call: &Call<'_>) -> Result<Response, RegistryError> {
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

    async fn request_as(&self, call: &Call<'_>, credential: Option<&Credential>) -> Result<Response, RegistryError> {
        let key = Key::new(credential, call.access.plain_http, call.repository);
        let host = call.repository.host();
        let mut authorization = self.authorizations.current(&self.client, &key, credential).await;
        let mut answered = false;
        loop {
            let sent = Sent {
                method: call.method.clone(),
                url: call.url()?,
                accept: call.accept(),
                authorization: authorization.clone(),
                operation: call.operation(),
                redirects: MAX_REDIRECTS,
            };
            let response = self.client.send_as(sent, call.manner()).await?;
            if response.status() == StatusCode::UNAUTHORIZED {
                // One answer a request: a registry that never accepts must not keep us here.
                let challenge = (!answered).then(|| challenge_of(response.headers())).flatten();
                let Some(challenge) = challenge else { return Err(unauthorized(call.repository, credential)) };
                let refused = authorization.as_ref();
                let answer = self.authorizations.answer(&self.client, &key, credential, challenge, refused).await?;
                authorization = Some(answer);
                answered = true;
                continue;
            }
            if response.status().is_success() || call.settles(response.status()) {
                return Ok(response);
            }
            return Err(match response.status().as_u16() {
                403 => {
                    RegistryError::Forbidden { host: host.to_owned(), repository: call.repository.path().to_owned() }
                }
                _ => refused(&response, host, || call.what()),
            });
        }
    }
}

/// One request to a registry.
struct Call<'a> {
    access: &'a Access,
    repository: &'a Repository,
    method: Method,
    item: Item<'a>,
    /// The first byte that is wanted.
    from: u64,
}

/// What a registry is asked for.
enum Item<'a> {
    Tag(&'a str),
    Manifest(&'a Digest),
    Blob(&'a Digest),
}

impl<'a> Call<'a> {
    fn get(access: &'a Access, repository: &'a Repository, item: Item<'a>) -> Self {
        Self { access, repository, method: Method::GET, item, from: 0 }
    }

    fn url(&self) -> Result<Url, RegistryError> {
        let scheme = if self.access.plain_http { "http" } else { "https" };
        let (host, repository) = (self.repository.api_host(), self.repository.path());
        let path = match self.item {
            Item::Tag(tag) => format!("manifests/{tag}"),
            Item::Manifest(digest) => format!("manifests/{digest}"),
            Item::Blob(digest) => format!("blobs/{digest}"),
        };
        Url::parse(&format!("{scheme}://{host}/v2/{repository}/{path}")).map_err(|error| RegistryError::Protocol {
            host: self.repository.host().to_owned(),
            problem: format!("no URL can be made of it: {error}"),
        })
    }

    fn accept(&self) -> &'static str {
        match self.item {
            Item::Tag(_) | Item::Manifest(_) => media_type::MANIFEST_ACCEPT,
            Item::Blob(_) => "*/*",
        }
    }

    /// The label of the metric.
    fn operation(&self) -> &'static str {
        match self.item {
            Item::Tag(_) => "resolve",
            Item::Manifest(_) => "manifest",
            Item::Blob(_) if self.method == Method::HEAD => "blob_right",
            Item::Blob(_) => "blob",
        }
    }

    /// A registry that sends us on to its store has decided; the store's URL is often good for GET only.
    fn manner(&self) -> Manner {
        Manner { from: self.from, stay: self.method == Method::HEAD && matches!(self.item, Item::Blob(_)) }
    }

    /// Statuses that are an answer beside success.
    fn settles(&self, status: StatusCode) -> bool {
        match self.item {
            Item::Blob(_) if self.method == Method::HEAD => {
                let no_head = matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED);
                status.is_redirection() || no_head
            }
            Item::Blob(_) => self.from > 0 && status == StatusCode::RANGE_NOT_SATISFIABLE,
            Item::Tag(_) | Item::Manifest(_) => false,
        }
    }

    /// For people.
    fn what(&self) -> String {
        match self.item {
            Item::Tag(tag) => format!("{}:{tag}", self.repository),
            Item::Manifest(digest) => format!("manifest {}@{}", self.repository, digest.short()),
            Item::Blob(digest) => format!("blob {} of {}", digest.short(), self.repository),
        }
    }
}

impl Registry for HttpRegistry {
    async fn tag_digest(&self, access: &Access, repository: &Repository, tag: &str) -> Result<Digest, RegistryError> {
        let get = Call::get(access, repository, Item::Tag(tag));
        let head = Call { method: Method::HEAD, ..Call::get(access, repository, Item::Tag(tag)) };
        let response = self.request(&head).await?;
        let digest = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        if let Some(digest) = digest.and_then(|text| text.parse().ok()) {
            return Ok(digest);
        }
        // The header is optional (distribution-spec, "Checking if content exists in the registry").
        let response = self.request(&get).await?;
        let bytes = body(response, repository.host(), &get.what(), MAX_MANIFEST_BYTES).await?;
        Ok(Digest::of(&bytes))
    }

    async fn raw_manifest(
        &self,
        access: &Access,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<RawManifest, RegistryError> {
        let call = Call::get(access, repository, Item::Manifest(digest));
        let response = self.request(&call).await?;
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
        from: u64,
    ) -> Result<BlobBody, RegistryError> {
        let call = Call { from, ..Call::get(access, repository, Item::Blob(&descriptor.digest)) };
        let response = self.request(&call).await?;
        let (host, what, size) = (repository.host().to_owned(), call.what(), descriptor.size);
        let from = match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Ok(BlobBody { from, stream: Box::pin(futures::stream::empty()) });
            }
            StatusCode::PARTIAL_CONTENT if from > 0 => {
                let sent = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
                if !sent.is_some_and(|sent| is_rest(sent, from, size)) {
                    let problem = format!("another range than bytes {from} to {size} of {what}");
                    return Err(RegistryError::Protocol { host, problem });
                }
                from
            }
            _ => 0,
        };
        let metrics = self.client.metrics();
        let mut seen = from;
        let stream = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(|error| transport::error(&host, &error))?;
            seen = seen.saturating_add(chunk.len() as u64);
            metrics.registry_bytes(chunk.len());
            if seen > size {
                return Err(RegistryError::LongerThanNamed { what: what.clone(), size });
            }
            Ok(chunk)
        });
        Ok(BlobBody { from, stream: Box::pin(stream) })
    }

    async fn may_read_blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<Right, RegistryError> {
        let get = Call::get(access, repository, Item::Blob(&descriptor.digest));
        let response = self.request(&Call { method: Method::HEAD, ..get }).await?;
        let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(match response.status() {
            // The way to a store. The others are also the way to a page where one logs in.
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => Right::Granted,
            // A success with another length is about something else, such as that page.
            status if status.is_success() && length.is_none_or(|length: u64| length == descriptor.size) => {
                Right::Granted
            }
            _ => Right::Untold,
        })
    }
}

/// True where a Content-Range (RFC 9110 section 14.4) is everything from `from` on of `size` bytes.
fn is_rest(content_range: &str, from: u64, size: u64) -> bool {
    let rest = || {
        let (range, total) = content_range.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (start, end) = range.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let is_size = |total: &str| total == "*" || number(total) == Some(size);
        Some(number(start)? == from && number(end)? < size && is_size(total.trim()))
    };
    rest().unwrap_or(false)
}

fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    headers.get_all(header::WWW_AUTHENTICATE).iter().find_map(|value| Challenge::parse(value.to_str().ok()?))
}

#[cfg(test)]
mod tests;
