//! `supercargo pull`: one artifact into one directory.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::complaint::Complaint;
use super::exit::{self, Exit};
use super::progress::Bars;
use super::reading::{self, ReadArguments};
use super::{LimitArguments, to_stdout};
use crate::api::Reason;
use crate::blob::{Cache, Progress};
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::pass::{self, Before, Engine};
use crate::publish::directory::Destination;
use crate::publish::{Outputs, Published};
use crate::registry::Pinned;
use crate::registry::turns::Turns;

/// Arguments of `supercargo pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(super) struct Arguments {
    /// Where the files go: a directory that does not exist or is empty. The one above it has to exist.
    #[arg(short = 'o', long, value_name = "DIR")]
    output: PathBuf,
    /// Replaces DIR with everything in it, in one step, once all is there.
    #[arg(long)]
    force: bool,
    /// Takes only what lies below this directory of the artifact, without the directory itself.
    #[arg(long, value_name = "PATH")]
    sub_path: Option<String>,
    /// Writes the digest to this file, without a line end, once DIR is there.
    #[arg(long, value_name = "FILE")]
    digest_file: Option<PathBuf>,
    #[command(flatten)]
    read: ReadArguments,
    #[command(flatten)]
    limits: LimitArguments,
}

fn help() -> String {
    format!(
        "\
Fetches, checks every byte, unpacks beside DIR, and puts the result there by one rename: a reader
sees what was there before, or all of the artifact. On failure DIR is as it was, and nothing is
left beside it. Prints host/repository:tag@sha256:... alone on standard output, so that what was
pulled can be recorded.

{credentials}

{codes}
  130, 143  ended by Ctrl-C, by SIGTERM

Examples:
  supercargo pull ghcr.io/home-operations/k8s-schemas -o schemas --digest-file schemas.digest
  supercargo pull ghcr.io/team/config:1.4.2@sha256:... -o /etc/app --force --sub-path prod
  supercargo pull registry.example.com/app --semver '^1' -o app --ca-file corp-ca.pem",
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::HELP
    )
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    match pull(&arguments).await {
        Ok(code) => code,
        Err(complaint) => complaint.tell(),
    }
}

async fn pull(arguments: &Arguments) -> Result<ExitCode, Complaint> {
    let (request, configs) = arguments.read.request(arguments.sub_path.as_deref())?;
    let request = request.into_directory();
    let metrics = Arc::new(Metrics::default());
    let registry = arguments.read.reach.registry(&metrics).map_err(Failure::internal)?;
    let (destination, gone) = Destination::open(&arguments.output, arguments.force).map_err(Failure::from)?;
    let destination = Arc::new(destination);
    let bars = Arc::new(Bars::labelled(arguments.output.display().to_string()));
    let engine = Engine {
        registry,
        outputs: Outputs::to_directory(Arc::clone(&destination), metrics),
        limits: arguments.limits.limits(),
        // What is read once is not kept.
        cache: Cache::default(),
        turns: Turns::default(),
        unpacking: super::unpacking_permits(),
        progress: Some(Arc::clone(&bars) as Arc<dyn Progress>),
    };
    let (turn, before) = (engine.turn(&request).await, Before::default());
    let ended = tokio::select! {
        result = pass::pass(&engine, &turn, &request, &before) => result.map_err(End::Failure),
        code = asked_to_end() => Err(End::Asked(code)),
    };
    bars.clear();
    // What took DIR's place is there, also where the end came while what was there before was being removed.
    let done = destination.give_up();
    drop((engine, destination));
    tokio::select! {
        () = gone.wait() => {}
        // Who is asked twice does not tidy up.
        _ = asked_to_end() => {}
    }
    match (done, ended) {
        (Some((pinned, published)), _) => tell(arguments, &pinned, &published).map(|()| Exit::Done.into()),
        (None, Err(End::Failure(failure))) => Err(configs.explain(failure.into(), &request.reference.repository)),
        (None, Err(End::Asked(code))) => {
            // Where standard error is gone, the code has to do.
            let _ = writeln!(std::io::stderr(), "error: interrupted");
            Ok(ExitCode::from(code))
        }
        (None, Ok(_)) => Err(Failure::internal("nothing was published").into()),
    }
}

/// What ended a pull before DIR was there.
enum End {
    Failure(Failure),
    /// A signal, and the code to end with.
    Asked(u8),
}

/// The digest for a file, the reference for scripts, the rest for people.
fn tell(arguments: &Arguments, pinned: &Pinned, published: &Published) -> Result<(), Complaint> {
    let (place, files, bytes) = (&published.location, published.files, published.bytes);
    if let Some(path) = &arguments.digest_file {
        fs_err::write(path, pinned.digest().to_string()).map_err(|error| {
            Complaint::new(Reason::StorageFailed, format!("{place} holds {pinned}, but --digest-file: {error}"))
        })?;
    }
    // For people only: where standard error is gone, nobody looks.
    let _ = writeln!(std::io::stderr(), "{place}: {files} file{}, {bytes} bytes", if files == 1 { "" } else { "s" });
    to_stdout(&format!("{pinned}\n"))
}

/// Waits for Ctrl-C or SIGTERM, and answers the code that shells give for it.
async fn asked_to_end() -> u8 {
    let wait = async |kind: SignalKind, code: u8| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
            code
        }
        // Then the signal ends the process as it always did.
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        code = wait(SignalKind::interrupt(), 130) => code,
        code = wait(SignalKind::terminate(), 143) => code,
    }
}
