//! Watches that fail independently and recover quickly.
//!
//! ```text
//! watcher ─▶ event ─▶ passed on
//!    └─▶ error ─▶ logged once per outage ─▶ pause of this watch ─▶ the watcher resumes, or starts with a new list
//! ```
//!
//! `Controller` stops all of its triggers while one of them pauses after an error, so no error leaves this module. A
//! watch that cannot be resumed (410, or a version unknown to the API server after a restored etcd) begins with a new
//! list: kube's watcher does so only for an error inside the stream, and otherwise repeats the refused request forever.

use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use kube::Api;
use kube::core::Status;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;

use super::health::Health;
use crate::backoff::Backoff;
use crate::failure::causes;
use crate::metrics::Metrics;

/// Back-off of a failed watch. Short, so that a recovered API server is noticed within a few seconds.
const PAUSE: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
/// Pauses after many consecutive refusals: rights and CRDs change rarely.
const REFUSED: Backoff = Backoff::new(Duration::from_secs(15), Duration::from_secs(15));
const REFUSED_AFTER: u32 = 30;
/// Consecutive refused resumptions after which a watch begins with a new list.
const RESUMPTIONS: u32 = 3;
/// Time without errors after which the next error belongs to another outage.
const OUTAGE_OVER: Duration = Duration::from_secs(60);

/// State shared by all watches.
#[derive(Clone, Debug)]
pub(super) struct Watching {
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
}

impl Watching {
    /// Returns the events of a watch. `what` is its name in the log and in `/readyz`.
    pub(super) fn events<K>(&self, what: &str, api: Api<K>, config: watcher::Config) -> Events<K>
    where
        K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let path = api.resource_url().to_owned();
        self.recovering(what, path, move || watcher(api.clone(), config.clone()).boxed())
    }

    fn recovering<K>(&self, what: &str, path: String, open: impl Fn() -> Events<K> + Send + 'static) -> Events<K>
    where
        K: Send + 'static,
    {
        self.health.expect_watch(&path, Instant::now());
        let (what, events, trouble) = (what.to_owned(), open(), Trouble::default());
        let state = Recovering { what, path, events, open, trouble, shared: self.clone() };
        stream::unfold(state, |mut state| async move { state.next().await.map(|event| (Ok(event), state)) }).boxed()
    }
}

/// Events of a watch, none of which is an error.
pub(super) type Events<K> = BoxStream<'static, watcher::Result<Event<K>>>;

struct Recovering<K, O> {
    what: String,
    path: String,
    open: O,
    events: Events<K>,
    trouble: Trouble,
    shared: Watching,
}

impl<K, O> Drop for Recovering<K, O> {
    fn drop(&mut self) {
        self.shared.health.forget_watch(&self.path);
    }
}

impl<K, O: Fn() -> Events<K>> Recovering<K, O> {
    #[expect(clippy::disallowed_methods, reason = "this is the timer")]
    async fn next(&mut self) -> Option<Event<K>> {
        loop {
            match self.events.next().await? {
                Ok(event) => {
                    // Init comes before the list, which may still fail.
                    if !matches!(event, Event::Init) && self.trouble.end() {
                        tracing::info!(kind = self.what, "the watch works again");
                    }
                    if matches!(event, Event::InitDone) {
                        self.shared.health.listed(&self.what);
                    }
                    return Some(event);
                }
                Err(error) => {
                    let (now, cause) = (Instant::now(), causes(&error));
                    self.shared.metrics.watch_error();
                    self.shared.health.failed(&self.what, &cause, now);
                    let Verdict { pause, is_new, begins_anew } = self.trouble.failed(&error, now);
                    if is_new {
                        tracing::warn!(kind = self.what, %cause, "the watch failed; retried until it works");
                    }
                    tokio::time::sleep(jittered(pause, random())).await;
                    if begins_anew {
                        self.events = (self.open)();
                    }
                }
            }
        }
    }
}

/// Next step after an error.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    pause: Duration,
    /// True for the first error of an outage.
    is_new: bool,
    /// True if the watch cannot be resumed and begins with a new list.
    begins_anew: bool,
}

/// Consecutive errors of one watch.
#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    resumptions: u32,
    last: Option<Instant>,
}

impl Trouble {
    fn failed(&mut self, error: &watcher::Error, now: Instant) -> Verdict {
        if self.last.is_none_or(|last| now.saturating_duration_since(last) > OUTAGE_OVER) {
            *self = Self::default();
        }
        self.last = Some(now);
        self.failures = self.failures.saturating_add(1);
        let status = status(error);
        let is_resumption = matches!(error, watcher::Error::WatchStartFailed(_)) && status.is_some();
        self.resumptions = if is_resumption { self.resumptions.saturating_add(1) } else { 0 };
        let is_gone = status.is_some_and(|status| status.code == 410);
        let is_refused = status.is_some_and(|status| matches!(status.code, 401 | 403 | 404));
        let begins_anew = is_resumption && (is_gone || self.resumptions >= RESUMPTIONS);
        if begins_anew {
            self.resumptions = 0;
        }
        let pauses = if is_refused && self.failures > REFUSED_AFTER { REFUSED } else { PAUSE };
        // A forgotten version is not a fault of the API server; a new list helps at once.
        let pause = if is_gone { PAUSE.pause(1) } else { pauses.pause(self.failures) };
        Verdict { pause, is_new: self.failures == 1, begins_anew }
    }

