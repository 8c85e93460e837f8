//! The state of a host, or of an account at one: open, slowed down, or dead. Pure; time is an argument.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// Seconds of the steady pace that may be used up at once: a restart is not slowed down.
const BURST_SECONDS: u32 = 10;
/// Failures in a row after which a host is only probed.
const DEAD_AFTER: u32 = 5;
/// Pauses before a dead host is probed.
const PROBE: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
/// Pauses after a request to slow down. A pass is about three requests, so an object makes at most six a minute also where
/// the registry names a second each time.
const SLOWER: Backoff = Backoff::new(Duration::from_secs(20), Duration::from_secs(60));
/// Pauses after a 503 without a time, which is more often a restart than a limit.
const BUSY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// Longest pause that a registry can ask for.
const LONGEST: Duration = Duration::from_secs(3600);
/// The same for a host that a registry sent us to: each redirect can name a new one.
const LONGEST_ELSEWHERE: Duration = Duration::from_secs(60);
/// Time after the end of a pause in which another one is longer. Answers in between do not shorten it: a registry can limit
/// blobs alone.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Pause of those who find a probe under way.
const BEHIND_PROBE: Duration = Duration::from_secs(10);

/// State of a host, or of an account at one.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Time at which the next request would be due if all before it had kept the pace (the GCRA's theoretical arrival time). Of
    /// hosts only.
    due: Option<Instant>,
    closed: Option<Closed>,
    /// Failures in a row.
    failures: u32,
    /// Requests to slow down, each within [`REMEMBERED`] of the pause before it, and the end of the last pause.
    slowdowns: u32,
    slow_until: Option<Instant>,
}

/// No requests until then.
#[derive(Debug)]
struct Closed {
    until: Instant,
    why: Why,
}

#[derive(Clone, Debug)]
pub(super) enum Why {
    /// It answered 429, or 503 with a time.
    Limited,
    /// It answered 503.
    Busy,
    /// It does not answer; the text says what was seen. One request at a time is let through to look again.
    Dead { problem: String, probing: bool },
}

/// A wish to be left alone.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Wish {
    /// For so long, if it says.
    pub(in crate::registry) wanted: Option<Duration>,
    /// True for 429, and for 503 with a time.
    pub(in crate::registry) is_limit: bool,
    /// True where a registry has sent us there.
    pub(in crate::registry) is_elsewhere: bool,
}

/// Meaning of the end of a request for a host, or for an account there.
#[derive(Debug)]
pub(super) enum Word<'a> {
    Alive,
    Slower(Wish),
    Gone(&'a str),
    Nothing,
}

