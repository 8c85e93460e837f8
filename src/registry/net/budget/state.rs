//! The state of a host, or of an account at a host: open, slowed down, or dead. Pure; time is an argument.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// Burst allowance, in seconds of the steady pace, so that a restart is not slowed down.
const BURST_SECONDS: u32 = 10;
/// Number of consecutive failures after which a host is only probed.
const DEAD_AFTER: u32 = 5;
/// Pauses between probes of a dead host.
const PROBE: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
/// Pauses after a rate limit. A pass makes about three requests, so an object makes at most six per minute, even if
/// the registry names one second each time.
const SLOWER: Backoff = Backoff::new(Duration::from_secs(20), Duration::from_secs(60));
/// Pauses after a 503 without `Retry-After`, which more often means a restart than a limit.
const BUSY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// Longest pause that a registry can request.
const LONGEST: Duration = Duration::from_secs(3600);
/// Longest pause that a host named by a redirect can request: each redirect can name a new host.
const LONGEST_ELSEWHERE: Duration = Duration::from_secs(60);
/// Time after the end of a pause within which the next pause is longer. Successful responses in between do not
/// shorten it: a registry can limit blobs alone.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Pause of a request that finds a probe in progress.
const BEHIND_PROBE: Duration = Duration::from_secs(10);

/// State of a host, or of an account at a host.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Time at which the next request would be due if all earlier ones had kept the pace (the GCRA's theoretical
    /// arrival time). Used for hosts only.
    due: Option<Instant>,
    closed: Option<Closed>,
    /// Number of consecutive failures.
    failures: u32,
    /// Number of pauses in a row, each requested within [`REMEMBERED`] of the one before, and the end of the last
    /// pause.
    slowdowns: u32,
    slow_until: Option<Instant>,
}

/// State in which no requests are allowed until a time.
#[derive(Debug)]
struct Closed {
    until: Instant,
    cause: Cause,
}

#[derive(Clone, Debug)]
pub(super) enum Cause {
    /// 429, or 503 with `Retry-After`.
    Limited,
    /// 503 without `Retry-After`.
    Busy,
    /// No response; `problem` describes the last failure. One request at a time is admitted as a probe.
    Dead { problem: String, probing: bool },
}

/// A request by the host for a pause.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct PauseRequest {
    /// Length of the pause, if the host names one.
    pub(in crate::registry) wanted: Option<Duration>,
    /// True for 429, and for 503 with `Retry-After`.
    pub(in crate::registry) is_limit: bool,
    /// True if a registry redirected to the host.
    pub(in crate::registry) is_elsewhere: bool,
}

/// Meaning of a request's outcome for a host or account.
#[derive(Debug)]
pub(super) enum Signal<'a> {
    Alive,
    /// A response that requests a pause.
    Overloaded(PauseRequest),
    /// No response, with the problem.
    Unreachable(&'a str),
    /// No information about the host or account.
    Unknown,
}

impl PauseRequest {
    /// Returns the pause after `slowdowns` in a row: at least our own pause, even if the host names a shorter one.
    fn pause(self, slowdowns: u32) -> Duration {
        let own = if self.is_limit { SLOWER } else { BUSY }.pause(slowdowns);
        let longest = if self.is_elsewhere { LONGEST_ELSEWHERE } else { LONGEST };
        self.wanted.map_or(own, |wanted| wanted.max(own)).min(longest)
    }
}

impl State {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    fn is_slowed(&self) -> bool {
        matches!(&self.closed, Some(Closed { cause: Cause::Limited | Cause::Busy, .. }))
    }

    /// Returns the cause and the remaining time if no request is allowed now.
    pub(super) fn refusal(&self, now: Instant) -> Option<(Cause, Duration)> {
        match self.closed.as_ref()? {
            Closed { until, cause } if *until > now => Some((cause.clone(), until.saturating_duration_since(now))),
            Closed { cause: cause @ Cause::Dead { probing: true, .. }, .. } => Some((cause.clone(), BEHIND_PROBE)),
            Closed { .. } => None,
        }
    }

