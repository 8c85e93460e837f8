//! Comparison of two directories on a thread, which a signal does not wait for.

use super::content_of::Budget;
use super::report::Report;
use super::side::{Fetched, Tree};
use super::stop::Stop;
use crate::cli::output::complaint::Complaint;
use crate::cli::signals::Signals;
use crate::failure::Failure;
use crate::request::Limits;

/// Lists both sides and compares them. With a budget, lines of text files are compared too, and it becomes smaller.
pub(super) async fn compare(
    sides: [Fetched; 2],
    limits: &Limits,
    budget: &mut Option<Budget>,
    signals: &mut Signals,
) -> Result<Report, Stop> {
    let (limits, mut own) = (*limits, budget.take());
    let compared = tokio::task::spawn_blocking(move || {
        let [old, new] = sides;
        let trees = [Tree::read(old, &limits)?, Tree::read(new, &limits)?];
        let report = Report::of(&trees, own.as_mut())?;
        Ok::<_, Complaint>((report, own))
    });
    let compared = tokio::select! {
        compared = compared => compared.map_err(Failure::internal)?,
        code = signals.wait() => return Err(Stop::Interrupted(code)),
    };
    let (report, left) = compared?;
    *budget = left;
    Ok(report)
}
