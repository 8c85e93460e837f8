//! What the user sees while the tools are got: one line per tool, that counts the seconds while it is being built.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use tokio::time::{Instant, interval_at};

use super::catalog::Tool;

/// Writes to standard error; on a terminal a line being counted is rewritten in place.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { terminal: stderr().is_terminal() }
    }

    pub(super) fn done(&self, tool: &Tool, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        write(&format!("{clear}{}\n", line(tool, text)));
    }

    pub(super) fn note(&self, tool: &Tool, text: &str) {
        self.done(tool, text);
    }

    /// Waits for a build and counts meanwhile.
    pub(super) async fn count<T>(&self, tool: &Tool, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let pace = Duration::from_secs(if self.terminal { 1 } else { 10 });
        let mut ticks = interval_at(started + pace, pace);
        self.building(tool, started);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => self.building(tool, started),
            }
        }
    }

    fn building(&self, tool: &Tool, started: Instant) {
        let text = line(tool, &format!("building… {} s", started.elapsed().as_secs()));
        write(&if self.terminal { format!("\r\x1b[K{text}") } else { format!("{text}\n") });
    }
}

fn line(tool: &Tool, text: &str) -> String {
    format!("  tool {:<24} {:<8} {text}", tool.name, tool.version)
}

/// A closed standard error is no reason to stop.
fn write(text: &str) {
    let mut out = stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
