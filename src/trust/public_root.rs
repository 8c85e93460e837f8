//! The default trusted root, used by every requirement that names none: the root embedded in this release, or the
//! latest one from a TUF repository.
//!
//! ```text
//! repository ─▶ tuf (is it signed, current, not older?) ─▶ Root::parse ─▶ PublicRoot ─▶ every requirement without a root
//! ```
//!
//! A failed refresh changes nothing: the last good root stays in use.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::sigstore::{Root, RootError};
use super::tuf::{Bootstrap, Files, SeenRepository, TufError};
use crate::api::vocabulary::CertificateTransparency;
use crate::metrics::Metrics;
use crate::mutex::lock;
use crate::registry::RegistryError;
use crate::registry::http::HttpRegistry;

/// Timeout for fetching all files of a repository.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after the first failure. It doubles with each further failure, up to the refresh interval.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// Maximum number of doublings, for any interval.
const MAX_DOUBLINGS: u32 = 10;

/// The default trusted root in use, shared by all requirements.
#[derive(Debug)]
pub struct PublicRoot {
    is_wanted: bool,
    fetched: Mutex<Option<Root>>,
    is_settled: AtomicBool,
    changes: watch::Sender<()>,
}

impl PublicRoot {
    /// Uses the root embedded in this release; never refreshed.
    pub fn embedded() -> Self {
        let (fetched, is_settled) = (Mutex::default(), AtomicBool::new(true));
        Self { is_wanted: false, fetched, is_settled, changes: watch::Sender::default() }
    }

    /// Creates a root that [`keep_fresh`] has yet to fetch.
    pub fn awaited() -> Self {
        Self { is_wanted: true, is_settled: AtomicBool::new(false), ..Self::embedded() }
    }

    /// Returns the root that was fetched last; `None` means that the embedded root is in use.
    pub fn fetched(&self) -> Option<Root> {
        lock(&self.fetched).clone()
    }

    /// False until the first fetch has ended: artifacts signed under a newer root must not be refused at each start.
    pub fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire)
    }

    /// True if the embedded root stands in for a configured root that could not be fetched.
    pub fn is_stand_in(&self) -> bool {
        self.is_wanted && self.fetched().is_none()
    }

    /// Returns a receiver that is notified of every change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Marks the first fetch as ended, successful or not, and notifies the receivers.
    fn settle(&self) {
        if !self.is_settled.swap(true, Ordering::AcqRel) {
            self.changes.send_replace(());
        }
    }

    /// Takes a root into use. Returns true if it differs from the one before.
    fn set(&self, root: Root) -> bool {
        let mut fetched = lock(&self.fetched);
        let is_other = fetched.as_ref().is_none_or(|before| before.fingerprint() != root.fingerprint());
        *fetched = Some(root);
        drop(fetched);
        if is_other {
            self.changes.send_replace(());
        }
        is_other
    }
}

/// TUF repository on a web server.
#[derive(Debug)]
pub struct Mirror {
    client: HttpRegistry,
    base: Url,
}

/// Error for a text that is not a valid repository address.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected http:// or https:// with a host and at most a path")]
pub struct MirrorError;

impl Mirror {
    /// Creates a mirror that is fetched with `client`, and so under that client's address and TLS rules.
    pub fn new(client: HttpRegistry, base: &str) -> Result<Self, MirrorError> {
        let mut base: Url = base.parse().map_err(|_| MirrorError)?;
        let is_plain = base.username().is_empty() && base.password().is_none() && base.query().is_none();
        let is_web = matches!(base.scheme(), "http" | "https") && base.host().is_some() && base.fragment().is_none();
        if !is_plain || !is_web {
            return Err(MirrorError);
        }
        let folder = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&folder);
        Ok(Self { client, base })
    }
}

impl Files for Mirror {
    async fn file(&self, name: &str, limit: u64) -> Result<Option<Bytes>, RegistryError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{name}", self.base.path()));
        self.client.file(&url, limit).await
    }
}

/// Settings of the refresh.
#[derive(Debug)]
pub struct Refresh<F> {
    /// Source of the repository's files.
    pub files: F,
    /// TUF root at which trust in the files begins.
    pub bootstrap: Bootstrap,
    /// Directory for the metadata seen so far.
    pub directory: PathBuf,
    /// Time between two refreshes.
    pub interval: Duration,
    /// Source of the current time.
    pub clock: fn() -> Timestamp,
}

/// Error of a refresh, after which the root in use stays.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Repository(#[from] TufError),
    #[error("the repository's trusted_root.json {0}")]
    Root(#[from] RootError),
    #[error("timed out after {TIMEOUT:?}")]
    Timeout,
}

/// Refreshes the root until `shutdown` is cancelled.
pub async fn keep_fresh<F: Files>(
    refresh: Refresh<F>,
    root: &PublicRoot,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) {
    let Refresh { files, bootstrap, directory, interval, clock } = refresh;
    let seen = SeenRepository::new(files, bootstrap, directory);
    match seen.kept(clock()).await {
        Ok((json, age)) => take(root, metrics, &json, age, clock()).unwrap_or_else(|error| report(metrics, &error)),
        // At the first start there is no kept root; an expired one counts as absent.
        Err(error) => tracing::debug!(%error, "no cached trusted root"),
    }
    let mut failures = 0_u32;
    loop {
        let fetched = tokio::time::timeout(TIMEOUT, seen.fetch(clock())).await;
        let fetched = fetched.map_err(|_| RefreshError::Timeout).and_then(|json| Ok(json?));
        match fetched.and_then(|json| take(root, metrics, &json, Duration::ZERO, clock())) {
            Ok(()) => failures = 0,
            Err(error) => {
                failures = failures.saturating_add(1);
                report(metrics, &error);
            }
        }
        root.settle();
        if tokio::time::timeout(pause(interval, failures), shutdown.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Parses a root and takes it into use, if at least one of its authorities or logs is currently valid.
fn take(root: &PublicRoot, metrics: &Metrics, json: &[u8], age: Duration, now: Timestamp) -> Result<(), RefreshError> {
    let new = Root::parse(json)?;
    new.check(now, Some(CertificateTransparency::Ignored), false).or_else(|_| new.check(now, None, true))?;
    let fingerprint = new.fingerprint().short();
    metrics.trusted_root(age);
    if root.set(new) {
        tracing::info!(%fingerprint, "switched to another trusted root");
    }
    root.settle();
    Ok(())
}

fn report(metrics: &Metrics, error: &RefreshError) {
    metrics.trusted_root_failure();
    tracing::warn!(%error, "the trusted root could not be refreshed; the last good root stays in use");
}

/// Returns the pause until the next refresh: the interval, or a shorter back-off after failures.
fn pause(interval: Duration, failures: u32) -> Duration {
    match failures {
        0 => interval,
        some => interval.min(AFTER_FAILURE * 2_u32.pow((some - 1).min(MAX_DOUBLINGS))),
    }
}

#[cfg(test)]
mod tests;
