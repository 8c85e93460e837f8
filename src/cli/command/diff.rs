//! `supercargo diff`: the files that differ between two artifacts or directories.

use std::process::ExitCode;

use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::to_stdout;
use crate::cli::signals::{Signals, interrupted};
use crate::failure::Failure;

mod arguments;
mod changes;
mod content_of;
mod report;
mod scratch;
mod side;
mod stop;

pub(crate) use arguments::Arguments;
use report::Report;
use scratch::Scratch;
use side::{Side, Tree};
use stop::Stop;

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match Box::pin(diff(&arguments)).await {
        Ok(exit) => exit.into(),
        Err(Stop::Complaint(complaint)) => complaint.report(),
        Err(Stop::Interrupted(code)) => interrupted(code),
    }
}

async fn diff(arguments: &Arguments) -> Result<Exit, Stop> {
    let sides = [Side::parse("OLD", &arguments.old)?, Side::parse("NEW", &arguments.new)?];
    let sources = side::sources(arguments, sides).await?;
    // From here on there is a directory that a signal would leave behind.
    let mut signals = Signals::listen();
    let scratch = Scratch::create()?;
    let [old, new] = sources;
    let old = old.fetch(arguments, scratch.path("old")).await?;
    let new = new.fetch(arguments, scratch.path("new")).await?;
    let (format, with_content, limits) = (arguments.format.format, arguments.content, arguments.limits.limits());
    let compared = tokio::task::spawn_blocking(move || {
        let trees = [Tree::read(old, &limits)?, Tree::read(new, &limits)?];
        let report = Report::of(&trees, with_content)?;
        let text = report.shown(format)?;
        Ok::<_, Complaint>((report.is_equal(), text))
    });
    let compared = tokio::select! {
        compared = compared => compared.map_err(Failure::internal)?,
        code = signals.wait() => return Err(Stop::Interrupted(code)),
    };
    drop(scratch);
    let (is_equal, text) = compared?;
    to_stdout(&text)?;
    Ok(if is_equal { Exit::Done } else { Exit::Fault })
}
