//! Ends of a comparison without a result.

use crate::cli::output::complaint::Complaint;
use crate::cli::placing::End;

/// Reason that there is no result.
pub(super) enum Stop {
    Complaint(Complaint),
    Interrupted(u8),
}

impl<E: Into<Complaint>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Complaint(error.into())
    }
}

impl Stop {
    /// Returns the reason why an artifact could not be fetched.
    pub(super) fn of(end: End, explain: impl FnOnce(Complaint) -> Complaint) -> Self {
        match end {
            End::Failure(failure) => Self::Complaint(explain(failure.into())),
            End::Interrupted(code) => Self::Interrupted(code),
        }
    }
}