impl Wish {
    /// The pause after so many of them in a row: at least the own one, whatever the registry says.
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
        matches!(&self.closed, Some(Closed { why: Why::Limited | Why::Busy, .. }))
    }

    /// The cause, and the time left, where no request may be made now.
    pub(super) fn refusal(&self, now: Instant) -> Option<(Why, Duration)> {
        match self.closed.as_ref()? {
            Closed { until, why } if *until > now => Some((why.clone(), until.saturating_duration_since(now))),
            Closed { why: why @ Why::Dead { probing: true, .. }, .. } => Some((why.clone(), BEHIND_PROBE)),
            Closed { .. } => None,
        }
    }

    /// Lets a request through. True where it is the probe.
    pub(super) fn enter(&mut self) -> bool {
        match &mut self.closed {
            Some(Closed { why: Why::Dead { probing, .. }, .. }) => {
                *probing = true;
                true
            }
            Some(Closed { why: Why::Limited | Why::Busy, .. }) => {
                self.closed = None;
                false
            }
            None => false,
        }
    }

    /// The time that the pace has a request wait for.
    pub(super) fn wait(&mut self, now: Instant, spacing: Duration, is_probe: bool) -> Duration {
        if is_probe {
            return Duration::ZERO;
        }
        let due = self.due.map_or(now, |due| due.max(now)) + spacing;
        self.due = Some(due);
        let burst = spacing * rate(spacing).saturating_mul(BURST_SECONDS);
        due.saturating_duration_since(now).saturating_sub(burst)
    }

    pub(super) fn hear(&mut self, now: Instant, word: &Word<'_>, is_probe: bool) {
        match word {
            // An answer to what was asked before the registry wished for a pause.
            Word::Alive if self.is_slowed() => {}
            Word::Alive => (self.closed, self.failures) = (None, 0),
            Word::Slower(wish) => self.slow_down(now, *wish),
            Word::Gone(problem) => {
                let was_closed = self.closed.is_some();
                if !was_closed || is_probe {
                    self.failures = self.failures.saturating_add(1);
                }
                if self.failures >= DEAD_AFTER && (!was_closed || is_probe) {
                    let until = now + PROBE.pause(self.failures - DEAD_AFTER + 1);
                    let why = Why::Dead { problem: (*problem).to_owned(), probing: false };
                    self.closed = Some(Closed { until, why });
                }
            }
            Word::Nothing => {
                if let (true, Some(Closed { why: Why::Dead { probing, .. }, .. })) = (is_probe, &mut self.closed) {
                    *probing = false;
                }
            }
        }
    }

    fn slow_down(&mut self, now: Instant, wish: Wish) {
        // Those that were under way meanwhile report the same thing, not a worse one.
        if !self.is_slowed() {
            let is_next = self.slow_until.is_some_and(|until| now.saturating_duration_since(until) < REMEMBERED);
            self.slowdowns = if is_next { self.slowdowns.saturating_add(1) } else { 1 };
        }
        let until = now + wish.pause(self.slowdowns);
        let until = self.slow_until.map_or(until, |before| before.max(until));
        self.failures = 0;
        self.slow_until = Some(until);
        self.closed = Some(Closed { until, why: if wish.is_limit { Why::Limited } else { Why::Busy } });
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

    fn limit(wanted: Option<u64>) -> Wish {
        Wish { wanted: wanted.map(Duration::from_secs), is_limit: true, is_elsewhere: false }
    }

    #[test]
    fn a_burst_goes_through_and_then_the_pace_is_kept() {
        let (mut host, now) = (State::default(), Instant::now());
        let waits: Vec<Duration> = (0..1200).map(|_| host.wait(now, SPACING, false)).collect();
        assert!(waits[..1000].iter().all(Duration::is_zero), "ten seconds' worth at once");
        assert_eq!(waits[1000], SPACING);
        assert_eq!(waits[1199], SPACING * 200);
        assert!(host.wait(now + Duration::from_secs(20), SPACING, false).is_zero());
    }

    #[test]
    fn a_dead_host_is_probed_by_one_at_a_time_and_less_and_less_often() {
        let (mut host, mut now) = (State::default(), Instant::now());
        let dead = Word::Gone("connection refused");
        for _ in 0..DEAD_AFTER {
            assert!(is_let_in(&mut host, now));
            host.hear(now, &dead, false);
        }
        for pause in [5, 10, 20, 40, 60, 60] {
            assert!(!is_let_in(&mut host, now), "closed");
            now += Duration::from_secs(pause - 1);
            assert!(!is_let_in(&mut host, now), "for {pause} s");
            now += Duration::from_secs(1);
            assert!(is_let_in(&mut host, now), "a probe");
            assert!(!is_let_in(&mut host, now), "only one");
            host.hear(now, &dead, true);
        }
        now += Duration::from_secs(60);
        assert!(is_let_in(&mut host, now));
        host.hear(now, &Word::Nothing, true);
        assert!(is_let_in(&mut host, now), "a probe that was given up leaves its place");
        host.hear(now, &Word::Alive, true);
        assert!(is_let_in(&mut host, now) && is_let_in(&mut host, now), "alive");
    }

    #[test]
    fn an_answer_between_failures_keeps_a_host_open() {
        let (mut host, now) = (State::default(), Instant::now());
        for round in 0..20 {
            assert!(is_let_in(&mut host, now), "{round}");
            let word = if round % 4 == 3 { Word::Alive } else { Word::Gone("connection refused") };
            host.hear(now, &word, false);
        }
    }

    #[test]
    fn the_longest_pause_of_those_under_way_counts_and_late_answers_do_not_end_it() {
        let (mut account, now) = (State::default(), Instant::now());
        for wanted in [30, 25, 1] {
            account.hear(now, &Word::Slower(limit(Some(wanted))), false);
        }
        account.hear(now, &Word::Alive, false);
        assert!(!is_let_in(&mut account, now + Duration::from_secs(29)));
        assert!(is_let_in(&mut account, now + Duration::from_secs(30)));
    }

    #[test]
    fn no_time_that_a_registry_names_shortens_the_own_pause_nor_is_longer_than_an_hour() {
        let rows = [
            (limit(None), 1, 20),
            (limit(Some(1)), 1, 20),
            (limit(Some(1)), 2, 40),
            (limit(Some(1)), 30, 60),
            (limit(Some(90)), 1, 90),
            (limit(Some(u64::MAX)), 1, 3600),
            (Wish { is_limit: false, ..limit(None) }, 3, 4),
            (Wish { is_elsewhere: true, ..limit(Some(3600)) }, 1, 60),
        ];
        for (wish, slowdowns, want) in rows {
            assert_eq!(wish.pause(slowdowns), Duration::from_secs(want), "{wish:?}, {slowdowns}");
        }
    }

    /// The worst case: all begin at the moment at which they may, so that each makes all three requests of its pass before
    /// the first blob is answered. Tags and manifests are answered well in between.
    #[test]
    fn a_hundred_objects_whose_blobs_are_limited_make_six_requests_a_minute_each() {
        let (mut account, start) = (State::default(), Instant::now());
        let mut asked = Vec::new();
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            let passes = (0..100).filter(|_| is_let_in(&mut account, now)).count();
            for _ in 0..passes {
                account.hear(now, &Word::Alive, false);
                account.hear(now, &Word::Alive, false);
                asked.extend([second; 3]);
            }
            for _ in 0..passes {
                account.hear(now, &Word::Slower(limit(Some(1))), false);
            }
        }
        let within = |from: u64| asked.iter().filter(|at| (from..from + 60).contains(*at)).count();
        let most = (0..=540).map(within).max().unwrap();
        assert!((300..=600).contains(&most), "{most} requests of 100 objects in a minute");
    }

    #[test]
    fn an_account_that_was_left_alone_for_long_begins_with_a_short_pause() {
        let (mut account, mut now) = (State::default(), Instant::now());
        let mut pause = |account: &mut State, quiet: u64| {
            now += Duration::from_secs(quiet);
            assert!(is_let_in(account, now));
            account.hear(now, &Word::Slower(limit(None)), false);
            let left = account.refusal(now).unwrap().1;
            now += left;
            left.as_secs()
        };
        let pauses = [0, 0, 299, 300].map(|quiet| pause(&mut account, quiet));
        assert_eq!(pauses, [20, 40, 60, 20]);
    }
}
