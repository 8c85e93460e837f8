//! The `Authorization` header of a request: basic credentials, or a token that is fetched and cached.
//!
//! Tokens are cached per (credential, transport, host, repository), so nothing is shared between objects that have
//! other credentials or check the host in another way. Challenges are cached per transport and host, and a known
//! challenge is answered before the next request is sent: a new repository on a known host costs one extra token
//! request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde::Deserialize;

use super::budget::Account;
use super::challenge::Challenge;
use super::credentials::Credential;
use super::egress::Reach;
use super::transport::{self, Client, Part, Redirects, Sent};
use super::{RegistryError, Transport, TransportId};
use crate::oci::{Digest, Repository};

/// Maximum size of a token response, in bytes.
const MAX_TOKEN_ANSWER: u64 = 64 * 1024;
/// Our client ID for token services that require one (OAuth 2).
const CLIENT_ID: &str = "supercargo";
/// Lifetime of a token without an explicit lifetime (distribution-spec, token authentication).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Maximum time for which a token is cached, whatever its lifetime.
const MAX_LIFETIME: Duration = Duration::from_secs(300);
/// Time before its expiry at which a token is renewed.
const MARGIN: Duration = Duration::from_secs(10);
/// Maximum number of cached entries; a full cache is cleared.
const MAX_KEPT: usize = 10_000;

/// Requester: credential, transport and repository of a request.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) credential: Option<&'a Credential>,
    pub(super) transport: &'a Transport,
    pub(super) repository: &'a Repository,
}

/// Key of a cached header.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    credential: Option<Digest>,
    transport: TransportId,
    repository: Repository,
}

impl Asker<'_> {
    fn key(&self) -> Key {
        Key {
            credential: self.credential.map(Credential::identity),
            transport: self.transport.id(),
            repository: self.repository.clone(),
        }
    }

    /// Returns the account to which the budget attributes the requests.
    pub(super) fn account(&self) -> Account {
        let credential = self.credential.map(Credential::identity);
        Account::new(credential.as_ref(), &self.transport.id(), self.repository.api_host(), self.repository.path())
    }

    fn host(&self) -> (String, TransportId) {
        (self.repository.api_host().to_owned(), self.transport.id())
    }
}

/// A header that answers a challenge, and the time at which it expires.
struct Answer {
    header: HeaderValue,
    until: Option<Instant>,
}

/// A challenge, and the reach that applies to the host of the registry that sent it.
#[derive(Clone)]
pub(super) struct Met {
    pub(super) challenge: Challenge,
    pub(super) reach: Reach,
}

/// A cached answer. The lock is held during a token request, so that concurrent requesters wait for its result.
type Slot = Arc<tokio::sync::Mutex<Option<Answer>>>;

/// Cache of challenges, and of the answers to them.
#[derive(Default)]
pub(super) struct Authorizations {
    answers: Mutex<HashMap<Key, Slot>>,
    /// By host: a registry sends the same challenge for all repositories.
    challenges: Mutex<HashMap<(String, TransportId), Met>>,
}

impl Authorizations {
    /// Returns the header for the first attempt; `None` if no challenge of the host is known.
    pub(super) async fn current(&self, client: &Client, asker: Asker<'_>) -> Option<HeaderValue> {
        let slot = self.slot(asker);
        let mut kept = slot.lock().await;
        if let Some(header) = kept.as_ref().and_then(Answer::valid) {
            return Some(header);
        }
        let met = locked(&self.challenges).get(&asker.host()).cloned()?;
        // An error is dropped here: the registry then challenges the request without the header, and the error is
        // reported.
        let answer = Answer::to(&met, client, asker).await.ok()?;
        let header = answer.header.clone();
        *kept = Some(answer);
        Some(header)
    }

