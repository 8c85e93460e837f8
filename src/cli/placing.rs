//! Publishing of one artifact to a directory of the command line: the same pass as for an object.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::blob::{Cache, Progress};
use crate::cli::options::limits::LimitArguments;
use crate::cli::output::notes::note;
use crate::cli::output::progress::Bars;
use crate::cli::signals::Signals;
use crate::failure::{Failure, printable};
use crate::metrics::Metrics;
use crate::oci::Digest;
use crate::output::directory::{Destination, Existing, Filled};
use crate::output::{Outputs, Published};
use crate::pass::turns::Turns;
use crate::pass::{self, Before, Engine};
use crate::permits::Permits;
use crate::registry::{Pinned, Registry};
use crate::request::{Limits, Request};

pub(crate) use crate::cli::signals::interrupted;

/// An artifact in its directory.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) pinned: Pinned,
    pub(crate) published: Published,
    /// Name of the single directory that contains everything, if the artifact was unpacked without a selection.
    pub(crate) single_directory: Option<String>,
}

/// Options for filling the target directory, which the option `output` of the command names.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Directory")]
pub(crate) struct PlaceArguments {
    /// Replace DIR and everything in it.
    ///
    /// The replacement is one step, once the new content is complete.
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    limits: LimitArguments,
}

/// Reason that a command ended before DIR was complete.
#[derive(Debug)]
pub(crate) enum End {
    Failure(Failure),
    /// Signal, with the exit code.
    Interrupted(u8),
}

impl PlaceArguments {
    /// Returns the limits that the options set.
    pub(crate) fn limits(&self) -> Limits {
        self.limits.limits()
    }

    /// Places the artifact of the request in DIR.
    pub(crate) async fn place<R: Registry>(
        &self,
        directory: &Path,
        registry: R,
        request: Request,
    ) -> Result<Placed, End> {
        let place = Place { directory, replace: self.force, limits: self.limits() };
        place.fill(registry, request).await
    }
}

/// A directory to be filled.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a Path,
    /// True if a directory that is not empty may be replaced.
    pub(crate) replace: bool,
    pub(crate) limits: Limits,
}

impl Place<'_> {
    /// Fetches and unpacks beside the directory, and moves the result to it by one rename. On failure the directory is
    /// unchanged, and nothing is left beside it.
    pub(crate) async fn fill<R: Registry>(&self, registry: R, request: Request) -> Result<Placed, End> {
        // Listens before anything exists that a signal would leave behind.
        let mut signals = Signals::listen();
        let request = request.into_directory();
        let metrics = Arc::new(Metrics::default());
        let existing = if self.replace { Existing::Replace } else { Existing::Refuse };
        let opened = Destination::open(self.directory, existing);
        let (destination, gone) = opened.map_err(|error| End::Failure(error.into()))?;
        let destination = Arc::new(destination);
        let bars = Arc::new(Bars::labelled(self.directory.display().to_string()));
        let outputs = Outputs::to_directory(Arc::clone(&destination), metrics);
        let engine = Engine {
            registry,
            outputs: outputs.map_err(|error| End::Failure(error.into()))?,
            limits: self.limits,
            // A layer that is read once is not cached.
            cache: Cache::default(),
            turns: Turns::default(),
            processors: Permits::default(),
            progress: Some(Arc::clone(&bars) as Arc<dyn Progress>),
        };
        let (turn, before) = (engine.turn(&request).await, Before::default());
        let ended = tokio::select! {
            result = pass::pass(&engine, &turn, &request, &before) => result.map_err(End::Failure),
            code = signals.wait() => Err(End::Interrupted(code)),
        };
        bars.clear();
        // If the new content has taken DIR's place, the command succeeded, even if it was interrupted during the
        // removal of the old content.
        let done = destination.give_up();
        drop((engine, destination));
        tokio::select! {
            () = gone.wait() => {}
            // A second signal skips the cleanup.
            _ = signals.wait() => {}
        }
        match (done, ended) {
            // Only a completed pass knows which layers it skipped.
            (Some(Filled { pinned, published, .. }), Ok(outcome)) => Ok(Placed {
                pinned,
                published: outcome.published.into_iter().next().unwrap_or(published),
                single_directory: outcome.top.and_then(|top| top.single_directory),
            }),
            (Some(Filled { pinned, published, .. }), Err(_)) => {
                Ok(Placed { pinned, published, single_directory: None })
            }
            (None, Err(end)) => Err(end),
            (None, Ok(_)) => Err(End::Failure(Failure::internal("nothing was published"))),
        }
    }
}

/// Prints a summary of the published content to standard error, and the directory that is above all of it.
pub(crate) fn print_summary(placed: &Placed) {
    let Published { location, files, bytes, skipped, .. } = &placed.published;
    let plural = if *files == 1 { "" } else { "s" };
    let skipped = if *skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
    note(format_args!("{location}: {files} file{plural}, {bytes} bytes{skipped}"));
    if let Some(name) = &placed.single_directory {
        let name = printable(name);
        note(format_args!("everything is in the directory {name}; --sub-path {name} removes it"));
    }
}

/// A filled directory in JSON. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownPlace<'a> {
    directory: String,
    /// Number of files.
    files: u64,
    /// Total size of the files, in bytes.
    bytes: u64,
    /// Number of entries that a directory cannot hold.
    skipped: u64,
    /// Digest over the list of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    files_digest: Option<&'a Digest>,
    /// Name of the single directory that contains everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    single_directory: Option<&'a str>,
}

/// A filled directory with the artifact that it is from, in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ShownArtifact<'a> {
    /// Repository, tag and digest in one string.
    reference: String,
    digest: &'a Digest,
    #[serde(flatten)]
    place: ShownPlace<'a>,
}

impl Placed {
    /// Returns the directory for JSON.
    pub(crate) fn shown(&self) -> ShownPlace<'_> {
        let Published { location, list_digest, files, bytes, skipped, output: _, revision: _ } = &self.published;
        ShownPlace {
            directory: location.to_string(),
            files: *files,
            bytes: *bytes,
            skipped: *skipped,
            files_digest: list_digest.as_ref(),
            single_directory: self.single_directory.as_deref(),
        }
    }

    /// Returns the directory and the artifact for JSON.
    pub(crate) fn shown_with_artifact(&self) -> ShownArtifact<'_> {
        ShownArtifact { reference: self.pinned.to_string(), digest: self.pinned.digest(), place: self.shown() }
    }
}
