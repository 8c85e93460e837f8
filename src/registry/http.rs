//! [`Registry`] over HTTP: requests, their credentials, and the interpretation of responses.
//!
//! Implemented here, not with a registry client, because tenants name the host: every body and every wait is limited,
//! and credentials are sent only where `authorization` allows it.

use std::sync::Arc;

use reqwest::header::{self, HeaderMap};
use reqwest::{Method, Response, StatusCode};

use super::auth::authorization::{Authorizations, Met};
use super::auth::challenge::Challenge;
use super::auth::credentials::Credential;
use super::auth::requester::Requester;
use super::net::egress::Egress;
use super::net::transport::{Client, Sent, refused};
use super::{Access, Begun, BlobBody, MAX_REFERRERS, MAX_TAGS, RawManifest, Registry, RegistryError, Right};
use crate::metrics::Metrics;
use crate::oci::manifest::MAX_MANIFEST_BYTES;
use crate::oci::{self, Descriptor, Digest, Repository, media_type};

mod blob;
mod call;
mod elsewhere;
mod file;
mod login;
mod paging;
mod push;

use call::{HttpCall, Item};
use paging::Page;

/// Maximum number of pages of a list of tags: enough for [`MAX_TAGS`] at 50 per page.
const MAX_PAGES: usize = 200;
/// Maximum number of pages of referrers: enough for [`MAX_REFERRERS`] at 50 per page.
const MAX_REFERRER_PAGES: usize = 20;
/// Subject and remedy in errors about lists that are too long.
const TAGS: &str = "tags; remove tags from the repository, or name a tag";
const PAGES_OF_TAGS: &str = "pages of tags; remove tags from the repository, or name a tag";
pub(crate) const REFERRERS: &str = "referrers of this manifest; remove unused referrers";

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
    async fn request(&self, call: &HttpCall<'_>) -> Result<Response, RegistryError> {
        self.request_by_any(call).await.map(|(response, _)| response)
    }

    /// Sends the request and returns the index of the accepted credential too.
    async fn request_by_any(&self, call: &HttpCall<'_>) -> Result<(Response, usize), RegistryError> {
        let credentials = call.access.keychain.matching(call.repository);
        let mut index = call.credential.unwrap_or_default();
        loop {
            let has_more = call.credential.is_none() && index + 1 < credentials.len();
            match self.request_as(call, credentials.get(index).copied()).await {
                Err(RegistryError::Unauthorized { .. } | RegistryError::Forbidden { .. }) if has_more => index += 1,
                result => return result.map(|response| (response, index)),
            }
        }
    }

    async fn request_as(
        &self,
        call: &HttpCall<'_>,
        credential: Option<&Credential>,
    ) -> Result<Response, RegistryError> {
        let (transport, repository, actions) = (&call.access.transport, call.repository, call.actions);
        let requester = Requester { credential, transport, repository, actions };
        let (host, url) = (call.repository.host(), call.url()?);
        // An upload may be at another origin, where neither credentials nor a client certificate are sent.
        let is_at_registry = call.is_at_registry(&url)?;
        let mut authorization =
            if is_at_registry { self.authorizations.current(&self.client, requester).await } else { None };
        let mut answered = false;
        loop {
            let sent = Sent {
                transport: if is_at_registry { transport.clone() } else { transport.without_client_certificate() },
                method: call.method.clone(),
                url: url.clone(),
                accept: call.accept(),
                authorization: authorization.clone(),
                part: call.part(),
                payload: call.payload(),
                operation: call.operation(),
                redirects: call.redirects(),
                reach: call.reach(),
                account: requester.account(),
                is_elsewhere: !is_at_registry,
            };
            let response = self.client.send(sent).await?;
            let is_from_registry = is_at_registry && response.url().origin() == url.origin();
            let is_answered = response.status().is_success() || call.settles(response.status(), is_from_registry);
            if response.status() == StatusCode::UNAUTHORIZED && !is_answered {
                // One challenge is answered per request, because a registry that rejects every answer must not cause
                // an endless loop. A challenge by a redirect target is not answered: the target would receive the
                // registry's password, and its challenge would be cached for the registry.
                let may_answer = !answered && is_from_registry;
                let challenge = may_answer.then(|| challenge_of(response.headers())).flatten();
                let Some(challenge) = challenge else { return Err(requester.unauthorized()) };
                let met = Met { challenge, reach: self.client.reach_of_named(&response) };
                let refused = authorization.as_ref();
                let answer = self.authorizations.answer(&self.client, requester, met, refused).await?;
                authorization = Some(answer);
                answered = true;
                continue;
            }
            if is_answered {
                return Ok(response);
            }
            return Err(match response.status().as_u16() {
                403 => RegistryError::Forbidden {
                    host: host.to_owned(),
                    repository: call.repository.path().to_owned(),
                    verb: call.actions.verb(),
                },
                _ if call.method != Method::GET && call.method != Method::HEAD => self.refusal(call, response).await,
                _ => refused(&response, host, || call.what()),
            });
        }
    }
}

