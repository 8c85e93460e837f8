//! `supercargo unpackage`: an artifact of the cache into a directory, by the same pass as for an object.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::api::Reason;
use crate::cli::options::cache::{ARTIFACTS_HELP, ArtifactCacheArguments, catalog, find, refill_if_missing};
use crate::cli::options::content::{self, ContentArguments};
use crate::cli::options::format::FormatArguments;
use crate::cli::options::limits::LimitArguments;
use crate::cli::options::object;
use crate::cli::options::signature::{self, SignatureArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::{self, Exit};
use crate::cli::output::to_stdout;
use crate::cli::placing::{self, End, Place};
use crate::failure::Failure;
use crate::pack::catalog::InManifest;
use crate::request::{ObjectId, Referred, Request};
use crate::unpack::path::EntryPath;

/// Arguments of `supercargo unpackage`.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "unpkg")]
#[command(after_help = "Example: supercargo unpackage ghcr.io/team/app:1 app")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Artifact in the cache: `host[:port]/repository[:tag][@sha256:<64 hex>]`.
    ///
    /// May begin with `oci://`. Without a tag and a digest, the tag is `latest`.
    image: String,
    /// Target directory, which must not exist; by default, the last part of the repository.
    ///
    /// Its parent directory must exist. The default of a catalog of kubara is its name.
    dir: Option<PathBuf>,
    /// Time limit of the whole command, as a duration such as 90s or 5m.
    #[arg(hide_short_help = true, long, value_name = "DURATION", default_value = "5m")]
    timeout: String,
    /// Platform of the manifest to select from an index, such as linux/arm64.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    cache: ArtifactCacheArguments,
    #[command(flatten)]
    content: ContentArguments,
    #[command(flatten)]
    signature: SignatureArguments,
    #[command(flatten)]
    limits: LimitArguments,
}

fn help() -> String {
    format!(
        "\
Unpacks what `pull` or `package` put into the cache, by the rules and within the limits of `pull`,
and sends no request. DIR is complete, or it does not exist. Standard output is
host/repository:tag@sha256:... alone. A catalog of kubara is unpacked without its folder, as kubara
does it, unless an option selects content.

{ARTIFACTS_HELP}

{patterns}

{signatures}
Here signatures are read from the cache, and no request is sent.

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  supercargo unpackage ghcr.io/team/app:1.4.2 app
  supercargo unpackage ghcr.io/team/app:1.4.2 app --key cosign.pub --transparency-log ignored
  supercargo unpackage oci://ghcr.io/acme/platform-catalogs/my-catalog:1.2.3",
        patterns = content::PATTERNS_HELP,
        signatures = signature::SIGNATURES_HELP,
        codes = exit::help(&[exit::LOCAL, &[Exit::NotFound, Exit::Unverified, Exit::Content]])
    )
}

pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    match Box::pin(unpackage(&arguments)).await {
        Ok(code) => code,
        Err(complaint) => complaint.report(),
    }
}

async fn unpackage(arguments: &Arguments) -> Result<ExitCode, Complaint> {
    arguments.dir.as_deref().map_or(Ok(()), refuse_existing)?;
    let mut request = request(arguments).await?;
    let cache = arguments.cache.open()?;
    let cached = find(&cache, &request.reference)?;
    let catalog = catalog(cache.layout(), &cached.manifest.digest)?;
    let directory = directory(arguments, &request, catalog.as_ref())?;
    if let (Some(catalog), None) = (&catalog, arguments.content.selection()) {
        request.files.sub_path = EntryPath::parse(catalog.name.as_bytes()).map_err(Failure::internal)?;
    }
    // Another process may move the tag meanwhile.
    request.reference.digest = Some(cached.manifest.digest);
    let place = Place { directory: &directory, replace: false, limits: arguments.limits.limits() };
    match place.fill(cache.layout().clone(), request).await {
        Ok(placed) => {
            placing::print_summary(&placed);
            let text = || format!("{}\n", placed.pinned);
            to_stdout(&arguments.format.format.show(text, &placed.shown_with_artifact())?).map(|()| Exit::Done.into())
        }
        Err(End::Failure(failure)) => Err(refill_if_missing(failure.into())),
        Err(End::Interrupted(code)) => Ok(placing::interrupted(code)),
    }
}

/// Returns the directory to fill: the given one, or one in the current directory.
fn directory(arguments: &Arguments, request: &Request, catalog: Option<&InManifest>) -> Result<PathBuf, Complaint> {
    if let Some(dir) = &arguments.dir {
        return Ok(dir.clone());
    }
    let last = request.reference.repository.path().rsplit('/').next().unwrap_or_default();
    let dir = PathBuf::from(catalog.map_or(last, |catalog| catalog.name.as_str()));
    refuse_existing(&dir).map(|()| dir)
}

fn refuse_existing(dir: &Path) -> Result<(), Complaint> {
    if dir.symlink_metadata().is_err() {
        return Ok(());
    }
    let complaint = Complaint::new(Reason::OutputConflict, format!("{} exists already", dir.display()));
    Err(complaint.with_remedy("Name a directory that does not exist.".to_owned()))
}

async fn request(arguments: &Arguments) -> Result<Request, Complaint> {
    let mut spec = object::spec(&arguments.image)?;
    spec.timeout.clone_from(&arguments.timeout);
    spec.platform.clone_from(&arguments.platform);
    arguments.content.set(&mut spec);
    let mut referred = Referred::default();
    arguments.signature.set(&mut spec, &mut referred).await?;
    let mut request = Request::parse(ObjectId::command_line(), &spec, &referred).map_err(Failure::from)?;
    arguments.signature.name(Arc::make_mut(&mut request.requirement));
    Ok(request)
}
