//! The `Authorization` header for a request: basic credentials, or a token that is fetched and kept.
//!
//! Tokens are kept per (credential, host, repository), so nothing is shared between objects that do
//! not have the same credentials. Challenges are kept per host, and a known one is answered before
//! the next request is sent: a new repository on a known host costs one token request more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::Deserialize;

use super::RegistryError;
use super::challenge::Challenge;
use super::credentials::Credential;
use super::transport::{self, Client, Sent};
use crate::oci::{Digest, Repository};

/// Most bytes of a token answer.
const MAX_TOKEN_ANSWER: u64 = 64 * 1024;
/// Lifetime of a token that does not say its own (distribution-spec, token authentication).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Longest time that a token is kept whatever it says.
const MAX_LIFETIME: Duration = Duration::from_secs(300);
/// A token is renewed this long before it ends.
const MARGIN: Duration = Duration::from_secs(10);
/// Most answers kept; beyond it the cache starts anew.
const MAX_KEPT: usize = 10_000;

/// Whose answer, for what.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    credential: Option<Digest>,
    plain_http: bool,
    repository: Repository,
}

impl Key {
    pub(super) fn new(credential: Option<&Credential>, plain_http: bool, repository: &Repository) -> Self {
        Self { credential: credential.map(Credential::identity), plain_http, repository: repository.clone() }
    }

    fn host(&self) -> (String, bool) {
        (self.repository.api_host().to_owned(), self.plain_http)
    }
}

/// A header that answers a challenge, and how long it does.
struct Answer {
    header: HeaderValue,
    until: Option<Instant>,
}

/// Who asks first fetches; who asks meanwhile waits for that.
type Slot = Arc<tokio::sync::Mutex<Option<Answer>>>;

/// The challenges met so far, and the answers to them.
#[derive(Default)]
pub(super) struct Authorizations {
    answers: Mutex<HashMap<Key, Slot>>,
    /// By host: what a registry wants for one repository it wants for all.
    challenges: Mutex<HashMap<(String, bool), Challenge>>,
}

impl Authorizations {
    /// The header for a first try; `None` where the host has not challenged anybody yet.
    pub(super) async fn current(
        &self,
        client: &Client,
        key: &Key,
        credential: Option<&Credential>,
    ) -> Option<HeaderValue> {
        let slot = self.slot(key);
        let mut kept = slot.lock().await;
        if let Some(header) = kept.as_ref().and_then(Answer::valid) {
            return Some(header);
        }
        let challenge = locked(&self.challenges).get(&key.host()).cloned()?;
        // What is wrong with it will show, and be told, when the registry is asked without.
        let answer = Answer::to(&challenge, client, key, credential).await.ok()?;
        let header = answer.header.clone();
        *kept = Some(answer);
        Some(header)
    }

