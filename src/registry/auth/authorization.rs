//! The `Authorization` header of a request: basic credentials, or a token that is fetched and cached.
//!
//! Tokens are cached per (credential, transport, host, repository, rights), so nothing is shared between objects that
//! have other credentials or check the host in another way, and a token for reading is never one for writing. Challenges are cached per transport and host, and a known
//! challenge is answered before the next request is sent: a new repository on a known host costs one extra token
//! request.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use reqwest::header::HeaderValue;

use super::challenge::Challenge;
use super::credentials::Credential;
use super::requester::Requester;
use super::token;
use crate::mutex::lock;
use crate::oci::{Digest, Repository};
use crate::registry::net::egress::Reach;
use crate::registry::net::recent::Recent;
use crate::registry::net::transport::Client;
use crate::registry::{RegistryError, TransportId};

/// Maximum number of cached entries; limited because tenants name hosts and repositories. The least recently used entry is
/// evicted, so that a flood of repositories costs nobody else a token in use.
const MAX_KEPT: usize = 10_000;

/// Key of a cached header.
#[derive(Clone, PartialEq, Eq, Hash)]
struct HeaderKey {
    credential: Option<Digest>,
    transport: TransportId,
    repository: Repository,
    /// Scopes of the token.
    scopes: Vec<String>,
}

impl HeaderKey {
    fn new(requester: Requester<'_>) -> Self {
        Self {
            credential: requester.credential.map(Credential::identity),
            transport: requester.transport.id(),
            repository: requester.repository.clone(),
            scopes: requester.actions.scopes(requester.repository),
        }
    }
}

/// Returns the key of a host's challenge.
fn host_key(requester: Requester<'_>) -> (String, TransportId) {
    (requester.repository.api_host().to_owned(), requester.transport.id())
}

/// A header that answers a challenge, and the time at which it expires.
struct Answer {
    header: HeaderValue,
    until: Option<Instant>,
}

/// A challenge, and the reach that applies to the host of the registry that sent it.
#[derive(Clone)]
pub(in crate::registry) struct Met {
    pub(in crate::registry) challenge: Challenge,
    pub(in crate::registry) reach: Reach,
}

/// A cached answer. The lock is held during a token request, so that concurrent requesters wait for its result.
type Slot = Arc<tokio::sync::Mutex<Option<Answer>>>;

/// Cache of challenges, and of the answers to them.
pub(in crate::registry) struct Authorizations {
    answers: Mutex<Recent<HeaderKey, Slot>>,
    /// By host: a registry sends the same challenge for all repositories.
    challenges: Mutex<Recent<(String, TransportId), Met>>,
}

impl Default for Authorizations {
    fn default() -> Self {
        Self { answers: Mutex::new(Recent::new(MAX_KEPT)), challenges: Mutex::new(Recent::new(MAX_KEPT)) }
    }
}

impl Authorizations {
    /// Returns the header for the first attempt; `None` if no challenge of the host is known.
    pub(in crate::registry) async fn current(&self, client: &Client, requester: Requester<'_>) -> Option<HeaderValue> {
        let slot = self.slot(requester);
        let mut kept = slot.lock().await;
        if let Some(header) = kept.as_ref().and_then(Answer::valid) {
            return Some(header);
        }
        let met = lock(&self.challenges).get(&host_key(requester)).cloned()?;
        // An error is dropped here: the registry then challenges the request without the header, and the error is
        // reported.
        let answer = Answer::to(&met, client, requester).await.ok()?;
        let header = answer.header.clone();
        *kept = Some(answer);
        Some(header)
    }

    /// Answers a challenge. `refused` is the header that the registry has just rejected.
    pub(in crate::registry) async fn answer(
        &self,
        client: &Client,
        requester: Requester<'_>,
        met: Met,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, RegistryError> {
        let slot = self.slot(requester);
        let mut kept = slot.lock().await;
        // Another request may have renewed the header in the meantime.
        if let Some(header) = kept.as_ref().and_then(Answer::valid).filter(|header| Some(header) != refused) {
            return Ok(header);
        }
        let answer = Answer::to(&met, client, requester).await?;
        let header = answer.header.clone();
        *kept = Some(answer);
        let mut challenges = lock(&self.challenges);
        let (known, _) = challenges.entry(host_key(requester), || met.clone());
        *known = met;
        Ok(header)
    }

    /// Returns true if the host has challenged a request.
    pub(in crate::registry) fn is_challenged(&self, requester: Requester<'_>) -> bool {
        lock(&self.challenges).get(&host_key(requester)).is_some()
    }

    /// Sends user and password with the next request to the host, as if it had challenged one. `reach` is that of its
    /// redirects.
    pub(in crate::registry) fn assume_basic(&self, requester: Requester<'_>, reach: Reach) {
        let met = Met { challenge: Challenge::Basic, reach };
        lock(&self.challenges).entry(host_key(requester), || met);
    }

    fn slot(&self, requester: Requester<'_>) -> Slot {
        Arc::clone(lock(&self.answers).entry(HeaderKey::new(requester), Slot::default).0)
    }
}

impl Answer {
    async fn to(met: &Met, client: &Client, requester: Requester<'_>) -> Result<Self, RegistryError> {
        match &met.challenge {
            Challenge::Basic => Ok(Self { header: requester.basic_header()?, until: None }),
            Challenge::Bearer { realm, service } => {
                let token = token::fetch(client, requester, realm, service.as_deref(), met.reach).await?;
                let header = requester.secret_header(&format!("Bearer {}", token.text()?))?;
                Ok(Self { header, until: Some(Instant::now() + token.lifetime()) })
            }
        }
    }

    fn valid(&self) -> Option<HeaderValue> {
        self.until.is_none_or(|until| Instant::now() < until).then(|| self.header.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Reference;
    use crate::registry::Transport;
    use crate::registry::auth::requester::Actions;

    fn repository(path: &str) -> Repository {
        format!("r.example/{path}").parse::<Reference>().unwrap().repository
    }

    fn slot(all: &Authorizations, repository: &Repository) -> Slot {
        all.slot(Requester { credential: None, transport: &Transport::default(), repository, actions: Actions::Pull })
    }

    #[test]
    fn a_token_in_use_outlives_any_number_of_other_repositories() {
        let (all, quiet) = (Authorizations::default(), repository("quiet/app"));
        let kept = slot(&all, &quiet);
        for number in 0..3 * MAX_KEPT {
            slot(&all, &repository(&format!("hostile/{number}")));
            if number % 1000 == 0 {
                assert!(Arc::ptr_eq(&kept, &slot(&all, &quiet)), "forgotten after {number}");
            }
        }
    }
}
