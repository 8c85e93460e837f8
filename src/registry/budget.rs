//! What one host may be asked for, and when: a pace, pauses that it asked for, and no hammering of one that is dead.
//!
//! A host is `scheme://name:port`. What is known of it is shared by all objects, so only what no
//! object can cause alone counts against it: not a failed TLS handshake, whose terms an object names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::RegistryError;
use crate::backoff::Backoff;
use crate::metrics::Metrics;

/// Seconds of the steady pace that may be used up at once: a restart is not slowed down.
const BURST_SECONDS: u32 = 10;
/// Failures in a row after which a host is only probed.
const DEAD_AFTER: u32 = 5;
/// Pauses before a dead host is probed.
const PROBE: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
/// The same for a host that is overloaded and does not say for how long.
const OVERLOADED: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// Pause of those who find a probe under way.
const BEHIND_PROBE: Duration = Duration::from_secs(10);
/// A request that is given up after this long without an answer counts as a failure of the host.
const UNANSWERED: Duration = Duration::from_secs(5);
/// Hosts are named by tenants: from this many on, those of which nothing is to be remembered are forgotten.
const MAX_HOSTS: usize = 1024;

/// What is known of all hosts.
#[derive(Debug)]
pub(super) struct Budget {
    hosts: Mutex<HashMap<String, Host>>,
    /// Time between two requests at the steady pace.
    spacing: Duration,
    metrics: Arc<Metrics>,
}

/// What is known of one host.
#[derive(Debug, Default)]
struct Host {
    /// When the next request would be due if all before it had kept the pace (the GCRA's theoretical arrival time).
    due: Option<Instant>,
    closed: Option<Closed>,
    /// Failures, or requests to slow down, in a row.
    failures: u32,
    slowdowns: u32,
}

/// A host that is not asked until then.
#[derive(Debug)]
struct Closed {
    until: Instant,
    why: Why,
}

#[derive(Clone, Debug)]
enum Why {
    /// It answered 429 or 503.
    Overloaded,
    /// It does not answer; the text says what was seen. One request at a time is let through to look again.
    Dead { problem: String, probing: bool },
}

/// How a request ended, as far as the host is to blame.
#[derive(Debug)]
pub(super) enum Ended {
    /// With an answer.
    Answered,
    /// With the wish to be left alone, for so long if it says.
    Overloaded(Option<Duration>),
    /// With nothing, or with a gateway's word that there is nothing behind it.
    Dead(String),
    /// With something that says nothing about the host.
    Neither,
}

/// The right to send one request; reports how it ended, or that it was given up.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    budget: &'a Budget,
    host: String,
    since: Instant,
    is_probe: bool,
    ended: bool,
}

/// What a host's state allows.
#[derive(Debug)]
enum Admission {
    After { wait: Duration, is_probe: bool },
    Not { why: Why, retry_after: Duration },
}

impl Budget {
    /// `per_second` is the steady pace for each host.
    pub(super) fn new(per_second: u32, metrics: Arc<Metrics>) -> Self {
        let spacing = Duration::from_secs(1) / per_second.max(1);
        Self { hosts: Mutex::default(), spacing, metrics }
    }

