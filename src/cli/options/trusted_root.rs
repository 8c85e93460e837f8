//! Options for refreshing the default trusted root.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::options::values::duration;
use crate::cli::output::complaint::Complaint;
use crate::failure::Failure;
use crate::pass;
use crate::registry::http::HttpRegistry;
use crate::trust::public_root::{Mirror, Refresh};
use crate::trust::tuf::Bootstrap;

/// TUF repository of Sigstore's public good instance.
const PUBLIC_GOOD: &str = "https://tuf-repo-cdn.sigstore.dev";
/// Directory below the work directory, for the last seen state of the repository.
const DIRECTORY: &str = ".supercargo/trusted-root";

/// Options about the root of Sigstore's public good instance.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Trusted root")]
pub(crate) struct TrustedRootArguments {
    /// Interval for refreshing the default trusted root, such as 24h; 0s disables it.
    ///
    /// The default trusted root is used for requirements without a trustedRootRef. With 0s it is the root embedded in
    /// this release, and no host but registries is contacted.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration, env = "SUPERCARGO_REFRESH_TRUSTED_ROOT")]
    refresh_trusted_root: Duration,
    /// URL of the repository (The Update Framework, TUF) that publishes the `trusted_root.json`.
    #[arg(hide_short_help = true, long, value_name = "URL", default_value = PUBLIC_GOOD, env = "SUPERCARGO_TUF_MIRROR")]
    tuf_mirror: String,
    /// Initial `root.json` of the repository of --tuf-mirror. Default: that of Sigstore's public good instance,
    /// embedded in this release.
    #[arg(hide_short_help = true, long, value_name = "FILE", env = "SUPERCARGO_TUF_ROOT")]
    tuf_root: Option<PathBuf>,
}

impl TrustedRootArguments {
    /// Returns the refresh to run, if it is enabled; `client` is called only for it.
    pub(crate) fn refresh(
        &self,
        work_dir: &Path,
        client: impl FnOnce() -> Result<HttpRegistry, Complaint>,
    ) -> Result<Option<Refresh<Mirror>>, Complaint> {
        if self.refresh_trusted_root.is_zero() {
            return Ok(None);
        }
        let bootstrap = match &self.tuf_root {
            Some(path) => {
                let json = files::read("--tuf-root", path)?;
                let invalid =
                    |error| Complaint::new(Reason::FileInvalid, format!("--tuf-root {}: {error}", path.display()));
                Bootstrap::new(json).map_err(invalid)?
            }
            None => Bootstrap::public_good().map_err(Failure::internal)?,
        };
        let invalid = |error| Complaint::new(Reason::InvalidSpec, format!("--tuf-mirror: {error}"));
        Ok(Some(Refresh {
            files: Mirror::new(client()?, &self.tuf_mirror).map_err(invalid)?,
            bootstrap,
            directory: work_dir.join(DIRECTORY),
            interval: self.refresh_trusted_root,
            clock: pass::now,
        }))
    }
}
