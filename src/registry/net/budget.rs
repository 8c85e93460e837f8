//! Request budget of a host: a steady pace, pauses that the host requests, and only probes while the host is dead.
//!
//! A host is `scheme://name:port`, and all objects share its pace and its reachability. Failures that one account can
//! cause alone, such as a rate limit or an unavailable project behind a gateway, count against that [`Account`] only.
//! A failed TLS handshake counts against neither, because the object configures its terms.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::recent::Recent;
use crate::metrics::Metrics;
use crate::mutex::lock;
use crate::oci::{Digest, Hasher};
use crate::registry::{RegistryError, TransportId};

mod state;

pub(in crate::registry) use state::PauseRequest;
use state::{Cause, Signal, State};

/// A request that is cancelled after this long without a response counts as a failure of its account.
const UNANSWERED: Duration = Duration::from_secs(5);
/// Maximum number of hosts and accounts in the table; limited because tenants and redirects name them.
const MAX_ENTRIES: usize = 4096;

/// Identity of requests, as far as a registry can limit them separately: the credentials, the transport, the host,
/// and the first component of the repository's path, which is a user, a project or a proxied registry. It does not
/// change when the registry redirects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::registry) struct Account(Digest);

impl Account {
    pub(in crate::registry) fn new(
        credential: Option<&Digest>,
        transport: &TransportId,
        host: &str,
        path: &str,
    ) -> Self {
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

/// State of all hosts and accounts.
#[derive(Debug)]
pub(in crate::registry) struct RequestBudget {
    table: Mutex<Table>,
    /// Interval between two requests at the steady pace.
    spacing: Duration,
    metrics: Arc<Metrics>,
}

/// A host, or an account at a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct BudgetKey {
    origin: String,
    account: Option<Account>,
}

#[derive(Debug)]
struct Table {
    entries: Recent<BudgetKey, State>,
    /// Number of closed entries, as of the last access to each.
    closed: usize,
}

/// Outcome of a request.
#[derive(Debug)]
pub(in crate::registry) enum RequestOutcome {
    /// A response.
    Answered,
    /// A response that requests a pause.
    Overloaded(PauseRequest),
    /// No connection.
    Unreachable(String),
    /// A gateway's response that its backend is unavailable.
    NothingBehind(String),
    /// A connection without a response in time, or that broke off in the TLS handshake.
    Unanswered(String),
    /// An outcome without information about the host.
    Neither,
}

/// The right to send one request; reports the outcome, or that the request was cancelled.
#[derive(Debug)]
pub(in crate::registry) struct RequestPermit<'a> {
    budget: &'a RequestBudget,
    host: BudgetKey,
    account: BudgetKey,
    /// Time at which the request was sent; `None` while it waits for the host's pace.
    sent: Option<Instant>,
    /// True if the request is the probe of the host, and true if it is the probe of the account.
    probes: (bool, bool),
    ended: bool,
}

impl RequestBudget {
    /// `per_second` is the steady pace per host.
    pub(in crate::registry) fn new(per_second: u32, metrics: Arc<Metrics>) -> Self {
        let spacing = Duration::from_secs(1) / per_second.max(1);
        let table = Table { entries: Recent::new(MAX_ENTRIES), closed: 0 };
        Self { table: Mutex::new(table), spacing, metrics }
    }

    /// Waits for the host's pace. Fails at once if the host is closed, or the account at the host.
    pub(in crate::registry) async fn admit(
        &self,
        origin: &str,
        host: &str,
        account: &Account,
    ) -> Result<RequestPermit<'_>, RegistryError> {
        let now = Instant::now();
        let key = |account| BudgetKey { origin: origin.to_owned(), account };
        let (of_host, of_account) = (key(None), key(Some(account.clone())));
        let admission = {
            let mut table = self.lock();
            // Neither state is entered before both admit the request.
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
        let (cause, retry_after) = match admission {
            Ok((wait, probes)) => {
                // Made before the wait: a request that is given up there must return the probes.
                let (host, account) = (of_host, of_account);
                let mut permit = RequestPermit { budget: self, host, account, sent: None, probes, ended: false };
                if !wait.is_zero() {
                    self.metrics.held_back("pace");
                    pause(wait).await;
                }
                permit.sent = Some(Instant::now());
                return Ok(permit);
            }
            Err(refused) => refused,
        };
        let host = host.to_owned();
        match cause {
            Cause::Limited => {
                self.metrics.held_back("overloaded");
                Err(RegistryError::RateLimited { host, retry_after: Some(retry_after) })
            }
            Cause::Busy => {
                self.metrics.held_back("overloaded");
                let problem = format!("it returned {}", reqwest::StatusCode::SERVICE_UNAVAILABLE);
                Err(RegistryError::HeldBack { host, problem, retry_after })
            }
            Cause::Dead { problem, .. } => {
                self.metrics.held_back("dead");
                Err(RegistryError::HeldBack { host, problem, retry_after })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A poisoned lock is safe to use: each statement leaves the table consistent.
        lock(&self.table)
    }
}

impl Table {
    /// Runs `work` on the state of `key`, and updates the number of closed entries.
    fn with<R>(&mut self, key: &BudgetKey, work: impl FnOnce(&mut State) -> R) -> R {
        let (state, evicted) = self.entries.entry(key.clone(), State::default);
        let before = state.is_closed();
        let result = work(state);
        let after = state.is_closed();
        let gone = usize::from(before) + usize::from(evicted.is_some_and(|state| state.is_closed()));
        self.closed = (self.closed + usize::from(after)).saturating_sub(gone);
        result
    }
}

impl RequestPermit<'_> {
    /// Reports the outcome of the request. Returns the time for which the account must not send another one.
    pub(in crate::registry) fn ended(mut self, ended: &RequestOutcome) -> Option<Duration> {
        self.report(ended)
    }

    fn report(&mut self, ended: &RequestOutcome) -> Option<Duration> {
        self.ended = true;
        let now = Instant::now();
        let (of_host, of_account) = ended.signals();
        let mut table = self.budget.lock();
        table.with(&self.host, |state| state.record(now, &of_host, self.probes.0));
        let left = table.with(&self.account, |state| {
            state.record(now, &of_account, self.probes.1);
            state.refusal(now).map(|(_, left)| left)
        });
        let closed = table.closed;
        drop(table);
        self.budget.metrics.hosts_closed(closed);
        left
    }
}

impl Drop for RequestPermit<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let unanswered = self.sent.is_some_and(|sent| sent.elapsed() >= UNANSWERED);
            let ended = if unanswered {
                RequestOutcome::Unanswered("no response in time".to_owned())
            } else {
                RequestOutcome::Neither
            };
            self.report(&ended);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the pace")]
async fn pause(wait: Duration) {
    tokio::time::sleep(wait).await;
}

impl RequestOutcome {
    /// Returns the meaning of the outcome for the host and for the account.
    fn signals(&self) -> (Signal<'_>, Signal<'_>) {
        match self {
            Self::Answered => (Signal::Alive, Signal::Alive),
            Self::Overloaded(request) => (Signal::Alive, Signal::Overloaded(*request)),
            Self::Unreachable(problem) => (Signal::Unreachable(problem), Signal::Unknown),
            Self::NothingBehind(problem) => (Signal::Alive, Signal::Unreachable(problem)),
            Self::Unanswered(problem) => (Signal::Unknown, Signal::Unreachable(problem)),
            Self::Neither => (Signal::Unknown, Signal::Unknown),
        }
    }
}

#[cfg(test)]
mod tests;