    /// Answers a challenge. `refused` is the header that the registry has just not accepted.
    pub(super) async fn answer(
        &self,
        client: &Client,
        key: &Key,
        credential: Option<&Credential>,
        challenge: Challenge,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, RegistryError> {
        let slot = self.slot(key);
        let mut kept = slot.lock().await;
        // Somebody else may have renewed it while we were being refused.
        if let Some(header) = kept.as_ref().and_then(Answer::valid).filter(|header| Some(header) != refused) {
            return Ok(header);
        }
        let answer = Answer::to(&challenge, client, key, credential).await?;
        let header = answer.header.clone();
        *kept = Some(answer);
        remember(&mut locked(&self.challenges), key.host(), challenge);
        Ok(header)
    }

    fn slot(&self, key: &Key) -> Slot {
        let mut answers = locked(&self.answers);
        if let Some(slot) = answers.get(key) {
            return Arc::clone(slot);
        }
        remember(&mut answers, key.clone(), Slot::default());
        answers.get(key).map(Arc::clone).unwrap_or_default()
    }
}

/// Tenants name hosts and repositories: the caches have an end, and start anew there.
fn remember<K: std::hash::Hash + Eq, V>(cache: &mut HashMap<K, V>, key: K, value: V) {
    if cache.len() >= MAX_KEPT {
        cache.clear();
    }
    cache.insert(key, value);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps are whole between any two statements, so a panic elsewhere cannot have torn them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Answer {
    async fn to(
        challenge: &Challenge,
        client: &Client,
        key: &Key,
        credential: Option<&Credential>,
    ) -> Result<Self, RegistryError> {
        match challenge {
            Challenge::Basic => {
                let credential = credential.ok_or_else(|| unauthorized(&key.repository, None))?;
                Ok(Self { header: basic_header(&key.repository, credential)?, until: None })
            }
            Challenge::Bearer { realm, service } => {
                let token = fetch_token(client, key, credential, realm, service.as_deref()).await?;
                let header = secret_header(&key.repository, &format!("Bearer {}", token.text()?))?;
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
    key: &Key,
    credential: Option<&Credential>,
    realm: &Url,
    service: Option<&str>,
) -> Result<TokenAnswer, RegistryError> {
    let host = transport::authority(realm);
    if !key.plain_http && realm.scheme() != "https" {
        let problem = format!("it sends credentials to {host} without TLS");
        return Err(RegistryError::Protocol { host: key.repository.host().to_owned(), problem });
    }
    let mut url = realm.clone();
    url.query_pairs_mut()
        .extend_pairs(service.map(|service| ("service", service)))
        .append_pair("scope", &format!("repository:{}:pull", key.repository.path()));
    let mut authorization = None;
    if let Some(credential) = credential {
        if !may_have_credentials(&key.repository, realm) {
            let problem = format!("it sends credentials to the foreign host {host}");
            return Err(RegistryError::Protocol { host: key.repository.host().to_owned(), problem });
        }
        authorization = Some(basic_header(&key.repository, credential)?);
    }
    // A token service that sends us elsewhere with a question about credentials is not followed.
    let sent = Sent {
        method: reqwest::Method::GET,
        url,
        accept: "application/json",
        authorization,
        operation: "token",
        redirects: 0,
    };
    let response = client.send(sent).await?;
    match response.status().as_u16() {
        200 => {}
        401 | 403 => return Err(unauthorized(&key.repository, credential)),
        _ => return Err(transport::refused(&response, &host, || format!("the token service of {host}"))),
    }
    let body = transport::body(response, &host, "the token answer", MAX_TOKEN_ANSWER).await?;
    serde_json::from_slice(&body)
        .map_err(|_| RegistryError::Protocol { host, problem: "its token answer is not JSON".to_owned() })
}

/// Credentials go to the registry's own host, or to one below the same parent domain
/// (registry-1.docker.io and auth.docker.io).
fn may_have_credentials(repository: &Repository, realm: &Url) -> bool {
    let registry = Url::parse(&format!("https://{}", repository.api_host())).ok();
    let (Some(registry), Some(realm)) = (registry.as_ref().and_then(Url::host_str), realm.host_str()) else {
        return false;
    };
    if registry == realm {
        return true;
    }
    let is_address = |host: &str| host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_address(registry) || is_address(realm) {
        return false;
    }
    // Two labels at least, as in `docker.io`: a single one would be a whole top-level domain.
    let parent = |host: &str| host.split_once('.').map(|(_, up)| up.to_owned()).filter(|up| up.contains('.'));
    parent(realm).is_some_and(|up| up == registry || parent(registry).is_some_and(|other| other == up))
}

fn basic_header(repository: &Repository, credential: &Credential) -> Result<HeaderValue, RegistryError> {
    secret_header(repository, &format!("Basic {}", credential.basic()))
}

fn secret_header(repository: &Repository, text: &str) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| RegistryError::Protocol {
        host: repository.host().to_owned(),
        problem: "credentials or token hold characters that no header may have".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) fn unauthorized(repository: &Repository, credential: Option<&Credential>) -> RegistryError {
    RegistryError::Unauthorized {
        host: repository.host().to_owned(),
        repository: repository.path().to_owned(),
        wanted: if credential.is_some() { "other credentials" } else { "credentials" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_with_the_registry_and_its_siblings() {
        let rows = [
            ("ghcr.io/a", "https://ghcr.io/token", true),
            ("docker.io/a", "https://auth.docker.io/token", true),
            ("registry.example.com/a", "https://auth.example.com/t", true),
            ("ghcr.io/a", "https://evil.io/token", false),
            ("ghcr.io/a", "https://ghcr.io.evil.com/token", false),
            ("r.com/a", "https://s.com/token", false),
            ("10.0.0.1:5000/a", "https://10.0.0.2/token", false),
            ("127.0.0.1:5000/a", "http://127.0.0.1:5001/token", true),
        ];
        for (image, realm, want) in rows {
            let repository = image.parse::<crate::oci::Reference>().unwrap().repository;
            assert_eq!(may_have_credentials(&repository, &Url::parse(realm).unwrap()), want, "{image} {realm}");
        }
    }
}
