//! Download bars on a terminal; no output if standard error is not a terminal.

use std::collections::HashMap;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::blob::Progress;
use crate::cli::output::notes::is_quiet;
use crate::mutex::lock;
use crate::telemetry::terminal_is_dumb;

/// One bar for each object during the download of its layers.
#[derive(Debug)]
pub(crate) struct Bars {
    all: MultiProgress,
    by_object: Mutex<HashMap<String, ProgressBar>>,
    /// Label of the bars, if it is not the object's name.
    label: Option<String>,
}

impl Bars {
    pub(crate) fn new() -> Self {
        // Draws to standard error, and only if that is a terminal that can move its cursor.
        let is_drawn = !is_quiet() && !terminal_is_dumb();
        let target = if is_drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { all: MultiProgress::with_draw_target(target), by_object: Mutex::default(), label: None }
    }

    /// Creates a bar with a label, for a download whose object has no name of its own.
    pub(crate) fn labelled(label: String) -> Self {
        let mut bars = Self::new();
        bars.label = Some(label);
        bars
    }

    /// Removes the bars, so that the result table stands alone.
    pub(crate) fn clear(&self) {
        // A terminal that is gone needs no clearing.
        let _ = self.all.clear();
    }
}

impl Drop for Bars {
    /// Clears the terminal after an interruption too.
    fn drop(&mut self) {
        self.clear();
    }
}

impl Progress for Bars {
    fn downloaded(&self, object: &str, done: u64, total: u64) {
        let mut bars = lock(&self.by_object);
        let bar = bars.entry(object.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{prefix:30!} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            self.all.add(
                ProgressBar::new(total)
                    .with_style(style)
                    .with_prefix(self.label.as_deref().unwrap_or(object).to_owned()),
            )
        });
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    }
}
