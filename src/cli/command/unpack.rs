//! `supercargo unpack`: one layer, from a file, into a directory.
//!
//! [`FileLayer`] serves the file to the same pass as for an object.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Map, Value};

use crate::api::Reason;
use crate::cli::options::content::{self, LayerArguments};
use crate::cli::options::format::FormatArguments;
use crate::cli::options::object;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::to_stdout;
use crate::cli::placing::{self, End, PlaceArguments, Placed};
use crate::failure::Failure;
use crate::oci::media_type::TITLE;
use crate::registry::file::{FileError, FileLayer, REPOSITORY};
use crate::request::{ObjectId, Referred, Request};

/// Arguments of `supercargo unpack`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo unpack layer.tar.gz -o out")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Layer: a tar, tar+gzip, tar+zstd or zip archive, or any other file.
    ///
    /// A pipe is refused, because a layer is read twice.
    file: PathBuf,
    /// Media type of the layer, as in a manifest.
    ///
    /// Default: application/vnd.oci.image.layer.v1.tar+gzip. The compression is detected from the bytes.
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "application/vnd.oci.image.layer.v1.tar+gzip",
        hide_default_value = true
    )]
    media_type: String,
    /// Title of the layer (org.opencontainers.image.title).
    ///
    /// A layer with a title becomes a file of that name, unless the layer is marked or --layer-mode decides otherwise.
    #[arg(long, value_name = "TITLE")]
    title: Option<String>,
    /// Annotation of the layer; may be given several times.
    ///
    /// For example the mark io.deis.oras.content.unpack=true.
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Time limit of the whole command, as a duration such as 90s or 5m.
    #[arg(hide_short_help = true, long, value_name = "DURATION", default_value = "5m")]
    timeout: String,
    /// Target directory, which must be absent or empty.
    ///
    /// Its parent directory must exist.
    #[arg(short = 'o', long, value_name = "DIR", help_heading = "Directory")]
    output: PathBuf,
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    place: PlaceArguments,
    #[command(flatten)]
    layer: LayerArguments,
}

fn help() -> String {
    format!(
        "\
Unpacks FILE like the only layer of an artifact: by the same rules and inside the same limits. On
success DIR is complete; on failure DIR is unchanged and nothing is left beside it. FILE is never
changed.

With --layer-mode auto, FILE is extracted if it is marked, or has no title and is an archive. A FILE
without a title that is no tar is refused if --media-type is one of tar, as by default; set --title
or another --media-type to keep it as a file. --layer-mode extract refuses what is no archive.

{patterns}

Standard output is DIR alone, or with --format json also the numbers of files and bytes.

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  supercargo unpack layer.tar.gz -o out
  supercargo unpack bundle.zip --media-type archive/zip --layer-mode extract -o out
  supercargo unpack dir.tar.gz --title dir --annotation io.deis.oras.content.unpack=true -o out
  supercargo unpack layer.tar --media-type application/vnd.docker.image.rootfs.diff.tar.gzip -o out
  supercargo unpack unknown.tgz --max-extracted-bytes 100Mi --max-entries 1000 -o out",
        patterns = content::PATTERNS_HELP,
        codes = exit::help(&[exit::LOCAL, &[Exit::NotFound, Exit::Content]])
    )
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    let placed = match unpack(&arguments).await {
        Ok(placed) => placed,
        Err(Stop::Interrupted(code)) => return placing::interrupted(code),
        Err(Stop::Complaint(complaint)) => return complaint.report(),
    };
    placing::print_summary(&placed);
    let text = || format!("{}\n", placed.published.location);
    match arguments.format.format.show(text, &placed.shown()).and_then(|text| to_stdout(&text)) {
        Ok(()) => Exit::Done.into(),
        Err(complaint) => complaint.report(),
    }
}

/// Reason that nothing was unpacked.
enum Stop {
    Complaint(Complaint),
    Interrupted(u8),
}

impl<E: Into<Complaint>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Complaint(error.into())
    }
}

async fn unpack(arguments: &Arguments) -> Result<Placed, Stop> {
    let annotations = annotations(arguments)?;
    let layer = open(arguments, annotations)?;
    let reading = layer.reading();
    let mut spec = object::spec(REPOSITORY)?;
    spec.timeout.clone_from(&arguments.timeout);
    arguments.layer.set(&mut spec);
    let object = ObjectId::command_line();
    let request = Request::parse(object, &spec, &Referred::default()).map_err(Failure::from)?;
    let timeout = request.timeout;
    match arguments.place.place(&arguments.output, layer, request).await {
        Ok(placed) => Ok(placed),
        // The pass calls this step the resolution of the reference.
        Err(End::Failure(failure)) if failure.reason == Reason::Timeout && !reading.is_complete() => {
            Err(Stop::Complaint(of_a_file(Failure::timeout(timeout, "reading FILE"))))
        }
        Err(End::Failure(failure)) => Err(Stop::Complaint(of_a_file(failure))),
        Err(End::Interrupted(code)) => Err(Stop::Interrupted(code)),
    }
}

/// Adapts a failure to a file: there is no registry, and no artifact was pushed.
fn of_a_file(mut failure: Failure) -> Complaint {
    let remedy = if failure.reason == Reason::RegistryUnavailable {
        failure.reason = Reason::StorageFailed;
        "Check the disk of FILE."
    } else if failure.reason == Reason::Timeout {
        "Raise --timeout."
    } else if failure.reason == Reason::UnsafeArchive {
        "If the message names an entry, build the archive without it; otherwise build the archive again, or set \
         --media-type to the type of FILE."
    } else if failure.reason == Reason::DigestMismatch {
        "Check that FILE does not change while it is read, and that its annotations have the right digest."
    } else {
        return failure.into();
    };
    Complaint::from(failure).with_remedy(remedy.to_owned())
}

fn annotations(arguments: &Arguments) -> Result<Map<String, Value>, Complaint> {
    let mut annotations = Map::new();
    for text in &arguments.annotation {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Complaint::new(Reason::InvalidSpec, format!("--annotation {text:?}: expected KEY=VALUE")))?;
        annotations.insert(key.to_owned(), value.into());
    }
    if let Some(title) = &arguments.title {
        annotations.insert(TITLE.to_owned(), title.as_str().into());
    }
    Ok(annotations)
}

/// Opens FILE, and fails if it is larger than a layer may be.
fn open(arguments: &Arguments, annotations: Map<String, Value>) -> Result<FileLayer, Complaint> {
    let layer =
        FileLayer::open(&arguments.file, &arguments.media_type, annotations).map_err(|error| unopened(&error))?;
    let limit = arguments.place.limits().layer_bytes;
    let too_large =
        |exceeded| Complaint::new(Reason::LimitExceeded, format!("{} has {exceeded}", arguments.file.display()));
    limit.check(layer.size()).map_err(too_large)?;
    Ok(layer)
}

fn unopened(error: &FileError) -> Complaint {
    let (reason, remedy) = match error {
        FileError::Missing(_) => (Reason::FileNotFound, "Correct the path that the message names."),
        FileError::Directory(_) => (Reason::InvalidSpec, "Name a file, such as an archive of the directory."),
        FileError::NotRegular(_) => (Reason::InvalidSpec, "Write it to a file first."),
        FileError::Unreadable { .. } => (Reason::FileInvalid, "Check its permissions."),
    };
    Complaint::new(reason, error).with_remedy(remedy.to_owned())
}
