//! [`Registry`] over HTTP: what is asked, as whom, and what each answer means.
//!
//! Reads are our own because tenants name the host: every body has a limit, every wait has one, and
//! credentials go only where `authorization` lets them.

use std::sync::Arc;

use futures::StreamExt;
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, Response, StatusCode, Url};

use super::authorization::{Asker, Authorizations, unauthorized};
use super::challenge::Challenge;
use super::credentials::Credential;
use super::egress::Egress;
use super::transport::{self, Client, Redirects, Sent, body, refused};
use super::{Access, BlobStream, MAX_TAGS, RawManifest, Registry, RegistryError, Transport};
use crate::metrics::Metrics;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{Descriptor, Digest, Repository, media_type};

mod paging;

/// Tags that we ask for in a page. Registries give fewer where they like.
const TAGS_PER_PAGE: usize = 1000;
/// Most pages of one list: enough for [`MAX_TAGS`] at 50 in a page.
const MAX_PAGES: usize = 200;
/// Most bytes of one page.
const MAX_PAGE_BYTES: u64 = 4 * 1024 * 1024;

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
    /// Goes where `egress` lets it, and asks each host at most `per_second` times in the long run. Fails
    /// where the system has no CA certificates or the TLS provider cannot be set up.
    pub fn new(metrics: Arc<Metrics>, egress: Egress, per_second: u32) -> Result<Self, reqwest::Error> {
        Ok(Self { client: Client::new(metrics, egress, per_second)?, authorizations: Authorizations::default() })
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
        let asker = Asker { credential, transport: &call.access.transport, repository: call.repository };
        let host = call.repository.host();
        let mut authorization = self.authorizations.current(&self.client, asker).await;
        let mut answered = false;
        loop {
            let sent = Sent {
                transport: call.access.transport.clone(),
                method: call.method.clone(),
                url: call.url()?,
                accept: call.accept(),
                authorization: authorization.clone(),
                form: None,
                operation: call.operation(),
                redirects: Redirects::Follow,
            };
            let response = self.client.send(sent).await?;
            if response.status() == StatusCode::UNAUTHORIZED {
                // One answer a request: a registry that never accepts must not keep us here.
                let challenge = (!answered).then(|| challenge_of(response.headers())).flatten();
                let Some(challenge) = challenge else { return Err(unauthorized(asker)) };
                let refused = authorization.as_ref();
                let answer = self.authorizations.answer(&self.client, asker, challenge, refused).await?;
                authorization = Some(answer);
                answered = true;
                continue;
            }
            if response.status().is_success() {
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
}

/// What a registry is asked for.
enum Item<'a> {
    /// A page of tags: the first, or the one that the registry named.
    Tags(Option<&'a Url>),
    Tag(&'a str),
    Manifest(&'a Digest),
    Blob(&'a Digest),
}

impl<'a> Call<'a> {
    fn get(access: &'a Access, repository: &'a Repository, item: Item<'a>) -> Self {
        Self { access, repository, method: Method::GET, item }
    }

    fn url(&self) -> Result<Url, RegistryError> {
        let scheme = match self.access.transport {
            Transport::Tls(_) => "https",
            Transport::PlainHttp => "http",
        };
        let (host, repository) = (self.repository.api_host(), self.repository.path());
        let path = match self.item {
            Item::Tags(Some(page)) => return Ok(page.clone()),
            Item::Tags(None) => format!("tags/list?n={TAGS_PER_PAGE}"),
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
            Item::Tags(_) => "application/json",
            Item::Blob(_) => "*/*",
        }
    }

    /// The label of the metric.
    fn operation(&self) -> &'static str {
        match self.item {
            Item::Tags(_) => "tags",
            Item::Tag(_) => "resolve",
            Item::Manifest(_) => "manifest",
            Item::Blob(_) => "blob",
        }
    }

    /// For people.
    fn what(&self) -> String {
        match self.item {
            Item::Tags(_) => format!("the list of tags of {}", self.repository),
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

    async fn tags(&self, access: &Access, repository: &Repository) -> Result<Vec<String>, RegistryError> {
        let mut tags = Vec::new();
        let mut page = None;
        for _ in 0..MAX_PAGES {
            let call = Call::get(access, repository, Item::Tags(page.as_ref()));
            let response = self.request(&call).await?;
            // Relative to what we asked, not to where that was redirected: credentials go with the next page too.
            let next = paging::next(&call.url()?, response.headers(), repository.host())?;
            let bytes = body(response, repository.host(), &call.what(), MAX_PAGE_BYTES).await?;
            paging::collect(&bytes, repository.host(), &mut tags)?;
            if tags.len() > MAX_TAGS {
                let (repository, limit, what) = (repository.to_string(), MAX_TAGS, "tags");
                return Err(RegistryError::TooManyTags { repository, limit, what });
            }
            // A page that names itself as the next one would go on for ever.
            match next {
                Some(next) if page.as_ref() != Some(&next) => page = Some(next),
                Some(_) | None => return Ok(tags),
            }
        }
        let (repository, limit, what) = (repository.to_string(), MAX_PAGES, "pages of tags");
        Err(RegistryError::TooManyTags { repository, limit, what })
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
    ) -> Result<BlobStream, RegistryError> {
        let call = Call::get(access, repository, Item::Blob(&descriptor.digest));
        let response = self.request(&call).await?;
        let (host, what, size) = (repository.host().to_owned(), call.what(), descriptor.size);
        let metrics = self.client.metrics();
        let mut seen = 0_u64;
        let stream = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(|error| transport::error(&host, &error))?;
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

fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    headers.get_all(header::WWW_AUTHENTICATE).iter().find_map(|value| Challenge::parse(value.to_str().ok()?))
}

#[cfg(test)]
mod tests;
