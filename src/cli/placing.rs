//! One artifact into a person's directory: the pass of an object, for a command that waits for it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::limits::LimitArguments;
use super::progress::Bars;
use crate::blob::{Cache, Progress};
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::output::directory::Destination;
use crate::output::{Outputs, Published};
use crate::pass::{self, Before, Engine};
use crate::processors::Processors;
use crate::registry::turns::Turns;
use crate::registry::{Pinned, Registry};
use crate::request::{Limits, Request};

/// Where the files go.
#[derive(Debug, clap::Args)]
pub(super) struct PlaceArguments {
    /// Where the files go: a directory that does not exist or is empty. The one above it has to exist.
    #[arg(short = 'o', long, value_name = "DIR")]
    pub(super) output: PathBuf,
    /// Replaces DIR with everything in it, in one step, once all is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    limits: LimitArguments,
}

/// What ended a command before DIR was there.
#[derive(Debug)]
pub(super) enum End {
    Failure(Failure),
    /// A signal, and the code to end with.
    Asked(u8),
}

impl PlaceArguments {
    /// The bounds that are asked for.
    pub(super) fn limits(&self) -> Limits {
        self.limits.limits()
    }

    /// Fetches and unpacks beside DIR, and puts the result there by one rename. On failure DIR is as it was, and
    /// nothing is left beside it.
    pub(super) async fn place<R: Registry>(&self, registry: R, request: Request) -> Result<(Pinned, Published), End> {
        // Before there is anything that a signal would leave behind.
        let mut asked = Asked::listen();
        let request = request.into_directory();
        let metrics = Arc::new(Metrics::default());
        let opened = Destination::open(&self.output, self.force);
        let (destination, gone) = opened.map_err(|error| End::Failure(error.into()))?;
        let destination = Arc::new(destination);
        let bars = Arc::new(Bars::labelled(self.output.display().to_string()));
        let outputs = Outputs::to_directory(Arc::clone(&destination), metrics);
        let engine = Engine {
            registry,
            outputs: outputs.map_err(|error| End::Failure(error.into()))?,
            limits: self.limits(),
            // What is read once is not kept.
            cache: Cache::default(),
            turns: Turns::default(),
            processors: Processors::default(),
            progress: Some(Arc::clone(&bars) as Arc<dyn Progress>),
        };
        let (turn, before) = (engine.turn(&request).await, Before::default());
        let ended = tokio::select! {
            result = pass::pass(&engine, &turn, &request, &before) => result.map_err(End::Failure),
            code = asked.wait() => Err(End::Asked(code)),
        };
        bars.clear();
        // What took DIR's place is there, also where the end came while what was there before was being removed.
        let done = destination.give_up();
        drop((engine, destination));
        tokio::select! {
            () = gone.wait() => {}
            // Who is asked twice does not tidy up.
            _ = asked.wait() => {}
        }
        match (done, ended) {
            // Only a pass that came to its end knows which layers it left out.
            (Some((pinned, published)), Ok(outcome)) => {
                Ok((pinned, outcome.published.into_iter().next().unwrap_or(published)))
            }
            (Some(done), Err(_)) => Ok(done),
            (None, Err(end)) => Err(end),
            (None, Ok(_)) => Err(End::Failure(Failure::internal("nothing was published"))),
        }
    }
}

/// The code of a command that was interrupted.
pub(super) fn interrupted(code: u8) -> ExitCode {
    // Where standard error is gone, the code has to do.
    let _ = writeln!(std::io::stderr(), "error: interrupted");
    ExitCode::from(code)
}

/// Tells people what is there now.
pub(super) fn tell(published: &Published) {
    let Published { location, files, bytes, skipped, .. } = published;
    let plural = if *files == 1 { "" } else { "s" };
    let skipped = if *skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
    // For people only: where standard error is gone, nobody looks.
    let _ = writeln!(std::io::stderr(), "{location}: {files} file{plural}, {bytes} bytes{skipped}");
}

/// Ctrl-C and SIGTERM, from when it was made.
struct Asked([(Option<Signal>, u8); 2]);

impl Asked {
    /// Where a signal cannot be listened to it ends the process as it always did.
    fn listen() -> Self {
        Self(
            [(SignalKind::interrupt(), 130), (SignalKind::terminate(), 143)]
                .map(|(kind, code)| (signal(kind).ok(), code)),
        )
    }

    /// Waits for one, and answers the code that shells give for it.
    async fn wait(&mut self) -> u8 {
        let Self([first, second]) = self;
        let one = async |(signal, code): &mut (Option<Signal>, u8)| match signal {
            Some(signal) => {
                signal.recv().await;
                *code
            }
            None => std::future::pending().await,
        };
        tokio::select! {
            code = one(first) => code,
            code = one(second) => code,
        }
    }
}
