//! Health of the operator: ready if every watch has listed its objects and works, alive if nothing is stuck.
//!
//! An unavailable API server makes the operator unready. It does not make it unhealthy, because a restart would not
//! help: stuck means that not even retries happen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::mutex::lock;

/// Time without errors after which a watch counts as working: a failing watch is retried every few seconds.
const WORKS_AFTER: Duration = Duration::from_secs(40);
/// Time that a watch may fail before the operator becomes unready.
const UNREADY_AFTER: Duration = Duration::from_secs(60);
/// Maximum time between two requests of a watch: the API server ends each after 290 s, and the client 5 s later.
const WATCH_SILENT: Duration = Duration::from_secs(480);
/// Maximum time between two heartbeats of the task that runs the controllers. The interval is one second.
const BEAT_SILENT: Duration = Duration::from_secs(60);

/// State of the operator for `/healthz` and `/readyz`.
#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Reason for not starting the watches yet.
    held_back: Option<String>,
    has_begun: bool,
    /// Watches required for readiness. The results of other watches can be read in another way.
    needed: BTreeSet<String>,
    /// Required watches that have not delivered their first full list.
    waiting: BTreeSet<String>,
    outages: BTreeMap<String, Outage>,
    /// Time of each watch's last request, by path.
    watches: BTreeMap<String, Instant>,
    beat: Option<Instant>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    last: Instant,
    cause: String,
}

impl Health {
    /// True once every required watch has delivered its first full list.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        state.has_begun && state.waiting.is_empty()
    }

    /// Returns the reason for being unready; `None` if the operator is ready.
    pub fn unready(&self, now: Instant) -> Option<String> {
        let state = self.lock();
        if let Some(reason) = &state.held_back {
            return Some(reason.clone());
        }
        if !state.has_begun {
            return Some("the watches have not begun".to_owned());
        }
        let cause = |what: &String| match state.outages.get(what) {
            Some(outage) => format!("waiting for the first list of {what}: {}", outage.cause),
            None => format!("waiting for the first list of {what}"),
        };
        let failing = |(what, outage): (&String, &Outage)| {
            let lasts = now.saturating_duration_since(outage.since) >= UNREADY_AFTER;
            let is_over = now.saturating_duration_since(outage.last) >= WORKS_AFTER;
            (lasts && !is_over).then(|| format!("watching {what} fails: {}", outage.cause))
        };
        state.waiting.first().map(cause).or_else(|| state.outages.iter().find_map(failing))
    }

    /// Returns the reason for a restart of the process; `None` if nothing is stuck.
    pub fn stuck(&self, now: Instant) -> Option<String> {
        let state = self.lock();
        if state.beat.is_some_and(|beat| now.saturating_duration_since(beat) >= BEAT_SILENT) {
            return Some("the controllers do not run".to_owned());
        }
        let is_silent = |last: &Instant| now.saturating_duration_since(*last) >= WATCH_SILENT;
        let silent = state.watches.iter().find(|(_, last)| is_silent(last));
        silent.map(|(path, _)| format!("the watch of {path} sends no request"))
    }

    /// Records a request to the API server.
    pub fn requested(&self, path: &str, now: Instant) {
        if let Some(last) = self.lock().watches.get_mut(path) {
            *last = now;
        }
    }

    /// Records that the watches cannot start yet.
    pub(super) fn hold_back(&self, reason: &str) {
        self.lock().held_back = Some(reason.to_owned());
    }

    /// Requires these first lists from now on.
    pub(super) fn await_lists(&self, lists: impl IntoIterator<Item = String>) {
        let mut state = self.lock();
        (state.held_back, state.has_begun) = (None, true);
        state.needed.extend(lists);
        state.waiting = state.needed.iter().cloned().collect();
    }

    /// Records that a watch has delivered a full list.
    pub(super) fn listed(&self, what: &str) {
        let mut state = self.lock();
        state.waiting.remove(what);
        state.outages.remove(what);
    }

    /// Records that a watch has failed.
    pub(super) fn failed(&self, what: &str, cause: &str, now: Instant) {
        let mut state = self.lock();
        if !state.needed.contains(what) {
            return;
        }
        let before = state.outages.remove(what);
        let before = before.filter(|outage| now.saturating_duration_since(outage.last) < WORKS_AFTER);
        let outage = Outage { since: before.map_or(now, |outage| outage.since), last: now, cause: cause.to_owned() };
        state.outages.insert(what.to_owned(), outage);
    }

    /// Expects requests of a watch with this path from now on.
    pub(super) fn expect_watch(&self, path: &str, now: Instant) {
        self.lock().watches.insert(path.to_owned(), now);
    }

    /// Stops expecting requests of the watch.
    pub(super) fn forget_watch(&self, path: &str) {
        self.lock().watches.remove(path);
    }

    /// Records a heartbeat of the task that runs the controllers.
    pub(super) fn beat(&self, now: Instant) {
        self.lock().beat = Some(now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each statement leaves the state consistent.
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_missing_first_list_is_reported_with_its_cause() {
        let (health, now) = (Health::default(), Instant::now());
        assert!(health.unready(now).is_some() && !health.is_ready());
        health.hold_back("the CRD is old");
        assert_eq!(health.unready(now).as_deref(), Some("the CRD is old"));
        health.await_lists(["OCIArtifacts", "OCIArtifactPolicies"].map(str::to_owned));
        health.listed("OCIArtifacts");
        health.failed("OCIArtifactPolicies", "forbidden", now);
        let reason = health.unready(now).unwrap();
        assert!(reason.contains("OCIArtifactPolicies") && reason.contains("forbidden"), "{reason}");
        health.listed("OCIArtifactPolicies");
        assert!(health.is_ready() && health.unready(now).is_none());
    }

    #[test]
    fn a_watch_that_fails_for_long_makes_unready_until_it_works() {
        let (health, start) = (Health::default(), Instant::now());
        health.await_lists(["OCIArtifacts".to_owned()]);
        health.listed("OCIArtifacts");
        health.failed("Namespaces", "forbidden", start);
        assert_eq!(health.unready(after(start, 30)), None, "labels are looked up by name then");
        for second in 0..60 {
            assert_eq!(health.unready(after(start, second)), None, "{second}");
            health.failed("OCIArtifacts", "connection refused", after(start, second));
        }
        assert!(health.unready(after(start, 61)).is_some_and(|reason| reason.contains("connection refused")));
        assert_eq!(health.unready(after(start, 101)), None, "no error for so long: it works");
        health.failed("OCIArtifacts", "connection refused", after(start, 102));
        assert_eq!(health.unready(after(start, 103)), None, "another outage");
    }

    #[test]
    fn a_silent_watch_and_a_missing_heartbeat_count_as_stuck() {
        let (health, start) = (Health::default(), Instant::now());
        assert_eq!(health.stuck(after(start, 9999)), None, "not begun");
        health.beat(start);
        health.expect_watch("/api/v1/configmaps", start);
        health.requested("/api/v1/configmaps", after(start, 300));
        health.requested("/api/v1/secrets", after(start, 300));
        assert_eq!(health.stuck(after(start, 59)), None);
        assert!(health.stuck(after(start, 60)).is_some());
        health.beat(after(start, 770));
        assert_eq!(health.stuck(after(start, 779)), None);
        let reason = health.stuck(after(start, 780)).unwrap();
        assert!(reason.contains("/api/v1/configmaps"), "{reason}");
        health.forget_watch("/api/v1/configmaps");
        assert_eq!(health.stuck(after(start, 800)), None);
    }
}
