//! The step that a pass has reached, its seat at the processors, and its clock.

use std::sync::Mutex;

use jiff::Timestamp;

use crate::mutex::lock;
use crate::permits::{Permits, Seat};
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
    pub(super) fn new(processors: &Permits, request: &Request) -> Self {
        Self { name: Mutex::default(), seat: processors.seat(&request.object.namespace) }
    }

    pub(super) fn set(&self, step: &'static str) {
        *lock(&self.name) = step;
    }

    pub(super) fn now(&self) -> &'static str {
        let step = *lock(&self.name);
        if step.is_empty() { "checking the outputs" } else { step }
    }
}
