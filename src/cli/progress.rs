//! Download bars on a terminal; nothing where the output is not one.

use std::collections::HashMap;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::blob::Progress;

/// A bar for each object while its layers come in.
#[derive(Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    by_object: Mutex<HashMap<String, ProgressBar>>,
    /// What stands before a bar, where that is not the object's name.
    label: Option<String>,
}

impl Bars {
    pub(super) fn new() -> Self {
        // Draws to standard error, and only where that is a terminal.
        Self { all: MultiProgress::new(), by_object: Mutex::default(), label: None }
    }

    /// For one download, whose object nobody has named.
    pub(super) fn labelled(label: String) -> Self {
        Self { label: Some(label), ..Self::new() }
    }

    /// Takes the bars away, so that the table stands alone.
    pub(super) fn clear(&self) {
        // A terminal that is gone needs no clearing.
        let _ = self.all.clear();
    }
}

impl Progress for Bars {
    fn downloaded(&self, object: &str, done: u64, total: u64) {
        let mut bars = self.by_object.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