    /// Ends the series of errors; returns true if there was one.
    fn end(&mut self) -> bool {
        std::mem::take(self).failures > 0
    }
}

/// Returns the API server's answer in an error.
fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            if let kube::Error::Api(status) = error {
                Some(status)
            } else {
                None
            }
        }
        watcher::Error::WatchError(status) => Some(status),
        watcher::Error::NoResourceVersion => None,
    }
}

/// Shortens a pause to between half and all of it, so that watches that failed together do not retry together.
pub(super) fn jittered(pause: Duration, random: u64) -> Duration {
    let thousandth = u32::try_from(random % 501).unwrap_or_default() + 500;
    pause.saturating_mul(thousandth) / 1000
}

/// Returns a number that differs each time. Suitable for jitter only.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16) -> kube::Error {
        kube::Error::Api(Status::failure("x", "y").with_code(code).boxed())
    }

    #[test]
    fn an_api_server_that_is_back_is_noticed_within_seconds() {
        let mut trouble = Trouble::default();
        let (start, mut passed) = (Instant::now(), Duration::ZERO);
        let lost = || watcher::Error::WatchFailed(kube::Error::LinesCodecMaxLineLengthExceeded);
        for number in 0..100 {
            let verdict = trouble.failed(&lost(), start + passed);
            assert_eq!(verdict.is_new, number == 0, "one line for an outage");
            assert!(verdict.pause <= Duration::from_secs(2) && !verdict.begins_anew, "{verdict:?}");
            passed += verdict.pause;
        }
        assert!(trouble.end() && !trouble.end());
        assert!(trouble.failed(&lost(), start + passed).is_new, "it had ended");
        let later = start + passed + OUTAGE_OVER + Duration::from_secs(1);
        assert!(trouble.failed(&lost(), later).is_new, "a quiet watch shows no end");
    }

    #[test]
    fn a_watch_that_cannot_be_resumed_begins_with_a_new_list() {
        let now = Instant::now();
        let mut trouble = Trouble::default();
        assert!(trouble.failed(&watcher::Error::WatchStartFailed(answer(410)), now).begins_anew);
        for (number, wanted) in [(0, false), (1, false), (2, true), (3, false)] {
            let verdict = trouble.failed(&watcher::Error::WatchStartFailed(answer(504)), now);
            assert_eq!(verdict.begins_anew, wanted, "{number}");
        }
        // The watcher recovers by itself, or there is nothing to resume.
        let gone = Status::failure("x", "y").with_code(410).boxed();
        for error in [watcher::Error::WatchError(gone), watcher::Error::InitialListFailed(answer(500))] {
            assert!((0..9).all(|_| !trouble.failed(&error, now).begins_anew), "{error}");
        }
    }

    #[test]
    fn a_refused_watch_is_retried_rarely_in_the_end() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        let error = watcher::Error::InitialListFailed(answer(403));
        let pauses: Vec<_> = (0..60).map(|_| trouble.failed(&error, now).pause.as_secs()).collect();
        assert!(pauses[..30].iter().all(|pause| *pause <= 2) && pauses[30..].iter().all(|pause| *pause == 15));
    }

    #[test]
    fn a_failing_watch_delays_no_other_and_never_ends() {
        let failing = move || {
            let error = || Err(watcher::Error::WatchFailed(answer(500)));
            stream::iter([error(), error(), Ok(Event::Apply(1)), Ok(Event::Init)]).chain(stream::pending()).boxed()
        };
        let watching = Watching { metrics: Arc::default(), health: Arc::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let events = runtime.block_on(async {
            let events = watching.recovering("x", "/x".to_owned(), failing).take(2).collect::<Vec<_>>();
            tokio::time::timeout(Duration::from_secs(10), events).await.unwrap()
        });
        assert!(events.iter().all(Result::is_ok) && events.len() == 2, "{events:?}");
        assert!(watching.metrics.encode().unwrap().contains("supercargo_watch_errors_total 2"));
    }

    #[test]
    fn pauses_differ_and_the_cause_is_named() {
        let pause = Duration::from_secs(2);
        assert_eq!((jittered(pause, 0).as_millis(), jittered(pause, 500).as_millis()), (1000, 2000));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = kube::Error::Service(Box::new(refused));
        assert!(causes(&watcher::Error::WatchFailed(error)).contains("connection refused"));
    }
}
