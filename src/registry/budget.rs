//! What one host may be asked for, and when: a pace, pauses that it asked for, and no hammering of one that is dead.
//!
//! A host is `scheme://name:port`, and all objects share its pace and whether it can be reached. What an account can cause
//! alone, a request to slow down or a project behind a gateway that is gone, counts for that [`Account`] only. A failed TLS
//! handshake, whose terms an object names, counts for neither.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::recent::Recent;
use super::{RegistryError, TransportId};
use crate::metrics::Metrics;
use crate::oci::{Digest, Hasher};

mod state;

pub(super) use state::Wish;
use state::{State, Why, Word};

/// A request that is given up after this long without an answer counts as a failure for its account.
const UNANSWERED: Duration = Duration::from_secs(5);
/// Most hosts, and accounts at hosts, of which something is remembered: tenants and redirects name them.
const MAX_ENTRIES: usize = 4096;

/// Identity of requests, as far as a registry can limit some apart from others: the credentials, the way of TLS, and the
/// first part of the repository's path, which is a user, a project or a proxied registry. It stays the same where
/// the registry sends us elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Account(Digest);

impl Account {
    pub(super) fn new(credential: Option<&Digest>, transport: &TransportId, host: &str, path: &str) -> Self {
        let mut hasher = Hasher::default();
        hasher.field(credential.map(Digest::hex).unwrap_or_default().as_bytes());
        match transport {
            TransportId::PlainHttp => hasher.field(b"http"),
            TransportId::Tls(options) => hasher.field(options.as_ref().map(Digest::hex).unwrap_or_default().as_bytes()),
        }
        hasher.field(host.as_bytes());
        hasher.field(path.split('/').next().unwrap_or_default().as_bytes());
        Self(hasher.finish())
    }
}

/// State of all hosts, and of accounts at them.
#[derive(Debug)]
pub(super) struct Budget {
    table: Mutex<Table>,
    /// Time between two requests at the steady pace.
    spacing: Duration,
    metrics: Arc<Metrics>,
}

/// A host, or an account at one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    origin: String,
    account: Option<Account>,
}

#[derive(Debug)]
struct Table {
    entries: Recent<Key, State>,
    /// Entries that are closed, as far as they have been looked at.
    closed: usize,
}

/// End of a request.
#[derive(Debug)]
pub(super) enum Ended {
    /// With an answer.
    Answered,
    /// With the wish to be left alone.
    Overloaded(Wish),
    /// Without a connection.
    Unreachable(String),
    /// With a gateway's word that there is nothing behind it.
    NothingBehind(String),
    /// With a connection, and no answer on it in time.
    Unanswered(String),
    /// With something that says nothing about the host.
    Neither,
}

/// The right to send one request; reports how it ended, or that it was given up.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    budget: &'a Budget,
    host: Key,
    account: Key,
    since: Instant,
    /// True for the probe of the host, and for that of the account.
    probes: (bool, bool),
    ended: bool,
}

impl Budget {
    /// `per_second` is the steady pace for each host.
    pub(super) fn new(per_second: u32, metrics: Arc<Metrics>) -> Self {
        let spacing = Duration::from_secs(1) / per_second.max(1);
        let table = Table { entries: Recent::new(MAX_ENTRIES), closed: 0 };
        Self { table: Mutex::new(table), spacing, metrics }
    }

    /// Waits for the host's pace. Fails at once where it is not to be asked now, or not by that account.
    pub(super) async fn admit(&self, origin: &str, host: &str, account: &Account) -> Result<Permit<'_>, RegistryError> {
        let now = Instant::now();
        let key = |account| Key { origin: origin.to_owned(), account };
        let (of_host, of_account) = (key(None), key(Some(account.clone())));
        let admission = {
            let mut table = self.lock();
            // Neither is entered before both would let us in.
            let refused =
                [&of_account, &of_host].into_iter().find_map(|key| table.with(key, |state| state.refusal(now)));
            refused.map_or_else(
                || {
                    let probes = (table.with(&of_host, State::enter), table.with(&of_account, State::enter));
                    Ok((table.with(&of_host, |state| state.wait(now, self.spacing, probes.0)), probes))
                },
                Err,
            )
        };
        let (why, retry_after) = match admission {
            Ok((wait, probes)) => {
                if !wait.is_zero() {
                    self.metrics.held_back("pace");
                    pause(wait).await;
                }
                let since = Instant::now();
                return Ok(Permit { budget: self, host: of_host, account: of_account, since, probes, ended: false });
            }
            Err(refused) => refused,
        };
        let host = host.to_owned();
        match why {
            Why::Limited => {
                self.metrics.held_back("overloaded");
                Err(RegistryError::RateLimited { host, retry_after: Some(retry_after) })
            }
            Why::Busy => {
                self.metrics.held_back("overloaded");
                let problem = format!("it answered {}", reqwest::StatusCode::SERVICE_UNAVAILABLE);
                Err(RegistryError::HeldBack { host, problem, retry_after })
            }
            Why::Dead { problem, .. } => {
                self.metrics.held_back("dead");
                Err(RegistryError::HeldBack { host, problem, retry_after })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each statement leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Does something with the state of `key`, and keeps count of what is closed.
    fn with<R>(&mut self, key: &Key, work: impl FnOnce(&mut State) -> R) -> R {
        let (state, evicted) = self.entries.entry(key.clone(), State::default);
        let before = state.is_closed();
        let result = work(state);
        let after = state.is_closed();
        let gone = usize::from(before) + usize::from(evicted.is_some_and(|state| state.is_closed()));
        self.closed = (self.closed + usize::from(after)).saturating_sub(gone);
        result
    }
}

impl Permit<'_> {
    /// Reports how the request ended. Returns the time for which the account is to make no other one.
    pub(super) fn ended(mut self, ended: &Ended) -> Option<Duration> {
        self.report(ended)
    }

    fn report(&mut self, ended: &Ended) -> Option<Duration> {
        self.ended = true;
        let now = Instant::now();
        let (of_host, of_account) = ended.words();
        let mut table = self.budget.lock();
        table.with(&self.host, |state| state.hear(now, &of_host, self.probes.0));
        let left = table.with(&self.account, |state| {
            state.hear(now, &of_account, self.probes.1);
            state.refusal(now).map(|(_, left)| left)
        });
        let closed = table.closed;
        drop(table);
        self.budget.metrics.hosts_closed(closed);
        left
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let unanswered = self.since.elapsed() >= UNANSWERED;
            let ended =
                if unanswered { Ended::Unanswered("it did not answer in time".to_owned()) } else { Ended::Neither };
            self.report(&ended);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the pace")]
async fn pause(wait: Duration) {
    tokio::time::sleep(wait).await;
}

impl Ended {
    /// Returns its meaning for the host, and for the account.
    fn words(&self) -> (Word<'_>, Word<'_>) {
        match self {
            Self::Answered => (Word::Alive, Word::Alive),
            Self::Overloaded(wish) => (Word::Alive, Word::Slower(*wish)),
            Self::Unreachable(problem) => (Word::Gone(problem), Word::Nothing),
            Self::NothingBehind(problem) => (Word::Alive, Word::Gone(problem)),
            Self::Unanswered(problem) => (Word::Nothing, Word::Gone(problem)),
            Self::Neither => (Word::Nothing, Word::Nothing),
        }
    }
}

#[cfg(test)]
mod tests;
