//! `supercargo diff`: the files that differ between two artifacts or directories, or between a lock and now.

use std::process::ExitCode;

use crate::cli::output::exit::Exit;
use crate::cli::output::to_stdout;
use crate::cli::signals::{Signals, interrupted};

mod arguments;
mod changes;
mod content_of;
mod locked;
mod pair;
mod report;
mod scratch;
mod side;
mod stop;

pub(crate) use arguments::Arguments;
use content_of::Budget;
use scratch::Scratch;
use side::Side;
use stop::Stop;

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match Box::pin(diff(&arguments)).await {
        Ok(exit) => exit.into(),
        Err(Stop::Complaint(complaint)) => complaint.report(),
        Err(Stop::Interrupted(code)) => interrupted(code),
    }
}

async fn diff(arguments: &Arguments) -> Result<Exit, Stop> {
    // clap requires both, unless there are files.
    let (Some(old), Some(new)) = (&arguments.old, &arguments.new) else { return locked::diff(arguments).await };
    let sides = [Side::parse("OLD", old)?, Side::parse("NEW", new)?];
    let [old, new] = side::sources(arguments, sides).await?;
    // From here on there is a directory that a signal would leave behind.
    let mut signals = Signals::listen();
    let scratch = Scratch::create()?;
    let old = old.fetch(arguments, scratch.path("old")).await?;
    let new = new.fetch(arguments, scratch.path("new")).await?;
    let (limits, mut budget) = (arguments.limits.limits(), arguments.content.then(Budget::default));
    let report = pair::compare([old, new], &limits, &mut budget, &mut signals).await?;
    drop(scratch);
    to_stdout(&report.shown(arguments.format.format)?)?;
    Ok(if report.is_equal() { Exit::Done } else { Exit::Fault })
}
