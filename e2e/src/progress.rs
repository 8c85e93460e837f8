//! Progress of builds: one line for each build, with the elapsed seconds.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use tokio::time::{Instant, interval_at};

/// Writer to standard error; on a terminal the line of a running build is rewritten in place.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: stderr().is_terminal() }
    }

    pub(crate) fn done(&self, what: &str, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        write(&format!("{clear}{}\n", line(what, text)));
    }

    /// Waits for a build and shows the elapsed seconds meanwhile.
    pub(crate) async fn count<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let pace = Duration::from_secs(if self.terminal { 1 } else { 10 });
        let mut ticks = interval_at(started + pace, pace);
        self.building(what, started);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => self.building(what, started),
            }
        }
    }

    fn building(&self, what: &str, started: Instant) {
        let text = line(what, &format!("building… {} s", started.elapsed().as_secs()));
        write(&if self.terminal { format!("\r\x1b[K{text}") } else { format!("{text}\n") });
    }
}

fn line(what: &str, text: &str) -> String {
    format!("  {what:<38} {text}")
}

/// Writes to standard error and ignores errors: a closed standard error must not stop the harness.
fn write(text: &str) {
    let mut out = stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
