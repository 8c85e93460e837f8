//! `supercargo policy record`: the signatures of an image in a directory, without the image itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::api::Reason;
use crate::cli::options::format::FormatArguments;
use crate::cli::options::reading;
use crate::cli::options::writing::{self, Remote, WriteArguments};
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit;
use crate::cli::output::to_stdout;
use crate::cli::signals::until_signal;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::oci::Digest;
use crate::permits::Permits;
use crate::publish::{self, Place};
use crate::registry::http::HttpRegistry;
use crate::registry::{self, Access, Pinned};

/// Arguments of `supercargo policy record`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: supercargo policy record ghcr.io/team/app:1 -o tests/recorded")]
#[command(after_long_help = help())]
pub(crate) struct Arguments {
    /// Image: `host[:port]/repository[:tag][@sha256:<64 hex>]`.
    image: String,
    /// Directory of the signatures, an OCI image layout; signatures of other images in it stay.
    #[arg(short = 'o', long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    format: FormatArguments,
    #[command(flatten)]
    write: WriteArguments,
}

fn help() -> String {
    format!(
        "\
Copies the signatures and attestations of IMAGE to DIR: Sigstore bundles, and the layers under the
tag sha256-<hex>.sig. The image itself is not copied, so DIR is small enough for a Git repository;
leave out DIR/.supercargo there. No signature is verified. Standard output is
host/repository:tag@sha256:... alone, for the image of a case of `policy test`.

{credentials}

{codes}
  129, 130, 143  ended by SIGHUP, Ctrl-C, SIGTERM

Examples:
  supercargo policy record ghcr.io/team/app:1 -o tests/recorded",
        credentials = reading::CREDENTIALS_HELP,
        codes = exit::help(&[exit::REMOTE])
    )
}

pub(super) async fn run(arguments: &Arguments) -> ExitCode {
    until_signal(Box::pin(record(arguments))).await
}

async fn record(arguments: &Arguments) -> Result<(), Complaint> {
    let write = &arguments.write;
    let remote = write.target(writing::reference("IMAGE", &arguments.image)?).await?;
    let registry = Arc::new(write.reach.registry(&Arc::default())?);
    let copied = tokio::time::timeout(write.timeout, copy(&registry, &remote, arguments)).await;
    let copied = copied.unwrap_or_else(|_| Err(Failure::timeout(write.timeout, "reading the signatures")));
    let (pinned, signatures) = copied.map_err(|failure| remote.explain(failure.into()))?;
    if signatures == 0 {
        return Err(Complaint::new(Reason::SignatureMissing, format!("{pinned} has no signature to record"))
            .with_remedy("A case for an image without signatures has signatures: [].".to_owned()));
    }
    let (reference, digest) = (pinned.to_string(), pinned.digest());
    let report = Report { reference: &reference, digest, signatures };
    to_stdout(&arguments.format.format.show(|| format!("{reference}\n"), &report)?)
}

/// Output of `--format json`. The names are stable.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Repository, tag and digest in one string.
    reference: &'a str,
    digest: &'a Digest,
    /// Number of signatures and attestations that DIR has of the image.
    signatures: usize,
}

/// A layout that is removed again if nothing is stored in it and the command has made it.
struct Fresh {
    dir: PathBuf,
    /// True if the directory held a layout before.
    is_old: bool,
    /// Directories that did not exist before, the innermost first.
    missing: Vec<PathBuf>,
}

impl Fresh {
    fn new(dir: &Path) -> Self {
        let missing = dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        Self { dir: dir.to_owned(), is_old: Layout::open(dir).is_ok(), missing: missing.map(Path::to_owned).collect() }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Another process may use it by now, and the failure of the command says more than one of its cleanup.
        if !self.is_old && Layout::discard(&self.dir).is_ok() {
            let _ = self.missing.iter().try_for_each(fs_err::remove_dir);
        }
    }
}

async fn copy(
    registry: &Arc<HttpRegistry>,
    remote: &Remote,
    arguments: &Arguments,
) -> Result<(Pinned, usize), Failure> {
    let seat = Permits::default().seat("");
    let pinned = registry::resolve(&**registry, &remote.access, &remote.reference, None, &seat).await?;
    registry::confirm(&**registry, &remote.access, &pinned).await?;
    // Dropped after the layout, also by a timeout and a signal.
    let _fresh = Fresh::new(&arguments.output);
    let (layout, own, repository) =
        (Arc::new(Layout::create(&arguments.output)?), Access::default(), pinned.repository());
    let from = Place { registry, access: &remote.access, repository };
    let to = Place { registry: &layout, access: &own, repository };
    let signatures = publish::copy_signatures(from, to, pinned.digest()).await?;
    Ok((pinned, signatures))
}
