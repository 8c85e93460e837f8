//! [`Registry`] over HTTP: requests, their credentials, and the interpretation of responses.
//!
//! Implemented here, not with a registry client, because tenants name the host: every body and every wait is limited,
//! and credentials are sent only where `authorization` allows it.

use std::sync::Arc;

use futures::StreamExt;
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, Response, StatusCode};

use super::authorization::{Asker, Authorizations, Met, unauthorized};
use super::challenge::Challenge;
use super::credentials::Credential;
use super::egress::Egress;
use super::transport::{self, Client, Sent, refused};
use super::{Access, Begun, BlobBody, MAX_REFERRERS, MAX_TAGS, RawManifest, Registry, RegistryError, Right};
use crate::metrics::Metrics;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{self, Descriptor, Digest, Repository, media_type};

mod call;
mod elsewhere;
mod file;
mod paging;

use call::{Call, Item};
use paging::Page;

/// Number of tags requested per page. Registries may return fewer.
const TAGS_PER_PAGE: usize = 1000;
/// Maximum number of pages of a list of tags: enough for [`MAX_TAGS`] at 50 per page.
const MAX_PAGES: usize = 200;
/// Maximum size of a page, in bytes.
const MAX_PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// Maximum number of pages of referrers: enough for [`MAX_REFERRERS`] at 50 per page.
const MAX_REFERRER_PAGES: usize = 20;
/// Subject and remedy in errors about lists that are too long.
const TAGS: &str = "tags; narrow what is kept in it, or name a tag";
const PAGES_OF_TAGS: &str = "pages of tags; narrow what is kept in it, or name a tag";
const REFERRERS: &str = "manifests that refer to this one; remove those that nobody needs";