    /// Admits a request. Returns true if it is the probe.
    pub(super) fn enter(&mut self) -> bool {
        match &mut self.closed {
            Some(Closed { cause: Cause::Dead { probing, .. }, .. }) => {
                *probing = true;
                true
            }
            Some(Closed { cause: Cause::Limited | Cause::Busy, .. }) => {
                self.closed = None;
                false
            }
            None => false,
        }
    }

    /// Returns the time that a request must wait to keep the pace.
    pub(super) fn wait(&mut self, now: Instant, spacing: Duration, is_probe: bool) -> Duration {
        if is_probe {
            return Duration::ZERO;
        }
        let due = self.due.map_or(now, |due| due.max(now)) + spacing;
        self.due = Some(due);
        let burst = spacing * rate(spacing).saturating_mul(BURST_SECONDS);
        due.saturating_duration_since(now).saturating_sub(burst)
    }

    /// Applies the outcome of a request.
    pub(super) fn record(&mut self, now: Instant, signal: &Signal<'_>, is_probe: bool) {
        match signal {
            // A response to a request sent before the pause was requested.
            Signal::Alive if self.is_slowed() => {}
            Signal::Alive => (self.closed, self.failures) = (None, 0),
            Signal::Overloaded(request) => self.slow_down(now, *request),
            Signal::Unreachable(problem) => {
                let was_closed = self.closed.is_some();
                if !was_closed || is_probe {
                    self.failures = self.failures.saturating_add(1);
                }
                if self.failures >= DEAD_AFTER && (!was_closed || is_probe) {
                    let until = now + PROBE.pause(self.failures - DEAD_AFTER + 1);
                    let cause = Cause::Dead { problem: (*problem).to_owned(), probing: false };
                    self.closed = Some(Closed { until, cause });
                }
            }
            Signal::Unknown => {
                if let (true, Some(Closed { cause: Cause::Dead { probing, .. }, .. })) = (is_probe, &mut self.closed) {
                    *probing = false;
                }
            }
        }
    }

    fn slow_down(&mut self, now: Instant, request: PauseRequest) {
        // Requests that were in flight report the same limit again, not a new one.
        if !self.is_slowed() {
            let is_next = self.slow_until.is_some_and(|until| now.saturating_duration_since(until) < REMEMBERED);
            self.slowdowns = if is_next { self.slowdowns.saturating_add(1) } else { 1 };
        }
        let until = now + request.pause(self.slowdowns);
        let until = self.slow_until.map_or(until, |before| before.max(until));
        self.failures = 0;
        self.slow_until = Some(until);
        self.closed = Some(Closed { until, cause: if request.is_limit { Cause::Limited } else { Cause::Busy } });
    }
}