    /// Answers a challenge. `refused` is the header that the registry has just rejected.
    pub(super) async fn answer(
        &self,
        client: &Client,
        asker: Asker<'_>,
        met: Met,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, RegistryError> {
        let slot = self.slot(asker);
        let mut kept = slot.lock().await;
        // Another request may have renewed the header in the meantime.
        if let Some(header) = kept.as_ref().and_then(Answer::valid).filter(|header| Some(header) != refused) {
            return Ok(header);
        }
        let answer = Answer::to(&met, client, asker).await?;
        let header = answer.header.clone();
        *kept = Some(answer);
        remember(&mut locked(&self.challenges), asker.host(), met);
        Ok(header)
    }

    fn slot(&self, asker: Asker<'_>) -> Slot {
        let (key, mut answers) = (asker.key(), locked(&self.answers));
        if let Some(slot) = answers.get(&key) {
            return Arc::clone(slot);
        }
        let slot = Slot::default();
        remember(&mut answers, key, Arc::clone(&slot));
        slot
    }
}

/// Inserts into a cache of limited size, which is cleared when full: tenants name hosts and repositories, so the
/// number of keys is unbounded.
fn remember<K: std::hash::Hash + Eq, V>(cache: &mut HashMap<K, V>, key: K, value: V) {
    if cache.len() >= MAX_KEPT {
        cache.clear();
    }
    cache.insert(key, value);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps are consistent between any two statements, so a poisoned lock is safe to use.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Answer {
    async fn to(met: &Met, client: &Client, asker: Asker<'_>) -> Result<Self, RegistryError> {
        match &met.challenge {
            Challenge::Basic => Ok(Self { header: basic_header(asker)?, until: None }),
            Challenge::Bearer { realm, service } => {
                let token = fetch_token(client, asker, realm, service.as_deref(), met.reach).await?;
                let header = secret_header(asker.repository, &format!("Bearer {}", token.text()?))?;
                Ok(Self { header, until: Some(Instant::now() + token.lifetime()) })
            }
        }
    }

    fn valid(&self) -> Option<HeaderValue> {
        self.until.is_none_or(|until| Instant::now() < until).then(|| self.header.clone())
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl TokenAnswer {
    fn text(&self) -> Result<&str, RegistryError> {
        self.token.as_deref().or(self.access_token.as_deref()).filter(|token| !token.is_empty()).ok_or_else(|| {
            RegistryError::Protocol {
                host: "the token service".to_owned(),
                problem: "its answer holds no token".to_owned(),
            }
        })
    }

    fn lifetime(&self) -> Duration {
        let lifetime = self.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs).min(MAX_LIFETIME);
        lifetime.saturating_sub(MARGIN)
    }
}

async fn fetch_token(
    client: &Client,
    asker: Asker<'_>,
    realm: &Url,
    service: Option<&str>,
    reach: Reach,
) -> Result<TokenAnswer, RegistryError> {
    let host = transport::authority(realm);
    let refuse = |problem| Err(RegistryError::Protocol { host: asker.repository.host().to_owned(), problem });
    if matches!(asker.transport, Transport::Tls(_)) && realm.scheme() != "https" {
        return refuse(format!("it asks for tokens from {host} without TLS"));
    }
    let registry = registry_host(asker);
    let service_host = (realm.host_str().unwrap_or_default(), realm.port_or_known_default().unwrap_or_default());
    let is_same = registry.0.eq_ignore_ascii_case(service_host.0);
    let egress = client.egress();
    let is_named = egress.is_token_realm(service_host.0, service_host.1);
    let reach = match (is_named, is_same) {
        (true, _) => Reach::Named,
        (false, true) => reach,
        (false, false) => Reach::Foreign,
    };
    let sent = token_request(asker, is_same, realm, service)?;
    // A destination that is closed in any case is reported as that.
    client.judge(&sent, &host)?;
    if !egress.may_serve_tokens((&registry.0, registry.1), service_host, asker.credential.is_some()) {
        let what = if asker.credential.is_some() { "sends credentials to" } else { "takes tokens of" };
        return refuse(format!("it {what} the foreign host {host}; the operator's --token-realm allows hosts"));
    }
    let response = client.send(Sent { reach, ..sent }).await?;
    match response.status().as_u16() {
        200 => {}
        // RFC 6749 section 5.2: a rejected refresh token is answered with 400.
        400 | 401 | 403 if asker.credential.is_some() => return Err(unauthorized(asker)),
        401 | 403 => return Err(unauthorized(asker)),
        404 | 410 => {
            let problem = format!("its token service {host} answered {}", response.status());
            return Err(RegistryError::Protocol { host: asker.repository.host().to_owned(), problem });
        }
        _ => return Err(transport::refused(&response, &host, || format!("the token service of {host}"))),
    }
    let body = client.body(response, &host, "the token answer", MAX_TOKEN_ANSWER).await?;
    serde_json::from_slice(&body.bytes)
        .map_err(|_| RegistryError::Protocol { host, problem: "its token answer is not JSON".to_owned() })
}

/// Builds the request for a token: a GET, with user and password if there are any; an identity token is exchanged by
/// POST (the OAuth 2 form of distribution's token authentication). The scope is always pull access to the repository,
/// whatever the challenge requests.
fn token_request(
    asker: Asker<'_>,
    is_same_host: bool,
    realm: &Url,
    service: Option<&str>,
) -> Result<Sent, RegistryError> {
    let scope = format!("repository:{}:pull", asker.repository.path());
    let mut url = realm.clone();
    let (method, form, authorization) = match asker.credential {
        Some(Credential::IdentityToken(token)) => {
            let fields = [
                ("grant_type", "refresh_token"),
                ("service", service.unwrap_or_default()),
                ("scope", &scope),
                ("client_id", CLIENT_ID),
                ("refresh_token", token),
            ];
            let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            (Method::POST, Some(form), None)
        }
        Some(Credential::Password { .. }) => (Method::GET, None, Some(basic_header(asker)?)),
        None => (Method::GET, None, None),
    };
    if form.is_none() {
        url.query_pairs_mut().extend_pairs(service.map(|service| ("service", service))).append_pair("scope", &scope);
    }
    let transport = if is_same_host { asker.transport.clone() } else { asker.transport.without_client_certificate() };
    // Redirects of a token service are refused, because the request may carry credentials.
    let redirects = Redirects::Refuse;
    let (accept, operation, account) = ("application/json", "token", asker.account());
    let is_elsewhere = !is_same_host;
    Ok(Sent {
        transport,
        method,
        url,
        accept,
        authorization,
        part: Part::All,
        form,
        operation,
        redirects,
        reach: Reach::Named,
        account,
        is_elsewhere,
    })
}

/// Returns the registry's host, as in a URL, and its port.
fn registry_host(asker: Asker<'_>) -> (String, u16) {
    let scheme = if matches!(asker.transport, Transport::PlainHttp) { "http" } else { "https" };
    let url = Url::parse(&format!("{scheme}://{}", asker.repository.api_host())).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
    (host, url.as_ref().and_then(Url::port_or_known_default).unwrap_or_default())
}

fn basic_header(asker: Asker<'_>) -> Result<HeaderValue, RegistryError> {
    let basic = asker.credential.and_then(Credential::basic).ok_or_else(|| unauthorized(asker))?;
    secret_header(asker.repository, &format!("Basic {basic}"))
}

fn secret_header(repository: &Repository, text: &str) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| RegistryError::Protocol {
        host: repository.host().to_owned(),
        problem: "credentials or token hold characters that no header may have".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) fn unauthorized(asker: Asker<'_>) -> RegistryError {
    RegistryError::Unauthorized {
        host: asker.repository.host().to_owned(),
        repository: asker.repository.path().to_owned(),
        wanted: if asker.credential.is_some() { "other credentials" } else { "credentials" },
    }
}