/// Registries accessed over HTTP.
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
    /// Creates a registry client that connects where `egress` allows, with at most `per_second` requests per host in
    /// the long run. Fails if the system has no CA certificates or the TLS provider cannot be initialized.
    pub fn new(metrics: Arc<Metrics>, egress: Egress, per_second: u32) -> Result<Self, reqwest::Error> {
        Ok(Self { client: Client::new(metrics, egress, per_second)?, authorizations: Authorizations::default() })
    }

    /// Sends the request with each matching credential in turn until one is accepted.
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
            let url = call.url()?;
            let sent = Sent {
                transport: call.access.transport.clone(),
                method: call.method.clone(),
                url: url.clone(),
                accept: call.accept(),
                authorization: authorization.clone(),
                part: call.part(),
                form: None,
                operation: call.operation(),
                redirects: call.redirects(),
                reach: call.reach(),
                account: asker.account(),
                is_elsewhere: false,
            };
            let response = self.client.send(sent).await?;
            let is_from_registry = response.url().origin() == url.origin();
            let is_answered = response.status().is_success() || call.settles(response.status(), is_from_registry);
            if response.status() == StatusCode::UNAUTHORIZED && !is_answered {
                // One challenge is answered per request, because a registry that rejects every answer must not cause
                // an endless loop. A challenge by a redirect target is not answered: the target would receive the
                // registry's password, and its challenge would be cached for the registry.
                let may_answer = !answered && is_from_registry;
                let challenge = may_answer.then(|| challenge_of(response.headers())).flatten();
                let Some(challenge) = challenge else { return Err(unauthorized(asker)) };
                let met = Met { challenge, reach: self.client.reach_of_named(&response) };
                let refused = authorization.as_ref();
                let answer = self.authorizations.answer(&self.client, asker, met, refused).await?;
                authorization = Some(answer);
                answered = true;
                continue;
            }
            if is_answered {
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

impl Registry for HttpRegistry {
    async fn tag_digest(&self, access: &Access, repository: &Repository, tag: &str) -> Result<Digest, RegistryError> {
        let get = Call::get(access, repository, Item::Tag(tag));
        let head = Call { method: Method::HEAD, ..Call::get(access, repository, Item::Tag(tag)) };
        let response = self.request(&head).await?;
        let digest = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        let digest = digest.and_then(|text| text.parse().ok());
        if let (Some(digest), true) = (digest, response.status().is_success()) {
            self.check_open(&head, &response, &Self::sender(&head, &response)?)?;
            return Ok(digest);
        }
        // The header is optional (distribution-spec, "Checking if content exists in the registry"), and some
        // registries lack HEAD.
        let response = self.request(&get).await?;
        let sender = Self::sender(&get, &response)?;
        if !sender.is_registry {
            let what = get.what();
            let problem =
                format!("it redirects {what} to {}, and no Docker-Content-Digest header names the digest", sender.host);
            return Err(RegistryError::Protocol { host: repository.host().to_owned(), problem });
        }
        // The digest of a page would not exist in the registry.
        if is_html(response.headers()) {
            return Err(a_page(&get));
        }
        let body = self.client.body(response, repository.host(), &get.what(), MAX_MANIFEST_BYTES).await?;
        Ok(Digest::of(&body.bytes))
    }

    async fn tags(&self, access: &Access, repository: &Repository) -> Result<Vec<String>, RegistryError> {
        let mut tags = Vec::new();
        let mut page: Option<Page> = None;
        for _ in 0..MAX_PAGES {
            let call = Call::get(access, repository, Item::Tags(page.as_ref()));
            let response = self.request(&call).await?;
            // Relative to the requested URL, not to a redirect target, because credentials are sent with the next
            // page too.
            let next = paging::next(&call.url()?, response.headers(), repository.host())?;
            let reach = self.client.reach_of_named(&response);
            self.page(&call, response, |bytes| paging::collect(bytes, repository.host(), &mut tags)).await?;
            if tags.len() > MAX_TAGS {
                let (repository, limit, what) = (repository.to_string(), MAX_TAGS, TAGS);
                return Err(RegistryError::TooMany { repository, limit, what });
            }
            // A page that names itself as the next page would be requested endlessly.
            match next {
                Some(url) if page.as_ref().is_none_or(|page| page.url != url) => page = Some(Page { url, reach }),
                Some(_) | None => return Ok(tags),
            }
        }
        let (repository, limit, what) = (repository.to_string(), MAX_PAGES, PAGES_OF_TAGS);
        Err(RegistryError::TooMany { repository, limit, what })
    }

    async fn referrers(
        &self,
        access: &Access,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let (mut referrers, mut page): (_, Option<Page>) = (Vec::new(), None);
        let too_many = |limit| RegistryError::TooMany { repository: repository.to_string(), limit, what: REFERRERS };
        for _ in 0..MAX_REFERRER_PAGES {
            let call = Call::get(access, repository, Item::Referrers(digest, page.as_ref()));
            let response = self.request(&call).await?;
            let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            // Some registries without a list of referrers return an HTML page, others 404.
            if !response.status().is_success()
                || !content_type.is_some_and(|text| text.starts_with(media_type::OCI_INDEX))
            {
                let problem = format!("a page of {} that is no index", call.what());
                let broken = || RegistryError::Protocol { host: repository.host().to_owned(), problem };
                return if page.is_none() { Ok(None) } else { Err(broken()) };
            }
            let next = paging::next(&call.url()?, response.headers(), repository.host())?;
            let reach = self.client.reach_of_named(&response);
            let parse = |bytes: &[u8]| {
                oci::referrers::parse(bytes, Some(media_type::OCI_INDEX)).map_err(|error| {
                    let problem = format!("{}: {error}", call.what());
                    RegistryError::Protocol { host: repository.host().to_owned(), problem }
                })
            };
            referrers.extend(self.page(&call, response, parse).await?);
            if referrers.len() > MAX_REFERRERS {
                return Err(too_many(MAX_REFERRERS));
            }
            match next {
                Some(url) if page.as_ref().is_none_or(|page| page.url != url) => page = Some(Page { url, reach }),
                Some(_) | None => return Ok(Some(referrers)),
            }
        }
        Err(too_many(MAX_REFERRERS))
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
        let is_html = is_html(response.headers());
        let sender = Self::sender(&call, &response)?;
        let body = self.client.body(response, repository.host(), &call.what(), limit).await;
        let body = body.map_err(|error| sender.veil(error, || call.what()))?;
        // An intermediary answered in place of the registry, for example with a login page.
        if is_html && sender.is_registry && Digest::of(&body.bytes) != *digest {
            return Err(a_page(&call));
        }
        Ok(RawManifest { bytes: body.bytes, sender, content_type, room: body.room })
    }

    async fn blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
        begun: Option<&Begun>,
    ) -> Result<BlobBody, RegistryError> {
        let call = Call { begun, ..Call::get(access, repository, Item::Blob(&descriptor.digest)) };
        let response = self.request(&call).await?;
        let sender = Self::sender(&call, &response)?;
        let (host, what, size) = (repository.host().to_owned(), call.what(), descriptor.size);
        let problem = |problem: String| {
            if sender.is_registry {
                RegistryError::Protocol { host: host.clone(), problem }
            } else {
                sender.other_bytes(what.clone())
            }
        };
        // The rest was requested only from the origin that sent the first part.
        let rest = begun.filter(|begun| begun.sender.origin == sender.origin).map(|begun| begun.bytes);
        let left = size.saturating_sub(rest.unwrap_or_default());
        let is_other_length = response.content_length().is_some_and(|length| length != left);
        if is_html(response.headers()) && sender.is_registry && is_other_length {
            return Err(a_page(&call));
        }
        let from = match (response.status(), rest) {
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(from)) if sender.is_registry => {
                return Ok(BlobBody { from, sender, stream: Box::pin(futures::stream::empty()) });
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, _) => return Err(problem(format!("no such range of {what}"))),
            (StatusCode::PARTIAL_CONTENT, Some(from)) => {
                let sent = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
                if !sent.is_some_and(|sent| is_rest(sent, from, size)) {
                    return Err(problem(format!("another range than bytes {from} to {size} of {what}")));
                }
                from
            }
            _ => 0,
        };
        if !sender.is_registry && response.content_length().is_some_and(|length| length != size.saturating_sub(from)) {
            return Err(sender.other_bytes(what));
        }
        let metrics = self.client.metrics();
        let (mut seen, by) = (from, sender.clone());
        let chunks = response.bytes_stream().map(Some).chain(futures::stream::iter([None]));
        let stream = chunks.filter_map(move |chunk| {
            let checked = match chunk {
                Some(Ok(chunk)) => {
                    seen = seen.saturating_add(chunk.len() as u64);
                    metrics.registry_bytes(chunk.len());
                    let longer = || RegistryError::LongerThanNamed { what: what.clone(), size };
                    Some(if seen > size { Err(by.veil(longer(), || what.clone())) } else { Ok(chunk) })
                }
                Some(Err(error)) => Some(Err(transport::error(&host, &error))),
                // For another origin, a wrong length is the uniform error; for the registry, the caller reports the
                // length.
                None if seen != size && !by.is_registry => Some(Err(by.other_bytes(what.clone()))),
                None => None,
            };
            std::future::ready(checked)
        });
        Ok(BlobBody { from, sender, stream: Box::pin(stream) })
    }

    async fn may_read_blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<Right, RegistryError> {
        let get = Call::get(access, repository, Item::Blob(&descriptor.digest));
        let response = self
            .request(&Call { method: Method::HEAD, ..Call::get(access, repository, Item::Blob(&descriptor.digest)) })
            .await?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let is_from_registry = Self::sender(&get, &response)?.is_registry;
        // Any other response is not about the blob: an empty response or a redirect may belong to a login page.
        let is_granted = match response.status() {
            StatusCode::OK => header(header::CONTENT_LENGTH) == Some(descriptor.size.to_string().as_str()),
            StatusCode::PARTIAL_CONTENT if !is_from_registry => {
                header(header::CONTENT_RANGE) == Some(format!("bytes 0-0/{}", descriptor.size).as_str())
            }
            _ => false,
        };
        Ok(if is_granted { Right::Granted } else { Right::Untold })
    }
}

/// Returns true for an HTML page, which a proxy or a login service sends in place of the registry's response.
fn is_html(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

fn a_page(call: &Call<'_>) -> RegistryError {
    let problem = format!("an HTML page for {}", call.what());
    RegistryError::Protocol { host: call.repository.host().to_owned(), problem }
}

/// Returns true if a Content-Range (RFC 9110 section 14.4) begins at `from` and lies within `size` bytes.
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