fn rate(spacing: Duration) -> u32 {
    u32::try_from(Duration::from_secs(1).as_nanos() / spacing.as_nanos().max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACING: Duration = Duration::from_millis(10);

    fn is_let_in(state: &mut State, now: Instant) -> bool {
        let is_open = state.refusal(now).is_none();
        if is_open {
            state.enter();
        }
        is_open
    }

    fn limit(wanted: Option<u64>) -> PauseRequest {
        PauseRequest { wanted: wanted.map(Duration::from_secs), is_limit: true, is_elsewhere: false }
    }

    #[test]
    fn a_burst_passes_and_then_requests_are_paced() {
        let (mut host, now) = (State::default(), Instant::now());
        let waits: Vec<Duration> = (0..1200).map(|_| host.wait(now, SPACING, false)).collect();
        assert!(waits[..1000].iter().all(Duration::is_zero), "ten seconds' worth at once");
        assert_eq!(waits[1000], SPACING);
        assert_eq!(waits[1199], SPACING * 200);
        assert!(host.wait(now + Duration::from_secs(20), SPACING, false).is_zero());
    }

    #[test]
    fn a_dead_host_is_probed_one_request_at_a_time_with_growing_pauses() {
        let (mut host, mut now) = (State::default(), Instant::now());
        let dead = Signal::Unreachable("connection refused");
        for _ in 0..DEAD_AFTER {
            assert!(is_let_in(&mut host, now));
            host.record(now, &dead, false);
        }
        for pause in [5, 10, 20, 40, 60, 60] {
            assert!(!is_let_in(&mut host, now), "closed");
            now += Duration::from_secs(pause - 1);
            assert!(!is_let_in(&mut host, now), "for {pause} s");
            now += Duration::from_secs(1);
            assert!(is_let_in(&mut host, now), "a probe");
            assert!(!is_let_in(&mut host, now), "only one");
            host.record(now, &dead, true);
        }
        now += Duration::from_secs(60);
        assert!(is_let_in(&mut host, now));
        host.record(now, &Signal::Unknown, true);
        assert!(is_let_in(&mut host, now), "a probe that was given up leaves its place");
        host.record(now, &Signal::Alive, true);
        assert!(is_let_in(&mut host, now) && is_let_in(&mut host, now), "alive");
    }

    #[test]
    fn a_response_between_failures_keeps_a_host_open() {
        let (mut host, now) = (State::default(), Instant::now());
        for round in 0..20 {
            assert!(is_let_in(&mut host, now), "{round}");
            let signal = if round % 4 == 3 { Signal::Alive } else { Signal::Unreachable("connection refused") };
            host.record(now, &signal, false);
        }
    }

    #[test]
    fn the_longest_requested_pause_counts_and_late_responses_do_not_end_it() {
        let (mut account, now) = (State::default(), Instant::now());
        for wanted in [30, 25, 1] {
            account.record(now, &Signal::Overloaded(limit(Some(wanted))), false);
        }
        account.record(now, &Signal::Alive, false);
        assert!(!is_let_in(&mut account, now + Duration::from_secs(29)));
        assert!(is_let_in(&mut account, now + Duration::from_secs(30)));
    }

    #[test]
    fn a_requested_pause_is_at_least_our_own_and_at_most_an_hour() {
        let rows = [
            (limit(None), 1, 20),
            (limit(Some(1)), 1, 20),
            (limit(Some(1)), 2, 40),
            (limit(Some(1)), 30, 60),
            (limit(Some(90)), 1, 90),
            (limit(Some(u64::MAX)), 1, 3600),
            (PauseRequest { is_limit: false, ..limit(None) }, 3, 4),
            (PauseRequest { is_elsewhere: true, ..limit(Some(3600)) }, 1, 60),
        ];
        for (request, slowdowns, want) in rows {
            assert_eq!(request.pause(slowdowns), Duration::from_secs(want), "{request:?}, {slowdowns}");
        }
    }

    /// The worst case: all objects start at the first allowed moment, so that each makes all three requests of its
    /// pass before the first blob is answered. Requests for tags and manifests succeed in between.
    #[test]
    fn a_hundred_objects_with_limited_blobs_send_six_requests_a_minute_each() {
        let (mut account, start) = (State::default(), Instant::now());
        let mut asked = Vec::new();
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            let passes = (0..100).filter(|_| is_let_in(&mut account, now)).count();
            for _ in 0..passes {
                account.record(now, &Signal::Alive, false);
                account.record(now, &Signal::Alive, false);
                asked.extend([second; 3]);
            }
            for _ in 0..passes {
                account.record(now, &Signal::Overloaded(limit(Some(1))), false);
            }
        }
        let within = |from: u64| asked.iter().filter(|at| (from..from + 60).contains(*at)).count();
        let most = (0..=540).map(within).max().unwrap();
        assert!((300..=600).contains(&most), "{most} requests of 100 objects in a minute");
    }

    #[test]
    fn an_account_that_was_quiet_for_long_begins_with_a_short_pause() {
        let (mut account, mut now) = (State::default(), Instant::now());
        let mut pause = |account: &mut State, quiet: u64| {
            now += Duration::from_secs(quiet);
            assert!(is_let_in(account, now));
            account.record(now, &Signal::Overloaded(limit(None)), false);
            let left = account.refusal(now).unwrap().1;
            now += left;
            left.as_secs()
        };
        let pauses = [0, 0, 299, 300].map(|quiet| pause(&mut account, quiet));
        assert_eq!(pauses, [20, 40, 60, 20]);
    }
}