impl Registry for HttpRegistry {
    async fn tag_digest(&self, access: &Access, repository: &Repository, tag: &str) -> Result<Digest, RegistryError> {
        let get = HttpCall::get(access, repository, Item::Tag(tag));
        let head = HttpCall { method: Method::HEAD, ..HttpCall::get(access, repository, Item::Tag(tag)) };
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
            let problem = format!("it redirects {what} to {} without a Docker-Content-Digest header", sender.host);
            return Err(RegistryError::Protocol { host: repository.host().to_owned(), problem });
        }
        // The digest of a page would not exist in the registry.
        if is_html(response.headers()) {
            return Err(a_page(&get));
        }
        let body =
            self.client.body(response, repository.host(), &get.what(), MAX_MANIFEST_BYTES, &access.namespace).await?;
        Ok(Digest::of(&body.bytes))
    }

    async fn tags(&self, access: &Access, repository: &Repository) -> Result<Vec<String>, RegistryError> {
        let mut tags = Vec::new();
        let mut page: Option<Page> = None;
        for _ in 0..MAX_PAGES {
            let call = HttpCall::get(access, repository, Item::Tags(page.as_ref()));
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
            let call = HttpCall::get(access, repository, Item::Referrers(digest, page.as_ref()));
            let response = self.request(&call).await?;
            let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            // Some registries without a list of referrers return an HTML page, others 404.
            if !response.status().is_success()
                || !content_type.is_some_and(|text| text.starts_with(media_type::OCI_INDEX))
            {
                let problem = format!("a page of {} is not an index", call.what());
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
        let call = HttpCall::get(access, repository, Item::Manifest(digest));
        let response = self.request(&call).await?;
        let content_type =
            response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let is_html = is_html(response.headers());
        let sender = Self::sender(&call, &response)?;
        let body = self.client.body(response, repository.host(), &call.what(), limit, &access.namespace).await;
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
        let call = HttpCall { begun, ..HttpCall::get(access, repository, Item::Blob(&descriptor.digest)) };
        self.receive_blob(&call, descriptor.size).await
    }

    async fn may_read_blob(
        &self,
        access: &Access,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<Right, RegistryError> {
        let get = HttpCall::get(access, repository, Item::Blob(&descriptor.digest));
        self.check_blob(&HttpCall { method: Method::HEAD, ..get }, descriptor.size).await
    }
}

/// Returns true for an HTML page, which a proxy or a login service sends in place of the registry's response.
fn is_html(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

fn a_page(call: &HttpCall<'_>) -> RegistryError {
    let problem = format!("it returned an HTML page for {}", call.what());
    RegistryError::Protocol { host: call.repository.host().to_owned(), problem }
}

fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    headers.get_all(header::WWW_AUTHENTICATE).iter().find_map(|value| Challenge::parse(value.to_str().ok()?))
}

#[cfg(test)]
mod tests;