    /// Waits for the host's pace. Fails at once where the host is not to be asked now.
    pub(super) async fn admit(&self, origin: &str, host: &str) -> Result<Permit<'_>, RegistryError> {
        let now = Instant::now();
        let admission = {
            let mut hosts = self.lock();
            if hosts.len() >= MAX_HOSTS {
                hosts.retain(|_, state| !state.is_forgettable(now));
            }
            hosts.entry(origin.to_owned()).or_default().admit(now, self.spacing)
        };
        let host = host.to_owned();
        match admission {
            Admission::After { wait, is_probe } => {
                if !wait.is_zero() {
                    self.metrics.held_back("pace");
                    pause(wait).await;
                }
                Ok(Permit { budget: self, host: origin.to_owned(), since: Instant::now(), is_probe, ended: false })
            }
            Admission::Not { why: Why::Overloaded, retry_after } => {
                self.metrics.held_back("overloaded");
                Err(RegistryError::RateLimited { host, retry_after: Some(retry_after) })
            }
            Admission::Not { why: Why::Dead { problem, .. }, retry_after } => {
                self.metrics.held_back("dead");
                Err(RegistryError::HeldBack { host, problem, retry_after })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        // Each statement leaves the map whole.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// Reports how the request ended.
    pub(super) fn ended(mut self, ended: &Ended) {
        self.report(ended);
    }

    fn report(&mut self, ended: &Ended) {
        self.ended = true;
        let mut hosts = self.budget.lock();
        let Some(host) = hosts.get_mut(&self.host) else { return };
        host.ended(Instant::now(), ended, self.is_probe);
        let closed = hosts.values().filter(|host| host.closed.is_some()).count();
        drop(hosts);
        self.budget.metrics.hosts_closed(closed);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let unanswered = self.since.elapsed() >= UNANSWERED;
            let ended = if unanswered { Ended::Dead("it did not answer in time".to_owned()) } else { Ended::Neither };
            self.report(&ended);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the pace")]
async fn pause(wait: Duration) {
    tokio::time::sleep(wait).await;
}

impl Host {
    fn admit(&mut self, now: Instant, spacing: Duration) -> Admission {
        match &mut self.closed {
            Some(Closed { until, why }) if *until > now => {
                return Admission::Not { why: why.clone(), retry_after: until.saturating_duration_since(now) };
            }
            Some(Closed { why: why @ Why::Dead { probing: true, .. }, .. }) => {
                return Admission::Not { why: why.clone(), retry_after: BEHIND_PROBE };
            }
            Some(Closed { why: Why::Dead { probing, .. }, .. }) => {
                *probing = true;
                return Admission::After { wait: Duration::ZERO, is_probe: true };
            }
            Some(Closed { why: Why::Overloaded, .. }) => self.closed = None,
            None => {}
        }
        let due = self.due.map_or(now, |due| due.max(now)) + spacing;
        self.due = Some(due);
        let burst = spacing * rate(spacing).saturating_mul(BURST_SECONDS);
        Admission::After { wait: due.saturating_duration_since(now).saturating_sub(burst), is_probe: false }
    }

    fn ended(&mut self, now: Instant, ended: &Ended, is_probe: bool) {
        match ended {
            // An answer to what was asked before the host wished for a pause.
            Ended::Answered if matches!(&self.closed, Some(Closed { why: Why::Overloaded, .. })) => {}
            Ended::Answered => *self = Self { due: self.due, ..Self::default() },
            Ended::Overloaded(wanted) => {
                // Those that were under way meanwhile report the same thing, not a worse one.
                if self.closed.is_none() {
                    self.slowdowns = self.slowdowns.saturating_add(1);
                }
                let until = now + wanted.unwrap_or_else(|| OVERLOADED.pause(self.slowdowns));
                let until = self.closed.as_ref().map_or(until, |closed| closed.until.max(until));
                self.closed = Some(Closed { until, why: Why::Overloaded });
            }
            Ended::Dead(problem) => {
                let was_closed = self.closed.is_some();
                if !was_closed || is_probe {
                    self.failures = self.failures.saturating_add(1);
                }
                if self.failures >= DEAD_AFTER && (!was_closed || is_probe) {
                    let until = now + PROBE.pause(self.failures - DEAD_AFTER + 1);
                    self.closed = Some(Closed { until, why: Why::Dead { problem: problem.clone(), probing: false } });
                }
            }
            Ended::Neither => {
                if let (true, Some(Closed { why: Why::Dead { probing, .. }, .. })) = (is_probe, &mut self.closed) {
                    *probing = false;
                }
            }
        }
    }

    fn is_forgettable(&self, now: Instant) -> bool {
        let at_rest = self.due.is_none_or(|due| due <= now);
        let open = self.closed.as_ref().is_none_or(|closed| closed.until <= now);
        at_rest && open
    }
}

fn rate(spacing: Duration) -> u32 {
    u32::try_from(Duration::from_secs(1).as_nanos() / spacing.as_nanos().max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACING: Duration = Duration::from_millis(10);

    fn is_let_in(host: &mut Host, now: Instant) -> bool {
        matches!(host.admit(now, SPACING), Admission::After { .. })
    }

    fn dead() -> Ended {
        Ended::Dead("connection refused".to_owned())
    }

    #[test]
    fn a_burst_goes_through_and_then_the_pace_is_kept() {
        let (mut host, now) = (Host::default(), Instant::now());
        let waits: Vec<Duration> = (0..1200)
            .map(|_| match host.admit(now, SPACING) {
                Admission::After { wait, .. } => wait,
                Admission::Not { .. } => panic!("closed"),
            })
            .collect();
        assert!(waits[..1000].iter().all(Duration::is_zero), "ten seconds' worth at once");
        assert_eq!(waits[1000], SPACING);
        assert_eq!(waits[1199], SPACING * 200);
        assert!(
            matches!(host.admit(now + Duration::from_secs(20), SPACING), Admission::After { wait, .. } if wait.is_zero())
        );
    }

    #[test]
    fn a_dead_host_is_probed_by_one_at_a_time_and_less_and_less_often() {
        let (mut host, mut now) = (Host::default(), Instant::now());
        for _ in 0..DEAD_AFTER {
            assert!(is_let_in(&mut host, now));
            host.ended(now, &dead(), false);
        }
        for pause in [5, 10, 20, 40, 60, 60] {
            assert!(!is_let_in(&mut host, now), "closed");
            now += Duration::from_secs(pause - 1);
            assert!(!is_let_in(&mut host, now), "for {pause} s");
            now += Duration::from_secs(1);
            assert!(is_let_in(&mut host, now), "a probe");
            assert!(!is_let_in(&mut host, now), "only one");
            host.ended(now, &dead(), true);
        }
        now += Duration::from_secs(60);
        assert!(is_let_in(&mut host, now));
        host.ended(now, &Ended::Neither, true);
        assert!(is_let_in(&mut host, now), "a probe that was given up leaves its place");
        host.ended(now, &Ended::Answered, true);
        assert!(is_let_in(&mut host, now) && is_let_in(&mut host, now), "alive");
    }

    #[test]
    fn an_answer_between_failures_keeps_a_host_open() {
        let (mut host, now) = (Host::default(), Instant::now());
        for round in 0..20 {
            assert!(is_let_in(&mut host, now), "{round}");
            let ended = if round % 4 == 3 { Ended::Answered } else { dead() };
            host.ended(now, &ended, false);
        }
    }

    #[test]
    fn a_host_that_asks_for_a_pause_gets_it_from_everybody() {
        let (mut host, now) = (Host::default(), Instant::now());
        let seconds = Duration::from_secs;
        for _ in 0..3 {
            assert!(is_let_in(&mut host, now), "under way at the same time");
        }
        host.ended(now, &Ended::Overloaded(Some(seconds(30))), false);
        host.ended(now, &Ended::Overloaded(Some(seconds(10))), false);
        host.ended(now, &Ended::Answered, false);
        assert!(!is_let_in(&mut host, now + seconds(29)), "the longest counts, and a late answer does not end it");
        assert!(is_let_in(&mut host, now + seconds(30)));
        // Without a time, the pauses grow.
        let mut now = now + seconds(30);
        for pause in [2, 4, 8] {
            host.ended(now, &Ended::Overloaded(None), false);
            assert!(!is_let_in(&mut host, now + seconds(pause - 1)));
            now += seconds(pause);
            assert!(is_let_in(&mut host, now), "after {pause} s");
        }
    }
}
