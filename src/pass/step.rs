//! The step that a pass has reached, its seat at the processors, and its clock.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::engine::Engine;
use crate::permits::Seat;
use crate::request::Request;

/// Returns the time at which trusted roots must be valid.
#[expect(clippy::disallowed_methods, reason = "the one place where a pass reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Current step of a pass, for a timeout's message, and its seat at the processors.
pub(super) struct Step {
    name: Mutex<&'static str>,
    pub(super) seat: Seat,
}

impl Step {
    pub(super) fn new<R>(engine: &Engine<R>, request: &Request) -> Self {
        Self { name: Mutex::default(), seat: engine.processors.seat(&request.object.namespace) }
    }

    pub(super) fn set(&self, step: &'static str) {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    pub(super) fn now(&self) -> &'static str {
        let step = *self.name.lock().unwrap_or_else(PoisonError::into_inner);
        if step.is_empty() { "looking at the outputs" } else { step }
    }
}
